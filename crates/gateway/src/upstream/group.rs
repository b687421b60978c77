//! A group of origin servers at work: its endpoints, their balance, and what was learnt of them.

use super::balance::{Balancer, EndpointId, MemberView};
use super::budget::RetryBudget;
use super::endpoint::Endpoint;
use super::error::{FetchError, Side, Stage};
use super::health::HealthState;
use super::lock;
use super::members::{Member, Resolution, addresses, merge, resolve};
use super::metrics::Counters;
use super::outage::Outage;
use super::outgoing::Times;
use super::pool::PoolLimits;
use super::service::Seams;
use super::tls::Tls;
use arc_swap::ArcSwap;
use bytes::Bytes;
use selvedge_cache::semantics::ProxyError;
use selvedge_rt::{OnEnd, Rng};
use selvedge_types::Status;
use selvedge_types::resource::{Health, OriginTable};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The endpoints of a group.
pub(super) type Endpoints = Arc<Vec<Arc<Endpoint>>>;

pub(super) struct Group {
    pub(super) name: String,
    pub(super) origin: OriginTable,
    pub(super) ca_pem: Option<Bytes>,
    pub(super) times: Times,
    pub(super) tls: Option<Tls>,
    pub(super) seams: Seams,
    limits: PoolLimits,
    counters: Counters,
    outage: Outage,
    core: Mutex<Core>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    roster: Mutex<Roster>,
    /// When names are to be looked up again, in milliseconds of the monotonic clock.
    lookup_due_ms: AtomicU64,
    is_looking_up: AtomicBool,
    first_lookup: tokio::sync::Mutex<()>,
    /// Nothing new is fetched from it.
    is_retired: AtomicBool,
}

struct Core {
    balancer: Balancer,
    budget: RetryBudget,
}

#[derive(Default)]
struct Roster {
    by_target: Vec<Vec<Member>>,
    last_id: u64,
    error: Option<FetchError>,
}

/// An endpoint as it stands, for status pages.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointStatus {
    /// Name and address.
    pub label: String,
    /// Requests under way.
    pub in_flight: u32,
    /// Idle HTTP/1.1 connections.
    pub idle_connections: usize,
    /// Peak-weighted average time to the head of an answer, in seconds; 0.001 at least.
    pub latency_seconds: f64,
    /// Out for a while after failures in a row.
    pub is_ejected: bool,
    /// What probes found.
    pub health: HealthState,
}

