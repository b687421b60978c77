//! Which objects are on disk, and where: 20 bytes each, in tables of which each grows on its own.

use super::location::Location;
use super::record::Key;
use hashbrown::HashTable;
use selvedge_cache::eviction::disk::Mark;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many tables there are.
const PARTS: usize = 64;

/// Key to place, and to the mark that the eviction policy keeps with each.
///
/// It holds 32 bits of a key beside the six that choose a table: whoever reads the place checks the rest. With
/// fifty million objects one in 5,000 shares these bits with another, of which only the later one is found.
///
/// A table doubles when it is full. The tables have different shares of the keys, up to twice the smallest, so
/// that they double one after the other: the whole is always as full as a table is on average, and never all
/// of it is moved at once.
pub struct DiskIndex {
    parts: Box<[Mutex<HashTable<Slot>>]>,
    /// The upper end of each table's share of the keys' highest 32 bits.
    ends: [u32; PARTS],
}

#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    /// The halves of the place: as one number they would take four bytes more.
    place: [u32; 2],
    mark: Mark,
}

/// What the index has of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Where it is.
    pub location: Location,
    /// What the eviction policy knows of it.
    pub mark: Mark,
}

impl Slot {
    fn new(tag: u32, location: Location, mark: Mark) -> Self {
        Slot { tag, place: halves(location), mark }
    }

    fn location(&self) -> Location {
        Location::from_bits(u64::from(self.place[0]) << 32 | u64::from(self.place[1]))
    }

    fn indexed(&self) -> Indexed {
        Indexed { location: self.location(), mark: self.mark }
    }
}

#[allow(clippy::cast_possible_truncation)] // one half each
fn halves(location: Location) -> [u32; 2] {
    [(location.to_bits() >> 32) as u32, location.to_bits() as u32]
}

#[allow(clippy::cast_possible_truncation)] // the lowest bits are what is wanted
fn tag(key: Key) -> u32 {
    key.0 as u32
}

#[allow(clippy::cast_possible_truncation)] // the highest bits are what is wanted
fn high(key: Key) -> u32 {
    (key.0 >> 96) as u32
}

