//! The fetches under way that may be joined, by the key that they are for.

use super::beginnings::Beginning;
use super::fill::{Answer, SharedFlight};
use super::flight::{Flight, Seat};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use selvedge_cache::semantics::KeyHash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The part a request has in a fetch.
pub(crate) enum Joined {
    /// It begins it.
    Lead(Seat<Answer>),
    /// It waits for one that is under way.
    Follow(Seat<Answer>),
    /// As many wait as may: it goes to the origin by itself.
    Alone,
}

/// All fetches that may be joined.
#[derive(Default)]
pub(crate) struct Flights {
    by_key: Mutex<HashMap<KeyHash, SharedFlight, foldhash::fast::FixedState>>,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<KeyHash, SharedFlight, foldhash::fast::FixedState>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the fetch for `key`, or begins one, which others may join if it is `open`. One that `is_outdated` is left
    /// to those who are in it.
    pub(crate) fn join(
        &self,
        key: KeyHash,
        seats_max: u32,
        open: bool,
        begin: impl FnOnce() -> Beginning,
        is_outdated: impl FnOnce(&Flight<Answer>) -> bool,
    ) -> Joined {
        let mut flights = self.lock();
        match flights.get(&key).filter(|flight| !is_outdated(flight)) {
            Some(flight) if flight.seated() > seats_max as usize => Joined::Alone,
            Some(flight) => Joined::Follow(flight.seat()),
            None => {
                let flight = Flight::new(begin());
                let seat = flight.seat();
                if open {
                    flights.insert(key, flight);
                }
                Joined::Lead(seat)
            }
        }
    }

    /// Begins a fetch that nobody waits for yet; none if one for `key` is under way.
    pub(crate) fn begin(&self, key: KeyHash, begin: impl FnOnce() -> Beginning) -> Option<SharedFlight> {
        match self.lock().entry(key) {
            Entry::Occupied(_) => None,
            Entry::Vacant(entry) => Some(entry.insert(Flight::new(begin())).clone()),
        }
    }

    /// Takes `flight` off the list, if it still is the one for `key`.
    pub(crate) fn remove(&self, key: KeyHash, flight: &SharedFlight) {
        let mut flights = self.lock();
        if flights.get(&key).is_some_and(|f| Arc::ptr_eq(f, flight)) {
            flights.remove(&key);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}
