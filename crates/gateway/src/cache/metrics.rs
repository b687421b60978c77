//! What the cache counts.

use super::Cache;
use selvedge_cache::semantics::ProxyError;
use selvedge_observe::collector::Collector;
use selvedge_observe::encoding::{DescriptorEncoder, EncodeMetric};
use selvedge_observe::{Counter, Family, Gauge, LimitCounters, Registry};
use std::fmt;

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
                "cache_fetch_failures",
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

    pub(crate) fn response_memory_limit_reached(&self) {
        self.limits.reached("response_memory");
    }

    pub(crate) fn unread_limit_reached(&self) {
        self.limits.reached("unread_fetches");
    }

    pub(crate) fn invalidations_limit_reached(&self) {
        self.limits.reached("invalidations");
    }
}

/// How full memory is, read at each scrape.
pub(crate) struct Usage(pub(crate) Cache);

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Usage")
    }
}

impl Collector for Usage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let usage = self.0.usage();
        for (name, help, value) in [
            ("cache_ram_entries", "Entries in memory", usage.ram_objects),
            ("cache_ram_bytes", "Bytes that they take", usage.ram_bytes),
            ("cache_ram_capacity_bytes", "Bytes that they may take", usage.ram_capacity),
            ("cache_fetches", "Fetches under way that others may join", usage.fetches),
            ("cache_unread_fetches", "Large fetches under way that nobody waits for", usage.unread_fetches),
            ("response_memory_bytes", "Bytes that large responses under way hold", usage.response_bytes),
            ("response_memory_capacity_bytes", "Bytes that they may hold", usage.response_bytes_max),
        ] {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        Ok(())
    }
}
