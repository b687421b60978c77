//! All that the simulated network knows: nodes, ways between them, links and what is under way in them.

mod links;
mod streams;

use super::{Conditions, Stats};
use crate::trace::Trace;
use links::Pair;
use selvedge_rt::Rng;
use selvedge_rt::links::{LinkError, Options, Protocol};
use selvedge_types::NodeKey;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often a packet of a stream is sent again at most, by which time the link is lost anyway.
const RESENDS_MAX: u32 = 10;
/// How much later than a round trip a lost packet is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(10);

/// The time of arrival of what cannot arrive until its way is repaired.
const HELD: Duration = Duration::MAX;

pub(super) struct State {
    rng: Rng,
    trace: Trace,
    pub(super) usual: Conditions,
    pub(super) ways: BTreeMap<(NodeKey, NodeKey), Way>,
    nodes: BTreeMap<NodeKey, Node>,
    pairs: BTreeMap<u64, Pair>,
    links_made: u64,
    lives: u64,
    /// Who neither sends nor receives until when.
    pub(super) stalls: BTreeMap<NodeKey, Duration>,
    pub(super) stats: Stats,
}

/// The way from one node to another, where it is not as usual.
#[derive(Default)]
pub(super) struct Way {
    pub(super) conditions: Option<Conditions>,
    cut_since: Option<Duration>,
}

struct Node {
    life: u64,
    /// Whether it takes links.
    listens: bool,
    options: Options,
    /// Links that others made, and when the last packet of their handshake comes.
    backlog: VecDeque<(Duration, u64)>,
    notify: Arc<Notify>,
    address: SocketAddr,
}

impl State {
    pub(super) fn new(rng: Rng, trace: Trace) -> Self {
        State {
            rng,
            trace,
            usual: Conditions::default(),
            ways: BTreeMap::new(),
            nodes: BTreeMap::new(),
            pairs: BTreeMap::new(),
            links_made: 0,
            lives: 0,
            stalls: BTreeMap::new(),
            stats: Stats::default(),
        }
    }

    pub(super) fn begin_life(
        &mut self,
        key: NodeKey,
        options: Options,
        now: Duration,
    ) -> (u64, Arc<Notify>, SocketAddr) {
        self.end_life(key, now);
        self.lives += 1;
        let address = self.nodes.get(&key).map_or_else(|| nth_address(self.nodes.len()), |node| node.address);
        let (life, notify) = (self.lives, Arc::new(Notify::new()));
        let backlog = VecDeque::new();
        let node = Node { life, listens: true, options, backlog, notify: notify.clone(), address };
        self.nodes.insert(key, node);
        (life, notify, address)
    }

    /// The node's ends fall silent.
    pub(super) fn end_life(&mut self, key: NodeKey, now: Duration) {
        let Some(node) = self.nodes.get_mut(&key) else { return };
        node.listens = false;
        node.notify.notify_waiters();
        self.pairs.values_mut().for_each(|pair| pair.fall_silent(key, now));
    }

    pub(super) fn stop_listening(&mut self, key: NodeKey, life: u64, _now: Duration) {
        if let Some(node) = self.nodes.get_mut(&key).filter(|node| node.life == life) {
            node.listens = false;
            node.notify.notify_waiters();
        }
    }

    pub(super) fn known_addresses(&self, key: NodeKey, peer: NodeKey) -> Vec<SocketAddr> {
        self.nodes.get(&key).map_or_else(Vec::new, |node| node.options.peers.addresses(&peer))
    }

    pub(super) fn address_of(&self, key: NodeKey) -> SocketAddr {
        self.nodes.get(&key).map_or_else(|| nth_address(usize::from(u16::MAX)), |node| node.address)
    }

    /// What `peer` says to a handshake of `key`: nothing, if it does not listen.
    pub(super) fn judge(
        &self,
        key: NodeKey,
        peer: NodeKey,
        protocols: &[Protocol],
    ) -> Option<Result<Protocol, LinkError>> {
        let caller = self.nodes.get(&key)?;
        let node = self.nodes.get(&peer).filter(|node| node.listens)?;
        let common = node.options.accepts.iter().filter(|p| protocols.contains(p)).max();
        Some(match common {
            _ if node.options.cluster != caller.options.cluster => Err(LinkError::NoProtocol),
            None => Err(LinkError::NoProtocol),
            Some(_) if !node.options.peers.knows(&key) => {
                Err(LinkError::Refused(selvedge_rt::links::Code::REFUSED))
            }
            Some(protocol) => Ok(*protocol),
        })
    }

