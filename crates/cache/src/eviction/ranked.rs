//! Entries in the order in which they would go.

use super::Slot;
use super::heat::{Heat, Rebase};
use super::queue::{Ordered, Queue, Side};

/// At most as many entries are sorted in again at one eviction because they were hit; then the coldest of
/// these goes.
pub const RESORTS_MAX: usize = 64;

/// How many entries change from one rank to the other at each request, while the rank changes.
const MIGRATE_MAX: usize = 8;

/// How often, in evictions for each entry, the floor of [`Rank::Aging`] is set back to zero.
const REBASE_EVICTIONS: usize = 64;

/// By how much a newcomer's density must exceed that of the first that has to go for it, in half-lives: without
/// it, a loop over a little more than fits would find nothing.
const CLEARLY: u32 = Heat::HALF_LIFE / 4;

/// By what entries are ordered; the lowest goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rank {
    /// Heat by byte, now.
    Density,
    /// Heat by byte when last asked for, above the rank of what had gone last by then.
    Aging,
}

/// What is to be high.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aim {
    /// The share of requests that are hits: small entries are worth more.
    Objects,
    /// The share of bytes that come from hits: every byte is worth the same.
    Bytes,
}

impl Aim {
    /// By what an entry's heat is divided.
    fn divisor(self, cost: u32) -> u32 {
        match self {
            Aim::Objects => cost,
            Aim::Bytes => 1,
        }
    }

    /// What a hit is worth.
    pub(super) fn gain(self, cost: u32) -> f32 {
        match self {
            Aim::Objects => 1.0,
            Aim::Bytes => cost as f32,
        }
    }
}

/// What remains of a key's hash: 31 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tag(u32);

impl Tag {
    /// Of this hash; the seed decides which hashes meet.
    pub(super) fn new(hash: u64, seed: u64) -> Tag {
        let mixed = (hash ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Tag((mixed >> 33) as u32)
    }

    /// Where to look for it in a table of a power of two.
    pub(super) fn place(self) -> usize {
        self.0 as usize
    }

    /// 31 bits, other ones than the place's.
    pub(super) fn lot(self) -> u32 {
        self.0.wrapping_mul(0x85EB_CA6B) >> 1
    }
}

/// What is known of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) tag: Tag,
    pub(super) heat: Heat,
    pub(super) cost: u32,
}

/// The part of an entry that a hit reads and writes: its heat and, in the lowest bit, whether it was hit since
/// it was sorted in. Zero if there is no entry.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse(u32);

impl Pulse {
    const NONE: Pulse = Pulse(0);
    const HIT: u32 = 1;

    fn new(heat: Heat, hit: bool) -> Pulse {
        // A heat of zero is a forgotten one, but still one.
        Pulse(heat.to_bits().max(2) & !Pulse::HIT | u32::from(hit))
    }

    fn heat(self) -> Option<Heat> {
        (self.0 != 0).then_some(Heat::from_bits(self.0 & !Pulse::HIT))
    }

    fn is_hit(self) -> bool {
        self.0 & Pulse::HIT != 0
    }
}

/// The part of an entry that is read when it is sorted in, or goes.
#[derive(Clone, Copy, Debug, Default)]
struct Card {
    tag: Tag,
    cost: u32,
}

/// Entries, bounded in bytes, ordered by a rank that may be changed.
#[derive(Debug)]
pub(super) struct Ranked {
    aim: Aim,
    rank: Rank,
    /// The heap that is ordered by `rank`; the other holds what has not been moved from the rank before.
    side: Side,
    /// By slot; as long as `cards`.
    pulses: Vec<Pulse>,
    /// By slot.
    cards: Vec<Card>,
    queue: Queue,
    used: u64,
    capacity: u64,
    /// The rank of what went last, for [`Rank::Aging`].
    floor: f32,
    evictions: usize,
    /// What was inserted last, until one has gone for it.
    newcomer: Option<Slot>,
    /// A newcomer that is to be the next victim, and was therefore not sorted in.
    refused: Option<Slot>,
}

impl Ranked {
    /// Bytes of memory for an entry.
    pub(super) const ENTRY_BYTES: usize = size_of::<Pulse>() + size_of::<Card>() + Queue::ENTRY_BYTES;

