//! Links between simulated nodes: delay, loss, duplication, reordering, cuts in one direction or both, broken
//! streams, nodes that stall or vanish.
//!
//! [`SimMesh`] is the network that all nodes share; each node gets its [`Links`] of it. Nothing runs in the
//! background: what is sent is put down with the time at which it arrives, and whoever waits for it sleeps
//! until then. So it works on any runtime with virtual time, `turmoil`'s included. Bandwidth has no limit, and
//! priorities change nothing.
//!
//! What is in a reliable stream while its direction is cut arrives after the repair, unless the link is lost
//! before that ([`IDLE_MAX`]). Datagrams then are lost.

mod endpoint;
mod link;
mod state;
mod stream;
mod wait;

use crate::trace::Trace;
use endpoint::SimEndpoint;
use selvedge::node::BindLinks;
use selvedge_mesh::{BindError, Identity};
use selvedge_rt::links::side::Boxed;
use selvedge_rt::links::{Code, Options};
use selvedge_rt::{Clock, Links, Rng, Tasks};
use selvedge_types::NodeKey;
use state::State;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use selvedge_rt::links::IDLE_MAX;

/// What happens to what is sent from one node to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// The least time on the way.
    pub latency_min: Duration,
    /// The longest time on the way, unless it is lost or reordered.
    pub latency_max: Duration,
    /// How likely a packet is lost, 0 to 1. In streams it costs time.
    pub loss: f64,
    /// How likely a datagram arrives twice.
    pub duplicate: f64,
    /// How likely a datagram is overtaken by those sent within the next `latency_max`.
    pub reorder: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            latency_min: Duration::from_millis(1),
            latency_max: Duration::from_millis(3),
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
        }
    }
}

/// Links of nodes that are built as real ones are. Where they listen is the network's to say.
impl BindLinks for SimMesh {
    fn bind<'a>(
        &'a self,
        identity: &'a Identity,
        _: &'a [SocketAddr],
        options: Options,
        _: &'a Clock,
        _: &'a Tasks,
    ) -> Boxed<'a, Result<Links, BindError>> {
        Box::pin(async move { Ok(self.links(identity.key(), options)) })
    }
}

/// The network of all nodes. Clones are handles to the same.
#[derive(Clone)]
pub struct SimMesh(Arc<Shared>);

struct Shared {
    clock: Clock,
    /// The time for who is on no simulated host.
    outside: Mutex<Option<Duration>>,
    state: Mutex<State>,
}

/// What happened in the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets that arrived, or will.
    pub carried: u64,
    /// Packets that were lost; those of streams were sent again.
    pub lost: u64,
    /// Packets that a cut held back.
    pub cut: u64,
}

impl SimMesh {
    /// A network where all is well, in which `rng` decides what is left to chance.
    pub fn new(rng: Rng, trace: Trace) -> Self {
        let state = Mutex::new(State::new(rng, trace));
        SimMesh(Arc::new(Shared { clock: Clock::real(), outside: Mutex::default(), state }))
    }

    /// Tells the time to who is on none of `turmoil`'s hosts: after each of its steps.
    pub fn set_time(&self, now: Duration) {
        *self.0.outside.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.state().stats
    }

    /// Holds all that the node sends and receives back for a time. Its timers go on.
    pub fn stall_for(&self, key: NodeKey, time: Duration) {
        let now = self.now();
        self.state().stalls.insert(key, now + time);
    }

    /// The links of the node `key`, which begins a new life with them: those of a former life are gone, and
    /// peers notice it after [`IDLE_MAX`].
    pub fn links(&self, key: NodeKey, options: Options) -> Links {
        let now = self.now();
        let peers = options.peers.clone();
        let (life, notify, address) = self.state().begin_life(key, options, now);
        Links::new(Arc::new(SimEndpoint { mesh: self.clone(), key, life, notify, address }), peers)
    }

    /// What happens on each way that has no conditions of its own.
    pub fn set_usual(&self, conditions: Conditions) {
        self.state().usual = conditions;
    }

    /// What happens on the way from one node to another.
    pub fn set(&self, from: NodeKey, to: NodeKey, conditions: Conditions) {
        self.state().ways.entry((from, to)).or_default().conditions = Some(conditions);
    }

    /// Lets nothing through from one node to another; the other direction stays as it is.
    pub fn cut_one_way(&self, from: NodeKey, to: NodeKey) {
        let now = self.now();
        self.state().cut(from, to, now);
    }

    /// Ends what [`SimMesh::cut_one_way`] began.
    pub fn repair_one_way(&self, from: NodeKey, to: NodeKey) {
        let now = self.now();
        self.state().repair(from, to, now);
    }

    /// Lets nothing through between two nodes.
    pub fn cut(&self, one: NodeKey, other: NodeKey) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Ends cuts between two nodes.
    pub fn repair(&self, one: NodeKey, other: NodeKey) {
        self.repair_one_way(one, other);
        self.repair_one_way(other, one);
    }

    /// Lets nothing through from any of `these` to any of `those`. Groups may overlap: so partitions are made
    /// in which some nodes see both sides.
    pub fn partition(&self, these: &[NodeKey], those: &[NodeKey]) {
        for one in these {
            those.iter().filter(|other| *other != one).for_each(|other| self.cut(*one, *other));
        }
    }

    /// Ends all cuts and returns to the usual conditions, which are made the best.
    pub fn heal(&self) {
        let now = self.now();
        self.state().heal(now);
    }

    /// Breaks off all streams between two nodes, and leaves the links.
    pub fn reset_streams(&self, one: NodeKey, other: NodeKey) {
        let now = self.now();
        self.state().reset_streams(one, other, Code::CANCELLED, now);
    }

    /// Ends the node's life without a word to anybody. To be called before its runtime is dropped, lest what is
    /// dropped then says good-bye.
    pub fn crash(&self, key: NodeKey) {
        let now = self.now();
        self.state().end_life(key, now);
    }

    fn now(&self) -> Duration {
        let outside = || *self.0.outside.lock().unwrap_or_else(PoisonError::into_inner);
        turmoil::sim_elapsed().or_else(outside).unwrap_or_else(|| self.0.clock.monotonic())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
