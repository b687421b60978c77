//! The network between the machines of a group: calls over simulated links, some of them made twice.

use crate::links::{Conditions, SimMesh, Stats};
use crate::run::Run;
use bytes::Bytes;
use selvedge_mesh::rpc::Priority;
use selvedge_rt::Rng;
use selvedge_rt::links::Peers;
use selvedge_state::group::{Calling, LinkError, Links, Member, MeshLinks};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the network does to all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// How likely a packet is lost, from 0 to 1.
    pub(super) loss: f64,
    /// How likely a message is sent twice.
    pub(super) doubling: f64,
    /// The longest time that a packet takes.
    pub(super) delay_max: Duration,
}

impl Weather {
    /// Nothing goes wrong, at the speed of one place.
    pub(super) const FAIR: Weather =
        Weather { loss: 0.0, doubling: 0.0, delay_max: Duration::from_millis(4) };
}

/// The network. Clones are the same.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) mesh: SimMesh,
    /// Who is who: all machines know all others.
    pub(super) peers: Peers,
    doubler: Arc<Mutex<Doubler>>,
}

struct Doubler {
    rng: Rng,
    likely: f64,
    doubled: u64,
}

impl Network {
    pub(super) fn new(run: &Run) -> Self {
        let mesh = SimMesh::new(run.rng.branch("links"), run.trace.clone());
        let doubler = Doubler { rng: run.rng.branch("doubles"), likely: 0.0, doubled: 0 };
        Network { mesh, peers: Peers::default(), doubler: Arc::new(Mutex::new(doubler)) }
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.doubler().likely = weather.doubling;
        self.mesh.set_usual(Conditions {
            latency_max: weather.delay_max,
            loss: weather.loss,
            ..Conditions::default()
        });
    }

    /// A member's links, some of whose messages arrive twice.
    pub(super) fn links(&self, links: MeshLinks) -> Arc<dyn Links> {
        Arc::new(Doubling { network: self.clone(), links })
    }

    /// What happened, and how many messages were sent twice.
    pub(super) fn stats(&self) -> (Stats, u64) {
        (self.mesh.stats(), self.doubler().doubled)
    }

    fn doubler(&self) -> MutexGuard<'_, Doubler> {
        self.doubler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Doubling {
    network: Network,
    links: MeshLinks,
}

impl Links for Doubling {
    fn call(&self, to: &Member, message: Bytes, deadline: Duration, priority: Priority) -> Calling<'_> {
        let double = {
            let mut doubler = self.network.doubler();
            let likely = doubler.likely;
            let double = likely > 0.0 && doubler.rng.fraction() < likely;
            doubler.doubled += u64::from(double);
            double
        };
        let once = self.links.call(to, message.clone(), deadline, priority);
        if !double {
            return once;
        }
        let again = self.links.call(to, message, deadline, priority);
        Box::pin(async move {
            match tokio::join!(once, again) {
                (Ok(answer), _) | (_, Ok(answer)) => Ok(answer),
                (Err(LinkError::Unreachable), Err(LinkError::Unreachable)) => Err(LinkError::Unreachable),
                _ => Err(LinkError::Lost),
            }
        })
    }
}
