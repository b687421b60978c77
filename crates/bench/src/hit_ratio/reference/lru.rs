//! Least recently used.

use super::list::List;
use super::{Cache, Object};

/// Lets go of what was not asked for the longest.
#[derive(Debug)]
pub struct Lru {
    capacity: u64,
    used: u64,
    sizes: Vec<u64>,
    list: List,
}

impl Lru {
    /// A cache of `capacity` bytes for objects below `objects`.
    pub fn new(capacity: u64, objects: usize) -> Self {
        Lru { capacity, used: 0, sizes: vec![0; objects], list: List::new(objects) }
    }
}

impl Cache for Lru {
    fn request(&mut self, object: Object, size: u64) -> bool {
        if self.sizes[object] > 0 {
            self.list.renew(object);
            return true;
        }
        if size > self.capacity {
            return false;
        }
        while self.used + size > self.capacity {
            let Some(victim) = self.list.oldest() else { break };
            self.list.remove(victim);
            self.used -= std::mem::take(&mut self.sizes[victim]);
        }
        self.sizes[object] = size;
        self.used += size;
        self.list.push(object);
        false
    }

    fn holds(&self, object: Object) -> bool {
        self.sizes[object] > 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::hits;
    use super::*;
    use crate::hit_ratio::trace::{Popularity, Recipe, Sizes, recipes};

    #[test]
    fn a_textbook_reference_string_in_three_and_four_frames() {
        // Silberschatz et al., Operating System Concepts, section on page replacement: 12 faults in 3 frames.
        let string = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1];
        assert_eq!(string.len() - hits(&mut Lru::new(3, 8), &string), 12);
        assert_eq!(string.len() - hits(&mut Lru::new(4, 8), &string), 8);
    }

    #[test]
    fn agrees_with_ches_approximation() {
        // Che, Tung, Wang, 2002: the hit ratio is the sum of p (1 - exp(-p T)), where T is such that the
        // sum of 1 - exp(-p T) is the cache's size.
        let recipe = Recipe { objects: 2000, requests: 100_000, ..recipes(1, 1).swap_remove(6) };
        assert_eq!((recipe.sizes, recipe.popularity), (Sizes::Unit, Popularity::Still));
        let trace = recipe.generate(1);
        let weights: Vec<f64> = (1..=2000).map(|place| f64::from(place).powf(-recipe.alpha)).collect();
        let sum: f64 = weights.iter().sum();
        for capacity in [20u32, 200] {
            let filled = |t: f64| weights.iter().map(|w| 1.0 - (-w / sum * t).exp()).sum::<f64>();
            let time =
                (1..1_000_000).map(f64::from).find(|&t| filled(t) >= f64::from(capacity)).unwrap_or(0.0);
            let expected: f64 = weights.iter().map(|w| w / sum * (1.0 - (-w / sum * time).exp())).sum();
            let measured = hits(&mut Lru::new(u64::from(capacity), 2000), &trace.requests);
            let measured = measured as f64 / trace.requests.len() as f64;
            assert!((measured - expected).abs() < 0.01, "{measured} {expected}");
        }
    }
}
