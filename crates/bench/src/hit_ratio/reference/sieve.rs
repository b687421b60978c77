//! SIEVE (Zhang et al., NSDI 2024, algorithm 1).

use super::list::List;
use super::{Cache, Object};

/// A queue in order of arrival and a hand that moves from the oldest to the newest: it clears what was
/// visited and lets go of what was not.
#[derive(Debug)]
pub struct Sieve {
    capacity: u64,
    used: u64,
    sizes: Vec<u64>,
    visited: Vec<bool>,
    queue: List,
    hand: Option<Object>,
}

impl Sieve {
    /// A cache of `capacity` bytes for objects below `objects`.
    pub fn new(capacity: u64, objects: usize) -> Self {
        Sieve {
            capacity,
            used: 0,
            sizes: vec![0; objects],
            visited: vec![false; objects],
            queue: List::new(objects),
            hand: None,
        }
    }

    fn evict(&mut self) {
        let Some(mut object) = self.hand.or_else(|| self.queue.oldest()) else { return };
        while std::mem::take(&mut self.visited[object]) {
            let next = self.queue.newer(object).or_else(|| self.queue.oldest());
            object = next.unwrap_or(object);
        }
        self.hand = self.queue.newer(object);
        self.queue.remove(object);
        self.used -= std::mem::take(&mut self.sizes[object]);
    }
}

impl Cache for Sieve {
    fn request(&mut self, object: Object, size: u64) -> bool {
        if self.sizes[object] > 0 {
            self.visited[object] = true;
            return true;
        }
        if size > self.capacity {
            return false;
        }
        while self.used + size > self.capacity {
            self.evict();
        }
        self.queue.push(object);
        self.visited[object] = false;
        self.sizes[object] = size;
        self.used += size;
        false
    }

    fn holds(&self, object: Object) -> bool {
        self.sizes[object] > 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::held_after;
    use super::*;

    #[test]
    fn follows_the_papers_example() {
        // The paper's figure 3 begins with A..G in the queue, A B G visited, the hand on A.
        let (a, b, g, h, i, j) = (0, 1, 6, 7, 8, 9);
        let mut cache = Sieve::new(7, 10);
        for object in [a, b, 2, 3, 4, 5, g, a, b, g] {
            cache.request(object, 1);
        }
        assert_eq!(held_after(&mut cache, &[h], 10), vec![0, 1, 3, 4, 5, 6, 7], "C is the first not visited");
        assert_eq!(held_after(&mut cache, &[a, i], 10), vec![0, 1, 4, 5, 6, 7, 8], "then D");
        assert_eq!(held_after(&mut cache, &[b, j], 10), vec![0, 1, 5, 6, 7, 8, 9], "then E: A and B stay");
    }
}
