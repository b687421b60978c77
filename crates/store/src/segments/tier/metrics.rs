//! What the disk tier counts.

use super::super::write::Tally;
use selvedge_observe::{Counter, Gauge, Registry};

/// What the disk tier counts.
#[derive(Clone, Default)]
pub struct Metrics {
    written: Counter,
    written_bytes: Counter,
    rewritten_bytes: Counter,
    declined: Counter,
    pub(super) dropped: Counter,
    pub(super) evicted: Counter,
    pub(super) failures: Counter,
    pub(super) damaged: Gauge,
    pub(super) available: Gauge,
    pub(super) objects: Gauge,
    pub(super) bytes: Gauge,
    pub(super) index_bytes: Gauge,
}

impl Metrics {
    /// Registers the metrics of a node's disk tier.
    pub fn register(registry: &Registry) -> Self {
        let m = Metrics::default();
        registry.register("cache_disk_written", "Objects written to disk", m.written.clone());
        registry.register("cache_disk_written_bytes", "Bytes of objects written", m.written_bytes.clone());
        registry.register(
            "cache_disk_rewritten_bytes",
            "Bytes of objects written anew since they are hot and their file went",
            m.rewritten_bytes.clone(),
        );
        registry.register(
            "cache_disk_declined",
            "Objects not written because others on disk are asked for more",
            m.declined.clone(),
        );
        registry.register(
            "cache_disk_dropped",
            "Objects not written because the queue was full or the disk failed",
            m.dropped.clone(),
        );
        registry.register(
            "cache_disk_evictions",
            "Objects that left the disk with their file to make room",
            m.evicted.clone(),
        );
        registry.register("cache_disk_failures", "Failed writes to the cache's disk", m.failures.clone());
        registry.register("cache_disk_damaged", "Reads that failed or found damage", m.damaged.clone());
        registry.register(
            "cache_disk_available",
            "Whether the cache's disk is written to",
            m.available.clone(),
        );
        registry.register("cache_disk_objects", "Objects on disk", m.objects.clone());
        registry.register("cache_disk_size_bytes", "Bytes of the cache's files", m.bytes.clone());
        registry.register(
            "cache_disk_index_bytes",
            "Memory of the index of what is on disk",
            m.index_bytes.clone(),
        );
        m
    }

    pub(super) fn count(&self, tally: &Tally) {
        self.written.inc_by(tally.objects);
        self.written_bytes.inc_by(tally.bytes);
        self.rewritten_bytes.inc_by(tally.rewritten_bytes);
        self.declined.inc_by(tally.declined);
        self.evicted.inc_by(tally.evicted);
    }
}
