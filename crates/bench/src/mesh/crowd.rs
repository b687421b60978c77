//! Many membership cores on one queue of events, in virtual time. One seed gives one run.

use super::network::{Dice, Network};
use super::watch::Watch;
use selvedge_membership::{Contact, Identity, Membership, Now, Options, Transmit};
use selvedge_types::resource::{PopName, RegionName, Text};
use selvedge_types::{ClusterId, HlcClock, NodeKey, UnixMillis};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// The wall clock when virtual time begins.
const WALL_START: u64 = 1_800_000_000_000;
/// Nodes of its own PoP, and of others, that a starting node is told of.
const CONTACTS: (usize, usize) = (3, 2);

/// How many nodes, where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// PoPs.
    pub pops: usize,
    /// Nodes in each.
    pub nodes: usize,
}

impl Size {
    /// All nodes.
    pub fn total(self) -> usize {
        self.pops * self.nodes
    }
}

/// A simulated node.
pub struct Node {
    /// Its membership, unless it is dead.
    pub core: Option<Membership>,
    /// Its key.
    pub key: NodeKey,
    /// Its PoP's number.
    pub pop: usize,
    /// Its PoP's name.
    pub pop_name: PopName,
    /// Bytes sent and received since [`Crowd::count_anew`].
    pub bytes: (u64, u64),
    /// The largest datagram it sent.
    pub largest: usize,
    clock: HlcClock,
    generation: u64,
    wake_at: Duration,
    stalled: Option<Vec<(usize, Vec<u8>)>>,
}

enum Happening {
    Wake,
    Arrival { from: usize, bytes: Vec<u8> },
    Start,
    StallEnds,
}

/// Nodes, the network between them, and what is to happen.
pub struct Crowd {
    /// Virtual time.
    pub now: Duration,
    /// The nodes; those of a PoP stand together.
    pub nodes: Vec<Node>,
    /// What is between them.
    pub network: Network,
    /// What is measured.
    pub watch: Watch,
    /// Where choices come from.
    pub dice: Dice,
    size: Size,
    queue: BinaryHeap<Reverse<Entry>>,
    count: u64,
    index: HashMap<NodeKey, usize>,
}

struct Entry(Duration, u64, usize, Happening);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl Crowd {
    /// Nodes that start one after the other within `spread`, each knowing a few others.
    pub fn new(size: Size, seed: u64, spread: Duration) -> Self {
        let mut dice = Dice::new(seed);
        let network = Network::new(size.pops, &mut dice);
        let nodes: Vec<Node> = (0..size.total()).map(|n| Node::new(n / size.nodes, &mut dice)).collect();
        let index = nodes.iter().enumerate().map(|(n, node)| (node.key, n)).collect();
        let mut crowd = Crowd {
            now: Duration::ZERO,
            watch: Watch::new(size.total()),
            network,
            size,
            queue: BinaryHeap::new(),
            count: 0,
            index,
            nodes,
            dice,
        };
        for node in 0..size.total() {
            let at = spread.mul_f64(crowd.dice.fraction());
            crowd.put(at, node, Happening::Start);
        }
        crowd
    }

    /// Lets time pass.
    pub fn run(&mut self, for_: Duration) {
        let until = self.now + for_;
        while self.queue.peek().is_some_and(|Reverse(entry)| entry.0 <= until) {
            let Some(Reverse(Entry(at, _, node, happening))) = self.queue.pop() else { break };
            self.now = at;
            self.happen(node, happening);
        }
        self.now = until;
    }

    /// Lets time pass until something holds, looking ten times a second. How long it took; nothing if it took
    /// longer than `limit`.
    pub fn run_until(&mut self, limit: Duration, holds: impl Fn(&Crowd) -> bool) -> Option<Duration> {
        let start = self.now;
        while !holds(self) {
            if self.now >= start + limit {
                return None;
            }
            self.run(Duration::from_millis(100));
        }
        Some(self.now - start)
    }

