//! What links at a distance do more than others.

use crate::world::{V1, World, apart, bytes, everybody, meet};
use bytes::Bytes;
use selvedge_mesh::distance::{Distances, Way};
use selvedge_rt::Links;
use selvedge_rt::links::{CONNECT_MAX, Code, IDLE_MAX, Link, LinkError};
use std::time::Duration;
use tokio::time::Instant;

const DELAY: Duration = Duration::from_millis(60);

/// How exact timers are.
const TICK: Duration = Duration::from_millis(5);

struct Pair {
    distances: Distances,
    a: Links,
    b: Links,
    left: Link,
    right: Link,
}

impl Pair {
    async fn new() -> Self {
        let world = World::distant(DELAY);
        let World::Distant(_, distances) = &world else { unreachable!() };
        let distances = distances.clone();
        let (a, b) = world.pair().await;
        let (left, right) = world.link(&a, &b).await;
        Pair { distances, a, b, left, right }
    }

    fn set(&self, delay: Duration, cut: bool) {
        self.distances.set(everybody(Way { delay, cut }));
    }
}

/// Demands that it was so long ago, to within a timer's tick.
fn took(since: Instant, time: Duration) {
    let elapsed = since.elapsed();
    assert!(elapsed >= time && elapsed < time + TICK, "{elapsed:?} instead of {time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_datagram_takes_the_delay_each_way() {
    let Pair { left, right, .. } = Pair::new().await;
    for (from, to) in [(&left, &right), (&right, &left)] {
        let sent = Instant::now();
        (0..3).for_each(|n| from.send_datagram(bytes(n)).unwrap());
        for n in 0..3 {
            assert_eq!(to.recv_datagram().await.unwrap(), bytes(n));
            took(sent, DELAY);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_and_its_answer_take_a_round_trip_and_all_know_it() {
    let Pair { left, right, .. } = Pair::new().await;
    let asked = Instant::now();
    let (mut ask, mut answer) = left.open().await.unwrap();
    ask.write(Bytes::from_static(b"?")).await.unwrap();
    ask.finish().unwrap();
    took(asked, Duration::ZERO);
    let (mut reply, mut read) = right.accept().await.unwrap();
    took(asked, DELAY);
    assert_eq!(read.read_to_end(9).await.unwrap().unwrap(), "?");
    reply.write(Bytes::from_static(b"!")).await.unwrap();
    reply.finish().unwrap();
    assert_eq!(answer.read_to_end(9).await.unwrap().unwrap(), "!");
    took(asked, DELAY * 2);
    assert_eq!(left.rtt(), Some(DELAY * 2));
}

#[tokio::test(start_paused = true)]
async fn a_link_is_made_in_two_round_trips() {
    let Pair { a, b, .. } = Pair::new().await;
    let asked = Instant::now();
    let (made, _accepted) = tokio::join!(a.connect(b.local(), &[V1]), b.accept());
    made.unwrap();
    took(asked, DELAY * 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_later_over_a_shorter_way_does_not_overtake() {
    let pair = Pair::new().await;
    let (mut send, _recv) = pair.left.open().await.unwrap();
    let sent = Instant::now();
    send.write(Bytes::from_static(b"first ")).await.unwrap();
    pair.set(Duration::ZERO, false);
    send.write(Bytes::from_static(b"second")).await.unwrap();
    send.finish().unwrap();
    let (_reply, mut read) = pair.right.accept().await.unwrap();
    assert_eq!(read.read_to_end(20).await.unwrap().unwrap(), "first second");
    took(sent, DELAY);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_writer_hears_of_it_after_the_delay() {
    let Pair { left, right, .. } = Pair::new().await;
    let (mut send, _recv) = left.open().await.unwrap();
    send.write(Bytes::from_static(b"x")).await.unwrap();
    let (_reply, mut read) = right.accept().await.unwrap();
    let stopped = Instant::now();
    read.stop(Code(7));
    assert_eq!(send.stopped().await, LinkError::Stopped(Code(7)));
    took(stopped, DELAY);
}

#[tokio::test(start_paused = true)]
async fn over_a_cut_way_datagrams_are_lost_and_streams_wait_for_it_to_be_mended() {
    let pair = Pair::new().await;
    let (mut send, _recv) = pair.left.open().await.unwrap();
    send.write(Bytes::from_static(b"before ")).await.unwrap();
    pair.left.send_datagram(bytes(1)).unwrap();
    // What is on its way is cut off as well.
    pair.set(DELAY, true);
    send.write(Bytes::from_static(b"meanwhile ")).await.unwrap();
    tokio::time::sleep(IDLE_MAX / 2).await;
    pair.set(DELAY, false);
    pair.left.send_datagram(bytes(2)).unwrap();
    send.write(Bytes::from_static(b"after")).await.unwrap();
    send.finish().unwrap();
    assert_eq!(pair.right.recv_datagram().await.unwrap(), bytes(2));
    let (_reply, mut read) = pair.right.accept().await.unwrap();
    assert_eq!(read.read_to_end(30).await.unwrap().unwrap(), "before meanwhile after");
    assert!(pair.left.close_reason().is_none() && pair.right.close_reason().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_link_over_a_way_that_stays_cut_is_lost_to_both_and_none_is_made() {
    let pair = Pair::new().await;
    let (mut send, mut recv) = pair.left.open().await.unwrap();
    send.write(Bytes::from_static(b"x")).await.unwrap();
    let cut = Instant::now();
    pair.set(DELAY, true);
    assert_eq!(recv.read(9).await, Err(LinkError::Lost));
    assert_eq!(send.stopped().await, LinkError::Lost);
    for link in [&pair.left, &pair.right] {
        assert_eq!(link.closed().await, LinkError::Lost);
        assert_eq!(link.close_reason(), Some(LinkError::Lost));
    }
    assert!(cut.elapsed() < IDLE_MAX + DELAY + TICK, "{:?}", cut.elapsed());
    let asked = Instant::now();
    let refused = pair.a.connect(pair.b.local(), &[V1]).await;
    assert_eq!(refused.unwrap_err(), LinkError::Unreachable { addresses: 1 });
    took(asked, CONNECT_MAX);
    pair.set(DELAY, false);
    let (made, _) = tokio::join!(pair.a.connect(pair.b.local(), &[V1]), pair.b.accept());
    made.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_one_end_knows_of_holds_in_both_directions() {
    let world = World::distant(DELAY);
    let World::Distant(mesh, _) = &world else { unreachable!() };
    let knows = Distances::default();
    let a = world.node(1).await;
    let b = apart(mesh, world.key(2), knows.clone());
    meet(&a, &b);
    let (left, right) = world.link(&a, &b).await;
    knows.set(everybody(Way { delay: DELAY, cut: true }));
    left.send_datagram(bytes(1)).unwrap();
    right.send_datagram(bytes(2)).unwrap();
    let (mut send, _recv) = left.open().await.unwrap();
    send.write(Bytes::from_static(b"x")).await.unwrap();
    let quiet = tokio::time::timeout(IDLE_MAX / 2, async {
        tokio::select! {
            _ = left.recv_datagram() => {}
            _ = right.recv_datagram() => {}
            _ = async { right.accept().await.unwrap().1.read(9).await } => {}
        }
    });
    assert!(quiet.await.is_err(), "something came through");
    assert_eq!(right.closed().await, LinkError::Lost);
}
