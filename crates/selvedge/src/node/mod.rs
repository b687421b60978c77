//! A node: every part, put together.
//!
//! `Config::build(seams) -> Node` is the one place that knows all parts. The data plane runs on threads of its
//! own and follows snapshots; the control state, the API and everything that waits for disks run on the
//! caller's runtime.

mod config;
mod handles;
mod identity;
mod settings;

pub use config::{Config, Listen, Seams, Storage};
pub use identity::{Identity, IdentityError};

use handles::{ApiCache, ApiNode, ApiRequests, ApiState};
use selvedge_control::{ApiOptions, Handles, Secret, SecretError};
use selvedge_gateway::access_log::AccessLog;
use selvedge_gateway::cache::{Cache, CacheOptions};
use selvedge_gateway::front::{CertificateError, CertificateFiles, Certificates, Endpoint, Front, Tls};
use selvedge_gateway::plane::{Plane, PlaneParts};
use selvedge_gateway::site::{RateTable, RequestIds, RouterState, SystemSecrets};
use selvedge_gateway::traffic::Traffic;
use selvedge_gateway::upstream::{Seams as UpstreamSeams, Upstream, UpstreamMetrics, system_roots};
use selvedge_observe::Registry;
use selvedge_rt::disk::DiskLock;
use selvedge_rt::{Listener, OnEnd, Tasks, Workers};
use selvedge_state::{Change, Command, Setup, SnapshotFile, State, Value};
use selvedge_store::segments::{self, DiskTier, Segments};
use selvedge_store::wal;
use selvedge_types::planted::{Bug, is_planted};
use selvedge_types::resource::Settings;
use selvedge_types::{HlcClock, Role, Snapshot, Token};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Why a node could not be built.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another process has the data directory, or it cannot be used.
    #[error("the data directory {path} cannot be used: {source}")]
    Data {
        /// Where it is.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its identity cannot be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} for {what}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] CertificateError),
    /// No first token could be made.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The first token could not be written down.
    #[error("the first token could not be written to the control state: {0}")]
    FirstToken(String),
    /// Threads cannot be started.
    #[error("the data plane's threads cannot be started: {0}")]
    Threads(io::Error),
}

