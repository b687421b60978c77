//! What simulated links do when the network does not do its best.

use crate::world::{V1, World, bytes, meet, soon, waits};
use selvedge_rt::Links;
use selvedge_rt::links::{CONNECT_MAX, Code, IDLE_MAX, LinkError};
use selvedge_sim::SimMesh;
use selvedge_sim::links::Conditions;
use std::time::Duration;
use tokio::time::Instant;

fn mesh(world: &World) -> SimMesh {
    match world {
        World::Simulated(mesh) => mesh.clone(),
        World::Real(_) | World::Distant(..) => unreachable!("a simulated world"),
    }
}

async fn calm() -> (World, SimMesh, Links, Links) {
    let world = World::simulated();
    let (a, b) = world.pair().await;
    let mesh = mesh(&world);
    (world, mesh, a, b)
}

#[tokio::test(start_paused = true)]
async fn latency_is_as_it_was_set_each_way() {
    let (world, mesh, a, b) = calm().await;
    let fixed = |ms| Conditions {
        latency_min: Duration::from_millis(ms),
        latency_max: Duration::from_millis(ms),
        ..Conditions::default()
    };
    mesh.set(a.local(), b.local(), fixed(40));
    mesh.set(b.local(), a.local(), fixed(60));
    let (left, right) = world.link(&a, &b).await;
    assert_eq!(left.rtt(), Some(Duration::from_millis(100)));
    let begun = Instant::now();
    left.send_datagram(bytes(1)).unwrap();
    soon(right.recv_datagram()).await.unwrap();
    assert_eq!(begun.elapsed().as_millis(), 40);
    right.send_datagram(bytes(1)).unwrap();
    soon(left.recv_datagram()).await.unwrap();
    assert_eq!(begun.elapsed().as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn datagrams_are_lost_doubled_and_overtaken_as_often_as_was_set() {
    let (world, mesh, a, b) = calm().await;
    let bad = Conditions { loss: 0.3, duplicate: 0.2, reorder: 0.2, ..Conditions::default() };
    mesh.set(a.local(), b.local(), bad);
    let (left, right) = world.link(&a, &b).await;
    let (mut count, mut overtaken, mut latest) = (0, 0, None);
    for n in 0..1000_u32 {
        left.send_datagram(n.to_be_bytes().to_vec().into()).unwrap();
        world.pass().await;
        while let Ok(Ok(got)) = tokio::time::timeout(Duration::from_millis(1), right.recv_datagram()).await {
            count += 1;
            overtaken += u32::from(Some(&got) < latest.as_ref());
            latest = latest.max(Some(got));
        }
    }
    assert!((780..900).contains(&count), "{count} of 1000 x 0.7 x 1.2 arrived");
    assert!(overtaken > 20, "{overtaken} came late");
}

#[tokio::test(start_paused = true)]
async fn a_cut_in_one_direction_is_one() {
    let (world, mesh, a, b) = calm().await;
    let (left, right) = world.link(&a, &b).await;
    mesh.cut_one_way(a.local(), b.local());
    left.send_datagram(bytes(1)).unwrap();
    right.send_datagram(bytes(2)).unwrap();
    assert_eq!(soon(left.recv_datagram()).await.unwrap(), bytes(2));
    waits(right.recv_datagram()).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_after_a_short_cut() {
    let (world, mesh, a, b) = calm().await;
    let (left, right) = world.link(&a, &b).await;
    mesh.cut(a.local(), b.local());
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    soon(send.write(bytes(10))).await.unwrap();
    send.finish().unwrap();
    waits(right.accept()).await;
    mesh.repair(a.local(), b.local());
    let (_send, mut read) = soon(right.accept()).await.unwrap();
    assert_eq!(soon(read.read_to_end(10)).await.unwrap().unwrap(), bytes(10));
}

#[tokio::test(start_paused = true)]
async fn links_are_lost_at_both_ends_when_a_cut_lasts_in_either_direction() {
    let (world, mesh, a, b) = calm().await;
    let (left, right) = world.link(&a, &b).await;
    mesh.cut_one_way(a.local(), b.local());
    let begun = Instant::now();
    assert_eq!(soon(right.closed()).await, LinkError::Lost);
    assert_eq!(begun.elapsed(), IDLE_MAX);
    assert!(left.close_reason().is_none(), "this end still hears the other");
    assert_eq!(soon(left.closed()).await, LinkError::Lost);
    assert!(begun.elapsed() >= IDLE_MAX * 2);
    mesh.heal();
    world.link(&a, &b).await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_ended_too_late_has_lost_the_link_although_nobody_looked() {
    let (world, mesh, a, b) = calm().await;
    let (left, right) = world.link(&a, &b).await;
    mesh.cut(a.local(), b.local());
    tokio::time::sleep(IDLE_MAX * 2).await;
    mesh.heal();
    assert_eq!((left.close_reason(), right.close_reason()), (Some(LinkError::Lost), Some(LinkError::Lost)));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_called_through_a_cut() {
    let (world, mesh, a, b) = calm().await;
    mesh.cut_one_way(b.local(), a.local());
    let begun = Instant::now();
    let error = soon(a.connect(b.local(), &[V1])).await.unwrap_err();
    assert_eq!(error, LinkError::Unreachable { addresses: 1 });
    assert!(begun.elapsed() >= CONNECT_MAX && begun.elapsed() < CONNECT_MAX * 2);
    mesh.heal();
    world.link(&a, &b).await;
}

#[tokio::test(start_paused = true)]
async fn partitions_may_overlap() {
    let world = World::simulated();
    let nodes = [world.node(1).await, world.node(2).await, world.node(3).await];
    [(0, 1), (0, 2), (1, 2)].into_iter().for_each(|(i, j)| meet(&nodes[i], &nodes[j]));
    let [a, bridge, c] = &nodes;
    mesh(&world).partition(&[a.local()], &[c.local()]);
    world.link(a, bridge).await;
    world.link(bridge, c).await;
    assert!(soon(a.connect(c.local(), &[V1])).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn streams_are_broken_off_and_the_link_stays() {
    let (world, mesh, a, b) = calm().await;
    let (left, right) = world.link(&a, &b).await;
    let (mut send, mut recv) = soon(left.open()).await.unwrap();
    soon(send.write(bytes(10))).await.unwrap();
    let (_send, mut read) = soon(right.accept()).await.unwrap();
    mesh.reset_streams(a.local(), b.local());
    assert_eq!(soon(recv.read(10)).await.unwrap_err(), LinkError::Reset(Code::CANCELLED));
    while let Ok(Some(_)) = soon(read.read(10)).await {}
    assert_eq!(soon(send.stopped()).await, LinkError::Stopped(Code::CANCELLED));
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    soon(send.write(bytes(1))).await.unwrap();
    soon(right.accept()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_silent_and_the_next_life_is_another() {
    let (world, mesh, a, b) = calm().await;
    let (left, right) = world.link(&a, &b).await;
    mesh.crash(b.local());
    drop((right, b));
    let again = world.node(2).await;
    meet(&a, &again);
    let (_new, right) = world.link(&a, &again).await;
    assert!(left.close_reason().is_none());
    assert_eq!(soon(left.closed()).await, LinkError::Lost);
    assert!(right.close_reason().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_through_loss_is_late_and_whole() {
    let (world, mesh, a, b) = calm().await;
    mesh.set_usual(Conditions { loss: 0.3, ..Conditions::default() });
    let (left, right) = world.link(&a, &b).await;
    let (mut send, _recv) = soon(left.open()).await.unwrap();
    for n in 0..100 {
        soon(send.write(bytes(n))).await.unwrap();
    }
    send.finish().unwrap();
    let (_send, mut read) = soon(right.accept()).await.unwrap();
    let got = soon(read.read_to_end(usize::MAX)).await.unwrap().unwrap();
    assert_eq!(got, (0..100).flat_map(bytes).collect::<Vec<u8>>());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_node_gets_and_sends_nothing_until_it_goes_on() {
    let (world, mesh, a, b) = calm().await;
    let (left, right) = world.link(&a, &b).await;
    // The simulation's time: this world began with it.
    let begun = Instant::now();
    left.send_datagram(bytes(1)).unwrap();
    mesh.stall_for(b.local(), Duration::from_secs(2));
    right.send_datagram(bytes(2)).unwrap();
    let (there, back) = tokio::join!(soon(right.recv_datagram()), soon(left.recv_datagram()));
    assert_eq!((there.unwrap(), back.unwrap()), (bytes(1), bytes(2)));
    assert!((2000..2100).contains(&begun.elapsed().as_millis()));
}
