//! When the fetches under way began: a purge is remembered for as long as one of them may still bring what it
//! covers.

use selvedge_types::Hlc;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The beginnings of all fetches under way. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Beginnings(Arc<Mutex<BTreeSet<Hlc>>>);

/// That a fetch began, for as long as something may be stored of it.
pub(crate) struct Beginning {
    at: Hlc,
    all: Beginnings,
}

impl Beginnings {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Hlc>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a fetch that begins now; no two have the same time.
    pub(crate) fn begin(&self, at: Hlc) -> Beginning {
        self.lock().insert(at);
        Beginning { at, all: self.clone() }
    }

    /// The earliest; none if nothing is being fetched.
    pub(crate) fn oldest(&self) -> Option<Hlc> {
        self.lock().first().copied()
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
        self.all.lock().remove(&self.at);
    }
}
