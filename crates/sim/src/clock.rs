//! Wall clocks that begin wrong, drift and jump.

use selvedge_rt::Clock;
use selvedge_rt::clock::WallClock;
use selvedge_types::UnixMillis;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// When every simulation begins, by the true clock: 2026-01-01T00:00:00Z.
pub const EPOCH: UnixMillis = UnixMillis(1_767_225_600_000);

/// One machine's wall clock. Clones are the same clock. Monotonic time is the simulation's own.
#[derive(Clone)]
pub struct SimClock {
    monotonic: Clock,
    error: Arc<Mutex<Error>>,
}

/// How wrong a clock is.
#[derive(Clone, Copy, Debug, Default)]
struct Error {
    offset_ms: i64,
    drift_ppm: i64,
}

impl SimClock {
    /// A clock that is right. Begins now, in a runtime's virtual time.
    pub fn new() -> Self {
        SimClock { monotonic: Clock::real(), error: Arc::default() }
    }

    /// Makes it wrong by `offset_ms`, and ever more so by `drift_ppm` millionths of the time that passes.
    pub fn set_error(&self, offset_ms: i64, drift_ppm: i64) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Error { offset_ms, drift_ppm };
    }

    /// The handle for a node.
    pub fn clock(&self) -> Clock {
        Clock::simulated(Arc::new(self.clone()))
    }

    fn true_elapsed(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| self.monotonic.monotonic())
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl WallClock for SimClock {
    fn wall(&self) -> UnixMillis {
        let Error { offset_ms, drift_ppm } = *self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed_ms = i64::try_from(self.true_elapsed().as_millis()).unwrap_or(i64::MAX);
        let drift_ms = elapsed_ms.saturating_mul(drift_ppm) / 1_000_000;
        let wrong = offset_ms.saturating_add(drift_ms).saturating_add(elapsed_ms);
        UnixMillis(EPOCH.0.saturating_add_signed(wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_is_as_wrong_as_it_was_made() {
        let sim = SimClock::new();
        let clock = sim.clock();
        assert_eq!(clock.wall(), EPOCH);
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert_eq!(clock.wall(), EPOCH.plus(Duration::from_secs(1000)));
        sim.set_error(-5000, 100);
        assert_eq!(clock.wall().0, EPOCH.0 + 1_000_000 - 5000 + 100);
        assert_eq!(clock.monotonic(), Duration::from_secs(1000));
    }
}
