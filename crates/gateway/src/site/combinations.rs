//! What is made once for each combination of rules that requests meet, and found again without a lock.

use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Made things by the places of the rules that fit. A request that finds its own takes no lock; one that is the
/// first with its combination makes it while others go on, and puts a larger map in place.
#[derive(Debug)]
pub(super) struct Combinations<T> {
    made: ArcSwap<BTreeMap<Box<[u16]>, Arc<T>>>,
    /// So many are kept; others are made for each request.
    max: usize,
}

impl<T> Combinations<T> {
    pub(super) fn new(max: usize) -> Self {
        Combinations { made: ArcSwap::default(), max }
    }

    /// What was made for `rules`, or what `make` makes. Several may make the same at once: then one is kept.
    pub(super) fn get(&self, rules: &[u16], make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(made) = self.made.load().get(rules) {
            return made.clone();
        }
        let new = Arc::new(make());
        self.made.rcu(|made| {
            if made.len() >= self.max || made.contains_key(rules) {
                return made.clone();
            }
            let mut more = BTreeMap::clone(made);
            more.insert(rules.into(), new.clone());
            Arc::new(more)
        });
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_made_once_up_to_the_limit_and_then_each_time() {
        let combinations = Combinations::new(2);
        let get = |rules: &[u16]| combinations.get(rules, || rules.len());
        let (first, second) = (get(&[1]), get(&[1, 2]));
        assert_eq!((*first, *second), (1, 2));
        assert!(Arc::ptr_eq(&first, &get(&[1])) && Arc::ptr_eq(&second, &get(&[1, 2])));
        let third = get(&[3]);
        assert!(!Arc::ptr_eq(&third, &get(&[3])));
    }

    #[test]
    fn one_that_is_being_made_keeps_no_other_from_being_found() {
        let combinations = Combinations::new(8);
        let inner = combinations.get(&[1], || *combinations.get(&[2], || 2) + 1);
        assert_eq!((*inner, *combinations.get(&[2], || 9)), (3, 2));
    }
}