/// A running node.
pub struct Node {
    /// Where it answers http.
    pub http: Vec<SocketAddr>,
    /// Where it answers https.
    pub https: Vec<SocketAddr>,
    /// Where its API is.
    pub api: SocketAddr,
    /// The first token, when it was just made.
    pub first_token: Option<Secret>,
    /// Why the control state is not available, if it is not: the node serves from its last snapshot.
    pub state_problem: Option<String>,
    plane: Plane,
    state: Option<State>,
    listeners: Vec<(&'static str, Listener)>,
    tasks: Tasks,
    data_tasks: Tasks,
    traffic_tasks: Tasks,
    workers: Workers,
    drain: Duration,
    lock: Option<DiskLock>,
}

impl Config {
    /// Puts a node together and starts it. Must be called on a runtime, where everything but the data plane
    /// will run.
    pub async fn build(self, seams: Seams) -> Result<Node, NodeError> {
        let Seams { clock, rng, secrets, net, resolver, disk, tasks, registry } = seams;
        let data_error = |source| NodeError::Data { path: disk.display().to_string(), source };
        let lock = disk.lock("lock").map_err(data_error)?;
        let identity = Identity::load(&disk, &secrets)?;
        let hlc: Arc<Mutex<HlcClock>> = Arc::default();
        let traffic_tasks = tasks.child();
        // What uses the data directory: a node that hands over ends it before its last requests have ended.
        let data_tasks = tasks.child();
        let workers = if tasks.is_inline() {
            Workers::inline(&traffic_tasks)
        } else {
            Workers::start(self.workers, "gateway", &traffic_tasks).map_err(NodeError::Threads)?
        };

        // Purges reach the cache once there is one; nobody can purge before.
        let purged: Arc<OnceLock<Cache>> = Arc::default();
        let purging = purged.clone();
        let setup = Setup {
            disk: disk.subdir("state").map_err(data_error)?,
            options: self.storage.state,
            clock: clock.clone(),
            hlc: hlc.clone(),
            tasks: data_tasks.clone(),
            metrics: selvedge_state::Metrics::register(&registry),
            wal_metrics: wal::Metrics::register(&registry),
            observer: Box::new(move |changes: &[Change]| {
                if let Some(cache) = purging.get() {
                    stamp(cache, changes);
                }
            }),
        };
        let (state, state_problem) = match State::open(setup).await {
            Ok((state, opened)) => {
                if opened.torn {
                    tracing::warn!(
                        "the log's last batch was incomplete and was cut; it was not acknowledged"
                    );
                }
                (Some(state), None)
            }
            Err(error) => {
                let problem = chain(&error);
                tracing::error!(%problem, "the control state cannot be opened; serving from the last snapshot");
                (None, Some(problem))
            }
        };

        // The file may be behind what was acknowledged: it is for a start without the state.
        let snapshot = match &state {
            Some(state) => state.snapshots().borrow().clone(),
            None => Arc::new(last_snapshot(&SnapshotFile::new(disk.subdir("state").map_err(data_error)?))),
        };
        let settings = snapshot.settings.clone();

        // Without the state, purges are not known: what is on disk could be what was purged.
        let known = state.is_some() || is_planted(Bug::DiskWithoutState);
        let disk_tier = known
            .then(|| self.disk_tier(&disk, &settings, &rng, &hlc, &data_tasks, &clock, &registry))
            .flatten();
        let cache_options = CacheOptions {
            ram_bytes: self.cache_ram.unwrap_or(settings.cache.ram.get()),
            secret: identity.cache_secret,
            seed: rng.branch("cache").next_u64(),
            collapsed_waiters_max: settings.limits.collapsed_waiters,
        };
        let cache = Cache::new(
            &cache_options,
            disk_tier,
            clock.clone(),
            hlc.clone(),
            traffic_tasks.clone(),
            &registry,
        );
        drop(purged.set(cache.clone()));
        let log =
            AccessLog::start(&settings.access_log, Some(disk.clone()), clock.clone(), &tasks, &registry);
        let upstream_seams =
            UpstreamSeams { net: net.clone(), resolver, clock: clock.clone(), tasks: tasks.clone() };
        let metrics = UpstreamMetrics::new(&registry);
        let upstream = Upstream::start(upstream_seams, system_roots(), metrics, rng.branch("upstream"));
        let plane = Plane::new(PlaneParts {
            cache: cache.clone(),
            upstream,
            log,
            traffic: Traffic::register(&registry),
            state: RouterState {
                cluster: identity.cluster.as_str().into(),
                ids: Arc::new(RequestIds::new(rng.branch("request ids").next_u64())),
                rates: Arc::new(RateTable::new(
                    settings.limits.rate_limit_keys,
                    rng.branch("rate limits").next_u64(),
                )),
            },
            clock: clock.clone(),
        });

        let certificates = Certificates::new();
        certificates.set_self_signed_fallback(vec!["localhost".into(), "127.0.0.1".into()])?;
        apply_snapshot(&plane, &certificates, &snapshot);

        let mut first_token = None;
        if let Some(state) = &state {
            for stamp in state.stamps().into_iter().filter(|_| !is_planted(Bug::PurgesForgotten)) {
                purge_both(&cache, &stamp);
            }
            first_token = self.first_token(state, &clock, &secrets).await?;
            follow_snapshots(state, &plane, &certificates, &tasks);
            expire_purges(state, &cache, &tasks, self.cache_disk != Some(0));
        }

        let limits = settings.limits.clone();
        let front =
            Front::new(Arc::new(plane.clone()), settings::front_options(&limits), clock.clone(), &registry);
        // Before those that a manifest adds: whatever is declared, the API can be reached to change it.
        let api_listener = match self.handed_over("api", self.api) {
            Some(listener) => listener,
            None => net.bind(self.api).await,
        };
        let api_listener =
            api_listener.map_err(|source| NodeError::Listen { addr: self.api, what: "the API", source })?;
        let api = api_listener.local_addr().unwrap_or(self.api);
        let kept = api_listener.try_clone_std().ok().flatten();
        let mut listeners = Vec::new();
        let (mut http, mut https) = (Vec::new(), Vec::new());
        for (listen, required) in self.listens(&settings) {
            let what = if listen.tls { "https" } else { "http" };
            let bound = match self.handed_over(what, listen.addr) {
                Some(listener) => listener,
                None => net.bind(listen.addr).await,
            };
            let listener = match bound {
                Ok(listener) => listener,
                Err(error) if !required => {
                    let addr = listen.addr;
                    tracing::error!(%addr, %error, "a listener of the manifest's settings cannot be used");
                    continue;
                }
                Err(source) => return Err(NodeError::Listen { addr: listen.addr, what, source }),
            };
            let addr = listener.local_addr().unwrap_or(listen.addr);
            if listen.tls {
                https.push(addr)
            } else {
                http.push(addr)
            }
            let tls = listen.tls.then(|| Tls::new(&certificates)).transpose()?;
            let endpoint = Endpoint { tls, proxy_protocol: listen.proxy_protocol };
            serve(&front, &listener, &endpoint, &workers, &traffic_tasks)
                .map_err(|source| NodeError::Listen { addr, what, source })?;
            listeners.push((what, listener));
        }
        let watching = certificates.clone().watch(tasks.clone());
        tasks.spawn("certificates", OnEnd::Forget, watching);

        let handles = Handles {
            state: Arc::new(ApiState::new(state.clone(), state_problem.clone(), plane.clone())),
            cache: Arc::new(ApiCache {
                plane: plane.clone(),
                disk_capacity: self.cache_disk.unwrap_or(settings.cache.disk.get()),
            }),
            requests: Arc::new(ApiRequests::new(plane.clone())),
            node: Arc::new(ApiNode {
                config: self.clone(),
                http: http.clone(),
                https: https.clone(),
                api,
                plane: plane.clone(),
                clock: clock.clone(),
                started: clock.monotonic(),
                state: state.clone(),
                state_problem: state_problem.clone(),
            }),
            registry,
            data: self.data.clone(),
            clock,
            secrets,
            tasks: data_tasks.clone(),
        };
        data_tasks.spawn(
            "api",
            OnEnd::Essential,
            selvedge_control::serve(api_listener, ApiOptions::default(), handles),
        );
        if let Some(listener) = kept {
            listeners.push((
                "api",
                Listener::from_std(listener).map_err(|source| NodeError::Listen {
                    addr: api,
                    what: "the API",
                    source,
                })?,
            ));
        }
        Ok(Node {
            http,
            https,
            api,
            first_token,
            state_problem,
            plane,
            state,
            listeners,
            drain: limits.drain_timeout.get(),
            tasks,
            data_tasks,
            traffic_tasks,
            workers,
            lock: Some(lock),
        })
    }

