//! S3-FIFO (Yang et al., SOSP 2023, algorithm 1), in bytes as in libCacheSim.

use std::collections::VecDeque;

use super::{Cache, Object};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Small,
    Main,
    Ghost,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    place: Place,
    size: u64,
    frequency: u8,
    /// Which of the ghosts of this object is the true one.
    ghost: u64,
}

/// A small queue (a tenth) for what is new, a main queue for what was asked for again, and a queue of
/// ghosts as large as the main one.
#[derive(Debug)]
pub struct S3Fifo {
    capacity: u64,
    small_capacity: u64,
    entries: Vec<Entry>,
    small: VecDeque<Object>,
    small_used: u64,
    main: VecDeque<Object>,
    main_used: u64,
    ghosts: VecDeque<(Object, u64)>,
    ghosts_used: u64,
    turn: u64,
}

impl S3Fifo {
    /// A cache of `capacity` bytes for objects below `objects`.
    pub fn new(capacity: u64, objects: usize) -> Self {
        let nothing = Entry { place: Place::Nowhere, size: 0, frequency: 0, ghost: 0 };
        S3Fifo {
            capacity,
            small_capacity: (capacity / 10).max(1),
            entries: vec![nothing; objects],
            small: VecDeque::new(),
            small_used: 0,
            main: VecDeque::new(),
            main_used: 0,
            ghosts: VecDeque::new(),
            ghosts_used: 0,
            turn: 0,
        }
    }

    fn evict(&mut self) {
        if self.small_used >= self.small_capacity || self.main.is_empty() {
            self.evict_small();
        } else {
            self.evict_main();
        }
    }

    /// Lines 18-27: those asked for more than once go to the main queue, the first other is the victim.
    fn evict_small(&mut self) {
        while let Some(object) = self.small.pop_front() {
            let size = self.entries[object].size;
            self.small_used -= size;
            if self.entries[object].frequency > 1 {
                self.push_main(object, size);
                if self.main_used > self.capacity - self.small_capacity {
                    self.evict_main();
                }
            } else {
                self.push_ghost(object, size);
                return;
            }
        }
    }

    /// Lines 28-37: those asked for go round once more, one less each time.
    fn evict_main(&mut self) {
        while let Some(object) = self.main.pop_front() {
            if self.entries[object].frequency > 0 {
                self.entries[object].frequency -= 1;
                self.main.push_back(object);
            } else {
                self.main_used -= self.entries[object].size;
                self.entries[object].place = Place::Nowhere;
                return;
            }
        }
    }

    fn push_main(&mut self, object: Object, size: u64) {
        self.entries[object] = Entry { place: Place::Main, size, frequency: 0, ghost: 0 };
        self.main.push_back(object);
        self.main_used += size;
    }

    fn push_ghost(&mut self, object: Object, size: u64) {
        self.turn += 1;
        self.entries[object] = Entry { place: Place::Ghost, size, frequency: 0, ghost: self.turn };
        self.ghosts.push_back((object, self.turn));
        self.ghosts_used += size;
        while self.ghosts_used > self.capacity - self.small_capacity {
            let Some((old, turn)) = self.ghosts.pop_front() else { return };
            let entry = &mut self.entries[old];
            if entry.place == Place::Ghost && entry.ghost == turn {
                entry.place = Place::Nowhere;
                self.ghosts_used -= entry.size;
            }
        }
    }
}

impl Cache for S3Fifo {
    fn request(&mut self, object: Object, size: u64) -> bool {
        let place = self.entries[object].place;
        if matches!(place, Place::Small | Place::Main) {
            let frequency = &mut self.entries[object].frequency;
            *frequency = (*frequency + 1).min(3);
            return true;
        }
        if size > self.capacity {
            return false;
        }
        while self.small_used + self.main_used + size > self.capacity {
            self.evict();
        }
        // A ghost may have gone while room was made: what it was when it was asked for counts.
        if self.entries[object].place == Place::Ghost {
            self.ghosts_used -= self.entries[object].size;
        }
        if place == Place::Ghost {
            self.push_main(object, size);
        } else {
            self.entries[object] = Entry { place: Place::Small, size, frequency: 0, ghost: 0 };
            self.small.push_back(object);
            self.small_used += size;
        }
        false
    }

    fn holds(&self, object: Object) -> bool {
        matches!(self.entries[object].place, Place::Small | Place::Main)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{held_after, hits};
    use super::*;

    #[test]
    fn what_is_asked_for_once_does_not_displace_the_main_queue() {
        let mut cache = S3Fifo::new(10, 100);
        let twice: Vec<usize> = (0..9).flat_map(|o| [o, o, o]).collect();
        hits(&mut cache, &twice);
        let scan: Vec<usize> = (10..100).collect();
        let held = held_after(&mut cache, &scan, 100);
        assert_eq!(held, vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 99]);
    }

    #[test]
    fn a_ghost_comes_back_to_the_main_queue() {
        let mut cache = S3Fifo::new(10, 100);
        hits(&mut cache, &(0..12).collect::<Vec<_>>());
        assert_eq!(cache.entries[0].place, Place::Ghost);
        cache.request(0, 1);
        assert_eq!(cache.entries[0].place, Place::Main);
    }
}
