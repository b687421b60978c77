//! What to write to disk, and what to write again when its oldest segment is reclaimed.
//!
//! The disk is a log of segments: what is written goes to its end, and room is made by reclaiming its
//! beginning. So nothing is evicted at a time of our choosing; instead two questions are answered, by the same
//! yardstick: [`offer`](DiskPolicy::offer) (is this worth writing?) and [`keep`](DiskPolicy::keep) (the
//! segment goes, is this entry worth writing again?). Yes, if it is among the hottest that fill
//! [`KEEP_SHARE`] of the disk. The rest of the log is a queue in which others have their chance of a hit.
//!
//! Every byte counts the same, whatever its entry's size. The store keeps a [`Mark`] of eight bytes with each
//! entry. As in RAM there are two yardsticks, and shadows on a sample of the keys decide which rules: heat, or
//! heat above the yardstick's own level when last asked for. Marks carry both, so that nothing has to be
//! rewritten when the other takes over.

mod histogram;

use histogram::Histogram;

use super::duel::Duel;
use super::heat::{Clock, Heat, Rebase};
use super::history::History;
use super::ranked::{Aim, Rank, Tag};

/// The share of the disk for what is written again, in percent. The more, the closer to keeping the hottest
/// alone, and the more is written: at most `1 / (1 - share)` bytes for each admitted one.
pub const KEEP_SHARE: u64 = 90;

/// Marks have 8 bits of fraction, heats 16.
const MARK_SHIFT: u32 = 8;

/// How many heats of what is not on disk are remembered for each entry that is: the disk has many entries.
const REMEMBERED_FOR_EACH: usize = 1;

/// Counts above this are taken for it where they are added to the level of [`Rank::Aging`].
const COUNT_MAX: f32 = 240.0;

/// What the store keeps with an entry for this policy, eight bytes, of no meaning elsewhere.
///
/// It is valid for the policy that made it. After a restart [`DiskPolicy::adopt`] makes another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// The heat, on a time axis that is never rebased; wraps after 16 million half-lives.
    heat: u32,
    /// The count above the level when last asked for, in 256ths; wraps too.
    aging: u32,
}

/// Decides over a disk tier's content; one shard, without I/O.
#[derive(Debug)]
pub struct DiskPolicy {
    clock: Clock,
    /// By how much heats were rebased in all.
    rebased: u64,
    history: History,
    duel: Duel,
    capacity: u64,
    entries: usize,
    by_heat: Histogram,
    by_aging: Histogram,
    seed: u64,
}

impl DiskPolicy {
    /// A policy for `capacity_bytes` of log, of about `entries_hint` entries (0: unknown).
    pub fn new(capacity_bytes: u64, entries_hint: usize, seed: u64) -> Self {
        let mut policy = DiskPolicy {
            clock: Clock::default(),
            rebased: 0,
            history: History::with(entries_hint, REMEMBERED_FOR_EACH),
            duel: Duel::new(Aim::Bytes, capacity_bytes),
            capacity: 0,
            entries: 0,
            by_heat: Histogram::new(4),
            by_aging: Histogram::new(6),
            seed,
        };
        policy.set_capacity(capacity_bytes);
        policy
    }

    /// An entry on disk was asked for, also if RAM answered.
    pub fn on_hit(&mut self, mark: &mut Mark, hash: u64, cost: u32) {
        self.on_hits(mark, hash, cost, 1);
    }

    /// As so many calls of [`on_hit`](Self::on_hit) in a row, at little more than the cost of one.
    pub fn on_hits(&mut self, mark: &mut Mark, hash: u64, cost: u32, times: u8) {
        let now = (0..times).fold(self.clock.now(), |_, _| self.tick());
        let heat = (0..times).fold(self.heat(*mark), |heat, _| heat.touched(now));
        self.forget(*mark, cost);
        *mark = self.mark(heat, now);
        self.count(*mark, cost);
        self.contest(Tag::new(hash, self.seed), heat, cost);
    }

    /// Something of that size that is not on disk was asked for.
    pub fn on_miss(&mut self, hash: u64, cost: u32) {
        let now = self.tick();
        let tag = Tag::new(hash, self.seed);
        let heat = self.history.take(tag).map_or(Heat::once(now), |heat| heat.touched(now));
        self.history.put(tag, heat);
        self.contest(tag, heat, cost);
    }

