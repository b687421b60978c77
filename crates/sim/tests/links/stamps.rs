//! Hybrid stamps follow cause and effect, whatever the wall clocks say.

use crate::world::{CLUSTER, World, meet, soon};
use bytes::Bytes;
use selvedge_mesh::rpc::{
    Answer, Deadline, Fault, Options as CallOptions, PROTOCOLS, Priority, Question, Service, Target,
};
use selvedge_mesh::{Hybrid, Mesh};
use selvedge_observe::Registry;
use selvedge_rt::links::side::Boxed;
use selvedge_rt::links::{Options, Peers};
use selvedge_rt::{Rng, Tasks};
use selvedge_sim::SimClock;
use selvedge_types::{Hlc, HlcClock, NodeKey};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TEST: Target = Target { service: "test", version: 1 };

/// The readings of one node, as messages reached it.
struct Stamper {
    hybrid: Hybrid,
    read: Arc<Mutex<Vec<Hlc>>>,
}

impl Service for Stamper {
    fn versions(&self) -> RangeInclusive<u16> {
        1..=1
    }

    fn answer(&self, question: Question) -> Boxed<'_, Result<Answer, Fault>> {
        self.read.lock().unwrap().push(self.hybrid.now());
        Box::pin(async move { Ok(Answer::message(question.message)) })
    }

    fn datagram(&self, _: NodeKey, _: Bytes) {
        self.read.lock().unwrap().push(self.hybrid.now());
    }
}

struct Node {
    mesh: Mesh,
    hybrid: Hybrid,
    clock: SimClock,
    read: Arc<Mutex<Vec<Hlc>>>,
}

impl Node {
    async fn start(world: &World, n: u8) -> Self {
        let options = Options { cluster: CLUSTER, accepts: PROTOCOLS.to_vec(), peers: Peers::default() };
        let links = world.node_with(n, options).await;
        let (clock, read) = (SimClock::new(), Arc::default());
        let hybrid = Hybrid::new(clock.clock(), HlcClock::default());
        let stamper = Stamper { hybrid: hybrid.clone(), read: Arc::clone(&read) };
        let services: BTreeMap<&'static str, Arc<dyn Service>> =
            BTreeMap::from([("test", Arc::new(stamper) as _)]);
        let options = CallOptions {
            services,
            hybrid: hybrid.clone(),
            registry: Registry::default(),
            clock_ahead: Arc::new(|_, error| panic!("no clock here is too far ahead: {error}")),
        };
        Node { mesh: Mesh::start(links, options, &Tasks::simulated()), hybrid, clock, read }
    }

    fn key(&self) -> NodeKey {
        self.mesh.links().local()
    }

    /// The reading with which the last message reached it.
    fn last(&self) -> Hlc {
        *self.read.lock().unwrap().last().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_from_a_message_is_stamped_after_what_came_before_it() {
    let world = World::simulated();
    let mut nodes = Vec::new();
    for n in 1..=4 {
        nodes.push(Node::start(&world, n).await);
    }
    for a in &nodes {
        nodes.iter().filter(|b| b.key() != a.key()).for_each(|b| meet(a.mesh.links(), b.mesh.links()));
    }
    let mut rng = Rng::from_seed(5);
    for _ in 0..300 {
        // Clocks that stand and jump half a minute apart.
        for node in &nodes {
            if rng.below(4) == 0 {
                node.clock.set_error(rng.below(30_000) as i64, rng.below(2_000) as i64 - 1_000);
            }
        }
        let from = rng.below(4) as usize;
        let to = (from + 1 + rng.below(3) as usize) % 4;
        let (a, b) = (&nodes[from], &nodes[to]);
        let before = a.hybrid.now();
        let heard = b.read.lock().unwrap().len();
        if rng.below(2) == 0 {
            let deadline = Deadline::after(Duration::from_secs(5));
            let call = a.mesh.call(b.key(), TEST, Bytes::from_static(b"x"), deadline, Priority::Normal);
            soon(call).await.unwrap();
            assert!(a.hybrid.now() > b.last(), "the answer came after the question");
        } else {
            a.mesh.send_datagram(b.key(), "test", Bytes::from_static(b"x")).unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Datagrams may be lost.
        if b.read.lock().unwrap().len() > heard {
            assert!(b.last() > before, "{:?} after {before:?}", b.last());
        }
    }
    assert!(nodes.iter().all(|node| node.read.lock().unwrap().len() > 20));
}
