//! How many of something are under way: requests being answered, fetches that nobody waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts what is under way. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<AtomicU32>);

/// The place of one of them; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(Busy);

impl Busy {
    /// A place, if fewer than `max` are taken.
    pub(crate) fn admit(&self, max: u32) -> Option<Place> {
        // Whoever is refused gives its place back at once by dropping it.
        let place = Place(self.clone());
        (self.0.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }

    /// How many places are taken.
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_freed() {
        let busy = Busy::default();
        let (first, second) = (busy.admit(2), busy.admit(2));
        assert!(first.is_some() && second.is_some());
        assert!(busy.admit(2).is_none() && busy.admit(2).is_none());
        drop(first);
        assert!(busy.admit(2).is_some());
    }
}
