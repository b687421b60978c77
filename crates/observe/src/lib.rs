//! Metric handles and events.
//!
//! Metrics are gathered in one registry and printed as Prometheus text (OpenMetrics names).
//!
//! A component registers its metrics once and keeps the handles: counting is one atomic addition.

pub mod events;
mod limits;
pub mod machine;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Metric;
use std::sync::{Arc, Mutex};

pub use events::Events;
pub use limits::LimitCounters;
pub use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelSetEncoder};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
pub use prometheus_client::{collector, encoding};

/// All metrics of a node. Clones share them.
#[derive(Clone, Debug)]
pub struct Registry {
    metrics: Arc<Mutex<prometheus_client::registry::Registry>>,
    limits: LimitCounters,
}

impl Default for Registry {
    fn default() -> Self {
        let metrics = prometheus_client::registry::Registry::with_prefix("selvedge");
        let registry = Registry { metrics: Arc::new(Mutex::new(metrics)), limits: LimitCounters::default() };
        let help = "How often a limit of the settings was met, by its name";
        registry.register("limit_reached", help, registry.limits.family());
        registry
    }
}

impl Registry {
    /// The counters of limits, which several components share.
    pub fn limits(&self) -> LimitCounters {
        self.limits.clone()
    }

    /// Adds `metric` as `selvedge_NAME` and returns it. `help` is a sentence without its full stop.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        if let Ok(mut registry) = self.metrics.lock() {
            registry.register(name, help, metric.clone());
        }
        metric
    }

    /// Adds a source that is asked at each scrape.
    pub fn register_collector(&self, source: Box<dyn collector::Collector>) {
        if let Ok(mut registry) = self.metrics.lock() {
            registry.register_collector(source);
        }
    }

    /// The metrics' present values in the text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Ok(registry) = self.metrics.lock() {
            // Writing to a string fails only if a metric's own encoder does; what came before it stands.
            let _ = encode(&mut text, &registry);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registered_metric_is_printed_with_its_prefix() {
        let registry = Registry::default();
        let hits = registry.register("cache_hits", "Requests answered from cache", Counter::<u64>::default());
        hits.inc();
        let text = registry.encode();
        assert!(text.contains("selvedge_cache_hits_total 1\n"), "{text}");
        registry.limits().reached("body");
        assert!(registry.encode().contains("selvedge_limit_reached_total{limit=\"body\"} 1\n"));
    }
}