    /// A node dies without a word.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].core = None;
        self.nodes[node].stalled = None;
        let (key, pop) = (self.nodes[node].key, self.nodes[node].pop);
        self.watch.killed(node, key, pop, self.now);
    }

    /// It starts again, with a new generation and nothing else but its key.
    pub fn start(&mut self, node: usize) {
        self.watch.started(node);
        self.nodes[node].generation += 1;
        let contacts = self.contacts(node);
        let seed = self.dice.draw();
        let now = self.now;
        let node_ref = &mut self.nodes[node];
        let options = node_ref.options(seed);
        let mut core = Membership::new(options, &node_ref.now(now));
        contacts.into_iter().for_each(|contact| core.introduce(contact));
        node_ref.core = Some(core);
        node_ref.wake_at = Duration::MAX;
        self.after_call(node);
    }

    /// It does nothing for a while; what comes for it waits.
    pub fn stall(&mut self, node: usize, for_: Duration) {
        if self.nodes[node].core.is_some() && self.nodes[node].stalled.is_none() {
            self.nodes[node].stalled = Some(Vec::new());
            self.put(self.now + for_, node, Happening::StallEnds);
        }
    }

    /// Whether it stalls.
    pub fn is_stalled(&self, node: usize) -> bool {
        self.nodes[node].stalled.is_some()
    }

    /// Tells a node something.
    pub fn order(&mut self, node: usize, order: impl FnOnce(&mut Membership, &mut Now<'_>)) {
        let now = self.now;
        self.call(node, |core, at| order(core, at), now);
    }

    /// Counts bytes from now on.
    pub fn count_anew(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.bytes = (0, 0));
    }

    /// Whether every running node knows all that run of its PoP and no other, and all PoPs as reachable.
    pub fn is_whole(&self) -> bool {
        let alive: Vec<usize> = self.alive_by_pop();
        let pops = alive.iter().filter(|alive| **alive > 0).count();
        self.nodes.iter().filter_map(|node| node.core.as_ref().map(|core| (node, core))).all(
            |(node, core)| {
                let present = core.members().filter(|m| m.state == selvedge_membership::State::Alive).count();
                let reached = core.pops().filter(|pop| pop.reachable).count();
                present + 1 == alive[node.pop] && reached == pops
            },
        )
    }

    fn alive_by_pop(&self) -> Vec<usize> {
        let mut alive = vec![0; self.size.pops];
        self.nodes.iter().filter(|node| node.core.is_some()).for_each(|node| alive[node.pop] += 1);
        alive
    }

    fn contacts(&mut self, node: usize) -> Vec<Contact> {
        let Size { pops, nodes } = self.size;
        let pop = self.nodes[node].pop;
        let inside: Vec<usize> = (0..CONTACTS.0).map(|_| pop * nodes + self.dice.below(nodes)).collect();
        let outside: Vec<usize> = (0..CONTACTS.1).map(|_| self.dice.below(pops * nodes)).collect();
        let all = inside.into_iter().chain(outside).filter(|other| *other != node);
        all.map(|n| Contact { node: self.nodes[n].key, pop: self.nodes[n].pop_name.clone() }).collect()
    }

    fn put(&mut self, at: Duration, node: usize, happening: Happening) {
        self.count += 1;
        self.queue.push(Reverse(Entry(at, self.count, node, happening)));
    }

    fn happen(&mut self, node: usize, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Start => self.start(node),
            Happening::Wake if self.nodes[node].wake_at != now => {}
            Happening::Wake => {
                self.nodes[node].wake_at = Duration::MAX;
                if self.nodes[node].stalled.is_none() {
                    self.call(node, |core, at| core.handle_wake(at), now);
                }
            }
            Happening::Arrival { from, bytes } => match &mut self.nodes[node].stalled {
                Some(inbox) => inbox.push((from, bytes)),
                None => self.arrive(node, from, &bytes),
            },
            Happening::StallEnds => {
                // A wake-up that is late comes before the mail: the worse of the two orders.
                let inbox = self.nodes[node].stalled.take().unwrap_or_default();
                self.call(node, |core, at| core.handle_wake(at), now);
                inbox.iter().for_each(|(from, bytes)| self.arrive(node, *from, bytes));
            }
        }
    }

    fn arrive(&mut self, node: usize, from: usize, bytes: &[u8]) {
        self.nodes[node].bytes.1 += bytes.len() as u64;
        let key = self.nodes[from].key;
        let now = self.now;
        self.call(
            node,
            |core, at| {
                // A node that was removed, or leaves, may still send.
                let _refused = core.handle_datagram(at, key, bytes);
            },
            now,
        );
    }

    fn call(&mut self, node: usize, act: impl FnOnce(&mut Membership, &mut Now<'_>), now: Duration) {
        let Node { core, clock, .. } = &mut self.nodes[node];
        let Some(core) = core else { return };
        act(core, &mut Now { elapsed: now, wall: wall(now), clock });
        self.after_call(node);
    }

    fn after_call(&mut self, node: usize) {
        let pop = self.nodes[node].pop;
        let Some(core) = &mut self.nodes[node].core else { return };
        let sends: Vec<Transmit> = std::iter::from_fn(|| core.poll_transmit()).collect();
        while let Some(event) = core.poll_event() {
            self.watch.saw(node, pop, &event, core, self.now);
        }
        let wake_at = core.wake_at().max(self.now);
        if wake_at != self.nodes[node].wake_at {
            self.nodes[node].wake_at = wake_at;
            self.put(wake_at, node, Happening::Wake);
        }
        sends.into_iter().for_each(|transmit| self.transmit(node, transmit));
    }

    fn transmit(&mut self, from: usize, transmit: Transmit) {
        let Transmit { to, bytes } = transmit;
        self.nodes[from].bytes.0 += bytes.len() as u64;
        self.nodes[from].largest = self.nodes[from].largest.max(bytes.len());
        let Some(&to) = self.index.get(&to) else { return };
        let ways = ((from, self.nodes[from].pop), (to, self.nodes[to].pop));
        if let Some(delay) = self.network.carry(ways.0, ways.1) {
            self.put(self.now + delay, to, Happening::Arrival { from, bytes });
        }
    }
}

fn wall(now: Duration) -> UnixMillis {
    UnixMillis(WALL_START).plus(now)
}

/// The name of a PoP.
pub fn pop_name(pop: usize) -> PopName {
    PopName::parse_text(&format!("pop{pop}")).expect("a name")
}

impl Node {
    fn new(pop: usize, dice: &mut Dice) -> Self {
        let mut key = [0; 32];
        key.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&dice.draw().to_le_bytes()));
        Node {
            core: None,
            key: NodeKey::from_bytes(key),
            pop,
            pop_name: pop_name(pop),
            bytes: (0, 0),
            largest: 0,
            clock: HlcClock::default(),
            generation: 0,
            wake_at: Duration::MAX,
            stalled: None,
        }
    }

    fn options(&self, seed: u64) -> Options {
        Options {
            cluster: ClusterId::from_bytes([7; 16]),
            identity: Identity::new(self.key, self.generation * 1_000),
            pop: self.pop_name.clone(),
            region: RegionName::parse_text(&format!("region{}", self.pop % 5)).expect("a name"),
            version: "0.1.0".into(),
            addresses: vec![([192, 0, 2, 1], 7071).into()],
            seed,
        }
    }

    fn now(&mut self, now: Duration) -> Now<'_> {
        Now { elapsed: now, wall: wall(now), clock: &mut self.clock }
    }
}