    pub(super) fn new(aim: Aim, rank: Rank, capacity: u64) -> Self {
        Ranked {
            aim,
            rank,
            side: Side::Left,
            pulses: Vec::new(),
            cards: Vec::new(),
            queue: Queue::default(),
            used: 0,
            capacity,
            floor: 0.0,
            evictions: 0,
            newcomer: None,
            refused: None,
        }
    }

    pub(super) fn rank(&self) -> Rank {
        self.rank
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len(Side::Left) + self.queue.len(Side::Right) + usize::from(self.refused.is_some())
    }

    /// An entry that is here.
    pub(super) fn get(&self, slot: Slot) -> Option<Node> {
        let heat = self.pulses.get(slot.index())?.heat()?;
        let Card { tag, cost } = *self.cards.get(slot.index())?;
        Some(Node { tag, heat, cost })
    }

    /// Adds an entry to a slot that is free; costs are above zero.
    pub(super) fn insert(&mut self, slot: Slot, tag: Tag, heat: Heat, cost: u32, now: Heat) {
        if self.pulses.len() <= slot.index() {
            self.pulses.resize(slot.index() + 1, Pulse::NONE);
            self.cards.resize(slot.index() + 1, Card::default());
        }
        self.pulses[slot.index()] = Pulse::new(heat, false);
        self.cards[slot.index()] = Card { tag, cost };
        self.used += u64::from(cost);
        self.reconsider(now);
        let key = self.key(heat, cost, now);
        if self.is_refused(key) {
            self.refused = Some(slot);
        } else {
            self.queue.push(self.side, Ordered { key, slot });
            self.newcomer = Some(slot);
        }
    }

    /// Notes a hit; it is sorted in when it comes to the front. Gives the heat that it has then.
    pub(super) fn touch(&mut self, slot: Slot, now: Heat) -> Option<Heat> {
        let pulse = self.pulses.get_mut(slot.index())?;
        let heat = pulse.heat()?.touched(now);
        *pulse = Pulse::new(heat, true);
        Some(heat)
    }

