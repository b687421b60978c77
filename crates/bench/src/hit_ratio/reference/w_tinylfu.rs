//! W-TinyLFU (Einziger, Friedman, Manes, ACM ToS 2017), with weights as in Caffeine.

use super::list::List;
use super::sketch::Sketch;
use super::{Cache, Object};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Window,
    Probation,
    Protected,
}

/// One of the three LRU lists.
#[derive(Debug)]
struct Segment {
    list: List,
    used: u64,
    capacity: u64,
}

impl Segment {
    fn new(capacity: u64, objects: usize) -> Self {
        Segment { list: List::new(objects), used: 0, capacity }
    }

    fn push(&mut self, object: Object, size: u64) {
        self.list.push(object);
        self.used += size;
    }

    fn remove(&mut self, object: Object, size: u64) {
        self.list.remove(object);
        self.used -= size;
    }
}

/// A window of a hundredth by LRU; the rest a segmented LRU (four fifths protected), entered by those that
/// leave the window and were asked for more often than the victim.
#[derive(Debug)]
pub struct WTinyLfu {
    capacity: u64,
    entries: Vec<(Place, u64)>,
    window: Segment,
    probation: Segment,
    protected: Segment,
    sketch: Sketch,
}

impl WTinyLfu {
    /// A cache of `capacity` bytes for objects below `objects`, of which about `expected` fit.
    pub fn new(capacity: u64, objects: usize, expected: u64) -> Self {
        let window = (capacity / 100).max(1);
        let main = capacity - window;
        WTinyLfu {
            capacity,
            entries: vec![(Place::Nowhere, 0); objects],
            window: Segment::new(window, objects),
            probation: Segment::new(main, objects),
            protected: Segment::new(main * 8 / 10, objects),
            sketch: Sketch::new(expected),
        }
    }

    fn segment(&mut self, place: Place) -> Option<&mut Segment> {
        match place {
            Place::Nowhere => None,
            Place::Window => Some(&mut self.window),
            Place::Probation => Some(&mut self.probation),
            Place::Protected => Some(&mut self.protected),
        }
    }

    fn shift(&mut self, object: Object, to: Place) {
        let (from, size) = self.entries[object];
        if let Some(segment) = self.segment(from) {
            segment.remove(object, size);
        }
        if let Some(segment) = self.segment(to) {
            segment.push(object, size);
        }
        self.entries[object].0 = to;
    }

    fn used(&self) -> u64 {
        self.window.used + self.probation.used + self.protected.used
    }

    fn hit(&mut self, object: Object) {
        match self.entries[object].0 {
            Place::Nowhere => {}
            Place::Window => self.window.list.renew(object),
            Place::Probation | Place::Protected => self.shift(object, Place::Protected),
        }
        while self.protected.used > self.protected.capacity {
            let Some(oldest) = self.protected.list.oldest() else { return };
            self.shift(oldest, Place::Probation);
        }
    }

    /// Moves what the window cannot hold to probation, then lets each of these and the victim be compared.
    fn evict(&mut self) {
        let mut candidates = Vec::new();
        while self.window.used > self.window.capacity {
            let Some(object) = self.window.list.oldest() else { break };
            self.shift(object, Place::Probation);
            candidates.push(object);
        }
        let mut candidates = candidates.into_iter().peekable();
        while self.used() > self.capacity {
            let victim = self.probation.list.oldest().or_else(|| self.protected.list.oldest());
            let Some(victim) = victim.or_else(|| self.window.list.oldest()) else { return };
            let loser = match candidates.peek() {
                Some(&candidate) if candidate == victim => victim,
                Some(&candidate) if !self.admit(candidate, victim) => candidate,
                _ => victim,
            };
            if candidates.peek() == Some(&loser) {
                candidates.next();
            }
            self.shift(loser, Place::Nowhere);
        }
    }

    fn admit(&self, candidate: Object, victim: Object) -> bool {
        self.sketch.frequency(candidate) > self.sketch.frequency(victim)
    }
}

impl Cache for WTinyLfu {
    fn request(&mut self, object: Object, size: u64) -> bool {
        self.sketch.increment(object);
        if self.entries[object].0 != Place::Nowhere {
            self.hit(object);
            return true;
        }
        if size <= self.capacity {
            self.entries[object].1 = size;
            self.shift(object, Place::Window);
            self.evict();
        }
        false
    }

    fn holds(&self, object: Object) -> bool {
        self.entries[object].0 != Place::Nowhere
    }
}

#[cfg(test)]
mod tests {
    use super::super::{held_after, hits};
    use super::*;

    #[test]
    fn a_scan_passes_through_the_window_alone() {
        let mut cache = WTinyLfu::new(100, 1000, 100);
        let warm: Vec<usize> = (0..3).flat_map(|_| 0..99).collect();
        hits(&mut cache, &warm);
        let scan: Vec<usize> = (100..600).collect();
        let held = held_after(&mut cache, &scan, 1000);
        let survived = held.iter().filter(|&&object| object < 99).count();
        assert!(survived >= 97, "the sketch may take one or two for another: {survived}");
    }

    #[test]
    fn a_ghost_with_more_requests_than_the_victim_is_admitted() {
        let mut cache = WTinyLfu::new(100, 1000, 100);
        hits(&mut cache, &(0..200).collect::<Vec<_>>());
        hits(&mut cache, &[300, 301, 300, 301, 300, 301, 302]);
        assert!(cache.request(300, 1));
    }
}
