//! A node's membership: its PoP's pool, the delegates' pool if it is one, and the tables.

mod delegate;
mod heal;
mod order;
mod reach;
mod receive;
mod sync;
mod table;

use crate::coordinate::Coordinate;
use crate::dice::Dice;
use crate::health::Health;
use crate::identity::Identity;
use crate::limits::{
    ADDRESSES_MAX, CONTACTS_MAX, DATAGRAM_BYTES_MAX, HEAL_PERIOD, LATE, POP_TIMING, REPORT_PERIOD,
    STALE_AFTER, SYNC_PERIOD, VERSION_BYTES_MAX,
};
use crate::pool::{Around, Pool};
use crate::record::{Load, Phase, Record};
use crate::timers::Timers;
use crate::view::Event;
use crate::wire::{Body, FORMAT, Frame, FrameError, Scope, Swim};
use selvedge_types::resource::{PopName, RegionName};
use selvedge_types::{ClusterId, Hlc, HlcClock, NodeKey, UnixMillis};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use sync::Cursors;
use table::{Described, Pop};

/// The time of a call.
pub struct Now<'a> {
    /// Since a start of the driver's choice; never goes back.
    pub elapsed: Duration,
    /// The wall clock, with which readings of others are compared.
    pub wall: UnixMillis,
    /// The node's hybrid clock: stamps what is sent, and follows what is received.
    pub clock: &'a mut HlcClock,
}

/// Who the node is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its cluster: frames of others are refused.
    pub cluster: ClusterId,
    /// Its key, and a generation that it never had before.
    pub identity: Identity,
    /// Its PoP.
    pub pop: PopName,
    /// Its region.
    pub region: RegionName,
    /// Which version of the program it runs; cut after 32 bytes.
    pub version: String,
    /// Where others reach it; the first four are told to them.
    pub addresses: Vec<SocketAddr>,
    /// What its random choices are drawn from.
    pub seed: u64,
}

/// A node that may know the way into the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Who.
    pub node: NodeKey,
    /// In which PoP.
    pub pop: PopName,
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom. The link must be authenticated by its key.
    pub to: NodeKey,
    /// At most [`DATAGRAM_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
}

/// What a node does besides its pools' work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chore {
    Heal,
    Sync,
    Digest,
    Leave(u8),
}