    /// Notes a hit of an entry whose heat is known from elsewhere.
    pub(super) fn set_heat(&mut self, slot: Slot, heat: Heat) {
        if let Some(pulse) = self.pulses.get_mut(slot.index()).filter(|pulse| pulse.heat().is_some()) {
            *pulse = Pulse::new(heat, true);
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<(Tag, Heat)> {
        let node = self.get(slot)?;
        self.refused = self.refused.filter(|refused| *refused != slot);
        self.pulses[slot.index()] = Pulse::NONE;
        self.used -= u64::from(node.cost);
        self.queue.remove(slot);
        Some((node.tag, node.heat))
    }

    /// Changes an entry's cost, which is above zero.
    pub(super) fn set_cost(&mut self, slot: Slot, cost: u32, now: Heat) {
        let Some(node) = self.get(slot) else { return };
        self.used = self.used - u64::from(node.cost) + u64::from(cost);
        self.cards[slot.index()].cost = cost;
        self.refused = self.refused.filter(|refused| *refused != slot);
        self.sort_in(slot, now);
    }

    /// Takes out the entry of the lowest rank.
    pub(super) fn pop(&mut self, now: Heat) -> Option<(Slot, Tag, Heat)> {
        if let Some(slot) = self.refused.filter(|slot| !self.is_hit(*slot)) {
            return self.remove(slot).map(|(tag, heat)| (slot, tag, heat));
        }
        self.reconsider(now);
        let victim = self.victim(now)?;
        let victim = self.newcomer.take().and_then(|slot| self.rejected(slot, victim, now)).unwrap_or(victim);
        if self.rank == Rank::Aging {
            self.floor = self.floor.max(f32::from_bits(victim.key));
        }
        self.evictions += 1;
        if self.evictions > REBASE_EVICTIONS * self.len() {
            self.reset_floor();
        }
        let (tag, heat) = self.remove(victim.slot)?;
        Some((victim.slot, tag, heat))
    }

    /// From now on entries are ordered by this rank.
    pub(super) fn set_rank(&mut self, rank: Rank) {
        let settled = self.queue.len(self.side.other()) == 0;
        if rank != self.rank && settled {
            self.rank = rank;
            self.side = self.side.other();
            self.floor = 0.0;
        }
    }

    /// Moves a few entries from the rank before, if there are any.
    pub(super) fn migrate(&mut self, now: Heat) {
        let from = self.side.other();
        for _ in 0..MIGRATE_MAX {
            let Some(last) = self.queue.last(from) else { return };
            self.sort_in(last.slot, now);
        }
        self.queue.release(from);
    }

    /// Moves those that would have gone by the rank before: one of them may be the one to go.
    fn migrate_first(&mut self, now: Heat) {
        for _ in 0..MIGRATE_MAX {
            let Some(first) = self.queue.first(self.side.other()) else { return };
            self.sort_in(first.slot, now);
        }
    }

    /// Moves the zero of time.
    pub(super) fn rebase(&mut self, by: Rebase) {
        for pulse in &mut self.pulses {
            *pulse = pulse.heat().map_or(Pulse::NONE, |heat| Pulse::new(heat.rebased(by), pulse.is_hit()));
        }
        let density = if self.rank == Rank::Density { self.side } else { self.side.other() };
        self.queue.map_keys(density, |key| key.saturating_sub(by.0));
    }

    /// Bytes of memory held.
    pub(super) fn overhead_bytes(&self) -> usize {
        let pulses = self.pulses.capacity() * size_of::<Pulse>();
        pulses + self.cards.capacity() * size_of::<Card>() + self.queue.overhead_bytes()
    }

    /// What is too large for the whole cache goes at once.
    fn key(&self, heat: Heat, cost: u32, now: Heat) -> u32 {
        if u64::from(cost) > self.capacity {
            return 0;
        }
        let divisor = self.aim.divisor(cost);
        match self.rank {
            Rank::Density => heat.density(divisor),
            // Not negative, so that the bits order as the numbers do.
            Rank::Aging => (self.floor + heat.count(now) / divisor as f32).to_bits(),
        }
    }

    /// Whether a newcomer of this key can be told to be worth too little by a look at the first alone.
    fn is_refused(&self, key: u32) -> bool {
        let full = self.used > self.capacity && self.queue.len(self.side.other()) == 0;
        full && self.rank == Rank::Density
            && self
                .queue
                .first(self.side)
                .is_some_and(|first| !self.is_hit(first.slot) && key < first.key.saturating_add(CLEARLY))
    }

    /// Sorts in the one that was refused and has not gone.
    fn reconsider(&mut self, now: Heat) {
        if let Some(slot) = self.refused.take() {
            self.sort_in(slot, now);
        }
    }

    /// The newcomer, if it is not clearly worth more than the one that would have to go for it.
    fn rejected(&self, slot: Slot, victim: Ordered, now: Heat) -> Option<Ordered> {
        let node = self.get(slot)?;
        let key = self.key(node.heat, node.cost, now);
        let rejected = self.rank == Rank::Density && key < victim.key.saturating_add(CLEARLY);
        rejected.then_some(Ordered { key, slot })
    }

    fn is_hit(&self, slot: Slot) -> bool {
        self.pulses[slot.index()].is_hit()
    }

    fn sort_in(&mut self, slot: Slot, now: Heat) -> u32 {
        let pulse = &mut self.pulses[slot.index()];
        let heat = pulse.heat().unwrap_or_default();
        *pulse = Pulse::new(heat, false);
        let key = self.key(heat, self.cards[slot.index()].cost, now);
        if self.queue.side_of(slot) == Some(self.side) {
            self.queue.set_key(slot, key);
        } else {
            self.queue.remove(slot);
            self.queue.push(self.side, Ordered { key, slot });
        }
        key
    }

    /// The first that was not hit since it was sorted in, or the lowest of [`RESORTS_MAX`] that were.
    fn victim(&mut self, now: Heat) -> Option<Ordered> {
        let mut lowest: Option<Ordered> = None;
        self.migrate_first(now);
        for _ in 0..RESORTS_MAX {
            let first = self.queue.first(self.side)?;
            if !self.is_hit(first.slot) {
                return Some(first);
            }
            let key = self.sort_in(first.slot, now);
            if lowest.is_none_or(|lowest| key < lowest.key) {
                lowest = Some(Ordered { key, slot: first.slot });
            }
        }
        lowest
    }

    /// Keeps the floor small beside the ranks above it, which are 32-bit floats.
    fn reset_floor(&mut self) {
        self.evictions = 0;
        if self.rank == Rank::Aging {
            let floor = self.floor;
            self.queue.map_keys(self.side, |key| (f32::from_bits(key) - floor).max(0.0).to_bits());
            self.floor = 0.0;
        }
    }
}