    fn disk_tier(
        &self,
        disk: &selvedge_rt::Disk,
        settings: &Settings,
        rng: &selvedge_rt::Rng,
        hlc: &Mutex<HlcClock>,
        tasks: &Tasks,
        clock: &selvedge_rt::Clock,
        registry: &Registry,
    ) -> Option<DiskTier> {
        let bytes_max = self.cache_disk.unwrap_or(settings.cache.disk.get());
        if bytes_max == 0 {
            return None;
        }
        let options = segments::Options { bytes_max, ..self.storage.segments };
        let opened = disk.subdir("cache").map_err(|e| e.to_string()).and_then(|dir| {
            Segments::open(dir, options, rng.branch("segments"), segments::keep_hit()).map_err(|e| chain(&e))
        });
        match opened {
            Ok((segments, opened)) => {
                // Fetched before a restart is before what is purged after it, wherever the wall clock went.
                let mut hlc = hlc.lock().unwrap_or_else(PoisonError::into_inner);
                if !is_planted(Bug::ClockForgotten) {
                    let _ = hlc.observe(opened.newest, opened.newest.millis());
                }
                drop(hlc);
                Some(DiskTier::start(segments, tasks, clock.clone(), segments::Metrics::register(registry)))
            }
            Err(problem) => {
                tracing::error!(%problem, "the cache's disk cannot be used; the cache is in memory alone");
                None
            }
        }
    }

