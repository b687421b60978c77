//! What is counted of origins.

use crate::gone::Gone;
use selvedge_cache::semantics::ProxyError;
use selvedge_observe::{Counter, Family, Histogram, Registry};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// Of which origins there are any, and which of these are gone.
    known: Arc<Mutex<(BTreeSet<String>, Gone)>>,
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
            known: Arc::default(),
        }
    }

    /// Forgets what was counted of origins that have been out of use for an hour. To be called now and then.
    pub(super) fn forget_gone(&self, in_use: impl Fn(&str) -> bool, now: Duration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (names, gone) = &mut *known;
        for name in gone.look(names.iter().map(|name| (name, in_use(name))), now) {
            names.remove(&name);
            let label = label(&name);
            for family in self.counters() {
                family.remove(&label);
            }
            self.first_byte.remove(&label);
            for error in ProxyError::ALL {
                self.errors.remove(&error_label(&name, *error));
            }
        }
    }

    fn counters(&self) -> [&Family<ByOrigin, Counter>; 8] {
        [
            &self.answers,
            &self.opened,
            &self.reused,
            &self.retries,
            &self.retries_denied,
            &self.ejections,
            &self.health_changes,
            &self.broken_content,
        ]
    }

    pub(super) fn of(&self, origin: &str) -> Counters {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).0.insert(origin.into());
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

fn error_label(origin: &str, kind: ProxyError) -> ByOriginAndKind {
    [("origin", origin.into()), ("error", kind.as_str().to_owned())]
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
        self.errors.get_or_create(&error_label(&self.origin, kind)).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gone::GRACE;

    #[test]
    fn what_was_counted_of_an_origin_goes_an_hour_after_it() {
        let registry = Registry::default();
        let metrics = UpstreamMetrics::new(&registry);
        for origin in ["stays", "goes"] {
            let counters = metrics.of(origin);
            counters.answers.inc();
            counters.count_error(ProxyError::ConnectionRefused);
        }
        metrics.forget_gone(|name| name == "stays", Duration::ZERO);
        metrics.forget_gone(|name| name == "stays", GRACE);
        let told = registry.encode();
        assert!(!told.contains("goes") && told.contains("stays"), "{told}");
    }
}
