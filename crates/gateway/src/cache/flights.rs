//! The fetches under way, by the key that they are for.

use super::fill::{Answer, SharedFlight};
use super::flight::Flight;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use selvedge_cache::semantics::KeyHash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part a request has in a fetch.
pub(crate) enum Joined {
    /// It begins it.
    Lead(SharedFlight),
    /// It waits for one that is under way.
    Follow(SharedFlight),
    /// It goes to the origin by itself.
    Alone,
}

/// All fetches that may be joined.
#[derive(Default)]
pub(crate) struct Flights {
    by_key: Mutex<HashMap<KeyHash, Arc<Flight<Answer>>, foldhash::fast::FixedState>>,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<KeyHash, Arc<Flight<Answer>>, foldhash::fast::FixedState>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the fetch for `key`, or begins one.
    pub(crate) fn join(&self, key: KeyHash) -> Joined {
        match self.lock().entry(key) {
            Entry::Occupied(entry) => Joined::Follow(entry.get().clone()),
            Entry::Vacant(entry) => Joined::Lead(entry.insert(Flight::new()).clone()),
        }
    }

    /// Takes `flight` off the list, if it still is the one for `key`.
    pub(crate) fn remove(&self, key: KeyHash, flight: &SharedFlight) {
        let mut flights = self.lock();
        if flights.get(&key).is_some_and(|f| Arc::ptr_eq(f, flight)) {
            flights.remove(&key);
        }
    }

    /// Whether something is being fetched for `key`.
    pub(crate) fn is_under_way(&self, key: KeyHash) -> bool {
        self.lock().contains_key(&key)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}
