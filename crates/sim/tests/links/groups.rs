//! Who may send members' messages.

use crate::world::{CLUSTER, World, meet, soon};
use bytes::Bytes;
use selvedge_mesh::rpc::{self, Deadline, Failure, FaultKind, PROTOCOLS, Priority, Target};
use selvedge_mesh::{Hybrid, Mesh};
use selvedge_observe::Registry;
use selvedge_rt::links::{Options, Peers};
use selvedge_rt::{Clock, Tasks};
use selvedge_state::group::{Receiver, SERVICE};
use selvedge_types::{HlcClock, NodeKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

async fn node(world: &World, n: u8, receiver: &Receiver) -> Mesh {
    let options = Options { cluster: CLUSTER, accepts: PROTOCOLS.to_vec(), peers: Peers::default() };
    let links = world.node_with(n, options).await;
    let options = rpc::Options {
        services: BTreeMap::from([(SERVICE, Arc::new(receiver.clone()) as Arc<dyn rpc::Service>)]),
        hybrid: Hybrid::new(Clock::real(), HlcClock::default()),
        registry: Registry::default(),
        clock_ahead: Arc::new(|_, _| {}),
    };
    Mesh::start(links, options, &Tasks::simulated())
}

async fn refused(mesh: &Mesh, peer: NodeKey) -> FaultKind {
    let (target, deadline) =
        (Target { service: SERVICE, version: 1 }, Deadline::after(Duration::from_secs(1)));
    let asked = mesh.call(peer, target, Bytes::from_static(b"let me lead"), deadline, Priority::Consensus);
    match soon(asked).await.unwrap_err().failure {
        Failure::Fault(fault) => fault.kind,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_may_not_take_part_sends_no_message() {
    let world = World::simulated();
    let edge = world.key(3);
    let receiver = Receiver::new(Arc::new(move |key| *key != edge));
    let voter = node(&world, 1, &receiver).await;
    let (other, outsider) = (node(&world, 2, &receiver).await, node(&world, 3, &receiver).await);
    meet(voter.links(), other.links());
    meet(voter.links(), outsider.links());
    // Its group is not open yet, which the edge does not even hear.
    assert_eq!(refused(&other, voter.links().local()).await, FaultKind::NotNow);
    assert_eq!(refused(&outsider, voter.links().local()).await, FaultKind::Refused);
}
