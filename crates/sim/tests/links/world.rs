//! Where the contract is tried: nodes of one kind, and what tests need of them.

use bytes::Bytes;
use selvedge_mesh::distance::{Distances, Way, at_distance};
use selvedge_mesh::{Endpoint, Identity};
use selvedge_rt::links::{CONNECT_MAX, Link, Options, Peers, Protocol};
use selvedge_rt::{Clock, Links, Rng, Tasks};
use selvedge_sim::links::Conditions;
use selvedge_sim::{SimMesh, Trace};
use selvedge_types::{ClusterId, NodeKey};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
pub(crate) const V1: Protocol = Protocol { name: "test", version: 1 };
pub(crate) const V2: Protocol = Protocol { name: "test", version: 2 };

/// The longest that anything takes that happens at all.
const SOON: Duration = Duration::from_secs(20);
/// How long is enough to believe that something does not happen.
const A_WHILE: Duration = Duration::from_millis(200);

/// A kind of links.
pub(crate) enum World {
    Simulated(SimMesh),
    /// QUIC over the loopback interface.
    Real(Tasks),
    /// Simulated, and at a distance on top of that.
    Distant(SimMesh, Distances),
}

impl World {
    pub(crate) fn simulated() -> Self {
        World::Simulated(SimMesh::new(Rng::from_seed(1), Trace::default()))
    }

    /// Where each way takes that long.
    pub(crate) fn distant(delay: Duration) -> Self {
        let mesh = SimMesh::new(Rng::from_seed(1), Trace::default());
        mesh.set_usual(Conditions {
            latency_min: Duration::ZERO,
            latency_max: Duration::ZERO,
            ..Conditions::default()
        });
        let distances = Distances::default();
        distances.set(everybody(Way { delay, cut: false }));
        World::Distant(mesh, distances)
    }

    pub(crate) fn real() -> Self {
        World::Real(Tasks::real())
    }

    /// The node number `n` of the usual cluster.
    pub(crate) async fn node(&self, n: u8) -> Links {
        self.node_with(n, Options { cluster: CLUSTER, accepts: vec![V1], peers: Peers::default() }).await
    }

    pub(crate) async fn node_with(&self, n: u8, options: Options) -> Links {
        match self {
            World::Simulated(mesh) => mesh.links(self.key(n), options),
            World::Real(tasks) => {
                let free_port = [SocketAddr::from(([127, 0, 0, 1], 0))];
                let identity = Identity::from_seed([n; 32]);
                Endpoint::bind(&identity, &free_port, options, &Clock::real(), tasks).await.unwrap()
            }
            World::Distant(mesh, distances) => {
                at_distance(mesh.links(self.key(n), options), distances.clone(), &Tasks::real())
            }
        }
    }

    pub(crate) fn key(&self, n: u8) -> NodeKey {
        match self {
            World::Simulated(_) | World::Distant(..) => NodeKey::from_bytes([n; 32]),
            World::Real(_) => Identity::from_seed([n; 32]).key(),
        }
    }

    /// Two nodes that know each other.
    pub(crate) async fn pair(&self) -> (Links, Links) {
        let (a, b) = (self.node(1).await, self.node(2).await);
        meet(&a, &b);
        (a, b)
    }

    /// Both ends of a new link.
    pub(crate) async fn link(&self, from: &Links, to: &Links) -> (Link, Link) {
        let (made, accepted) = tokio::join!(soon(from.connect(to.local(), &[V1])), soon(to.accept()));
        (made.unwrap(), accepted.unwrap())
    }

    /// Lets time pass where it does not by itself.
    pub(crate) async fn pass(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The links of a node that knows other distances.
pub(crate) fn apart(mesh: &SimMesh, key: NodeKey, distances: Distances) -> Links {
    let options = Options { cluster: CLUSTER, accepts: vec![V1], peers: Peers::default() };
    at_distance(mesh.links(key, options), distances, &Tasks::real())
}

/// The same way to all.
pub(crate) fn everybody(way: Way) -> BTreeMap<NodeKey, Way> {
    (0..=u8::MAX).map(|n| (NodeKey::from_bytes([n; 32]), way)).collect()
}

/// Tells each of the other.
pub(crate) fn meet(a: &Links, b: &Links) {
    a.peers().allow(b.local(), &b.addresses());
    b.peers().allow(a.local(), &a.addresses());
}

/// What happens before long.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON.max(CONNECT_MAX * 2), what).await.expect("it does not happen")
}

/// Demands that something does not happen by itself.
pub(crate) async fn waits<T>(what: impl Future<Output = T>) {
    assert!(tokio::time::timeout(A_WHILE, what).await.is_err(), "it should wait");
}

/// That many bytes, no two stretches alike.
pub(crate) fn bytes(length: usize) -> Bytes {
    (0..length).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}
