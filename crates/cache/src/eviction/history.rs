//! The heat of what was here or was asked for, and is not here now; bounded, and it forgets the coldest.

use super::heat::{Coarse, Heat, Rebase};
use super::ranked::Tag;

/// How many heats are remembered for each entry of the cache, unless told otherwise.
const FOR_EACH_ENTRY: usize = 4;

/// How many heats share a place: one must go if there is one more. Together they are a line of the processor's
/// cache.
const WAYS: usize = 16;

/// Fewest and most places.
const BUCKETS_MIN: usize = 64;
const BUCKETS_MAX: usize = 1 << 19;

type Bucket = [Memory; WAYS];

/// A heat, and what is kept of its tag: the place where it lies says the rest.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    mark: u16,
    heat: Coarse,
}

/// How many of a tag's bits the place says; there may be fewer places.
const PLACE_BITS: u32 = 15;

impl Memory {
    /// What is kept of a tag.
    fn mark(tag: Tag) -> u16 {
        (tag.place() >> PLACE_BITS) as u16
    }

    /// Whether it may lie in that one of so many places.
    fn may_lie_in(&self, place: usize, buckets: usize) -> bool {
        let known = (buckets >> PLACE_BITS).saturating_sub(1);
        usize::from(self.mark) & known == place >> PLACE_BITS
    }
}

/// A table of tags and heats, sixteen to a place.
///
/// Another key with the same mark in the same place is taken for the same: about one newcomer in 4000
/// inherits a stranger's heat, which harms nothing but that key's rank.
#[derive(Debug)]
pub(super) struct History {
    buckets: Vec<Bucket>,
    /// Heats for each entry of the cache.
    for_each: usize,
}

impl History {
    /// Bytes of memory for an entry of the cache, at most.
    pub(super) const ENTRY_BYTES_MAX: usize = 2 * FOR_EACH_ENTRY * size_of::<Memory>();

    /// A history for so many entries of the cache.
    pub(super) fn new(entries: usize) -> Self {
        History::with(entries, FOR_EACH_ENTRY)
    }

    /// A history of `for_each` heats for each of so many entries of the cache.
    pub(super) fn with(entries: usize, for_each: usize) -> Self {
        History { buckets: vec![Bucket::default(); buckets_for(entries, for_each)], for_each }
    }

    /// The heat of this tag, which is then forgotten.
    pub(super) fn take(&mut self, tag: Tag) -> Option<Heat> {
        let (place, mark) = (self.place(tag), Memory::mark(tag));
        let memory = self.buckets[place].iter_mut().find(|m| m.mark == mark && m.heat != Coarse::NONE)?;
        std::mem::take(memory).heat.heat()
    }

    /// Remembers a heat in place of the coldest, unless that is warmer.
    pub(super) fn put(&mut self, tag: Tag, heat: Heat) {
        let place = self.place(tag);
        self.put_in(place, Memory { mark: Memory::mark(tag), heat: Coarse::of(heat) });
    }

    /// Grows if the cache has more entries than this history is made for.
    pub(super) fn fit(&mut self, entries: usize) {
        let (old, new) = (self.buckets.len(), buckets_for(entries, self.for_each));
        if new <= old {
            return;
        }
        let before = std::mem::replace(&mut self.buckets, vec![Bucket::default(); new]);
        for (index, bucket) in before.iter().enumerate() {
            // Bits of a tag that neither the former place nor the mark told may be any.
            for place in (index..new).step_by(old) {
                bucket.iter().filter(|m| m.may_lie_in(place, new)).for_each(|m| self.put_in(place, *m));
            }
        }
    }

    /// Moves the zero of time.
    pub(super) fn rebase(&mut self, by: Rebase) {
        for memory in self.buckets.iter_mut().flatten() {
            memory.heat = memory.heat.rebased(by);
        }
    }

    /// Bytes of memory held.
    pub(super) fn overhead_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    fn put_in(&mut self, place: usize, memory: Memory) {
        let bucket = &mut self.buckets[place];
        let same = bucket.iter().position(|m| m.mark == memory.mark);
        let coldest = || (0..WAYS).min_by_key(|&way| bucket[way].heat).unwrap_or(0);
        let way = same.unwrap_or_else(coldest);
        if bucket[way].heat <= memory.heat {
            bucket[way] = memory;
        }
    }

    fn place(&self, tag: Tag) -> usize {
        tag.place() & (self.buckets.len() - 1)
    }
}

/// A power of two.
fn buckets_for(entries: usize, for_each: usize) -> usize {
    let buckets = entries.saturating_mul(for_each).div_ceil(WAYS);
    buckets.clamp(BUCKETS_MIN, BUCKETS_MAX).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(n: u64) -> Tag {
        Tag::new(n, 1)
    }

    fn heat(n: u32) -> Heat {
        (0..n).fold(Heat::once(super::super::heat::Clock::default().now()), |h, _| h.touched(h))
    }

    #[test]
    fn gives_back_what_it_was_given_once() {
        let mut history = History::new(100);
        history.put(tag(1), heat(3));
        assert_eq!(history.take(tag(2)), None);
        assert_eq!(history.take(tag(1)), Coarse::of(heat(3)).heat());
        assert_eq!(history.take(tag(1)), None);
    }

    #[test]
    fn the_coldest_are_forgotten_first() {
        let mut history = History::new(0);
        (0..100).for_each(|n| history.put(tag(n), heat(9)));
        (100..100_000).for_each(|n| history.put(tag(n), heat(1)));
        let kept = (0..100).filter(|&n| history.take(tag(n)).is_some()).count();
        assert_eq!(kept, 100);
    }

    #[test]
    fn growing_keeps_everything() {
        let mut history = History::new(0);
        (0..200).for_each(|n| history.put(tag(n), heat(2)));
        let before = history.overhead_bytes();
        [10_000, 100_000, 1_000_000].into_iter().for_each(|entries| history.fit(entries));
        assert!(history.overhead_bytes() > before);
        assert!((0..200).all(|n| history.take(tag(n)).is_some()));
    }

    #[test]
    fn its_size_has_a_limit() {
        assert_eq!(buckets_for(usize::MAX, 1), BUCKETS_MAX);
    }
}
