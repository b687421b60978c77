//! What passes through each site, counted.

use crate::busy::Place;
use crate::unanswered;
use selvedge_exchange::{Body, BodyError, BodyStream, Finish, Frame, Sent, Source};

use selvedge_observe::{Counter, Family, Histogram, Registry, exponential_buckets};
use selvedge_rt::Clock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

type Labels = Vec<(&'static str, String)>;

/// The counters of all sites.
pub struct Traffic {
    requests: Family<Labels, Counter>,
    statuses: Family<Labels, Counter>,
    sent: Family<Labels, Counter>,
    received: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    latency: Family<Labels, Histogram>,
    sites: Mutex<BTreeMap<String, Arc<SiteTraffic>>>,
}

/// The counters of one site.
pub struct SiteTraffic {
    by_source: [Counter; Source::ALL.len()],
    by_class: [Counter; 6],
    sent: Counter,
    received: Counter,
    failures: Counter,
    latency: Histogram,
}

/// What passed through a site since the node's start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteCounts {
    /// The site with its namespace; empty for requests that no site answered.
    pub site: String,
    /// Requests by where the answer came from, in the order of [`Source::ALL`].
    pub by_source: [u64; Source::ALL.len()],
    /// Answers with a status of 500 and above.
    pub errors: u64,
    /// Bytes of content sent to clients.
    pub sent_bytes: u64,
    /// Bytes of content received from origins.
    pub origin_bytes: u64,
    /// Requests to origins that brought no usable response.
    pub origin_errors: u64,
}

impl Traffic {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Self {
        let histogram = || Histogram::new(exponential_buckets(0.0001, 2.5, 14));
        Traffic {
            requests: registry.register(
                "requests",
                "Requests answered, by site and where the answer came from",
                Family::default(),
            ),
            statuses: registry.register(
                "responses",
                "Responses, by site and class of status",
                Family::default(),
            ),
            sent: registry.register(
                "sent_bytes",
                "Bytes of content sent to clients, by site",
                Family::default(),
            ),
            received: registry.register(
                "origin_received_bytes",
                "Bytes of content received from origins, by site",
                Family::default(),
            ),
            failures: registry.register(
                "origin_failures",
                "Requests to origins that brought no usable response, by site",
                Family::default(),
            ),
            latency: registry.register(
                "request_duration_seconds",
                "From a request's head to the end of its response, by site",
                Family::new_with_constructor(histogram as fn() -> Histogram),
            ),
            sites: Mutex::default(),
        }
    }

    /// The counters of a site, which stay when its configuration changes.
    pub fn site(&self, name: &str) -> Arc<SiteTraffic> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = sites.get(name) {
            return site.clone();
        }
        let label = || vec![("site", name.to_string())];
        let with = |key, value: &str| [label(), vec![(key, value.to_string())]].concat();
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];
        let site = Arc::new(SiteTraffic {
            by_source: Source::ALL.map(|s| self.requests.get_or_create(&with("source", s.as_str())).clone()),
            by_class: classes.map(|c| self.statuses.get_or_create(&with("class", c)).clone()),
            sent: self.sent.get_or_create(&label()).clone(),
            received: self.received.get_or_create(&label()).clone(),
            failures: self.failures.get_or_create(&label()).clone(),
            latency: self.latency.get_or_create(&label()).clone(),
        });
        sites.insert(name.to_string(), site.clone());
        site
    }

    /// What passed through each site.
    pub fn counts(&self) -> Vec<SiteCounts> {
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |(name, site): (&String, &Arc<SiteTraffic>)| SiteCounts {
            site: name.clone(),
            by_source: std::array::from_fn(|i| site.by_source[i].get()),
            errors: site.by_class[4].get(),
            sent_bytes: site.sent.get(),
            origin_bytes: site.received.get(),
            origin_errors: site.failures.get(),
        };
        sites.iter().map(count).collect()
    }
}

impl SiteTraffic {
    /// A request that came when the clock's monotonic time was `begun`, and keeps `place` until it is over.
    pub(crate) fn asked(self: &Arc<Self>, begun: Duration, clock: &Clock, place: Option<Place>) -> Asked {
        Asked { site: self.clone(), begun, clock: clock.clone(), _place: place, is_answered: false }
    }

    fn count(&self, status: u16, source: Source) {
        let class = usize::from(status / 100).clamp(1, 6) - 1;
        self.by_class[class].inc();
        self.by_source[source as usize].inc();
    }

    /// Counts a request to an origin that brought no usable response.
    pub(crate) fn origin_failed(&self) {
        self.failures.inc();
    }

    /// The content, counted as it comes from an origin.
    pub(crate) fn counted(&self, body: Body) -> Body {
        match body {
            Body::Empty => Body::Empty,
            Body::Full(bytes) => {
                self.received.inc_by(bytes.len() as u64);
                Body::Full(bytes)
            }
            stream @ Body::Stream(_) => {
                Body::Stream(Box::new(Counted { body: stream, received: self.received.clone() }))
            }
        }
    }
}

/// A request that is being answered. Dropped without an answer, it is counted as such.
pub(crate) struct Asked {
    site: Arc<SiteTraffic>,
    begun: Duration,
    clock: Clock,
    /// Taken until the response is sent.
    _place: Option<Place>,
    is_answered: bool,
}

impl Asked {
    /// Counts the answer; what is sent of it is counted when that is known.
    pub(crate) fn answered(mut self, status: u16, source: Source) -> Box<dyn Finish> {
        self.is_answered = true;
        self.site.count(status, source);
        Box::new(self)
    }
}

impl Finish for Asked {
    fn finish(self: Box<Self>, sent: Sent) {
        self.site.sent.inc_by(sent.body_bytes);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_answered {
            self.site.count(unanswered::status(), Source::Local);
        }
        self.site.latency.observe(self.clock.monotonic().saturating_sub(self.begun).as_secs_f64());
    }
}

struct Counted {
    body: Body,
    received: Counter,
}

impl BodyStream for Counted {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let frame = ready!(self.body.poll_frame(cx));
        if let Some(Ok(Frame::Data(data))) = &frame {
            self.received.inc_by(data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_without_an_answer_are_counted() {
        let registry = Registry::default();
        let site = Traffic::register(&registry).site("a");
        let asked = || site.asked(Duration::ZERO, &Clock::real(), None);
        asked().answered(200, Source::Memory).finish(Sent { body_bytes: 5, ..Sent::default() });
        drop(asked());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _asked = asked();
            std::panic::resume_unwind(Box::new("as a handler may"));
        }));
        assert!(panicked.is_err());
        let text = registry.encode();
        for line in [
            "selvedge_requests_total{site=\"a\",source=\"hit\"} 1\n",
            "selvedge_requests_total{site=\"a\",source=\"local\"} 2\n",
            "selvedge_responses_total{site=\"a\",class=\"4xx\"} 1\n",
            "selvedge_responses_total{site=\"a\",class=\"5xx\"} 1\n",
            "selvedge_request_duration_seconds_count{site=\"a\"} 3\n",
            "selvedge_sent_bytes_total{site=\"a\"} 5\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
