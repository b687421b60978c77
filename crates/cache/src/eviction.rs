//! Which entries to keep in RAM and which to let go: recency, frequency and size, weighed in one number.
//!
//! [`Eviction`] is one shard, without I/O, clock or allocation beyond amortised growth. The caller owns the
//! entries in a slab and names each by its [`Slot`]; this module only says which slot has to go.
//!
//! Every entry has a [`heat`](Heat): how often it was asked for, where a request counts half as much after
//! each *half-life* (sixteen times as many requests as there are entries). Heat outlives the entry for a
//! while in a bounded [history]. From heat and size one of two [ranks](Rank) follows, and the entry
//! of the lowest rank goes first, which may be the one that has just come:
//!
//! - *density*, heat by byte: what is best when popularity is steady or drifts;
//! - *aging*, Greedy-Dual-Size-Frequency over that heat: better where an object's requests come in bursts.
//!
//! Two [shadows](duel) replay a sample of the requests, one by each rank, and the better one rules.
//!
//! Costs: a hit writes four bytes, which lie beside those of other entries, and touches no queue. An insertion
//! is a push on a heap. An eviction re-sorts at most [`RESORTS_MAX`] entries that were hit since they were last
//! looked at. Changing the rank moves a few entries at a time. Metadata is 24 bytes for an entry and 16 to 32
//! for its share of the history ([`Eviction::ENTRY_BYTES`]).

pub mod disk;
mod duel;
mod heat;
mod history;
mod queue;
mod ranked;

use duel::Duel;
use heat::{Clock, Heat};
use history::History;
use ranked::{Aim, Ranked, Tag};
pub use ranked::{RESORTS_MAX, Rank};

/// The caller's name for an entry: an index into its slab, below [`Slot::LIMIT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u32);

impl Slot {
    /// Slots are below this; higher ones are not accepted.
    pub const LIMIT: u32 = 1 << 31;

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// What to keep of one shard, bounded in bytes.
///
/// Order of calls: on a hit [`on_hit`](Self::on_hit); on a miss that is stored [`insert`](Self::insert), on
/// another miss [`record_miss`](Self::record_miss). After each insertion, growth or smaller capacity call
/// [`pop_victim`](Self::pop_victim) and drop what it names until it names nothing.
#[derive(Debug)]
pub struct Eviction {
    clock: Clock,
    entries: Ranked,
    history: History,
    duel: Duel,
    seed: u64,
}

impl Eviction {
    /// Bytes of memory that an entry takes here, at most; without what growing vectors have in reserve.
    pub const ENTRY_BYTES: usize = Ranked::ENTRY_BYTES + History::ENTRY_BYTES_MAX;

    /// A policy for `capacity_bytes`, of which about `entries_hint` entries are expected to fit (0: unknown).
    ///
    /// The seed makes positions in the history unpredictable to those who choose the hashes.
    pub fn new(capacity_bytes: u64, entries_hint: usize, seed: u64) -> Self {
        Eviction {
            clock: Clock::default(),
            entries: Ranked::new(Aim::Objects, Rank::Density, capacity_bytes),
            history: History::new(entries_hint),
            duel: Duel::new(Aim::Objects, capacity_bytes),
            seed,
        }
    }

    /// An entry was asked for; `hash` is as it was told at its insertion. Unknown slots are ignored.
    pub fn on_hit(&mut self, slot: Slot, hash: u64) {
        let now = self.tick();
        let Some(heat) = self.entries.touch(slot, now) else { return };
        self.contest(slot, Tag::new(hash, self.seed), heat);
    }

    /// An entry was asked for, fetched and put into `slot`; `hash` is its key's, `cost` its bytes.
    ///
    /// A slot that is in use is removed first. An entry that is larger than the capacity, or that is worth
    /// less than all others, is the next victim: it is not admitted. To replace an entry by a newer one of the
    /// same key, [`remove`](Self::remove) the old one first, then the new one inherits its history.
    pub fn insert(&mut self, slot: Slot, hash: u64, cost: u32) {
        if slot.0 >= Slot::LIMIT {
            return;
        }
        self.remove(slot);
        let now = self.tick();
        let tag = Tag::new(hash, self.seed);
        let heat = self.history.take(tag).map_or(Heat::once(now), |heat| heat.touched(now));
        self.entries.insert(slot, tag, heat, cost.max(1), now);
        self.clock.set_entries(self.entries.len());
        self.history.fit(self.entries.len());
        self.duel.fit(self.entries.len());
        self.contest(slot, tag, heat);
    }

    /// Something that is not here was asked for and will not be put here: it counts, should it come later.
    pub fn record_miss(&mut self, hash: u64) {
        let now = self.tick();
        let tag = Tag::new(hash, self.seed);
        let heat = self.history.take(tag).map_or(Heat::once(now), |heat| heat.touched(now));
        self.history.put(tag, heat);
    }

    /// Who has to go, while more bytes are used than there are; that slot is then free.
    pub fn pop_victim(&mut self) -> Option<Slot> {
        if self.used_bytes() <= self.capacity_bytes() {
            return None;
        }
        let (slot, tag, heat) = self.entries.pop(self.clock.now())?;
        self.history.put(tag, heat);
        self.clock.set_entries(self.entries.len());
        Some(slot)
    }

    /// An entry is gone (purged, replaced): its heat goes to the history. Unknown slots are ignored.
    pub fn remove(&mut self, slot: Slot) {
        if let Some((tag, heat)) = self.entries.remove(slot) {
            self.history.put(tag, heat);
            self.clock.set_entries(self.entries.len());
        }
    }

    /// An entry's bytes have changed. Unknown slots are ignored.
    pub fn set_cost(&mut self, slot: Slot, cost: u32) {
        self.entries.set_cost(slot, cost.max(1), self.clock.now());
    }

    /// There are now more or fewer bytes to use.
    pub fn set_capacity(&mut self, capacity_bytes: u64) {
        self.entries.set_capacity(capacity_bytes);
        self.duel.set_capacity(capacity_bytes);
    }

    /// Bytes of all entries.
    pub fn used_bytes(&self) -> u64 {
        self.entries.used()
    }

    /// Bytes that may be used.
    pub fn capacity_bytes(&self) -> u64 {
        self.entries.capacity()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// By what entries are ranked now.
    pub fn rank(&self) -> Rank {
        self.entries.rank()
    }

    /// Bytes of memory that this policy itself holds.
    pub fn overhead_bytes(&self) -> usize {
        self.entries.overhead_bytes() + self.history.overhead_bytes() + self.duel.overhead_bytes()
    }

    /// One request passes; keeps numbers that grow with time in range.
    fn tick(&mut self) -> Heat {
        if let Some(by) = self.clock.tick() {
            self.entries.rebase(by);
            self.history.rebase(by);
            self.duel.rebase(by);
        }
        self.entries.migrate(self.clock.now());
        self.clock.now()
    }

    /// Lets the two ranks compete over this request, if it is of the sample.
    fn contest(&mut self, slot: Slot, tag: Tag, heat: Heat) {
        if self.duel.samples(tag)
            && let Some(node) = self.entries.get(slot)
        {
            self.duel.request(tag, heat, node.cost, self.clock.now());
            self.entries.set_rank(self.duel.winner());
        }
    }
}

#[cfg(test)]
mod tests;