    /// Whether to write this (fetched, or evicted from RAM): `Some` counts it as an entry on disk, to be kept
    /// with this mark; if it cannot be written after all, call [`remove`](Self::remove).
    pub fn offer(&mut self, hash: u64, cost: u32) -> Option<Mark> {
        let now = self.clock.now();
        let tag = Tag::new(hash, self.seed);
        let heat = self.history.take(tag).unwrap_or(Heat::once(now));
        let mark = self.mark(heat, now);
        if u64::from(cost) > self.capacity || !self.is_hot(mark) {
            self.history.put(tag, heat);
            return None;
        }
        self.enter(mark, cost);
        Some(mark)
    }

    /// An entry was found on disk at a start: it counts as asked for once, now.
    pub fn adopt(&mut self, cost: u32) -> Mark {
        let now = self.clock.now();
        let mark = self.mark(Heat::once(now), now);
        self.enter(mark, cost);
        mark
    }

    /// The entry's segment is reclaimed: whether to write it again, under the same mark. If not, it no longer
    /// counts as on disk.
    pub fn keep(&mut self, mark: Mark, hash: u64, cost: u32) -> bool {
        let hot = self.is_hot(mark);
        if !hot {
            self.remove(mark, hash, cost);
        }
        hot
    }

    /// The entry is no longer on disk (purged, replaced, damaged).
    pub fn remove(&mut self, mark: Mark, hash: u64, cost: u32) {
        self.forget(mark, cost);
        self.entries = self.entries.saturating_sub(1);
        self.clock.set_entries(self.entries);
        let heat = self.heat(mark);
        self.history.put(Tag::new(hash, self.seed), heat);
    }

    /// The log may now hold more or fewer bytes.
    pub fn set_capacity(&mut self, capacity_bytes: u64) {
        let budget = u128::from(capacity_bytes) * u128::from(KEEP_SHARE) / 100;
        self.capacity = capacity_bytes;
        self.by_heat.set_budget(budget as u64);
        self.by_aging.set_budget(budget as u64);
        self.duel.set_capacity(capacity_bytes);
    }

    /// By what entries are judged now.
    pub fn rank(&self) -> Rank {
        self.duel.winner()
    }

    /// Bytes of memory that this policy itself holds; marks are the store's.
    pub fn overhead_bytes(&self) -> usize {
        self.history.overhead_bytes() + self.duel.overhead_bytes()
    }

    fn tick(&mut self) -> Heat {
        if let Some(by) = self.clock.tick() {
            self.rebase(by);
        }
        self.clock.now()
    }

    fn rebase(&mut self, by: Rebase) {
        self.rebased += u64::from(by.0);
        self.history.rebase(by);
        self.duel.rebase(by);
    }

    fn enter(&mut self, mark: Mark, cost: u32) {
        self.count(mark, cost);
        self.entries += 1;
        self.clock.set_entries(self.entries);
        self.history.fit(self.entries);
    }

    fn is_hot(&self, mark: Mark) -> bool {
        match self.rank() {
            Rank::Density => self.by_heat.is_within(mark.heat),
            Rank::Aging => self.by_aging.is_within(mark.aging),
        }
    }

    fn mark(&self, heat: Heat, now: Heat) -> Mark {
        let on_axis = self.rebased + u64::from(heat.to_bits());
        let count = heat.count(now).min(COUNT_MAX);
        Mark {
            heat: (on_axis >> MARK_SHIFT) as u32,
            aging: self.by_aging.cut().wrapping_add((count * 256.0) as u32),
        }
    }

    fn heat(&self, mark: Mark) -> Heat {
        let now = self.clock.now().to_bits();
        let now_mark = ((self.rebased + u64::from(now)) >> MARK_SHIFT) as u32;
        let ahead = i64::from(mark.heat.wrapping_sub(now_mark).cast_signed()) << MARK_SHIFT;
        Heat::from_bits((i64::from(now) + ahead).clamp(0, i64::from(u32::MAX)) as u32)
    }

    fn count(&mut self, mark: Mark, cost: u32) {
        self.by_heat.add(mark.heat, u64::from(cost));
        self.by_aging.add(mark.aging, u64::from(cost));
    }

    fn forget(&mut self, mark: Mark, cost: u32) {
        self.by_heat.remove(mark.heat, u64::from(cost));
        self.by_aging.remove(mark.aging, u64::from(cost));
    }

    fn contest(&mut self, tag: Tag, heat: Heat, cost: u32) {
        self.duel.fit(self.entries);
        if self.duel.samples(tag) {
            self.duel.request(tag, heat, cost.max(1), self.clock.now());
        }
    }
}

#[cfg(test)]
mod tests;
