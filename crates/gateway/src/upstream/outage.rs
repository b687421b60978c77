//! Whether an origin fails, for the log: told when that begins and when it is over, not for each request.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long after one beginning another one is not told.
const QUIET: Duration = Duration::from_secs(10);

/// What was told of an origin. Requests that race may tell the same once more; nothing depends on it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    is_told: AtomicBool,
    /// On the monotonic clock, in milliseconds.
    quiet_until_ms: AtomicU64,
}

impl Outage {
    /// A request got no usable answer; whether to tell.
    pub(super) fn handle_failure(&self, now: Duration) -> bool {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if self.is_told.load(Relaxed) || ms(now) < self.quiet_until_ms.load(Relaxed) {
            return false;
        }
        self.quiet_until_ms.store(ms(now.saturating_add(QUIET)), Relaxed);
        !self.is_told.swap(true, Relaxed)
    }

    /// A request was answered; whether to tell.
    pub(super) fn handle_answer(&self) -> bool {
        self.is_told.load(Relaxed) && self.is_told.swap(false, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_and_end_are_told_once_and_not_too_often() {
        let (outage, secs) = (Outage::default(), Duration::from_secs);
        assert!(!outage.handle_answer(), "there is nothing to tell");
        assert!(outage.handle_failure(secs(1)));
        assert!(!outage.handle_failure(secs(2)) && !outage.handle_failure(secs(200)));
        assert!(outage.handle_answer());
        assert!(!outage.handle_answer());
        assert!(outage.handle_failure(secs(201)));
        assert!(outage.handle_answer());
        assert!(!outage.handle_failure(secs(205)) && !outage.handle_answer(), "it comes and goes");
        assert!(outage.handle_failure(secs(211)));
    }
}
