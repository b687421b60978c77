//! What is counted of origins.

use selvedge_cache::semantics::ProxyError;
use selvedge_observe::{Counter, Family, Histogram, Registry};

type ByOrigin = [(&'static str, String); 1];
type ByOriginAndKind = [(&'static str, String); 2];

/// The metrics of all groups.
#[derive(Clone)]
pub struct UpstreamMetrics {
    answers: Family<ByOrigin, Counter>,
    errors: Family<ByOriginAndKind, Counter>,
    opened: Family<ByOrigin, Counter>,
    reused: Family<ByOrigin, Counter>,
    retries: Family<ByOrigin, Counter>,
    retries_denied: Family<ByOrigin, Counter>,
    ejections: Family<ByOrigin, Counter>,
    health_changes: Family<ByOrigin, Counter>,
    broken_content: Family<ByOrigin, Counter>,
    first_byte: Family<ByOrigin, Histogram, fn() -> Histogram>,
}

/// Seconds: half a millisecond to half a minute.
const FIRST_BYTE_BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

impl UpstreamMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        let count = |name: &str, help: &str| registry.register(name, help, Family::default());
        let histogram: fn() -> Histogram = || Histogram::new(FIRST_BYTE_BUCKETS);
        UpstreamMetrics {
            answers: count("origin_answers", "Requests that an origin answered"),
            errors: registry.register(
                "origin_errors",
                "Requests that no origin answered, by Proxy-Status error type",
                Family::default(),
            ),
            opened: count("origin_connections_opened", "Connections opened to origins"),
            reused: count("origin_connections_reused", "Requests sent over a connection used before"),
            retries: count("origin_retries", "Requests sent again"),
            retries_denied: count("origin_retries_denied", "Requests not sent again because of the budget"),
            ejections: count("origin_ejections", "Endpoints taken out after failures in a row"),
            health_changes: count("origin_health_changes", "Endpoints found healthy or unhealthy by probes"),
            broken_content: count(
                "origin_broken_content",
                "Answers whose content broke off or was malformed",
            ),
            first_byte: registry.register(
                "origin_first_byte_seconds",
                "Time from sending a request to the head of its answer",
                Family::new_with_constructor(histogram),
            ),
        }
    }

    pub(super) fn of(&self, origin: &str) -> Counters {
        let of = |family: &Family<ByOrigin, Counter>| family.get_or_create_owned(&label(origin));
        Counters {
            origin: origin.into(),
            errors: self.errors.clone(),
            answers: of(&self.answers),
            opened: of(&self.opened),
            reused: of(&self.reused),
            retries: of(&self.retries),
            retries_denied: of(&self.retries_denied),
            ejections: of(&self.ejections),
            health_changes: of(&self.health_changes),
            broken_content: of(&self.broken_content),
            first_byte: self.first_byte.get_or_create_owned(&label(origin)),
        }
    }
}

fn label(origin: &str) -> ByOrigin {
    [("origin", origin.into())]
}

/// One group's metrics.
pub(super) struct Counters {
    origin: String,
    errors: Family<ByOriginAndKind, Counter>,
    pub(super) answers: Counter,
    pub(super) opened: Counter,
    pub(super) reused: Counter,
    pub(super) retries: Counter,
    pub(super) retries_denied: Counter,
    pub(super) ejections: Counter,
    pub(super) health_changes: Counter,
    pub(super) broken_content: Counter,
    pub(super) first_byte: Histogram,
}

impl Counters {
    pub(super) fn count_error(&self, kind: ProxyError) {
        let labels = [("origin", self.origin.clone()), ("error", kind.as_str().to_owned())];
        self.errors.get_or_create(&labels).inc();
    }
}