    /// Makes the first token where there is none.
    async fn first_token(
        &self,
        state: &State,
        clock: &selvedge_rt::Clock,
        secrets: &selvedge_rt::Secrets,
    ) -> Result<Option<Secret>, NodeError> {
        if !state.tokens().is_empty() {
            return Ok(None);
        }
        let secret = Secret::generate(secrets)?;
        let token = Token {
            name: "admin".into(),
            role: Role::Admin,
            namespace: None,
            hash: secret.hash(),
            created: clock.wall(),
        };
        state.apply(Command::CreateToken(token)).await.map_err(|e| NodeError::FirstToken(chain(&e)))?;
        Ok(Some(secret))
    }
}

impl Node {
    /// The data plane.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// Makes a change to the control state, and waits until the data plane goes by it.
    pub async fn declare(&self, command: Command) -> Result<(), selvedge_state::Error> {
        let state = self.state.as_ref().ok_or(selvedge_state::Error::Stopped)?;
        let revision = state.apply(command).await?;
        while self.plane.revision() < revision && !self.tasks.is_stopping() {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Its sockets with their names, to be handed to a successor.
    pub fn listeners(&self) -> &[(&'static str, Listener)] {
        &self.listeners
    }

    /// Resolves when an essential part has ended, with its name.
    pub async fn failed(&self) -> &'static str {
        tokio::select! {
            () = self.tasks.stopped() => {}
            () = self.data_tasks.stopped() => {}
        }
        self.tasks.failed().unwrap_or("the node")
    }

    /// Stops accepting, ends everything that uses the data directory, and lets go of it for a successor.
    /// Requests under way go on, without the disk cache.
    pub async fn let_go(mut self) -> Self {
        self.listeners.clear();
        self.traffic_tasks.stop();
        if !self.data_tasks.shut_down(Duration::from_secs(10)).await {
            tracing::warn!("not everything that uses the data directory ended in time");
        }
        self.lock = None;
        self
    }

    /// Stops accepting, lets requests under way end, then everything else. Says whether all ended in time.
    pub async fn shut_down(self) -> bool {
        drop(self.listeners);
        let drained = self.traffic_tasks.shut_down(self.drain).await;
        if !drained {
            self.traffic_tasks.abandon();
        }
        let stopped = self.data_tasks.shut_down(Duration::from_secs(10)).await
            & self.tasks.shut_down(Duration::from_secs(10)).await;
        // Threads end when their tasks have, or were given up.
        let joined = self.workers.ended().await;
        drained && stopped && joined
    }
}

/// Serves a listener on every data-plane thread.
fn serve(
    front: &Arc<Front>,
    listener: &Listener,
    endpoint: &Endpoint,
    workers: &Workers,
    tasks: &Tasks,
) -> io::Result<()> {
    let mut sockets = Vec::new();
    for _ in 0..workers.count() {
        sockets.push(Mutex::new(Some(listener.try_clone_handle()?)));
    }
    workers.on_each(|i| {
        let socket = sockets[i].lock().ok().and_then(|mut s| s.take());
        let (front, endpoint, tasks) = (front.clone(), endpoint.clone(), tasks.clone());
        async move {
            match socket.map(selvedge_rt::net::ListenerHandle::open) {
                Some(Ok(listener)) => front.serve(listener, endpoint, tasks).await,
                Some(Err(error)) => tracing::error!(%error, "a data-plane thread cannot listen"),
                None => {}
            }
        }
    });
    Ok(())
}

/// The snapshot that was kept last; an empty one if there is none to be read.
fn last_snapshot(file: &SnapshotFile) -> Snapshot {
    let last = file.load().unwrap_or_else(|error| {
        tracing::warn!(%error, "the last snapshot cannot be read");
        None
    });
    last.unwrap_or_default()
}

/// Puts a snapshot in force, and says in the log what of it does not work.
fn apply_snapshot(plane: &Plane, certificates: &Certificates, snapshot: &Snapshot) {
    for problem in plane.follow(snapshot, &SystemSecrets) {
        tracing::warn!(problem, "not as declared");
    }
    let files = snapshot.sites.values().filter_map(|site| {
        let tls = site.tls.as_ref()?;
        Some(CertificateFiles {
            hosts: site.hosts.iter().map(ToString::to_string).collect(),
            chain: tls.cert.clone().into(),
            key: tls.key.clone().into(),
        })
    });
    for problem in certificates.set(files.collect()) {
        tracing::warn!(%problem, "a certificate cannot be used");
    }
}

fn follow_snapshots(state: &State, plane: &Plane, certificates: &Certificates, tasks: &Tasks) {
    let mut snapshots = state.snapshots();
    let (plane, certificates, stopping) = (plane.clone(), certificates.clone(), tasks.clone());
    tasks.spawn("snapshots", OnEnd::Essential, async move {
        loop {
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                () = stopping.stopped() => return,
            }
            let snapshot = snapshots.borrow_and_update().clone();
            apply_snapshot(&plane, &certificates, &snapshot);
        }
    });
}

/// How often purges are looked through for those that nothing can be covered by any more.
const EXPIRE_PURGES: Duration = Duration::from_secs(600);

/// Drops purges with the last object that they could cover. With a disk tier only those are dropped that are
/// older than anything it could hold.
fn expire_purges(state: &State, cache: &Cache, tasks: &Tasks, has_disk: bool) {
    let (state, cache, stopping) = (state.clone(), cache.clone(), tasks.clone());
    tasks.spawn("purge expiry", OnEnd::Forget, async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EXPIRE_PURGES) => {}
                () = stopping.stopped() => return,
            }
            // What lies on disk has no known age: while it holds anything, its purges stay.
            if has_disk && cache.usage().disk_objects > 0 {
                continue;
            }
            let Some(oldest) = cache.oldest() else { continue };
            cache.expire_purges(oldest);
            if let Err(error) = state.apply(Command::ExpireStamps { oldest }).await {
                tracing::debug!(%error, "purges not expired");
            }
        }
    });
}

/// Brings purges into force in the cache.
fn stamp(cache: &Cache, changes: &[Change]) {
    for change in changes {
        if let Some(Value::Stamp(stamp)) = &change.value {
            purge_both(cache, stamp);
        }
    }
}

fn purge_both(cache: &Cache, stamp: &selvedge_state::Stamp) {
    use selvedge_cache::stamps::PurgeKind;
    cache.purge(&stamp.scope, PurgeKind::Hard, stamp.hard);
    cache.purge(&stamp.scope, PurgeKind::Soft, stamp.soft);
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
