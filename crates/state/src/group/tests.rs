//! Members on this machine, with real disks and links that lose nothing.

use super::*;
use selvedge_kv::{Answer, Command, KeyRange, KeyspaceNumber, Op, Put, Range, Txn, Watch};
use selvedge_mesh::rpc::Priority;
use selvedge_rt::{Clock, Disk, Rng, Tasks};
use selvedge_store::wal;
use selvedge_types::resource::{KeyspaceId, Text};
use selvedge_types::{ClusterId, HlcClock, Revision};
use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock};

const SOON: Duration = Duration::from_secs(20);

/// The members that run, by their names, and the one to and from which nothing comes through.
#[derive(Clone, Default)]
struct Hub(Arc<Mutex<BTreeMap<String, Group>>>, Arc<Mutex<Option<String>>>);

/// One node's way to the others.
struct HubLinks(Hub, String);

impl Links for HubLinks {
    fn call(&self, to: &Member, message: Bytes, _: Duration, _: Priority) -> Calling<'_> {
        let group = self.0.0.lock().unwrap().get(&to.node).cloned();
        let lost = self.0.1.lock().unwrap().as_ref().is_some_and(|lost| *lost == to.node || *lost == self.1);
        Box::pin(async move {
            if lost {
                // Nobody says so: it is far longer than anybody should wait.
                tokio::time::sleep(SOON).await;
                return Err(LinkError::Lost);
            }
            let Some(group) = group else { return Err(LinkError::Unreachable) };
            Ok(group.answer(&self.1, &message).await)
        })
    }
}

struct Node {
    name: String,
    dir: tempfile::TempDir,
    hub: Hub,
    running: OnceLock<(Group, Tasks)>,
}

impl Node {
    async fn start(name: &str, hub: &Hub) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let node = Node { name: name.into(), dir, hub: hub.clone(), running: OnceLock::new() };
        node.open(Tasks::real()).await.unwrap();
        node
    }

    async fn open(&self, tasks: Tasks) -> Result<Opened, OpenError> {
        let wal = wal::Options { reserve_bytes: 0, file_bytes: 8 << 10, ..wal::Options::default() };
        let options = Options {
            wal,
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
            ask_timeout: SOON,
            compaction_entries: 50,
            kept_bytes: 2_000,
            snapshot_chunk_bytes: 1_000,
            ..Options::default()
        };
        let seed = self.name.bytes().map(u64::from).sum();
        let (group, opened) = Group::open(Setup {
            disk: Disk::real(self.dir.path()).unwrap(),
            options,
            cluster: ClusterId::from_bytes([7; 16]),
            clock: Clock::real(),
            hlc: Arc::new(Mutex::new(HlcClock::default())),
            rng: Rng::from_seed(seed).branch(&format!("{}", tasks.running())),
            tasks: tasks.clone(),
            links: Arc::new(HubLinks(self.hub.clone(), self.name.clone())),
            observer: Box::new(|_, _| {}),
            wal_metrics: wal::Metrics::default(),
        })
        .await?;
        self.hub.0.lock().unwrap().insert(self.name.clone(), group.clone());
        assert!(self.running.set((group, tasks)).is_ok());
        Ok(opened)
    }

    fn group(&self) -> &Group {
        &self.running.get().unwrap().0
    }

    async fn stop(&mut self) {
        let (group, tasks) = self.running.take().unwrap();
        self.hub.0.lock().unwrap().remove(&self.name);
        drop(group);
        assert!(tasks.shut_down(SOON).await);
    }

    fn member(&self) -> Member {
        Member { node: self.name.clone() }
    }
}

async fn three() -> [Node; 3] {
    let hub = Hub::default();
    let nodes = [Node::start("a", &hub).await, Node::start("b", &hub).await, Node::start("c", &hub).await];
    let voters = nodes.iter().map(|node| (node.group().id(), node.member())).collect();
    nodes[0].group().form(voters).await.unwrap();
    nodes
}

async fn keyspace(group: &Group) -> KeyspaceNumber {
    let name = KeyspaceId::parse_text("things").unwrap();
    let declare = Command::DeclareKeyspace { name, quota_bytes: 1 << 30 };
    match group.propose(declare, None, SOON).await.unwrap() {
        Answer::Keyspace { keyspace, .. } => keyspace,
        other => panic!("{other:?}"),
    }
}