/// A table takes its buckets from the low bits of this and its filter from the high ones.
fn hash(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Default for DiskIndex {
    fn default() -> Self {
        DiskIndex { parts: (0..PARTS).map(|_| Mutex::default()).collect(), ends: ends() }
    }
}

/// Shares that grow geometrically from one to two.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below 2^32, and saturating
fn ends() -> [u32; PARTS] {
    std::array::from_fn(|i| ((((i + 1) as f64 / PARTS as f64).exp2() - 1.0) * 4_294_967_296.0) as u32)
}

impl DiskIndex {
    /// What is known of `key`.
    pub fn get(&self, key: Key) -> Option<Indexed> {
        let part = self.part(key);
        part.find(hash(tag(key)), |s| s.tag == tag(key)).map(Slot::indexed)
    }

    /// Lets `change` change the mark of `key`, and says where it is.
    pub fn update(&self, key: Key, change: impl FnOnce(&mut Mark, Location)) -> Option<Location> {
        let mut part = self.part(key);
        let slot = part.find_mut(hash(tag(key)), |s| s.tag == tag(key))?;
        let location = slot.location();
        change(&mut slot.mark, location);
        Some(location)
    }

    /// Sets where `key` is; says what was known of it.
    pub fn insert(&self, key: Key, location: Location, mark: Mark) -> Option<Indexed> {
        let new = Slot::new(tag(key), location, mark);
        let mut part = self.part(key);
        if let Some(slot) = part.find_mut(hash(new.tag), |s| s.tag == new.tag) {
            return Some(std::mem::replace(slot, new).indexed());
        }
        part.insert_unique(hash(new.tag), new, |s| hash(s.tag));
        None
    }

    /// Changes where `key` is if it is still at `from`, and says whether it was. It keeps its mark.
    pub fn relocate(&self, key: Key, from: Location, to: Location) -> bool {
        let mut part = self.part(key);
        match part.find_mut(hash(tag(key)), |s| s.tag == tag(key) && s.location() == from) {
            Some(slot) => {
                slot.place = halves(to);
                true
            }
            None => false,
        }
    }

    /// Forgets `key`; says what was known of it.
    pub fn remove(&self, key: Key) -> Option<Indexed> {
        self.remove_where(key, |_| true)
    }

    /// Forgets `key` if it is still at `location`; says what was known of it.
    pub fn remove_at(&self, key: Key, location: Location) -> Option<Indexed> {
        self.remove_where(key, |place| place == location)
    }

    /// Forgets every object of a share of the keys (of [`DiskIndex::shares`]) that is not to be kept. `keep` is
    /// given a number that stands for the key's name, as `name` has it.
    pub fn retain(&self, share: usize, mut keep: impl FnMut(u64, &mut Indexed) -> bool) {
        let Some(part) = self.parts.get(share) else { return };
        lock(part).retain(|slot| {
            let mut indexed = slot.indexed();
            let kept = keep(name_of(share, slot.tag), &mut indexed);
            slot.mark = indexed.mark;
            kept
        });
    }

    /// How many shares of the keys there are.
    pub fn shares(&self) -> usize {
        self.parts.len()
    }

    /// A number that stands for a key, as far as the index can tell keys apart.
    pub fn name(&self, key: Key) -> u64 {
        name_of(self.share(key), tag(key))
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

    fn remove_where(&self, key: Key, which: impl Fn(Location) -> bool) -> Option<Indexed> {
        let mut part = self.part(key);
        match part.find_entry(hash(tag(key)), |s| s.tag == tag(key) && which(s.location())) {
            Ok(entry) => Some(entry.remove().0.indexed()),
            Err(_) => None,
        }
    }

    fn share(&self, key: Key) -> usize {
        self.ends.partition_point(|end| *end <= high(key)).min(PARTS - 1)
    }

    fn part(&self, key: Key) -> MutexGuard<'_, HashTable<Slot>> {
        lock(&self.parts[self.share(key)])
    }
}

/// All bits depend on all bits (the finalizer of splitmix64, Steele et al., 2014).
fn name_of(share: usize, tag: u32) -> u64 {
    let n = (share as u64) << 32 | u64::from(tag);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
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

    fn spread(i: u128) -> Key {
        Key((i + 1).wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645))
    }

    #[test]
    fn an_object_is_forgotten_only_where_it_is() {
        let index = DiskIndex::default();
        index.insert(Key(8), place(1), Mark::default());
        index.insert(Key(12), place(2), Mark::default());
        assert_eq!(index.remove_at(Key(8), place(2)), None);
        assert_eq!(index.remove_at(Key(8), place(1)).map(|i| i.location), Some(place(1)));
        index.insert(Key(4), place(3), Mark::default());
        for share in 0..index.shares() {
            index.retain(share, |_, i| i.location == place(3));
        }
        assert_eq!((index.len(), index.get(Key(4)).map(|i| i.location)), (1, Some(place(3))));
        assert!(index.remove(Key(4)).is_some() && index.is_empty());
    }

    #[test]
    fn an_object_moves_only_from_where_it_is() {
        let index = DiskIndex::default();
        index.insert(Key(77), place(1), Mark::default());
        assert!(!index.relocate(Key(77), place(8), place(2)));
        assert!(index.relocate(Key(77), place(1), place(2)));
        assert_eq!(index.update(Key(77), |_, at| assert_eq!(at, place(2))), Some(place(2)));
        assert_eq!(index.insert(Key(77), place(3), Mark::default()).map(|i| i.location), Some(place(2)));
    }

    #[test]
    fn the_shares_of_all_keys_are_found_again() {
        let index = DiskIndex::default();
        let keys: Vec<Key> = (0..10_000).map(spread).chain([Key(0), Key(u128::MAX)]).collect();
        for key in &keys {
            index.insert(*key, place(1), Mark::default());
        }
        let mut names = Vec::new();
        for share in 0..index.shares() {
            index.retain(share, |name, _| {
                names.push(name);
                true
            });
        }
        let mut expected: Vec<u64> = keys.iter().map(|key| index.name(*key)).collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn objects_take_at_most_forty_bytes_each_however_many_there_are() {
        let index = DiskIndex::default();
        for i in 0..2_000_000u128 {
            index.insert(spread(i), place(1), Mark::default());
            if i > 100_000 && i % 50_000 == 0 {
                let each = index.memory_bytes() as u128 / i;
                assert!(each <= 40, "{each} bytes each at {i}");
            }
        }
        assert!(index.len() > 1_999_000, "{}", index.len());
    }
}
