//! One shard of the cache in memory: values by key, bounded in bytes.
//!
//! It knows nothing of HTTP: the driver decides what a value is and whether it may be used. What is evicted
//! is handed back, so that the driver can drop it outside its lock or keep it on disk.

use crate::eviction::{Eviction, Slot};
use crate::semantics::KeyHash;
use hashbrown::HashTable;

/// Values by key, bounded in bytes.
pub struct Shard<V> {
    table: HashTable<u32>,
    entries: Vec<Option<Entry<V>>>,
    free: Vec<u32>,
    eviction: Eviction,
}

struct Entry<V> {
    key: KeyHash,
    value: V,
    checked: u32,
}

/// A value found, with what is remembered beside it.
pub struct Found<'a, V> {
    /// The value.
    pub value: &'a V,
    /// The generation of purge stamps it was checked against (see [`Shard::mark_checked`]).
    pub checked: u32,
}

impl<V> Shard<V> {
    /// Bytes of memory for an entry, beside what its value points to; the table counts as half full, and what
    /// growing vectors have in reserve not at all.
    pub const ENTRY_BYTES: usize =
        size_of::<Option<Entry<V>>>() + 2 * (size_of::<u32>() + 1) + Eviction::ENTRY_BYTES;

    /// An empty shard for values of `capacity` bytes in all; `seed` decides its random choices.
    pub fn new(capacity: u64, seed: u64) -> Self {
        Shard {
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            eviction: Eviction::new(capacity, 0, seed),
        }
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The bytes of all values, as told at their insertion.
    pub fn bytes(&self) -> u64 {
        self.eviction.used_bytes()
    }

    /// The value of `key`, counted as a use.
    pub fn get(&mut self, key: KeyHash) -> Option<Found<'_, V>> {
        let slot = self.find(key)?;
        self.eviction.on_hit(Slot(slot), key.low());
        self.entry(slot).map(|e| Found { value: &e.value, checked: e.checked })
    }

    /// The value of `key`, without counting a use.
    pub fn peek(&self, key: KeyHash) -> Option<&V> {
        self.find(key).and_then(|slot| self.entry(slot)).map(|e| &e.value)
    }

    /// Remembers that the value of `key` was checked against purge stamps up to `generation`.
    pub fn mark_checked(&mut self, key: KeyHash, generation: u32) {
        if let Some(slot) = self.find(key)
            && let Some(Some(entry)) = self.entries.get_mut(slot as usize)
        {
            entry.checked = generation;
        }
    }

    /// Keeps `value`, which takes `cost` bytes; puts what had to go, an earlier value of `key` and
    /// possibly `value` itself among it, in `out`.
    pub fn insert(&mut self, key: KeyHash, value: V, cost: u32, checked: u32, out: &mut Vec<(KeyHash, V)>) {
        if let Some(old) = self.remove(key) {
            out.push((key, old));
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as u32
        });
        self.entries[slot as usize] = Some(Entry { key, value, checked });
        let entries = &self.entries;
        self.table.insert_unique(key.low(), slot, |s| hash_of(entries, *s));
        self.eviction.insert(Slot(slot), key.low(), cost);
        while let Some(victim) = self.eviction.pop_victim() {
            out.extend(self.release(victim.0));
        }
    }

    /// Drops the value of `key`.
    pub fn remove(&mut self, key: KeyHash) -> Option<V> {
        let slot = self.find(key)?;
        self.eviction.remove(Slot(slot));
        self.release(slot).map(|(_, value)| value)
    }

    /// Every key and value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (KeyHash, &V)> {
        self.entries.iter().flatten().map(|e| (e.key, &e.value))
    }

    fn find(&self, key: KeyHash) -> Option<u32> {
        let is_key = |slot: &u32| self.entry(*slot).is_some_and(|e| e.key == key);
        self.table.find(key.low(), is_key).copied()
    }

    fn entry(&self, slot: u32) -> Option<&Entry<V>> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// Takes a slot out of table and slab, after the policy forgot it.
    fn release(&mut self, slot: u32) -> Option<(KeyHash, V)> {
        let entry = self.entries.get_mut(slot as usize)?.take()?;
        if let Ok(found) = self.table.find_entry(entry.key.low(), |s| *s == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some((entry.key, entry.value))
    }
}

fn hash_of<V>(entries: &[Option<Entry<V>>], slot: u32) -> u64 {
    entries.get(slot as usize).and_then(Option::as_ref).map_or(0, |e| e.key.low())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> KeyHash {
        KeyHash::from_bytes(
            u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_le_bytes(),
        )
    }

    #[test]
    fn values_are_found_replaced_and_removed() {
        let mut shard = Shard::new(1 << 20, 1);
        let mut out = Vec::new();
        shard.insert(key(1), "one", 100, 7, &mut out);
        assert_eq!(shard.get(key(1)).map(|f| (*f.value, f.checked)), Some(("one", 7)));
        shard.insert(key(1), "uno", 50, 0, &mut out);
        assert_eq!(out, [(key(1), "one")]);
        assert_eq!(shard.bytes(), 50);
        shard.mark_checked(key(1), 9);
        assert_eq!(shard.get(key(1)).map(|f| f.checked), Some(9));
        assert_eq!(shard.remove(key(1)), Some("uno"));
        assert_eq!((shard.len(), shard.bytes()), (0, 0));
    }

    #[test]
    fn what_it_holds_stays_within_its_bytes_and_all_else_is_handed_back() {
        let mut shard = Shard::new(10_000, 1);
        let mut out = Vec::new();
        for n in 0..1_000 {
            shard.insert(key(n), n, 100 + (n % 7) as u32, 0, &mut out);
            assert!(shard.bytes() <= 10_000);
        }
        assert_eq!(shard.len() + out.len(), 1_000);
        assert_eq!(shard.iter().count(), shard.len());
        assert!(out.iter().all(|(k, _)| shard.peek(*k).is_none()));
    }

    #[test]
    fn a_value_larger_than_the_shard_is_handed_back_at_once() {
        let mut shard = Shard::new(1_000, 1);
        let mut out = Vec::new();
        shard.insert(key(1), (), 2_000, 0, &mut out);
        assert_eq!((shard.len(), out.len()), (0, 1));
    }
}
