//! Two shadows of the cache, one for each rank, replay a sample of the requests; the better one wins.
//!
//! A shadow holds no content, only tags, heats and costs of the sampled keys, and has the same share of the
//! cache's bytes as they are of the keys (miniature simulation: Waldspurger et al., USENIX ATC 2017).

use hashbrown::HashTable;

use super::Slot;
use super::heat::{Heat, Rebase};
use super::ranked::{Aim, Rank, Ranked, Tag};

/// A shadow is made for about as many entries; the sample is as large as that allows.
const SHADOW_ENTRIES: usize = 256;

/// At least one key in so many (as a power of two) is sampled.
const SAMPLE_BITS_MAX: u32 = 24;

/// How many requests that only one shadow answered are weighed.
const WINDOW: f32 = 512.0;

/// By how many standard deviations a rank must be ahead to take over.
const CONFIDENCE: f32 = 3.0;

/// Both shadows and how they fare.
#[derive(Debug)]
pub(super) struct Duel {
    aim: Aim,
    density: Shadow,
    aging: Shadow,
    winner: Rank,
    capacity: u64,
    /// One in `2^sample_bits` keys is sampled.
    sample_bits: u32,
    /// What only density's hits gained less what only aging's did, older ones counting less.
    lead: f32,
    /// The variance of that, if both were alike: the squares' sum.
    variance: f32,
}

impl Duel {
    /// For a cache of that many bytes.
    pub(super) fn new(aim: Aim, capacity: u64) -> Self {
        Duel {
            aim,
            density: Shadow::new(aim, Rank::Density, capacity),
            aging: Shadow::new(aim, Rank::Aging, capacity),
            winner: Rank::Density,
            capacity,
            sample_bits: 0,
            lead: 0.0,
            variance: 0.0,
        }
    }

    /// The rank that does better.
    pub(super) fn winner(&self) -> Rank {
        self.winner
    }

    /// Whether requests for this tag are of the sample.
    pub(super) fn samples(&self, tag: Tag) -> bool {
        tag.lot() & ((1 << self.sample_bits) - 1) == 0
    }

    /// A request of the sample.
    pub(super) fn request(&mut self, tag: Tag, heat: Heat, cost: u32, now: Heat) {
        let density = self.density.request(tag, heat, cost, now);
        let aging = self.aging.request(tag, heat, cost, now);
        if density != aging {
            let fade = 1.0 - 1.0 / WINDOW;
            let gain = self.aim.gain(cost);
            self.lead = self.lead * fade + if density { gain } else { -gain };
            self.variance = self.variance * fade + gain * gain;
            self.judge();
        }
    }

    /// Adapts the sample to the number of entries: of the cache, and of the shadows.
    pub(super) fn fit(&mut self, entries: usize) {
        let sampled = entries >> self.sample_bits;
        let held = self.density.entries.len().max(self.aging.entries.len());
        if sampled > 2 * SHADOW_ENTRIES || held > 4 * SHADOW_ENTRIES {
            self.resample(self.sample_bits + 1);
        } else if sampled < SHADOW_ENTRIES / 4 && held < SHADOW_ENTRIES && self.sample_bits > 0 {
            self.resample(self.sample_bits - 1);
        }
    }

    /// The cache has now more or fewer bytes.
    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.resample(self.sample_bits);
    }

    /// Moves the zero of time.
    pub(super) fn rebase(&mut self, by: Rebase) {
        self.density.entries.rebase(by);
        self.aging.entries.rebase(by);
    }

    /// Bytes of memory held.
    pub(super) fn overhead_bytes(&self) -> usize {
        self.density.overhead_bytes() + self.aging.overhead_bytes()
    }

    fn judge(&mut self) {
        let margin = CONFIDENCE * self.variance.sqrt();
        if self.lead > margin {
            self.winner = Rank::Density;
        } else if self.lead < -margin {
            self.winner = Rank::Aging;
        }
    }

    fn resample(&mut self, bits: u32) {
        self.sample_bits = bits.min(SAMPLE_BITS_MAX);
        let bits = self.sample_bits;
        let mask = (1 << bits) - 1;
        for shadow in [&mut self.density, &mut self.aging] {
            shadow.entries.set_capacity((self.capacity >> bits).max(1));
            shadow.retain(|tag| tag.lot() & mask == 0);
        }
    }
}

/// What a cache of one rank would hold.
#[derive(Debug)]
struct Shadow {
    entries: Ranked,
    slots: HashTable<Slot>,
    free: Vec<Slot>,
}

impl Shadow {
    fn new(aim: Aim, rank: Rank, capacity: u64) -> Self {
        Shadow { entries: Ranked::new(aim, rank, capacity), slots: HashTable::new(), free: Vec::new() }
    }

    /// Whether it is a hit.
    fn request(&mut self, tag: Tag, heat: Heat, cost: u32, now: Heat) -> bool {
        let entries = &mut self.entries;
        let same = |slot: &Slot| entries.get(*slot).is_some_and(|node| node.tag == tag);
        if let Some(&slot) = self.slots.find(hash(tag), same) {
            self.entries.set_heat(slot, heat);
            return true;
        }
        let slot = self.free.pop().unwrap_or(Slot(self.entries.len() as u32));
        self.entries.insert(slot, tag, heat, cost, now);
        let entries = &self.entries;
        self.slots.insert_unique(hash(tag), slot, |s| entries.get(*s).map_or(0, |node| hash(node.tag)));
        while self.entries.used() > self.entries.capacity() {
            let Some((slot, tag, _)) = self.entries.pop(now) else { break };
            self.forget(slot, tag);
        }
        false
    }

    fn retain(&mut self, keep: impl Fn(Tag) -> bool) {
        let tag = |slot: Slot| self.entries.get(slot).map(|node| (slot, node.tag));
        let gone: Vec<_> =
            self.slots.iter().filter_map(|&slot| tag(slot)).filter(|(_, tag)| !keep(*tag)).collect();
        for (slot, tag) in gone {
            self.entries.remove(slot);
            self.forget(slot, tag);
        }
    }

    fn forget(&mut self, slot: Slot, tag: Tag) {
        if let Ok(entry) = self.slots.find_entry(hash(tag), |s| *s == slot) {
            entry.remove();
        }
        self.free.push(slot);
    }

    fn overhead_bytes(&self) -> usize {
        let slots = self.slots.allocation_size() + self.free.capacity() * size_of::<Slot>();
        self.entries.overhead_bytes() + slots
    }
}

fn hash(tag: Tag) -> u64 {
    u64::from(tag.lot()).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