impl Group {
    pub(super) fn new(
        name: String,
        origin: OriginTable,
        ca_pem: Option<Bytes>,
        tls: Option<Tls>,
        counters: Counters,
        seams: Seams,
        rng: Rng,
    ) -> Self {
        let core = Core {
            balancer: Balancer::new(origin.ejection, rng),
            budget: RetryBudget::new(origin.retry.budget_percent),
        };
        Group {
            name,
            times: Times::of(&origin),
            limits: PoolLimits::of(&origin),
            origin,
            ca_pem,
            tls,
            seams,
            counters,
            outage: Outage::default(),
            core: Mutex::new(core),
            endpoints: ArcSwap::default(),
            roster: Mutex::default(),
            lookup_due_ms: AtomicU64::new(0),
            is_looking_up: AtomicBool::new(false),
            first_lookup: tokio::sync::Mutex::new(()),
            is_retired: AtomicBool::new(false),
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The endpoints. Waits for the first look-up if no target is an address; else, and later, look-ups go on
    /// in the background while the endpoints that are known are used.
    pub(super) async fn endpoints(self: &Arc<Self>) -> Result<Endpoints, FetchError> {
        if self.is_lookup_due() && self.endpoints.load().is_empty() {
            let _first = self.first_lookup.lock().await;
            if self.is_lookup_due() && self.endpoints.load().is_empty() {
                self.take_resolution(addresses(&self.origin));
            }
            if self.is_lookup_due() && self.endpoints.load().is_empty() {
                self.look_up().await;
            }
        }
        if self.is_lookup_due() && !self.is_looking_up.swap(true, Relaxed) {
            let group = self.clone();
            self.seams.tasks.spawn("origin look-up", OnEnd::Forget, async move {
                let _done = LookingUp(&group);
                group.look_up().await;
            });
        }
        let endpoints = self.endpoints.load_full();
        if !endpoints.is_empty() {
            return Ok(endpoints);
        }
        let none =
            || FetchError::new(ProxyError::DestinationUnavailable, Stage::Unsent, "there is no origin");
        Err(lock(&self.roster).error.clone().unwrap_or_else(none))
    }

    /// Keeps no idle connections from here on.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Relaxed);
        self.sweep(Instant::now());
    }

    /// Closes connections that were idle for too long.
    pub(super) fn sweep(&self, now: Instant) {
        let is_retired = self.is_retired.load(Relaxed);
        for endpoint in self.known_endpoints().iter() {
            if is_retired {
                endpoint.pool.close_idle();
                endpoint.http2.close_idle();
            } else {
                endpoint.pool.sweep(now);
                endpoint.http2.sweep(now);
            }
        }
    }

    /// The endpoints known now.
    pub(super) fn known_endpoints(&self) -> Endpoints {
        self.endpoints.load_full()
    }

    fn is_lookup_due(&self) -> bool {
        self.now().as_millis() as u64 >= self.lookup_due_ms.load(Relaxed)
    }

    async fn look_up(&self) {
        let found = resolve(&self.origin, &*self.seams.resolver, self.times.connect).await;
        self.take_resolution(found);
    }

    fn take_resolution(&self, resolution: Resolution) {
        let mut roster = lock(&self.roster);
        roster.error = resolution.targets.iter().find_map(|target| target.as_ref().err().cloned());
        if let Some(error) = &roster.error {
            tracing::warn!(origin = self.name, %error, "a name cannot be looked up");
        }
        let mut last_id = roster.last_id;
        let by_target = merge(&roster.by_target, resolution.targets, self.limits, &mut last_id);
        roster.last_id = last_id;
        roster.by_target = by_target;
        let mut members: Vec<&Member> = roster.by_target.iter().flatten().collect();
        members.sort_by_key(|m| m.endpoint.id);
        members.dedup_by_key(|m| m.endpoint.id);
        let seats: Vec<_> = members.iter().map(|m| m.seat()).collect();
        let endpoints = members.iter().map(|m| m.endpoint.clone()).collect();
        // Under one lock, so that whoever chooses finds what was chosen.
        let mut core = lock(&self.core);
        core.balancer.set_seats(&seats);
        self.endpoints.store(Arc::new(endpoints));
        drop(core);
        let due = resolution.ttl.map_or(u64::MAX, |ttl| (self.now() + ttl).as_millis() as u64);
        self.lookup_due_ms.store(due, Relaxed);
    }

    /// Chooses an endpoint for a request among those known now; one outside `tried` if such a one can serve.
    pub(super) fn pick(&self, tried: &[EndpointId]) -> Option<Arc<Endpoint>> {
        let mut core = lock(&self.core);
        if tried.is_empty() {
            core.budget.deposit();
        }
        let id = core.balancer.pick(self.now(), tried)?;
        self.endpoints.load().iter().find(|e| e.id == id).cloned()
    }

    /// Whether an endpoint outside `tried` can serve.
    pub(super) fn has_other(&self, tried: &[EndpointId]) -> bool {
        lock(&self.core).balancer.has_other(self.now(), tried)
    }

    /// Takes a retry from the budget, if there is one.
    pub(super) fn may_retry(&self) -> bool {
        let allowed = lock(&self.core).budget.withdraw(self.now());
        if !allowed {
            self.counters.retries_denied.inc();
        }
        allowed
    }

    pub(super) fn handle_start(&self, id: EndpointId) {
        lock(&self.core).balancer.handle_start(id);
    }

    pub(super) fn handle_end(&self, id: EndpointId) {
        lock(&self.core).balancer.handle_end(id);
    }

    /// The head of an answer came.
    pub(super) fn handle_answer(&self, endpoint: &Endpoint, status: Status, latency: Duration) {
        self.counters.answers.inc();
        self.counters.first_byte.observe(latency.as_secs_f64());
        let failed = counts_as_failure(status);
        let ejected = lock(&self.core).balancer.handle_answer(endpoint.id, self.now(), latency, failed);
        self.note_ejection(endpoint, ejected);
    }

    /// No proper answer came.
    pub(super) fn handle_failure(&self, endpoint: &Endpoint) {
        let ejected = lock(&self.core).balancer.handle_failure(endpoint.id, self.now());
        self.note_ejection(endpoint, ejected);
    }

    /// A request has its answer.
    pub(super) fn handle_fetched(&self) {
        if self.outage.handle_answer() {
            tracing::info!(origin = self.name, "an origin answers again");
        }
    }

    /// A request got no usable answer, after all tries.
    pub(super) fn handle_unanswered(&self, error: &FetchError) {
        if error.side() == Side::Origin && self.outage.handle_failure(self.now()) {
            tracing::warn!(
                origin = self.name,
                %error,
                "an origin gives no usable answer; the access log tells of each request"
            );
        }
    }

    /// A probe ended.
    pub(super) fn handle_probe(&self, endpoint: &Endpoint, good: bool, rules: &Health) {
        if lock(&self.core).balancer.handle_probe(endpoint.id, good, rules) {
            self.counters.health_changes.inc();
            let label = endpoint.label();
            tracing::info!(
                origin = self.name,
                endpoint = &*label,
                healthy = good,
                "an endpoint's health changed"
            );
        }
    }

    /// The endpoints as they stand.
    pub(super) fn status(&self) -> Vec<EndpointStatus> {
        let (core, now) = (lock(&self.core), self.now());
        let endpoints = self.endpoints.load();
        let status = |endpoint: &Arc<Endpoint>| {
            let MemberView { in_flight, latency_seconds, ejected, health } =
                core.balancer.view(endpoint.id, now)?;
            Some(EndpointStatus {
                label: endpoint.label().to_string(),
                in_flight,
                idle_connections: endpoint.pool.idle(),
                latency_seconds,
                is_ejected: ejected,
                health,
            })
        };
        endpoints.iter().filter_map(status).collect()
    }

    fn note_ejection(&self, endpoint: &Endpoint, ejected: bool) {
        if ejected {
            self.counters.ejections.inc();
            let label = endpoint.label();
            tracing::warn!(
                origin = self.name,
                endpoint = &*label,
                "an endpoint is left out: it keeps failing"
            );
        }
    }

    fn now(&self) -> Duration {
        self.seams.clock.monotonic()
    }
}

/// A look-up in the background.
struct LookingUp<'a>(&'a Group);

impl Drop for LookingUp<'_> {
    fn drop(&mut self) {
        self.0.is_looking_up.store(false, Relaxed);
    }
}

/// Whether a status counts against an endpoint: 501 and 505 are about the request.
fn counts_as_failure(status: Status) -> bool {
    status.is_server_error() && !matches!(status.code(), 501 | 505)
}
