//! Greedy-Dual-Size-Frequency (Cherkasova, HPL-98-69R1, 1998), with the same cost for every object.

use std::collections::BTreeSet;

use super::{Cache, Object};

/// Lets go of the lowest `clock + frequency / size`, where the clock is the highest that was let go.
///
/// The clock moves before the newcomer's priority is fixed, as in GreedyDual-Size and libCacheSim. As in the report, an object that would be among the victims of its own arrival is not taken in.
#[derive(Debug)]
pub struct Gdsf {
    capacity: u64,
    used: u64,
    clock: f64,
    turn: u64,
    entries: Vec<Option<Entry>>,
    queue: BTreeSet<(u64, u64, Object)>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    size: u64,
    frequency: u32,
    priority: u64,
    turn: u64,
}

impl Gdsf {
    /// A cache of `capacity` bytes for objects below `objects`.
    pub fn new(capacity: u64, objects: usize) -> Self {
        Gdsf { capacity, used: 0, clock: 0.0, turn: 0, entries: vec![None; objects], queue: BTreeSet::new() }
    }

    /// Not negative, so that the bits order as the numbers do.
    fn priority(&self, frequency: u32, size: u64) -> u64 {
        (self.clock + f64::from(frequency) / size as f64).to_bits()
    }

    fn put(&mut self, object: Object, size: u64, frequency: u32) {
        self.turn += 1;
        let entry = Entry { size, frequency, priority: self.priority(frequency, size), turn: self.turn };
        self.entries[object] = Some(entry);
        self.queue.insert((entry.priority, entry.turn, object));
    }

    /// The lowest objects that make room for `size` more bytes; `None` if one is at or above `priority`.
    fn victims(&self, size: u64, priority: u64) -> Option<Vec<(u64, u64, Object)>> {
        let mut excess = (self.used + size).saturating_sub(self.capacity);
        let mut victims = Vec::new();
        for &victim in &self.queue {
            if excess == 0 {
                break;
            }
            if victim.0 > priority {
                return None;
            }
            excess = excess.saturating_sub(self.entries[victim.2].map_or(0, |e| e.size));
            victims.push(victim);
        }
        Some(victims)
    }
}

impl Cache for Gdsf {
    fn request(&mut self, object: Object, size: u64) -> bool {
        if let Some(entry) = self.entries[object] {
            self.queue.remove(&(entry.priority, entry.turn, object));
            self.put(object, entry.size, entry.frequency.saturating_add(1));
            return true;
        }
        if size > self.capacity {
            return false;
        }
        let Some(victims) = self.victims(size, self.priority(1, size)) else { return false };
        for victim in victims {
            self.queue.remove(&victim);
            self.clock = f64::from_bits(victim.0);
            self.used -= self.entries[victim.2].take().map_or(0, |e| e.size);
        }
        self.used += size;
        self.put(object, size, 1);
        false
    }

    fn holds(&self, object: Object) -> bool {
        self.entries[object].is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example() {
        let mut cache = Gdsf::new(10, 5);
        assert!(!cache.request(0, 2)); // 1/2
        assert!(!cache.request(1, 8)); // 1/8
        assert!(cache.request(1, 8)); // 2/8
        assert!(!cache.request(2, 4)); // 1/4, as low as object 1, which is older and goes; the clock is 1/4
        assert_eq!((cache.clock, cache.holds(1)), (0.25, false));
        assert!(!cache.request(3, 5)); // 1/4 + 1/5: below object 0 at 1/2 and object 2 at 1/4 + 1/4
        assert!(!cache.holds(3));
        assert!(cache.request(0, 2)); // 1/4 + 2/2: now object 2 is the lowest
        assert!(!cache.request(4, 6)); // 1/4 + 1/6: below it, too
        assert!(!cache.request(4, 4) && cache.holds(2) && cache.holds(4)); // no victim is needed
    }
}
