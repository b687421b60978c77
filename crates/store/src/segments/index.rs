//! Which objects are on disk, and where: 16 bytes each, in a table that is at most seven eighths full.

use super::location::Location;
use super::record::Key;
use hashbrown::HashTable;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Each part has a lock of its own and grows on its own, so that no growth holds up all.
const PARTS: usize = 64;

/// Hits counted for an object, at most.
pub const HITS_MAX: u8 = 3;
const HITS_MASK: u64 = 3;

/// Key to place. Holds 62 bits of a key: whoever reads the place checks the rest.
pub struct DiskIndex {
    parts: Box<[Mutex<HashTable<Slot>>]>,
}

/// 62 bits of the key and two that count hits; the place.
#[derive(Clone, Copy)]
struct Slot {
    tag: u64,
    place: u64,
}

impl Slot {
    fn is(&self, key: Key) -> bool {
        self.tag & !HITS_MASK == tag(key)
    }
}

#[allow(clippy::cast_possible_truncation)] // the low half is what is wanted
fn tag(key: Key) -> u64 {
    key.0 as u64 & !HITS_MASK
}

fn hash(tag: u64) -> u64 {
    // The two lowest bits are no part of the key; the product spreads the others to the top.
    (tag >> 2).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Default for DiskIndex {
    fn default() -> Self {
        DiskIndex { parts: (0..PARTS).map(|_| Mutex::new(HashTable::new())).collect() }
    }
}

impl DiskIndex {
    /// Where `key` is, counting a hit.
    pub fn hit(&self, key: Key) -> Option<Location> {
        let mut part = self.part(key);
        let slot = part.find_mut(hash(tag(key)), |s| s.is(key))?;
        if slot.tag & HITS_MASK < u64::from(HITS_MAX) {
            slot.tag += 1;
        }
        Some(Location::from_bits(slot.place))
    }

    /// Where `key` is, and how often it was hit since it was written, up to [`HITS_MAX`].
    pub fn peek(&self, key: Key) -> Option<(Location, u8)> {
        let part = self.part(key);
        let slot = part.find(hash(tag(key)), |s| s.is(key))?;
        let hits = u8::try_from(slot.tag & HITS_MASK).unwrap_or(HITS_MAX);
        Some((Location::from_bits(slot.place), hits))
    }

    /// Sets where `key` is. Its hits begin at none.
    pub fn insert(&self, key: Key, location: Location) {
        let (tag, place) = (tag(key), location.to_bits());
        let mut part = self.part(key);
        match part.find_mut(hash(tag), |s| s.is(key)) {
            Some(slot) => *slot = Slot { tag, place },
            None => {
                part.insert_unique(hash(tag), Slot { tag, place }, |s| hash(s.tag));
            }
        }
    }

    /// Changes where `key` is if it is still at `from`, and says whether it was. Its hits begin at none.
    pub fn relocate(&self, key: Key, from: Location, to: Location) -> bool {
        let mut part = self.part(key);
        match part.find_mut(hash(tag(key)), |s| s.is(key) && s.place == from.to_bits()) {
            Some(slot) => {
                *slot = Slot { tag: tag(key), place: to.to_bits() };
                true
            }
            None => false,
        }
    }

    /// Forgets `key`, and says whether it was there.
    pub fn remove(&self, key: Key) -> bool {
        self.remove_where(key, |_| true)
    }

    /// Forgets `key` if it is still at `location`, and says whether it was.
    pub fn remove_at(&self, key: Key, location: Location) -> bool {
        self.remove_where(key, |place| place == location.to_bits())
    }

    /// Forgets every object whose place is not to be kept. Walks the whole index.
    pub fn retain(&self, mut keep: impl FnMut(Location) -> bool) {
        for part in &self.parts {
            lock(part).retain(|slot| keep(Location::from_bits(slot.place)));
        }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|p| lock(p).len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        self.parts.iter().map(|p| lock(p).allocation_size()).sum()
    }

    fn remove_where(&self, key: Key, which: impl Fn(u64) -> bool) -> bool {
        let mut part = self.part(key);
        match part.find_entry(hash(tag(key)), |s| s.is(key) && which(s.place)) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }

    fn part(&self, key: Key) -> MutexGuard<'_, HashTable<Slot>> {
        let number = usize::try_from(key.0 >> 122).unwrap_or(0);
        lock(&self.parts[number % PARTS])
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u32) -> Location {
        Location::new(1, offset, 1).unwrap()
    }

    #[test]
    fn hits_are_counted_up_to_three_and_begin_anew_with_a_new_place() {
        let index = DiskIndex::default();
        let key = Key(77);
        assert_eq!(index.hit(key), None);
        index.insert(key, place(1));
        (0..9).for_each(|_| assert_eq!(index.hit(key), Some(place(1))));
        assert_eq!(index.peek(key), Some((place(1), HITS_MAX)));
        assert!(!index.relocate(key, place(8), place(2)));
        assert!(index.relocate(key, place(1), place(2)));
        assert_eq!(index.peek(key), Some((place(2), 0)));
    }

    #[test]
    fn an_object_is_forgotten_only_where_it_is() {
        let index = DiskIndex::default();
        index.insert(Key(8), place(1));
        index.insert(Key(12), place(2));
        assert!(!index.remove_at(Key(8), place(2)));
        assert!(index.remove_at(Key(8), place(1)));
        index.insert(Key(4), place(3));
        index.retain(|l| l == place(3));
        assert_eq!((index.len(), index.peek(Key(4))), (1, Some((place(3), 0))));
        assert!(index.remove(Key(4)) && index.is_empty());
    }

    #[test]
    fn a_million_objects_take_at_most_forty_bytes_each() {
        let index = DiskIndex::default();
        let mut key = 1u128;
        let count = 1_000_000;
        for i in 0..count {
            key = key.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(i);
            index.insert(Key(key), place(1));
        }
        let each = index.memory_bytes() as u128 / count;
        assert!(each <= 40, "{each} bytes each");
    }
}