    pub(super) fn cut(&mut self, from: NodeKey, to: NodeKey, now: Duration) {
        self.trace.line("links", format_args!("cut {from:?} -> {to:?}"));
        self.ways.entry((from, to)).or_default().cut_since.get_or_insert(now);
        self.wake_between(from, to);
    }

    pub(super) fn repair(&mut self, from: NodeKey, to: NodeKey, now: Duration) {
        let Some(since) = self.ways.get_mut(&(from, to)).and_then(|way| way.cut_since) else { return };
        self.trace.line("links", format_args!("repair {from:?} -> {to:?}, cut since {since:?}"));
        // Links that were lost meanwhile are so before the way is whole again.
        for id in self.pairs_between(from, to) {
            (0..2).for_each(|side| drop(self.check(id, side, now)));
        }
        if let Some(way) = self.ways.get_mut(&(from, to)) {
            way.cut_since = None;
        }
        self.release(from, to, now);
        self.wake_between(from, to);
    }

    pub(super) fn heal(&mut self, now: Duration) {
        let ways: Vec<_> = self.ways.keys().copied().collect();
        ways.into_iter().for_each(|(from, to)| self.repair(from, to, now));
        self.ways.clear();
        self.usual = Conditions::default();
    }

    /// When the node goes on, if it is stalled; else now.
    pub(super) fn awake_at(&self, key: NodeKey, now: Duration) -> Duration {
        self.stalls.get(&key).map_or(now, |until| now.max(*until))
    }

    /// When a packet sent now arrives; none if it is lost.
    pub(super) fn packet_arrives(&mut self, from: NodeKey, to: NodeKey, now: Duration) -> Option<Duration> {
        let Some(on_the_way) = self.conditions(from, to) else {
            self.stats.cut += 1;
            return None;
        };
        if self.chance(on_the_way.loss) {
            self.stats.lost += 1;
            return None;
        }
        self.stats.carried += 1;
        Some(self.awake_at(from, now) + self.latency(on_the_way))
    }

    /// When something that is sent until it arrives does, if the way is not cut.
    fn surely_arrives(&mut self, from: NodeKey, to: NodeKey, now: Duration) -> Duration {
        let Some(on_the_way) = self.conditions(from, to) else {
            self.stats.cut += 1;
            return HELD;
        };
        self.stats.carried += 1;
        let mut at = self.awake_at(from, now) + self.latency(on_the_way);
        for _ in 0..RESENDS_MAX {
            if !self.chance(on_the_way.loss) {
                break;
            }
            self.stats.lost += 1;
            at += on_the_way.latency_max * 2 + RESEND_AFTER;
        }
        at
    }

    /// The conditions of a way that is not cut.
    fn conditions(&self, from: NodeKey, to: NodeKey) -> Option<Conditions> {
        match self.ways.get(&(from, to)) {
            Some(Way { cut_since: Some(_), .. }) => None,
            Some(way) => Some(way.conditions.unwrap_or(self.usual)),
            None => Some(self.usual),
        }
    }

    fn cut_since(&self, from: NodeKey, to: NodeKey) -> Option<Duration> {
        self.ways.get(&(from, to)).and_then(|way| way.cut_since)
    }

    fn latency(&mut self, on_the_way: Conditions) -> Duration {
        let spread = on_the_way.latency_max.saturating_sub(on_the_way.latency_min);
        on_the_way.latency_min + spread.mul_f64(self.rng.fraction())
    }

    fn chance(&mut self, likely: f64) -> bool {
        likely > 0.0 && self.rng.fraction() < likely
    }
}

/// The address of the nth node.
fn nth_address(n: usize) -> SocketAddr {
    let [high, low] = u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
    SocketAddr::from(([10, 71, high, low], 7071))
}