fn put(keyspace: KeyspaceNumber, key: &str, value: &str) -> Command {
    let put = Put::new(key.as_bytes(), value.as_bytes());
    Command::Txn { keyspace, txn: Txn::of([Op::Put(put)]) }
}

async fn get(group: &Group, keyspace: KeyspaceNumber, key: &str, level: Level) -> Option<String> {
    let range = Range::of(KeyRange::One(key.as_bytes().into()));
    let read = group.read(level, SOON, |store| store.range(keyspace, &range)).await.unwrap();
    let record = read.value.unwrap().records.into_iter().next()?;
    Some(String::from_utf8(record.value.to_vec()).unwrap())
}

#[tokio::test]
async fn what_one_member_writes_every_member_reads() {
    let nodes = three().await;
    let space = keyspace(nodes[1].group()).await;
    for (i, node) in nodes.iter().enumerate() {
        node.group().propose(put(space, "k", &i.to_string()), None, SOON).await.unwrap();
        for reader in &nodes {
            let found = get(reader.group(), space, "k", Level::Linearizable).await;
            assert_eq!(found, Some(i.to_string()));
        }
    }
    let revision = nodes[0].group().status().revision;
    for node in &nodes {
        assert_eq!(get(node.group(), space, "k", Level::Session(revision)).await.unwrap(), "2");
        let bounded = node.group().read(Level::Bounded(SOON), SOON, |_| ()).await.unwrap();
        assert!(matches!(bounded.level, Level::Bounded(age) if age <= SOON), "{bounded:?}");
    }
}

