//! The heat of what was here or was asked for, and is not here now; bounded, and it forgets the coldest.

use super::heat::{Heat, Rebase};
use super::ranked::Tag;

/// How many heats are remembered for each entry of the cache, unless told otherwise.
const FOR_EACH_ENTRY: usize = 4;

/// How many heats share a place: one must go if there is one more.
const WAYS: usize = 8;

/// Fewest and most places.
const BUCKETS_MIN: usize = 128;
const BUCKETS_MAX: usize = 1 << 20;

type Bucket = [Memory; WAYS];

#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    tag: Tag,
    heat: Heat,
}

/// A table of tags and heats, eight to a place.
///
/// Another key with the same 31-bit tag is taken for the same: with a million entries about one key in 500
/// inherits a stranger's heat, which harms nothing but that key's rank.
#[derive(Debug)]
pub(super) struct History {
    buckets: Vec<Bucket>,
    /// Heats for each entry of the cache.
    for_each: usize,
}

impl History {
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
        let memory = self.bucket(tag).iter_mut().find(|m| m.tag == tag && m.heat > Heat::default())?;
        Some(std::mem::take(memory).heat)
    }

    /// Remembers a heat in place of the coldest, unless that is warmer.
    pub(super) fn put(&mut self, tag: Tag, heat: Heat) {
        let bucket = self.bucket(tag);
        let same = bucket.iter().position(|m| m.tag == tag);
        let coldest = || (0..WAYS).min_by_key(|&way| bucket[way].heat).unwrap_or(0);
        let way = same.unwrap_or_else(coldest);
        if bucket[way].heat <= heat {
            bucket[way] = Memory { tag, heat };
        }
    }

    /// Grows if the cache has more entries than this history is made for.
    pub(super) fn fit(&mut self, entries: usize) {
        let needed = buckets_for(entries, self.for_each);
        if needed > self.buckets.len() {
            let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); needed]);
            for memory in old.into_iter().flatten() {
                self.put(memory.tag, memory.heat);
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

    fn bucket(&mut self, tag: Tag) -> &mut Bucket {
        let mask = self.buckets.len() - 1;
        &mut self.buckets[tag.place() & mask]
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
        assert_eq!(history.take(tag(1)), Some(heat(3)));
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
        history.fit(10_000);
        assert!(history.overhead_bytes() > before);
        assert!((0..200).all(|n| history.take(tag(n)).is_some()));
    }

    #[test]
    fn its_size_has_a_limit() {
        assert_eq!(buckets_for(usize::MAX, 1), BUCKETS_MAX);
    }
}
