//! What every kind of links does.

use crate::world::{CLUSTER, V1, V2, World, bytes, meet, soon, waits};
use bytes::Bytes;
use selvedge_rt::links::{
    Code, DATAGRAM_BYTES_MAX, LINKS_PER_PEER_MAX, LinkError, Options, Peers, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use selvedge_types::{ClusterId, NodeKey};

pub(crate) async fn streams_carry_bytes_both_ways_and_in_order(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut ask, mut answer) = soon(left.open()).await.unwrap();
    let question = bytes(3_000_000);
    let sent = question.clone();
    let asked = tokio::spawn(async move {
        ask.write(sent).await.unwrap();
        ask.finish().unwrap();
    });
    let (mut reply, mut read) = soon(right.accept()).await.unwrap();
    let got = soon(read.read_to_end(usize::MAX)).await.unwrap().unwrap();
    assert!(got == question);
    soon(reply.write(got.slice(..1000))).await.unwrap();
    reply.finish().unwrap();
    assert_eq!(soon(answer.read_to_end(1000)).await.unwrap().unwrap(), question.slice(..1000));
    asked.await.unwrap();
}

pub(crate) async fn either_end_opens_streams(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    for (from, to) in [(&left, &right), (&right, &left)] {
        let (mut send, _back) = soon(from.open()).await.unwrap();
        soon(send.write(Bytes::from_static(b"x"))).await.unwrap();
        send.finish().unwrap();
        let (_send, mut read) = soon(to.accept()).await.unwrap();
        assert_eq!(soon(read.read_to_end(9)).await.unwrap().unwrap(), "x");
    }
}

pub(crate) async fn both_ends_know_each_other_by_key(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    assert_eq!((left.peer(), right.peer()), (b.local(), a.local()));
    assert!(left.close_reason().is_none() && right.close_reason().is_none());
}

pub(crate) async fn whom_this_node_does_not_know_it_does_not_call(world: World) {
    let (a, b) = (world.node(1).await, world.node(2).await);
    b.peers().allow(a.local(), &a.addresses());
    assert_eq!(soon(a.connect(b.local(), &[V1])).await.unwrap_err(), LinkError::Unknown);
}

pub(crate) async fn an_unknown_key_is_refused_and_never_seen(world: World) {
    let (stranger, friend, b) = (world.node(1).await, world.node(2).await, world.node(3).await);
    stranger.peers().allow(b.local(), &b.addresses());
    let refused = soon(stranger.connect(b.local(), &[V1])).await.unwrap_err();
    assert_eq!(refused, LinkError::Refused(Code::REFUSED));
    // The first link that the node is shown is the one of the next who comes.
    meet(&friend, &b);
    let (_left, right) = world.link(&friend, &b).await;
    assert_eq!(right.peer(), friend.local());
}

pub(crate) async fn a_node_of_another_cluster_is_refused(world: World) {
    let other = ClusterId::from_bytes([9; 16]);
    let a = world.node_with(1, Options { cluster: other, accepts: vec![V1], peers: Peers::default() }).await;
    let b = world.node(2).await;
    meet(&a, &b);
    assert_eq!(soon(a.connect(b.local(), &[V1])).await.unwrap_err(), LinkError::NoProtocol);
}

pub(crate) async fn the_latest_protocol_that_both_know_is_spoken(world: World) {
    let old =
        world.node_with(1, Options { cluster: CLUSTER, accepts: vec![V1], peers: Peers::default() }).await;
    let new = world
        .node_with(2, Options { cluster: CLUSTER, accepts: vec![V1, V2], peers: Peers::default() })
        .await;
    let newer = world
        .node_with(3, Options { cluster: CLUSTER, accepts: vec![V1, V2], peers: Peers::default() })
        .await;
    [(&old, &new), (&new, &newer)].into_iter().for_each(|(a, b)| meet(a, b));
    let spoken = [
        soon(new.connect(old.local(), &[V1, V2])).await.unwrap().protocol(),
        soon(old.connect(new.local(), &[V1])).await.unwrap().protocol(),
        soon(newer.connect(new.local(), &[V1, V2])).await.unwrap().protocol(),
    ];
    assert_eq!(spoken, [V1, V1, V2]);
    assert_eq!(soon(new.connect(old.local(), &[V2])).await.unwrap_err(), LinkError::NoProtocol);
}

pub(crate) async fn an_unfinished_stream_never_looks_finished(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    soon(send.write(Bytes::from_static(b"half"))).await.unwrap();
    let (_send, mut read) = soon(right.accept()).await.unwrap();
    drop(send);
    let ended = soon(read.read_to_end(100)).await;
    assert_eq!(ended.unwrap_err(), LinkError::Reset(Code::CANCELLED));
}