#[tokio::test]
async fn who_asked_a_leader_that_is_lost_is_answered_when_another_leads() {
    let nodes = three().await;
    let space = keyspace(nodes[0].group()).await;
    let leader = nodes[1].group().status().leader.unwrap();
    let (lost, other) = match nodes.iter().position(|node| node.group().id() == leader).unwrap() {
        0 => (0, 1),
        lost => (lost, 0),
    };
    *nodes[0].hub.1.lock().unwrap() = Some(nodes[lost].name.clone());
    let asked = tokio::time::Instant::now();
    let answer = nodes[other].group().propose(put(space, "k", "lost"), None, SOON * 3).await;
    assert!(matches!(answer, Err(Error::Unknown { .. })), "{answer:?}");
    assert!(asked.elapsed() < SOON, "it waited for the one that is lost");
    nodes[other].group().propose(put(space, "k", "v"), None, SOON).await.unwrap();
    assert_eq!(get(nodes[other].group(), space, "k", Level::Linearizable).await.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_repeated_call_is_answered_and_not_done_again() {
    let nodes = three().await;
    let space = keyspace(nodes[0].group()).await;
    let opened = nodes[2].group().propose(Command::OpenSession, None, SOON).await.unwrap();
    let Answer::Session { session } = opened else { panic!("{opened:?}") };
    let call = Some(Call { session, sequence: selvedge_kv::Sequence(1) });
    let first = nodes[0].group().propose(put(space, "k", "v"), call, SOON).await.unwrap();
    let again = nodes[1].group().propose(put(space, "k", "v"), call, SOON).await.unwrap();
    assert_eq!(first, again);
}

#[tokio::test]
async fn a_watch_at_any_member_sees_every_change_once_and_in_order() {
    let nodes = three().await;
    let space = keyspace(nodes[0].group()).await;
    let from = Some(Revision(nodes[0].group().status().revision.0 + 1));
    let mut watch = nodes[2].group().watch(Watch::new(space, KeyRange::all(), from)).unwrap();
    for i in 0..20 {
        nodes[i % 3].group().propose(put(space, "k", &i.to_string()), None, SOON).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 20 {
        seen.extend(watch.next().await.unwrap().events.into_iter().map(|e| e.change.position.revision));
    }
    let first = seen[0].0;
    assert_eq!(seen, (first..first + 20).map(Revision).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_member_that_restarts_has_what_it_had_and_gets_the_rest_by_a_snapshot() {
    let mut nodes = three().await;
    let space = keyspace(nodes[0].group()).await;
    nodes[0].group().propose(put(space, "before", "1"), None, SOON).await.unwrap();
    let behind = (0..3).find(|i| nodes[*i].group().status().role != Role::Leader).unwrap();
    let id = nodes[behind].group().id();
    nodes[behind].stop().await;
    let other = (behind + 1) % 3;
    for i in 0..300 {
        nodes[other].group().propose(put(space, &format!("k{i}"), "v"), None, SOON).await.unwrap();
    }
    let cut = async {
        while nodes.iter().filter_map(|n| n.running.get()).any(|(g, _)| g.status().log_first < 200) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, cut).await.expect("the log is cut");
    let opened = nodes[behind].open(Tasks::real()).await.unwrap();
    assert_eq!((opened.id, opened.fresh, opened.torn), (id, false, false));
    for key in ["before", "k0", "k299"] {
        assert!(get(nodes[behind].group(), space, key, Level::Linearizable).await.is_some(), "{key}");
    }
}

#[tokio::test]
async fn a_member_ends_while_somebody_still_holds_it() {
    let mut nodes = three().await;
    let space = keyspace(nodes[0].group()).await;
    nodes[0].group().propose(put(space, "k", "v"), None, SOON).await.unwrap();
    let kept: Vec<Group> = nodes.iter().map(|node| node.group().clone()).collect();
    for node in &mut nodes {
        node.stop().await;
    }
    drop(kept);
}

#[tokio::test]
async fn learners_become_voters_and_the_leader_hands_over() {
    let hub = Hub::default();
    let nodes = [Node::start("a", &hub).await, Node::start("b", &hub).await, Node::start("c", &hub).await];
    let group = nodes[0].group();
    group.form([(group.id(), nodes[0].member())].into()).await.unwrap();
    let space = keyspace(group).await;
    for node in &nodes[1..] {
        let (id, member) = (node.group().id(), node.member());
        group.change(Change::AddLearner { id, member }, SOON).await.unwrap();
    }
    let all: BTreeSet<VoterId> = nodes.iter().map(|node| node.group().id()).collect();
    // Any member takes it to the leader.
    nodes[2].group().change(Change::SetVoters(all.clone()), SOON).await.unwrap();
    assert_eq!(group.status().voters, all);
    let next = nodes[1].group().id();
    nodes[2].group().change(Change::TransferLeader(next), SOON).await.unwrap();
    let led = async {
        while nodes[2].group().status().leader != Some(next) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, led).await.expect("the other one leads");
    nodes[0].group().propose(put(space, "k", "v"), None, SOON).await.unwrap();
    let unknown = Change::SetVoters(BTreeSet::from([VoterId(9)]));
    let refused = nodes[0].group().change(unknown, SOON).await;
    assert_eq!(refused, Err(Error::NoMember { member: VoterId(9) }));
}

#[tokio::test]
async fn messages_for_others_are_refused() {
    let nodes = three().await;
    let answer = nodes[0].group().answer("b", b"junk").await;
    assert!(decode_message(&answer).is_ok());
    let mut node = Node::start("d", &Hub::default()).await;
    node.stop().await;
    repair(&Disk::real(node.dir.path()).unwrap()).unwrap();
    assert!(node.open(Tasks::real()).await.unwrap().fresh);
}

#[tokio::test]
async fn a_members_message_comes_from_its_node_or_is_refused() {
    let nodes = three().await;
    // From then on it knows who is who.
    keyspace(nodes[0].group()).await;
    let message = wire::Message {
        format: codec::FORMAT,
        cluster: ClusterId::from_bytes([7; 16]),
        group: 0,
        from: nodes[1].group().id(),
        to: nodes[0].group().id(),
        time: HlcClock::default().tick(Clock::real().wall()),
        request: wire::Request::Last,
    };
    let ask = async |node: &str| {
        let answer = nodes[0].group().answer(node, &message.encode()).await;
        wire::Response::decode(&answer).unwrap().reply
    };
    assert!(matches!(ask("b").await, Ok(wire::Reply::Last(_))));
    assert!(matches!(ask("c").await, Err(wire::Fault::Refused(_))));
}
