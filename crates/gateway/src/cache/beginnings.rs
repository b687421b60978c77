//! When the fetches under way began, and for what: a purge is remembered for as long as one of them may still bring
//! what it covers.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use selvedge_cache::semantics::KeyHash;
use selvedge_types::Hlc;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The beginnings of all fetches under way. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Beginnings(Arc<Mutex<UnderWay>>);

#[derive(Default)]
struct UnderWay {
    times: BTreeSet<Hlc>,
    /// How many there are for each primary key.
    of: HashMap<KeyHash, u32, foldhash::fast::FixedState>,
}

/// That a fetch began, for as long as something may be stored of it.
pub(crate) struct Beginning {
    at: Hlc,
    primary: KeyHash,
    all: Beginnings,
}

impl Beginnings {
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a fetch for a primary key that begins now; no two have the same time.
    pub(crate) fn begin(&self, at: Hlc, primary: KeyHash) -> Beginning {
        let mut under_way = self.lock();
        under_way.times.insert(at);
        *under_way.of.entry(primary).or_default() += 1;
        drop(under_way);
        Beginning { at, primary, all: self.clone() }
    }

    /// The earliest; none if nothing is being fetched.
    pub(crate) fn oldest(&self) -> Option<Hlc> {
        self.lock().times.first().copied()
    }

    /// Whether something is being fetched for a primary key, beside the fetch that `own` began.
    pub(crate) fn has_others(&self, primary: KeyHash, own: &Beginning) -> bool {
        let count = self.lock().of.get(&primary).copied().unwrap_or_default();
        count > u32::from(primary == own.primary)
    }
}

impl Beginning {
    /// When it was, by the node's hybrid clock.
    pub(crate) fn at(&self) -> Hlc {
        self.at
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        let mut under_way = self.all.lock();
        under_way.times.remove(&self.at);
        if let Entry::Occupied(mut count) = under_way.of.entry(self.primary) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
