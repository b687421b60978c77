//! The service: makes groups, keeps them while they are used, closes what is idle for too long.

use super::error::FetchError;
use super::fetch::{self, FetchOptions};
use super::group::{EndpointStatus, Group};
use super::lock;
use super::metrics::UpstreamMetrics;
use super::probe::probe;
use super::resolve::Resolve;
use super::tls::{GroupError, Tls};
use bytes::Bytes;
use rustls::RootCertStore;
use selvedge_exchange::{Request, Response};
use selvedge_rt::{Clock, Net, OnEnd, Rng, Tasks};
use selvedge_types::Scheme;
use selvedge_types::resource::OriginTable;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What the client side stands on.
#[derive(Clone)]
pub struct Seams {
    /// Opens connections.
    pub net: Net,
    /// Looks names up.
    pub resolver: Arc<dyn Resolve>,
    /// Tells time.
    pub clock: Clock,
    /// Owns connections' and probes' tasks.
    pub tasks: Tasks,
}

/// The client side towards origins. Clones share it.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    seams: Seams,
    roots: Arc<RootCertStore>,
    metrics: UpstreamMetrics,
    rng: Rng,
    groups: Mutex<BTreeMap<String, Weak<Group>>>,
}

/// A group of origin servers to fetch from. Clones share it; its connections are closed and its probes end
/// when all are gone.
#[derive(Clone)]
pub struct OriginGroup {
    group: Arc<Group>,
    /// Keeps the sweep of idle connections going.
    _service: Upstream,
}

impl Upstream {
    /// Starts it on this runtime. `roots` are the authorities trusted where a group names none.
    pub fn start(seams: Seams, roots: Arc<RootCertStore>, metrics: UpstreamMetrics, rng: Rng) -> Self {
        let inner = Arc::new(Inner { seams, roots, metrics, rng, groups: Mutex::default() });
        let swept = Arc::downgrade(&inner);
        let tasks = inner.seams.tasks.clone();
        let stopping = tasks.clone();
        tasks.spawn("origin connections sweep", OnEnd::Forget, async move {
            tokio::select! {
                () = sweep(swept) => {}
                () = stopping.stopped() => {}
            }
        });
        Upstream(inner)
    }

    /// The group called `name`, unique in the node, described by `origin`. `ca_pem` is what the file that
    /// `origin.ca` names holds. A group that is in use and described the same way is shared, with its
    /// connections and all that was learnt. Must be called on a runtime, where its probes will run.
    pub fn group(
        &self,
        name: &str,
        origin: &OriginTable,
        ca_pem: Option<Bytes>,
    ) -> Result<OriginGroup, GroupError> {
        let mut groups = lock(&self.0.groups);
        let same = |group: &Arc<Group>| group.origin == *origin && group.ca_pem == ca_pem;
        if let Some(group) = groups.get(name).and_then(Weak::upgrade).filter(same) {
            return Ok(self.handle(group));
        }
        let is_encrypted = origin.targets.0.iter().any(|target| target.url.scheme == Scheme::Https);
        let tls = is_encrypted.then(|| Tls::new(origin, ca_pem.as_deref(), &self.0.roots)).transpose()?;
        let counters = self.0.metrics.of(name);
        let (seams, rng) = (self.0.seams.clone(), self.0.rng.branch(name));
        let probe_rng = rng.branch("probe");
        let group = Arc::new(Group::new(name.into(), origin.clone(), ca_pem, tls, counters, seams, rng));
        groups.retain(|_, group| group.strong_count() > 0);
        groups.insert(name.into(), Arc::downgrade(&group));
        self.start_probes(&group, probe_rng);
        Ok(self.handle(group))
    }

    fn handle(&self, group: Arc<Group>) -> OriginGroup {
        OriginGroup { group, _service: self.clone() }
    }

    fn start_probes(&self, group: &Arc<Group>, rng: Rng) {
        let Some(rules) = group.origin.health.clone() else { return };
        let (group, tasks) = (Arc::downgrade(group), &self.0.seams.tasks);
        let stopping = tasks.clone();
        tasks.spawn("origin health probes", OnEnd::Forget, async move {
            tokio::select! {
                () = probe(group, rules, rng) => {}
                () = stopping.stopped() => {}
            }
        });
    }
}

impl OriginGroup {
    /// Fetches from one of the servers, chosen by weight, load and latency, and tries again where that is
    /// safe. The request's own connection fields are removed, Host is set as the group says; all other
    /// fields are sent as they are. Upgrade is passed on: a 101 answer then has a tunnel.
    ///
    /// The response has no connection fields, and Content-Length only where it has no content. Its frames
    /// may share a larger buffer: copy what is kept. An error while reading it means that it is not
    /// complete and must not be stored. Dropping the future or the response frees what they hold; a
    /// connection that is cut off is never used again.
    pub async fn fetch(&self, request: Request, options: FetchOptions) -> Result<Response, FetchError> {
        fetch::fetch(&self.group, request, options).await
    }

    /// The name given to [`Upstream::group`].
    pub fn name(&self) -> &str {
        &self.group.name
    }

    /// How it is described.
    pub fn origin(&self) -> &OriginTable {
        &self.group.origin
    }

    /// The servers as they stand; none before the first request.
    pub fn status(&self) -> Vec<EndpointStatus> {
        self.group.status()
    }
}

async fn sweep(inner: Weak<Inner>) {
    loop {
        sleep(SWEEP_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        let groups: Vec<_> = {
            let named = lock(&inner.groups);
            let in_use = |name: &str| named.get(name).is_some_and(|group| group.strong_count() > 0);
            inner.metrics.forget_gone(in_use, inner.seams.clock.monotonic());
            named.values().filter_map(Weak::upgrade).collect()
        };
        let now = Instant::now();
        for endpoint in groups.iter().flat_map(|group| group.known_endpoints().to_vec()) {
            endpoint.pool.sweep(now);
            endpoint.http2.sweep(now);
        }
    }
}
