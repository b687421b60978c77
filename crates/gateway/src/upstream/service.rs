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
    groups: Mutex<Groups>,
}

#[derive(Default)]
struct Groups {
    used: BTreeMap<String, Weak<Used>>,
    /// Also those that are replaced, while requests to them are under way.
    all: Vec<Weak<Group>>,
}

/// A group that is to be fetched from, unlike one of which only requests under way are left.
pub(super) struct Used(Arc<Group>);

impl Used {
    pub(super) fn group(&self) -> &Arc<Group> {
        &self.0
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        // What is under way may hold the group for as long as a tunnel is open.
        self.0.retire();
    }
}

/// A group of origin servers to fetch from. Clones share it. When all are gone its probes end, and its connections are
/// closed as the requests on them end.
#[derive(Clone)]
pub struct OriginGroup {
    used: Arc<Used>,
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
        let same = |used: &Arc<Used>| used.0.origin == *origin && used.0.ca_pem == ca_pem;
        if let Some(used) = groups.used.get(name).and_then(Weak::upgrade).filter(same) {
            return Ok(self.handle(used));
        }
        let is_encrypted = origin.targets.0.iter().any(|target| target.url.scheme == Scheme::Https);
        let tls = is_encrypted.then(|| Tls::new(origin, ca_pem.as_deref(), &self.0.roots)).transpose()?;
        let counters = self.0.metrics.of(name);
        let (seams, rng) = (self.0.seams.clone(), self.0.rng.branch(name));
        let probe_rng = rng.branch("probe");
        let group = Arc::new(Group::new(name.into(), origin.clone(), ca_pem, tls, counters, seams, rng));
        groups.all.push(Arc::downgrade(&group));
        let used = Arc::new(Used(group));
        groups.used.retain(|_, used| used.strong_count() > 0);
        groups.used.insert(name.into(), Arc::downgrade(&used));
        self.start_probes(&used, probe_rng);
        Ok(self.handle(used))
    }

    fn handle(&self, used: Arc<Used>) -> OriginGroup {
        OriginGroup { used, _service: self.clone() }
    }

    fn start_probes(&self, used: &Arc<Used>, rng: Rng) {
        let Some(rules) = used.0.origin.health.clone() else { return };
        let (used, tasks) = (Arc::downgrade(used), &self.0.seams.tasks);
        let stopping = tasks.clone();
        tasks.spawn("origin health probes", OnEnd::Forget, async move {
            tokio::select! {
                () = probe(used, rules, rng) => {}
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
        fetch::fetch(&self.used.0, request, options).await
    }

    /// The name given to [`Upstream::group`].
    pub fn name(&self) -> &str {
        &self.used.0.name
    }

    /// How it is described.
    pub fn origin(&self) -> &OriginTable {
        &self.used.0.origin
    }

    /// The servers as they stand; none before the first request.
    pub fn status(&self) -> Vec<EndpointStatus> {
        self.used.0.status()
    }
}

async fn sweep(inner: Weak<Inner>) {
    loop {
        sleep(SWEEP_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        let groups: Vec<Arc<Group>> = {
            let mut groups = lock(&inner.groups);
            let in_use = |name: &str| groups.used.get(name).is_some_and(|used| used.strong_count() > 0);
            inner.metrics.forget_gone(in_use, inner.seams.clock.monotonic());
            groups.all.retain(|group| group.strong_count() > 0);
            groups.all.iter().filter_map(Weak::upgrade).collect()
        };
        let now = Instant::now();
        groups.iter().for_each(|group| group.sweep(now));
    }
}
