//! What the cache counts.

use selvedge_cache::semantics::ProxyError;
use selvedge_observe::{Counter, Family, LimitCounters, Registry};

/// The cache's counters.
pub(crate) struct CacheMetrics {
    evictions: Counter,
    failures: Family<[(&'static str, &'static str); 1], Counter>,
    limits: LimitCounters,
}

impl CacheMetrics {
    pub(crate) fn register(registry: &Registry) -> Self {
        CacheMetrics {
            evictions: registry.register(
                "cache_evictions",
                "Entries that left memory to make room, or were not admitted",
                Counter::default(),
            ),
            failures: registry.register(
                "origin_errors",
                "Fetches that brought no usable response, by error type of RFC 9209",
                Family::default(),
            ),
            limits: registry.limits(),
        }
    }

    pub(crate) fn evicted(&self, entries: u64) {
        if entries > 0 {
            self.evictions.inc_by(entries);
        }
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.get()
    }

    pub(crate) fn origin_failed(&self, error: ProxyError) {
        self.failures.get_or_create(&[("error", error.as_str())]).inc();
    }

    pub(crate) fn waiters_limit_reached(&self) {
        self.limits.reached("collapsed_waiters");
    }
}
