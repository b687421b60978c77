//! Calls, over every kind of links.

use crate::world::{CLUSTER, World, bytes, meet, soon, waits};
use bytes::Bytes;
use selvedge_mesh::rpc::frame::{AnswerHead, LENGTH_BYTES, QuestionHead};
use selvedge_mesh::rpc::limits::{MESSAGE_BYTES_MAX, NORMAL_CALLS_MAX};
use selvedge_mesh::rpc::{
    Answer, BULK, BodySource, CALLS, Deadline, Failure, Fault, FaultKind, Options as CallOptions, Outcome,
    PROTOCOLS, Priority, Question, Service, Source, Target,
};
use selvedge_mesh::{Hybrid, Mesh};
use selvedge_observe::Registry;
use selvedge_rt::links::side::Boxed;
use selvedge_rt::links::{Code, LinkError, Options, Peers};
use selvedge_rt::{Clock, Tasks};
use selvedge_sim::links::Conditions;
use selvedge_types::{Hlc, HlcClock, NodeKey};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

const TEST: Target = Target { service: "test", version: 2 };
const SECONDS_5: Duration = Duration::from_secs(5);
/// More than fits any window.
const ENDLESS_BYTES: usize = 24 << 20;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Does what the message says.
#[derive(Default)]
struct Tester {
    /// Works that were begun and not dropped.
    working: Arc<AtomicU32>,
    begun: Notify,
    dropped: Arc<Notify>,
    datagrams: Mutex<Option<mpsc::UnboundedSender<(NodeKey, Bytes)>>>,
}

struct Work(Arc<AtomicU32>, Arc<Notify>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
        self.1.notify_one();
    }
}

/// A body that fails every so often.
struct Parts {
    rest: Bytes,
    until_failure: usize,
}

impl BodySource for Parts {
    fn next(&mut self) -> Boxed<'_, Result<Option<Bytes>, Fault>> {
        Box::pin(async move {
            if self.rest.is_empty() {
                return Ok(None);
            }
            if self.until_failure == 0 {
                // What was sent before gets there: a reset overtakes.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return Err(Fault::new(FaultKind::Failed, "broken off"));
            }
            self.until_failure -= 1;
            Ok(Some(self.rest.split_to(self.rest.len().min(100_000))))
        })
    }
}

impl Service for Tester {
    fn versions(&self) -> RangeInclusive<u16> {
        1..=2
    }

    fn answer(&self, mut question: Question) -> Boxed<'_, Result<Answer, Fault>> {
        Box::pin(async move {
            match question.message.as_ref() {
                b"left" => Ok(Answer::message(question.deadline.left().as_millis().to_string())),
                b"who" => Ok(Answer::message(question.peer.to_string())),
                b"version" => Ok(Answer::message(question.version.to_string())),
                b"refuse" => Err(Fault::new(FaultKind::Refused, "no")),
                b"hang" => {
                    self.working.fetch_add(1, Ordering::SeqCst);
                    let _work = Work(self.working.clone(), self.dropped.clone());
                    self.begun.notify_one();
                    std::future::pending().await
                }
                b"large" => Ok(Answer::message(bytes(MESSAGE_BYTES_MAX))),
                b"too large" => Ok(Answer::message(bytes(MESSAGE_BYTES_MAX + 1))),
                b"upload" => {
                    let body = question.body.all(10 << 20).await;
                    let body = body.map_err(|e| Fault::new(FaultKind::Failed, e.to_string()))?;
                    Ok(Answer::message(body.len().to_string()))
                }
                other if other.starts_with(b"from ") => {
                    let text = std::str::from_utf8(&other[5..]).unwrap_or_default();
                    let offset: usize = text.parse().unwrap_or_default();
                    let parts = Parts { rest: bytes(2_000_000).slice(offset..), until_failure: 7 };
                    Ok(Answer { message: Bytes::from_static(b"here"), body: Some(Box::new(parts)) })
                }
                b"endless" => {
                    let parts = Parts { rest: vec![7; ENDLESS_BYTES].into(), until_failure: usize::MAX };
                    Ok(Answer { message: Bytes::new(), body: Some(Box::new(parts)) })
                }
                _ => Ok(Answer::message(question.message)),
            }
        })
    }

    fn datagram(&self, peer: NodeKey, content: Bytes) {
        if let Some(sender) = &*self.datagrams.lock().unwrap() {
            sender.send((peer, content)).unwrap();
        }
    }
}

