//! Values of clocks: wall time in milliseconds, and the hybrid logical clock that orders events.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Wall-clock time, milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize, Encode, Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct UnixMillis(#[n(0)] pub u64);

impl UnixMillis {
    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// That many seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        UnixMillis(secs.saturating_mul(1000))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub const fn since(self, earlier: UnixMillis) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This time plus `d`, at most the largest time.
    pub fn plus(self, d: Duration) -> Self {
        UnixMillis(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A hybrid logical clock's reading (Kulkarni et al., 2014): 48 bits of milliseconds, 16 of a counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Hlc(#[n(0)] u64);

impl Hlc {
    /// Before every other reading.
    pub const ZERO: Hlc = Hlc(0);

    /// The reading with these bits, as kept on disk.
    pub const fn from_bits(bits: u64) -> Self {
        Hlc(bits)
    }

    /// The bits, ordered as the readings are.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The wall-clock part.
    pub const fn millis(self) -> UnixMillis {
        UnixMillis(self.0 >> 16)
    }
}

/// A remote reading that is too far ahead to be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timestamp is {ahead_ms} ms ahead of this node's clock, more than the {limit_ms} ms allowed")]
pub struct HlcError {
    /// How far ahead it is.
    pub ahead_ms: u64,
    /// How far ahead it might have been.
    pub limit_ms: u64,
}

/// Issues readings that never go back and follow every reading seen.
#[derive(Debug, Default, Clone)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// How far ahead of the local wall clock a remote reading may be.
    pub const MAX_AHEAD_MS: u64 = 60_000;

    /// A clock whose next reading follows `last`, as read back from disk.
    pub const fn resume(last: Hlc) -> Self {
        HlcClock { last }
    }

    /// A reading for a local event at wall time `now`, greater than all before it.
    pub fn tick(&mut self, now: UnixMillis) -> Hlc {
        let wall = Hlc(now.0.min((1 << 48) - 1) << 16);
        self.last = wall.max(Hlc(self.last.0.saturating_add(1)));
        self.last
    }

    /// Takes over a reading that came with a message, unless it is too far ahead.
    pub fn observe(&mut self, remote: Hlc, now: UnixMillis) -> Result<(), HlcError> {
        let ahead_ms = remote.millis().0.saturating_sub(now.0);
        if ahead_ms > Self::MAX_AHEAD_MS {
            return Err(HlcError { ahead_ms, limit_ms: Self::MAX_AHEAD_MS });
        }
        self.last = self.last.max(remote);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Each step is one node's: something happens there, or a message of another's comes.
        #[test]
        fn readings_follow_cause_and_effect_under_any_skew_that_is_allowed(
            steps in proptest::collection::vec((0..3usize, 0..3usize, 0..HlcClock::MAX_AHEAD_MS / 2), 1..200),
        ) {
            let mut clocks = [(); 3].map(|()| HlcClock::default());
            for (node, from, wall) in steps {
                let now = UnixMillis(1_000_000 + wall);
                let (before, sent) = (clocks[node].last, clocks[from].tick(now));
                prop_assert_eq!(clocks[node].observe(sent, UnixMillis(1_000_000)), Ok(()));
                let read = clocks[node].tick(UnixMillis(1_000_000));
                prop_assert!(read > before && read > sent);
            }
        }
    }

    #[test]
    fn the_limit_of_how_far_ahead_a_reading_may_be_is_exact() {
        let now = UnixMillis(5_000_000);
        for (ahead_ms, is_taken) in
            [(0, true), (HlcClock::MAX_AHEAD_MS, true), (HlcClock::MAX_AHEAD_MS + 1, false)]
        {
            let mut clock = HlcClock::default();
            let remote = Hlc::from_bits((now.0 + ahead_ms) << 16);
            assert_eq!(clock.observe(remote, now).is_ok(), is_taken, "{ahead_ms}");
            assert_eq!(clock.tick(now) > remote, is_taken, "{ahead_ms}");
        }
    }

    #[test]
    fn readings_never_go_back_when_the_wall_clock_does() {
        let mut clock = HlcClock::default();
        let a = clock.tick(UnixMillis(1_000));
        let b = clock.tick(UnixMillis(500));
        let c = clock.tick(UnixMillis(2_000));
        assert!(a < b && b < c);
        assert_eq!(c.millis(), UnixMillis(2_000));
    }

    #[test]
    fn a_reading_far_ahead_is_refused_and_leaves_the_clock() {
        let mut clock = HlcClock::default();
        let mut ahead = HlcClock::default();
        let far = ahead.tick(UnixMillis(1_000_000));
        assert!(clock.observe(far, UnixMillis(1_000)).is_err());
        assert_eq!(clock.tick(UnixMillis(1_000)).millis(), UnixMillis(1_000));
        let near = ahead.tick(UnixMillis(1_000_000));
        clock.observe(near, UnixMillis(999_990)).unwrap();
        assert!(clock.tick(UnixMillis(999_990)) > near);
    }
}
