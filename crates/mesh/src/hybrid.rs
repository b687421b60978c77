//! The node's hybrid clock, shared by all who send or receive.

use selvedge_rt::Clock;
use selvedge_types::{Hlc, HlcClock, HlcError, UnixMillis};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A node's one hybrid clock. Clones are handles to it.
#[derive(Clone)]
pub struct Hybrid {
    clock: Clock,
    hlc: Arc<Mutex<HlcClock>>,
}

impl Hybrid {
    /// A clock that goes on from `hlc`.
    pub fn new(clock: Clock, hlc: HlcClock) -> Self {
        Self::shared(clock, Arc::new(Mutex::new(hlc)))
    }

    /// The clock that `hlc` is, for who has it already.
    pub fn shared(clock: Clock, hlc: Arc<Mutex<HlcClock>>) -> Self {
        Hybrid { clock, hlc }
    }

    /// A reading for something that happens now: later than all before it.
    pub fn now(&self) -> Hlc {
        let wall = self.clock.wall();
        self.hlc().tick(wall)
    }

    /// Takes over the reading of a message, unless it is too far ahead: the message counts all the same.
    pub fn observe(&self, remote: Hlc) -> Result<(), HlcError> {
        let wall = self.clock.wall();
        self.hlc().observe(remote, wall)
    }

    /// Goes on from a reading of this clock's that was kept, wherever the wall clock stands now.
    pub fn resume(&self, last: Hlc) {
        // A reading cannot be too far ahead of itself.
        let _ = self.hlc().observe(last, last.millis());
    }

    /// Lends the clock, with the wall's time, to who reads and sets it itself. `act` must not wait.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut HlcClock, UnixMillis) -> T) -> T {
        let wall = self.clock.wall();
        act(&mut self.hlc(), wall)
    }

    fn hlc(&self) -> MutexGuard<'_, HlcClock> {
        self.hlc.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