struct Node {
    mesh: Mesh,
    tester: Arc<Tester>,
    refused_clocks: Arc<AtomicU32>,
}

impl Node {
    fn key(&self) -> NodeKey {
        self.mesh.links().local()
    }

    async fn ask(&self, peer: &Node, message: &'static str) -> Result<Bytes, Failure> {
        self.ask_within(peer, message, SECONDS_5).await
    }

    async fn ask_within(&self, peer: &Node, message: &'static str, time: Duration) -> Result<Bytes, Failure> {
        let (deadline, message) = (Deadline::after(time), Bytes::from_static(message.as_bytes()));
        let call = self.mesh.call(peer.key(), TEST, message, deadline, Priority::Normal);
        soon(call).await.map_err(|error| error.failure)
    }
}

async fn node(world: &World, n: u8, clock: HlcClock) -> Node {
    let options = Options { cluster: CLUSTER, accepts: PROTOCOLS.to_vec(), peers: Peers::default() };
    let links = world.node_with(n, options).await;
    let (tester, refused_clocks) = (Arc::new(Tester::default()), Arc::new(AtomicU32::new(0)));
    let counted = refused_clocks.clone();
    let services: BTreeMap<&'static str, Arc<dyn Service>> = BTreeMap::from([("test", tester.clone() as _)]);
    let options = CallOptions {
        services,
        hybrid: Hybrid::new(Clock::real(), clock),
        registry: Registry::default(),
        clock_ahead: Arc::new(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
    };
    let tasks = match world {
        World::Real(tasks) => tasks.clone(),
        World::Simulated(_) | World::Distant(..) => Tasks::simulated(),
    };
    Node { mesh: Mesh::start(links, options, &tasks), tester, refused_clocks }
}

async fn pair(world: &World) -> (Node, Node) {
    let (a, b) = (node(world, 1, HlcClock::default()).await, node(world, 2, HlcClock::default()).await);
    meet(a.mesh.links(), b.mesh.links());
    (a, b)
}

fn kind(error: &Failure) -> Option<FaultKind> {
    match error {
        Failure::Fault(fault) => Some(fault.kind),
        _ => None,
    }
}

pub(crate) async fn a_question_is_answered_to_whom_asked(world: World) {
    let (a, b) = pair(&world).await;
    assert_eq!(a.ask(&b, "hello").await.unwrap(), "hello");
    assert_eq!(a.ask(&b, "who").await.unwrap(), a.key().to_string());
    assert_eq!(b.ask(&a, "who").await.unwrap(), b.key().to_string());
    assert_eq!(a.ask(&b, "large").await.unwrap().len(), MESSAGE_BYTES_MAX);
}

pub(crate) async fn many_ask_at_once(world: World) {
    let (a, b) = pair(&world).await;
    let (a, b) = (Arc::new(a), Arc::new(b));
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..500_u32 {
        let (a, b) = (a.clone(), b.key());
        calls.spawn(async move {
            let message = Bytes::from(n.to_string());
            let deadline = Deadline::after(Duration::from_secs(20));
            a.mesh.call(b, TEST, message.clone(), deadline, Priority::Normal).await.unwrap() == message
        });
    }
    assert!(soon(calls.join_all()).await.into_iter().all(|right| right));
    assert_eq!(b.ask(&a, "x").await.unwrap(), "x");
}

pub(crate) async fn a_link_serves_both_directions(world: World) {
    let (a, b) = pair(&world).await;
    a.ask(&b, "x").await.unwrap();
    // Nobody can call the first node from outside: it has no address there.
    b.mesh.links().remove(&a.key());
    b.mesh.links().peers().allow(a.key(), &[]);
    soon(async {
        while b.ask(&a, "x").await.is_err() {
            let _ = a.ask(&b, "x").await;
        }
    })
    .await;
}

pub(crate) async fn deadlines_travel(world: World) {
    let (a, b) = pair(&world).await;
    let left: u64 =
        std::str::from_utf8(&a.ask_within(&b, "left", SECONDS_5).await.unwrap()).unwrap().parse().unwrap();
    assert!((1..=5000).contains(&left), "{left}");
}

pub(crate) async fn a_late_answer_is_none_and_its_work_is_dropped(world: World) {
    let (a, b) = pair(&world).await;
    a.ask(&b, "x").await.unwrap();
    let deadline = Deadline::after(Duration::from_millis(300));
    let message = Bytes::from_static(b"hang");
    let error = soon(a.mesh.call(b.key(), TEST, message, deadline, Priority::Normal)).await.unwrap_err();
    let late = error.failure == Failure::Deadline || kind(&error.failure) == Some(FaultKind::Deadline);
    assert!(late && error.outcome() == Outcome::Unknown && error.can_retry(), "{error:?}");
    soon(async {
        while b.tester.working.load(Ordering::SeqCst) > 0 {
            b.tester.dropped.notified().await;
        }
    })
    .await;
    // The link may have been given up for it; another is made.
    assert_eq!(a.ask(&b, "again").await.unwrap(), "again");
}

pub(crate) async fn who_stops_asking_cancels_the_work(world: World) {
    let (a, b) = pair(&world).await;
    let asking = tokio::spawn(a.mesh.clone().call_hanging(b.key()));
    soon(b.tester.begun.notified()).await;
    assert_eq!(b.tester.working.load(Ordering::SeqCst), 1);
    asking.abort();
    soon(b.tester.dropped.notified()).await;
    assert_eq!(b.tester.working.load(Ordering::SeqCst), 0);
}

trait Hanging {
    async fn call_hanging(self, peer: NodeKey);
}

impl Hanging for Mesh {
    async fn call_hanging(self, peer: NodeKey) {
        let message = Bytes::from_static(b"hang");
        let _ = self.call(peer, TEST, message, Deadline::after(SECONDS_5 * 10), Priority::Normal).await;
    }
}

pub(crate) async fn faults_are_data(world: World) {
    let (a, b) = pair(&world).await;
    let ask = async |target, message| {
        let deadline = Deadline::after(SECONDS_5);
        soon(a.mesh.call(b.key(), target, Bytes::from_static(message), deadline, Priority::Normal)).await
    };
    let refused = ask(TEST, b"refuse").await.unwrap_err();
    assert_eq!((kind(&refused.failure), refused.can_retry()), (Some(FaultKind::Refused), false));
    assert_eq!((refused.source_side(), refused.outcome()), (Source::Remote, Outcome::NotDone));
    assert_eq!(refused.to_string(), format!("`test` of node {}: refused: no", b.key()));
    let nobody = ask(Target { service: "nobody", version: 1 }, b"x").await.unwrap_err();
    assert_eq!(kind(&nobody.failure), Some(FaultKind::NoService));
    assert_eq!(kind(&ask(TEST, b"too large").await.unwrap_err().failure), Some(FaultKind::Failed));
}

pub(crate) async fn a_newer_caller_finds_the_version_that_both_know(world: World) {
    let (a, b) = pair(&world).await;
    let ask = async |version| {
        let (target, deadline) = (Target { version, ..TEST }, Deadline::after(SECONDS_5));
        soon(a.mesh.call(b.key(), target, Bytes::from_static(b"version"), deadline, Priority::Normal)).await
    };
    let error = ask(3).await.unwrap_err();
    let Failure::Fault(Fault { kind: FaultKind::Version, versions: Some(known), .. }) = error.failure else {
        panic!("{error:?}");
    };
    assert_eq!(known, 1..=2);
    assert_eq!(ask(*known.end()).await.unwrap(), "2");
    assert_eq!(ask(1).await.unwrap(), "1");
}

pub(crate) async fn who_cannot_be_asked_is_told_apart(world: World) {
    let (a, b) = pair(&world).await;
    let ask = async |peer| {
        let deadline = Deadline::after(Duration::from_secs(10));
        soon(a.mesh.call(peer, TEST, Bytes::new(), deadline, Priority::Normal)).await.unwrap_err()
    };
    let unknown = ask(world.key(9)).await;
    assert_eq!((&unknown.failure, unknown.can_retry()), (&Failure::Link(LinkError::Unknown), false));
    assert_eq!((unknown.source_side(), unknown.outcome()), (Source::Local, Outcome::NotDone));
    a.mesh.links().peers().allow(world.key(9), &[]);
    let away = ask(world.key(9)).await;
    assert_eq!(away.failure, Failure::Link(LinkError::Unreachable { addresses: 0 }));
    assert_eq!((away.source_side(), away.outcome()), (Source::Network, Outcome::NotDone));
    b.mesh.remove(&a.key());
    let refused = ask(b.key()).await;
    assert_eq!(refused.failure, Failure::Link(LinkError::Refused(Code::REFUSED)));
    assert_eq!((refused.can_retry(), refused.outcome()), (false, Outcome::NotDone));
}

pub(crate) async fn a_call_that_loses_its_link_has_an_unknown_outcome(world: World) {
    let (a, b) = pair(&world).await;
    let asking = tokio::spawn({
        let (mesh, peer) = (a.mesh.clone(), b.key());
        let deadline = Deadline::after(SECONDS_5 * 2);
        async move { mesh.call(peer, TEST, Bytes::from_static(b"hang"), deadline, Priority::Normal).await }
    });
    soon(b.tester.begun.notified()).await;
    b.mesh.remove(&a.key());
    let error = soon(asking).await.unwrap().unwrap_err();
    assert_eq!((error.outcome(), error.source_side()), (Outcome::Unknown, Source::Network), "{error:?}");
}

pub(crate) async fn a_node_asks_no_more_at_once_than_it_may(world: World) {
    let (a, b) = pair(&world).await;
    let mut hanging = tokio::task::JoinSet::new();
    for _ in 0..NORMAL_CALLS_MAX {
        hanging.spawn(a.mesh.clone().call_hanging(b.key()));
    }
    soon(async {
        while b.tester.working.load(Ordering::SeqCst) < NORMAL_CALLS_MAX as u32 {
            b.tester.begun.notified().await;
        }
    })
    .await;
    assert_eq!(a.ask_within(&b, "x", Duration::from_millis(200)).await, Err(Failure::Busy));
    // What is urgent has places of its own.
    let deadline = Deadline::after(SECONDS_5);
    let probe = a.mesh.call(b.key(), TEST, Bytes::from_static(b"x"), deadline, Priority::Probe);
    assert_eq!(soon(probe).await.unwrap(), "x");
    hanging.abort_all();
    soon(async { while a.ask(&b, "x").await.is_err() {} }).await;
}

pub(crate) async fn bodies_go_both_ways(world: World) {
    let (a, b) = pair(&world).await;
    let (upload, endless) = (Bytes::from_static(b"upload"), Bytes::from_static(b"endless"));
    let deadline = Deadline::after(Duration::from_secs(20));
    let mut sending = soon(a.mesh.upload(b.key(), TEST, upload, deadline, Priority::Bulk)).await.unwrap();
    for _ in 0..50 {
        soon(sending.write(bytes(100_000))).await.unwrap();
    }
    assert_eq!(soon(sending.finish()).await.unwrap(), "5000000");
    let mut coming = soon(a.mesh.download(b.key(), TEST, endless, deadline, Priority::Bulk)).await.unwrap();
    let mut got = 0;
    while let Some(part) = soon(coming.body.next()).await.unwrap() {
        got += part.len();
    }
    assert_eq!((got, coming.body.offset()), (ENDLESS_BYTES, ENDLESS_BYTES as u64));
}

pub(crate) async fn a_fetch_goes_on_where_it_broke_off(world: World) {
    let (a, b) = pair(&world).await;
    let ask = Box::new(|offset: u64| Bytes::from(format!("from {offset}")));
    let mut fetch = a.mesh.fetch(b.key(), TEST, 1000, ask);
    let mut got = Vec::new();
    while let Some(part) = soon(fetch.next()).await.unwrap() {
        got.extend_from_slice(&part);
    }
    assert_eq!(fetch.offset(), 2_000_000);
    assert!(got == bytes(2_000_000).slice(1000..));
    // A service that refuses is not asked again.
    let mut refused = a.mesh.fetch(b.key(), TEST, 0, Box::new(|_| Bytes::from_static(b"refuse")));
    assert_eq!(kind(&soon(refused.next()).await.unwrap_err().failure), Some(FaultKind::Refused));
}

pub(crate) async fn bulk_that_nobody_reads_holds_up_nothing_else(world: World) {
    let (a, b) = pair(&world).await;
    let mut unread = Vec::new();
    for _ in 0..3 {
        let deadline = Deadline::after(Duration::from_secs(20));
        let endless = Bytes::from_static(b"endless");
        unread.push(soon(a.mesh.download(b.key(), TEST, endless, deadline, Priority::Bulk)).await.unwrap());
    }
    for priority in [Priority::Probe, Priority::Consensus, Priority::Normal] {
        let deadline = Deadline::after(SECONDS_5);
        let call = a.mesh.call(b.key(), TEST, Bytes::from_static(b"x"), deadline, priority);
        assert_eq!(soon(call).await.unwrap(), "x");
    }
}

pub(crate) async fn datagrams_reach_their_service_also_when_there_is_no_link_yet(world: World) {
    let (a, b) = pair(&world).await;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    *b.tester.datagrams.lock().unwrap() = Some(sender);
    for content in ["first", "second"] {
        a.mesh.send_datagram(b.key(), "test", Bytes::from(content)).unwrap();
        assert_eq!(soon(receiver.recv()).await.unwrap(), (a.key(), Bytes::from(content)));
    }
    a.mesh.send_datagram(b.key(), "nobody", Bytes::from_static(b"x")).unwrap();
    let large = a.mesh.send_datagram(b.key(), "test", bytes(1100));
    assert!(matches!(large, Err(Failure::Question(_))));
    let stranger = a.mesh.send_datagram(world.key(9), "test", bytes(1));
    assert_eq!(stranger, Err(Failure::Link(LinkError::Unknown)));
}

pub(crate) async fn a_timestamp_too_far_ahead_is_refused_and_its_message_is_not(world: World) {
    let far = Hlc::from_bits((Clock::real().wall().0 + DAY_MS) << 16);
    let (a, b) = (node(&world, 1, HlcClock::resume(far)).await, node(&world, 2, HlcClock::default()).await);
    meet(a.mesh.links(), b.mesh.links());
    assert_eq!(a.ask(&b, "hello").await.unwrap(), "hello");
    assert_eq!(b.refused_clocks.load(Ordering::SeqCst), 1);
    assert_eq!(b.ask(&a, "hello").await.unwrap(), "hello");
    assert_eq!(b.refused_clocks.load(Ordering::SeqCst), 2);
    assert_eq!(a.refused_clocks.load(Ordering::SeqCst), 0, "its clock was not taken over");
}

pub(crate) async fn whatever_a_hostile_peer_sends_others_are_served(world: World) {
    let (a, b) = pair(&world).await;
    let options = Options { cluster: CLUSTER, accepts: PROTOCOLS.to_vec(), peers: Peers::default() };
    let hostile = world.node_with(3, options).await;
    meet(&hostile, b.mesh.links());
    let link = soon(hostile.connect(b.key(), &[CALLS])).await.unwrap();
    let bulk = soon(hostile.connect(b.key(), &[BULK])).await.unwrap();
    let mut large = QuestionHead::new(Hlc::ZERO, "test", 1);
    (large.message_bytes, large.deadline_ms) = (8 << 20, 60_000);
    let evil: Vec<Bytes> = vec![
        Bytes::from_static(b"\xff\xff garbage"),
        Bytes::from_static(b"\x00\x00"),
        Bytes::from_static(b"\x00\x05hello and more"),
        large.encode().unwrap().into(),
        [large.encode().unwrap(), vec![0; 100]].concat().into(),
    ];
    let mut held = Vec::new();
    for _ in 0..20 {
        for bytes in &evil {
            for link in [&link, &bulk] {
                let (mut send, recv) = soon(link.open()).await.unwrap();
                // It may be told to stop before it has sent all.
                let _ = soon(send.write(bytes.clone())).await;
                held.push((send, recv));
            }
        }
        link.send_datagram(Bytes::from_static(b"\xff garbage")).unwrap();
    }
    assert_eq!(a.ask(&b, "hello").await.unwrap(), "hello");
    // It is told what was wrong with it, and its other questions count.
    let (_send, recv) = &mut held[0];
    let answer = soon(recv.read_to_end(4096)).await.unwrap().unwrap();
    let fault = AnswerHead::decode(&answer[LENGTH_BYTES..]).unwrap().fault().unwrap();
    assert_eq!(fault.kind, FaultKind::Malformed);
    // Too many questions are refused, whoever forgot to count them.
    let mut refused = 0;
    for (_send, recv) in &mut held {
        if let Ok(Ok(Some(answer))) =
            tokio::time::timeout(Duration::from_millis(5), recv.read_to_end(4096)).await
        {
            let head = answer.get(LENGTH_BYTES..).and_then(|head| AnswerHead::decode(head).ok());
            let fault = head.and_then(|head| head.fault());
            refused += u32::from(fault.is_some_and(|fault| fault.kind == FaultKind::Overloaded));
        }
    }
    assert!(refused > 0);
}

pub(crate) async fn a_head_that_never_ends_is_given_up(world: World) {
    let (_, b) = pair(&world).await;
    let options = Options { cluster: CLUSTER, accepts: PROTOCOLS.to_vec(), peers: Peers::default() };
    let hostile = world.node_with(3, options).await;
    meet(&hostile, b.mesh.links());
    let link = soon(hostile.connect(b.key(), &[CALLS])).await.unwrap();
    let (mut send, mut recv) = soon(link.open()).await.unwrap();
    soon(send.write(Bytes::from_static(b"\x01\x00 slow"))).await.unwrap();
    waits(recv.read(10)).await;
    assert_eq!(soon(recv.read(10)).await, Err(LinkError::Reset(Code::MALFORMED)));
}

#[tokio::test(start_paused = true)]
async fn a_link_is_made_although_nobody_who_asks_has_the_time_for_it() {
    let world = World::simulated();
    let (a, b) = pair(&world).await;
    let far = Duration::from_millis(300);
    let World::Simulated(mesh) = &world else { unreachable!("a simulated world") };
    mesh.set_usual(Conditions { latency_min: far, latency_max: far, ..Conditions::default() });
    for _ in 0..5 {
        assert!(a.ask_within(&b, "x", Duration::from_millis(100)).await.is_err());
    }
    // Not enough for the link and the answer, were it made anew.
    assert_eq!(a.ask_within(&b, "x", far * 2 + Duration::from_millis(200)).await.unwrap(), "x");
}
