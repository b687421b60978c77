//! How fast an endpoint answers: an average that jumps up at once and comes down slowly.

use std::time::Duration;

/// After this time without samples an average has faded to 37%, so that an endpoint that was slow once is
/// tried again. The value is linkerd's default.
const DECAY: Duration = Duration::from_secs(10);
/// Latencies below this count as this: noise must not decide where requests go.
const FLOOR: Duration = Duration::from_millis(1);

/// Peak-sensitive exponentially weighted moving average (linkerd, finagle: "peak EWMA").
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PeakEwma {
    seconds: f64,
    at: Duration,
}

impl PeakEwma {
    /// Takes a sample in at `now`.
    pub(super) fn record(&mut self, now: Duration, sample: Duration) {
        let sample = sample.as_secs_f64();
        let kept = self.kept(now);
        self.seconds =
            if sample > self.seconds { sample } else { self.seconds * kept + sample * (1.0 - kept) };
        self.at = now;
    }

    /// The average at `now` in seconds, never below the floor of one millisecond.
    pub(super) fn seconds(&self, now: Duration) -> f64 {
        (self.seconds * self.kept(now)).max(FLOOR.as_secs_f64())
    }

    fn kept(&self, now: Duration) -> f64 {
        (-now.saturating_sub(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_peak_shows_at_once_and_fades_with_time() {
        let mut average = PeakEwma::default();
        assert_eq!(average.seconds(ms(0)), 0.001);
        average.record(ms(0), ms(20));
        average.record(ms(0), ms(500));
        assert_eq!(average.seconds(ms(0)), 0.5);
        average.record(ms(1_000), ms(20));
        let soon = average.seconds(ms(1_000));
        assert!((0.4..0.5).contains(&soon), "{soon}");
        assert_eq!(average.seconds(ms(200_000)), 0.001);
    }
}