/// A node's part in the cluster's membership.
///
/// Calls come in any order: `handle_datagram` for each datagram that arrives, `handle_wake` not before
/// [`Membership::wake_at`], orders at any time. After each, `poll_transmit` and `poll_event` are called until
/// they give nothing. Datagrams that wait should be handed over before a wake-up that is due.
pub struct Membership {
    options: Options,
    own: Record,
    load: Load,
    coordinate: Coordinate,
    health: Health,
    dice: Dice,
    pop: Pool,
    world: Option<Pool>,
    /// The greatest generation this node had in the delegates' pool.
    world_generation: u64,
    world_since: Duration,
    /// Since when this node belongs to its PoP's pool, or has looked for it.
    started: Duration,
    described: BTreeMap<NodeKey, Described>,
    /// Described nodes that were no members when that was last looked at, and when that was.
    strays: (BTreeSet<NodeKey>, Duration),
    pops: BTreeMap<PopName, Pop>,
    /// Which PoP each delegate that was ever named speaks for.
    delegate_of: BTreeMap<NodeKey, PopName>,
    contacts: BTreeMap<NodeKey, PopName>,
    removed: BTreeSet<NodeKey>,
    cursors: Cursors,
    timers: Timers<Chore>,
    digest_due: bool,
    digest_at: Option<Duration>,
    digest_written: Duration,
    clock_reported: Option<Duration>,
    left: bool,
    out: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Membership {
    /// A node that knows nobody yet. It answers at once, and looks for others from its first wake-up on.
    pub fn new(options: Options, now: &Now<'_>) -> Self {
        let mut options = options;
        options.addresses.truncate(ADDRESSES_MAX);
        while options.version.len() > VERSION_BYTES_MAX {
            options.version.pop();
        }
        let mut dice = Dice::new(options.seed);
        let pop = Pool::new(options.identity, Scope::of(&options.pop), POP_TIMING, &mut dice);
        let mut timers = Timers::default();
        timers.set(now.elapsed, Chore::Heal);
        timers.set(now.elapsed + dice.around(SYNC_PERIOD), Chore::Sync);
        Membership {
            own: Record {
                identity: options.identity,
                edition: 0,
                phase: Phase::Joining,
                version: options.version.clone(),
                addresses: options.addresses.clone(),
            },
            load: Load::default(),
            coordinate: Coordinate::default(),
            health: Health::default(),
            pop,
            world: None,
            world_generation: options.identity.generation,
            world_since: now.elapsed,
            started: now.elapsed,
            described: BTreeMap::new(),
            strays: (BTreeSet::new(), now.elapsed),
            pops: BTreeMap::new(),
            delegate_of: BTreeMap::new(),
            contacts: BTreeMap::new(),
            removed: BTreeSet::new(),
            cursors: Cursors::default(),
            timers,
            digest_due: false,
            digest_at: None,
            digest_written: now.elapsed,
            clock_reported: None,
            left: false,
            out: VecDeque::new(),
            events: VecDeque::new(),
            dice,
            options,
        }
    }

    /// Takes in a datagram from the node whose key the link has authenticated. A refused one changes nothing.
    pub fn handle_datagram(
        &mut self,
        now: &mut Now<'_>,
        from: NodeKey,
        bytes: &[u8],
    ) -> Result<(), FrameError> {
        let frame = self.check(from, bytes)?;
        self.enter(now.elapsed);
        self.observe(now, from, frame.hlc);
        self.receive(now, from, frame.body);
        self.settle(now);
        Ok(())
    }

    /// Does what is due.
    pub fn handle_wake(&mut self, now: &mut Now<'_>) {
        self.enter(now.elapsed);
        self.in_pop(now.elapsed, |pool, around| pool.handle_wake(around));
        self.in_world(now.elapsed, |pool, around| pool.handle_wake(around));
        while let Some(chore) = self.timers.take_due(now.elapsed) {
            self.settle(now);
            match chore {
                Chore::Heal => self.heal(now),
                Chore::Sync => self.sync(now),
                Chore::Digest => self.write_digest(now),
                Chore::Leave(left) => self.say_goodbye(now, left),
            }
        }
        self.settle(now);
    }

    /// When `handle_wake` is to be called next.
    pub fn wake_at(&self) -> Duration {
        let pools = [self.pop.next_at(), self.world.as_ref().and_then(Pool::next_at)];
        let all = pools.into_iter().chain([self.timers.next_at()]);
        all.flatten().min().unwrap_or(Duration::MAX)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    /// The next thing that has changed.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Everything that could refuse a frame, before any of it is used.
    fn check(&self, from: NodeKey, bytes: &[u8]) -> Result<Frame, FrameError> {
        if from == self.own.identity.node {
            return Err(FrameError::OwnKey);
        }
        if self.removed.contains(&from) {
            return Err(FrameError::Removed);
        }
        let frame = Frame::decode(bytes, self.options.cluster)?;
        if let Body::Swim(swim) = &frame.body {
            swim.check(from, self.own.identity.node)?;
        }
        match frame.body.scope() {
            Some(scope @ Scope::Pop(_)) if scope != self.pop.scope() => {
                Err(FrameError::Pop(self.options.pop.clone()))
            }
            _ => Ok(frame),
        }
    }

    /// Notices when this node has slept: then its timers wait as much longer.
    fn enter(&mut self, now: Duration) {
        let late = now.saturating_sub(self.wake_at());
        if late <= LATE {
            return;
        }
        self.health.worse();
        self.pop.delay_all(late);
        self.world.iter_mut().for_each(|world| world.delay_all(late));
        self.timers.delay_all(late);
        self.digest_at = self.digest_at.map(|at| at + late);
        self.events.push_back(Event::Stalled(late));
        if late > STALE_AFTER {
            self.start_over(now);
        }
    }

    fn observe(&mut self, now: &mut Now<'_>, from: NodeKey, hlc: Hlc) {
        let Err(error) = now.clock.observe(hlc, now.wall) else { return };
        let quiet = self.clock_reported.is_some_and(|at| now.elapsed < at + REPORT_PERIOD);
        if !quiet {
            self.clock_reported = Some(now.elapsed);
            self.events.push_back(Event::ClockAhead { node: from, ahead_ms: error.ahead_ms });
        }
    }

    /// Carries what the pools did to where it belongs.
    fn settle(&mut self, now: &mut Now<'_>) {
        loop {
            let pop = self.pop.take_changes();
            let world = self.world.as_mut().map(Pool::take_changes).unwrap_or_default();
            if pop.is_empty() && world.is_empty() {
                break;
            }
            pop.into_iter().for_each(|change| self.pop_changed(now, change));
            world.into_iter().for_each(|change| self.world_changed(now, change));
        }
        self.schedule_digest(now.elapsed);
        self.hurry_sync(now.elapsed);
        self.flush(now);
    }

    fn flush(&mut self, now: &mut Now<'_>) {
        let pop = self.pop.take_sends();
        let world = self.world.as_mut().map(Pool::take_sends).unwrap_or_default();
        for (to, swim) in pop.into_iter().chain(world) {
            self.send_swim(now, to, swim);
        }
    }

    fn send_swim(&mut self, now: &mut Now<'_>, to: NodeKey, mut swim: Swim) {
        swim.load = self.load;
        swim.pops = u16::try_from(self.pops.len()).unwrap_or(u16::MAX);
        swim.coordinate = matches!(swim.message, crate::wire::Message::Ack(_)).then_some(self.coordinate);
        self.send(now, to, Body::Swim(swim));
    }

    fn send(&mut self, now: &mut Now<'_>, to: NodeKey, body: Body) {
        if to == self.own.identity.node || self.removed.contains(&to) {
            return;
        }
        let hlc = now.clock.tick(now.wall);
        let bytes = Frame { format: FORMAT, cluster: self.options.cluster, hlc, body }.encode();
        debug_assert!(bytes.len() <= DATAGRAM_BYTES_MAX, "a frame of {} bytes", bytes.len());
        self.out.push_back(Transmit { to, bytes });
    }

    fn in_pop<T>(&mut self, now: Duration, act: impl FnOnce(&mut Pool, &mut Around<'_>) -> T) -> T {
        let mut around = Around { now, health: &mut self.health, round_trip: &|_| None };
        act(&mut self.pop, &mut around)
    }

    fn in_world<T>(&mut self, now: Duration, act: impl FnOnce(&mut Pool, &mut Around<'_>) -> T) -> Option<T> {
        let (own, pops, delegate_of) = (&self.coordinate, &self.pops, &self.delegate_of);
        let round_trip =
            |node: &NodeKey| table::round_trip(own, &pops.get(delegate_of.get(node)?)?.digest.coordinate);
        let mut around = Around { now, health: &mut self.health, round_trip: &round_trip };
        self.world.as_mut().map(|world| act(world, &mut around))
    }

    /// Forgets whom it knew: others may have forgotten who of them is gone.
    fn start_over(&mut self, now: Duration) {
        let own = self.pop.own().renewed();
        self.pop = Pool::new(own, self.pop.scope(), POP_TIMING, &mut self.dice);
        self.own.identity = own;
        if self.own.phase == Phase::Serving {
            self.own.phase = Phase::Joining;
        }
        self.world = None;
        self.described.clear();
        self.pops.clear();
        self.delegate_of.clear();
        self.started = now;
        self.cursors = Cursors::default();
        self.events.push_back(Event::Renewed(own));
        self.timers.set(now + HEAL_PERIOD, Chore::Heal);
    }

    fn remember(&mut self, node: NodeKey, pop: PopName) {
        if self.contacts.len() < CONTACTS_MAX && node != self.own.identity.node {
            self.contacts.insert(node, pop);
        }
    }
}