pub(crate) async fn a_finished_stream_arrives_although_its_sender_is_dropped(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    soon(send.write(bytes(100_000))).await.unwrap();
    send.finish().unwrap();
    assert_eq!(send.finish(), Err(LinkError::Ended));
    drop(send);
    let (_send, mut read) = soon(right.accept()).await.unwrap();
    assert_eq!(soon(read.read_to_end(100_000)).await.unwrap().unwrap().len(), 100_000);
}

pub(crate) async fn codes_arrive_with_resets_and_stops(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    soon(send.write(Bytes::from_static(b"x"))).await.unwrap();
    let (mut back, mut read) = soon(right.accept()).await.unwrap();
    read.stop(Code(77));
    assert_eq!(soon(send.stopped()).await, LinkError::Stopped(Code(77)));
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    soon(send.write(Bytes::from_static(b"x"))).await.unwrap();
    let (_back, mut read) = soon(right.accept()).await.unwrap();
    send.reset(Code(78));
    let error = loop {
        match soon(read.read(10)).await {
            Ok(some) => assert!(some.is_some(), "a reset is no end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, LinkError::Reset(Code(78)));
    back.reset(Code::DONE);
}

pub(crate) async fn a_reader_that_goes_stops_its_writer(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut send, recv) = soon(left.open()).await.unwrap();
    soon(send.write(Bytes::from_static(b"question"))).await.unwrap();
    send.finish().unwrap();
    let (mut reply, _read) = soon(right.accept()).await.unwrap();
    drop(recv);
    assert_eq!(soon(reply.stopped()).await, LinkError::Stopped(Code::CANCELLED));
    let mut written = Ok(());
    for _ in 0..100 {
        written = soon(reply.write(bytes(100_000))).await;
        if written.is_err() {
            break;
        }
    }
    assert_eq!(written, Err(LinkError::Stopped(Code::CANCELLED)));
}

pub(crate) async fn a_sender_learns_that_all_was_read(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    soon(send.write(Bytes::from_static(b"all"))).await.unwrap();
    send.finish().unwrap();
    let (_reply, mut read) = soon(right.accept()).await.unwrap();
    soon(read.read_to_end(10)).await.unwrap();
    assert_eq!(soon(send.stopped()).await, LinkError::Ended);
}

pub(crate) async fn a_writer_waits_for_its_reader(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    let total = STREAM_WINDOW_BYTES as usize * 8;
    let writing = tokio::spawn(async move {
        send.write(bytes(total)).await.unwrap();
        send.finish().unwrap();
    });
    let (_reply, mut read) = soon(right.accept()).await.unwrap();
    waits(async {
        while !writing.is_finished() {
            tokio::task::yield_now().await;
            world.pass().await;
        }
    })
    .await;
    let got = soon(read.read_to_end(total)).await.unwrap().unwrap();
    assert_eq!(got.len(), total);
    soon(writing).await.unwrap();
}

pub(crate) async fn a_stalled_stream_does_not_hold_up_another(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut stalled, _recv) = soon(left.open()).await.unwrap();
    let stuck = tokio::spawn(async move {
        let _ = stalled.write(bytes(STREAM_WINDOW_BYTES as usize * 2)).await;
    });
    let (_unread_back, _unread) = soon(right.accept()).await.unwrap();
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    soon(send.write(Bytes::from_static(b"quick"))).await.unwrap();
    send.finish().unwrap();
    let (_send, mut read) = soon(right.accept()).await.unwrap();
    assert_eq!(soon(read.read_to_end(9)).await.unwrap().unwrap(), "quick");
    stuck.abort();
}

pub(crate) async fn a_peer_opens_no_more_streams_than_it_may(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let mut held = Vec::new();
    for _ in 0..STREAMS_MAX {
        let (mut send, recv) = soon(left.open()).await.unwrap();
        soon(send.write(Bytes::from_static(b"x"))).await.unwrap();
        held.push((send, recv));
    }
    waits(left.open()).await;
    held.pop();
    for _ in 0..STREAMS_MAX {
        drop(soon(right.accept()).await.unwrap());
    }
    drop(held);
    soon(left.open()).await.unwrap();
}

pub(crate) async fn datagrams_arrive_whole(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    for length in [0, 1, DATAGRAM_BYTES_MAX] {
        left.send_datagram(bytes(length)).unwrap();
        assert_eq!(soon(right.recv_datagram()).await.unwrap(), bytes(length));
        right.send_datagram(bytes(length)).unwrap();
        assert_eq!(soon(left.recv_datagram()).await.unwrap(), bytes(length));
    }
    let large = left.send_datagram(bytes(DATAGRAM_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(large, LinkError::DatagramTooLarge { bytes: DATAGRAM_BYTES_MAX + 1 });
}

pub(crate) async fn a_removed_node_is_cut_off_at_once(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    soon(send.write(Bytes::from_static(b"x"))).await.unwrap();
    let (_reply, mut read) = soon(right.accept()).await.unwrap();
    b.remove(&a.local());
    assert_eq!(soon(right.closed()).await, LinkError::Closed(Code::REFUSED));
    while let Ok(Some(_)) = soon(read.read(10)).await {}
    assert_eq!(soon(left.closed()).await, LinkError::ClosedByPeer(Code::REFUSED));
    let again = soon(a.connect(b.local(), &[V1])).await.unwrap_err();
    assert_eq!(again, LinkError::Refused(Code::REFUSED));
    assert_eq!(soon(b.connect(a.local(), &[V1])).await.unwrap_err(), LinkError::Unknown);
    meet(&a, &b);
    world.link(&a, &b).await;
}

pub(crate) async fn who_closes_a_link_says_why(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    right.close(Code(5));
    assert_eq!(soon(left.closed()).await, LinkError::ClosedByPeer(Code(5)));
    assert_eq!(left.close_reason(), Some(LinkError::ClosedByPeer(Code(5))));
    assert_eq!(right.close_reason(), Some(LinkError::Closed(Code(5))));
    assert_eq!(soon(left.open()).await.err(), Some(LinkError::ClosedByPeer(Code(5))));
    assert_eq!(soon(left.accept()).await.err(), Some(LinkError::ClosedByPeer(Code(5))));
    assert_eq!(soon(send.write(bytes(1))).await, Err(LinkError::ClosedByPeer(Code(5))));
    assert_eq!(left.send_datagram(bytes(1)), Err(LinkError::ClosedByPeer(Code(5))));
    assert_eq!(soon(left.recv_datagram()).await, Err(LinkError::ClosedByPeer(Code(5))));
}

pub(crate) async fn a_link_that_nobody_holds_closes(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    drop(left);
    assert_eq!(soon(right.closed()).await, LinkError::ClosedByPeer(Code::DONE));
}

pub(crate) async fn a_node_that_stops_says_good_bye(world: World) {
    let (a, b) = world.pair().await;
    let (left, right) = world.link(&a, &b).await;
    soon(b.close()).await;
    assert!(soon(b.accept()).await.is_none());
    assert_eq!(soon(right.closed()).await, LinkError::Closed(Code::STOPPING));
    assert_eq!(soon(left.closed()).await, LinkError::ClosedByPeer(Code::STOPPING));
}

pub(crate) async fn the_oldest_link_with_a_peer_goes_for_the_next(world: World) {
    let (a, b) = world.pair().await;
    let mut links = Vec::new();
    for _ in 0..=LINKS_PER_PEER_MAX {
        links.push(world.link(&a, &b).await);
    }
    let (first, _) = &links[0];
    assert_eq!(soon(first.closed()).await, LinkError::ClosedByPeer(Code::REPLACED));
    assert!(
        links[1..]
            .iter()
            .all(|(left, right)| left.close_reason().is_none() && right.close_reason().is_none())
    );
}

pub(crate) async fn a_peer_is_found_where_it_is_learnt_to_be(world: World) {
    let (a, b) = (world.node(1).await, world.node(2).await);
    a.peers().allow(b.local(), &[]);
    b.peers().allow(a.local(), &[]);
    let nowhere = soon(a.connect(b.local(), &[V1])).await.unwrap_err();
    assert_eq!(nowhere, LinkError::Unreachable { addresses: 0 });
    b.addresses().into_iter().for_each(|address| assert!(a.peers().learn(&b.local(), address)));
    world.link(&a, &b).await;
}

pub(crate) async fn a_peer_that_is_not_there_is_unreachable(world: World) {
    let (a, b) = world.pair().await;
    let (key, known) = (b.local(), b.addresses().len());
    soon(b.close()).await;
    drop(b.accept().await);
    drop(b);
    let gone = soon(a.connect(key, &[V1])).await.unwrap_err();
    assert_eq!(gone, LinkError::Unreachable { addresses: known });
}

pub(crate) async fn a_key_that_nobody_holds_is_not_taken_for_another(world: World) {
    let (a, b) = world.pair().await;
    let impostor = world.key(7);
    a.peers().allow(impostor, &b.addresses());
    assert!(soon(a.connect(impostor, &[V1])).await.is_err());
    let no_point = NodeKey::from_bytes([0xff; 32]);
    a.peers().allow(no_point, &b.addresses());
    assert!(soon(a.connect(no_point, &[V1])).await.is_err());
}

pub(crate) async fn waiting_for_links_can_be_given_up(world: World) {
    let (a, b) = world.pair().await;
    for _ in 0..3 {
        waits(b.accept()).await;
    }
    let (left, right) = world.link(&a, &b).await;
    for _ in 0..3 {
        waits(right.accept()).await;
        waits(right.recv_datagram()).await;
    }
    left.send_datagram(bytes(3)).unwrap();
    assert_eq!(soon(right.recv_datagram()).await.unwrap(), bytes(3));
}
