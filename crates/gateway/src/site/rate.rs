//! Rates: how often requests that share a key may come (generic cell rate algorithm, ITU-T I.371).

use foldhash::quality::FixedState;
use selvedge_types::resource::{Rate, RateLimit};
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const WAYS: usize = 8;
const LOCKS: usize = 64;

/// What is remembered of the keys that were seen: for each, when its bucket will be full again.
///
/// Bounded: the table has a fixed number of places. A new key takes the place of the one in its set whose
/// bucket is full, or full soonest, which loses the least. Survives changes of the configuration.
pub struct RateTable {
    stripes: Vec<Mutex<Vec<[Place; WAYS]>>>,
    sets: usize,
    hasher: FixedState,
    forgotten: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct Place {
    key: u64,
    full_at: u64,
}

/// How long to wait until a request would be let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany(pub Duration);

/// A rate, ready to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Nanoseconds that one request takes up.
    interval: u64,
    /// Nanoseconds that may be taken up ahead.
    depth: u64,
}

impl Pace {
    pub(super) fn new(limit: &RateLimit) -> Self {
        let interval = interval_nanos(limit.rate);
        let a_second = 1_000_000_000_u64.div_ceil(interval.max(1)).max(1);
        let burst = limit.burst.map_or(a_second, u64::from).max(1);
        Pace { interval, depth: interval.saturating_mul(burst) }
    }
}

fn interval_nanos(rate: Rate) -> u64 {
    let per = u64::try_from(rate.per().as_nanos()).unwrap_or(u64::MAX);
    (per / u64::from(rate.count().max(1))).max(1)
}

impl RateTable {
    /// A table with room for at least `keys` keys. `seed` must be secret, or clients could choose whom
    /// they displace.
    pub fn new(keys: u32, seed: u64) -> Self {
        let sets = (keys as usize).div_ceil(WAYS).max(LOCKS).next_multiple_of(LOCKS);
        let stripe = || Mutex::new(vec![[Place::default(); WAYS]; sets / LOCKS]);
        RateTable {
            stripes: (0..LOCKS).map(|_| stripe()).collect(),
            sets,
            hasher: FixedState::with_seed(seed),
            forgotten: AtomicU64::new(0),
        }
    }

    /// How many keys lost their place while they still counted.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// A key for what requests share.
    pub(super) fn key(&self, shared: impl Hash) -> u64 {
        self.hasher.hash_one(shared).max(1)
    }

    /// Lets one more request with `key` through, or says how long to wait. `now` is monotonic.
    pub(super) fn take(&self, key: u64, pace: Pace, now: Duration) -> Result<(), TooMany> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let set = (key % self.sets as u64) as usize;
        let Some(stripe) = self.stripes.get(set % LOCKS) else { return Ok(()) };
        let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(places) = stripe.get_mut(set / LOCKS) else { return Ok(()) };
        let found = places.iter().position(|p| p.key == key);
        let soonest = || (0..WAYS).min_by_key(|i| places[*i].full_at).unwrap_or(0);
        let place = &mut places[found.unwrap_or_else(soonest)];
        let full_at = if found.is_some() { place.full_at.max(now) } else { now };
        let next = full_at.saturating_add(pace.interval);
        if next - now > pace.depth {
            return Err(TooMany(Duration::from_nanos(next - now - pace.depth)));
        }
        if found.is_none() && place.full_at > now {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        *place = Place { key, full_at: next };
        Ok(())
    }
}

impl std::fmt::Debug for RateTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateTable").field("keys", &(self.sets * WAYS)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::resource::{RateKey, Text};

    fn pace(rate: &str, burst: Option<u32>) -> Pace {
        let rate = Rate::parse_text(rate).unwrap();
        Pace::new(&RateLimit { by: RateKey::Client, rate, burst, status: 429 })
    }

    #[test]
    fn a_burst_passes_then_the_rate_counts() {
        let table = RateTable::new(1000, 1);
        let pace = pace("10/s", Some(3));
        let at = Duration::from_millis;
        for (ms, expected) in [
            (1000, Ok(())),
            (1000, Ok(())),
            (1000, Ok(())),
            (1000, Err(TooMany(at(100)))),
            (1050, Err(TooMany(at(50)))),
            (1100, Ok(())),
            (1100, Err(TooMany(at(100)))),
            (9000, Ok(())),
            (9000, Ok(())),
            (9000, Ok(())),
            (9000, Err(TooMany(at(100)))),
        ] {
            assert_eq!(table.take(7, pace, at(ms)), expected, "at {ms}");
        }
        assert_eq!(table.take(8, pace, at(1000)), Ok(()), "keys do not share");
    }

    #[test]
    fn the_default_burst_is_a_seconds_worth() {
        for (rate, passed) in [("10/s", 10), ("600/m", 10), ("1/m", 1)] {
            let table = RateTable::new(1000, 1);
            let passes = (0..50).filter(|_| table.take(1, pace(rate, None), Duration::ZERO).is_ok()).count();
            assert_eq!(passes, passed, "{rate}");
        }
    }

    #[test]
    fn memory_is_bounded_and_keys_that_no_longer_count_go_first() {
        let table = RateTable::new(512, 1);
        let pace = pace("1/s", Some(1));
        for key in 1..100_000 {
            let _ = table.take(key, pace, Duration::from_secs(key * 2));
        }
        assert_eq!(table.forgotten(), 0);
        for key in 1..10_000 {
            let _ = table.take(key, pace, Duration::from_secs(1_000_000));
        }
        assert!(table.forgotten() > 0);
    }
}
