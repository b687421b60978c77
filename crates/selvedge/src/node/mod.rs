//! A node: every part, put together.
//!
//! `Config::build(seams) -> Node` is the one place that knows all parts. The data plane runs on threads of its
//! own and follows snapshots; the control state, the API and everything that waits for disks run on the
//! caller's runtime.

mod cluster;
mod config;
pub(crate) mod distances;
mod events;
mod following;
mod handles;
mod identity;
mod listening;
mod restoring;
mod settings;

pub use config::{BindLinks, Config, Listen, RealLinks, Seams, Storage};
pub use distances::DistantLinks;
pub use identity::{Identity, IdentityError};
pub(crate) use restoring::MARK as RESTORING;

use cluster::{LinkSeams, Linked};
use events::{Recorder, Watcher};
use following::{InForce, Parts};
use handles::{ApiCache, ApiNode, ApiRequests, ApiState};
use listening::{ListenError, Listening};
use selvedge_control::cluster::{BACKUPS_MAX, Cluster};
use selvedge_control::{ApiOptions, Forwarder, Handles, KeyspaceMetrics, Secret, SecretError};
use selvedge_gateway::access_log::AccessLog;
use selvedge_gateway::cache::{Cache, CacheOptions};
use selvedge_gateway::front::{CertificateError, Certificates, Front};
use selvedge_gateway::plane::{Plane, PlaneParts};
use selvedge_gateway::site::{RateTable, RequestIds, RouterState, SystemSecrets};
use selvedge_gateway::traffic::Traffic;
use selvedge_gateway::upstream::{Seams as UpstreamSeams, Upstream, UpstreamMetrics, system_roots};
use selvedge_mesh::Hybrid;
use selvedge_mesh::ticket::Ticket;
use selvedge_observe::{Events, Registry};
use selvedge_rt::disk::DiskLock;
use selvedge_rt::{OnEnd, Tasks, Workers};
use selvedge_state::group::{Member, MeshLinks};
use selvedge_state::mirror::Mirroring;
use selvedge_state::{Change, Command, NodeRecord, Serves, Setup, SnapshotFile, Stamp, State, Value};
use selvedge_store::segments::{self, DiskTier, Segments};
use selvedge_store::wal;
use selvedge_types::planted::{Bug, is_planted};
use selvedge_types::resource::Settings;
use selvedge_types::{Event, Hlc, HlcClock, Role, Snapshot, Token};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::Semaphore;

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
    /// Its key cannot be read or made.
    #[error(transparent)]
    NodeKey(#[from] selvedge_mesh::IdentityError),
    /// Its mesh cannot be reached.
    #[error(transparent)]
    Mesh(#[from] selvedge_mesh::BindError),
    /// The machine gives no randomness.
    #[error("the machine gives no randomness: {0}")]
    Randomness(String),
    /// The cluster did not let it in.
    #[error("{0}")]
    Join(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} for {what}")]
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
    /// The control state cannot be opened, and there is nothing else to serve by.
    #[error("the control state cannot be opened, and there is no snapshot to serve by: {0}")]
    State(String),
    /// The first token could not be written down.
    #[error("the first token could not be written to the control state: {0}")]
    FirstToken(String),
    /// It begins with a backup that cannot be used.
    #[error("{} cannot be restored", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: selvedge_state::BackupError,
    },
    /// It was to begin with a backup, and was cut off.
    #[error("a restore into this data directory was cut off; repeat it: `selvedge up --new --restore FILE`")]
    HalfRestored,
    /// Threads cannot be started.
    #[error("the data plane's threads cannot be started: {0}")]
    Threads(io::Error),
}

impl NodeError {
    fn data(disk: &selvedge_rt::Disk, source: io::Error) -> Self {
        NodeError::Data { path: disk.display().to_string(), source }
    }
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
    /// That is because the disk is full.
    pub waits_for_space: bool,
    plane: Plane,
    state: Option<State>,
    linked: Linked,
    in_force: InForce,
    events: Events,
    listening: Listening,
    /// The API's socket, to be handed over.
    api_copy: Option<std::net::TcpListener>,
    /// The API, as long as it is not answered.
    closed_api: Option<(selvedge_rt::Listener, Handles)>,
    tasks: Tasks,
    data_tasks: Tasks,
    traffic_tasks: Tasks,
    workers: Workers,
    lock: Option<DiskLock>,
}

impl Config {
    /// Puts a node together and starts it. Must be called on a runtime, where everything but the data plane
    /// will run.
    pub async fn build(self, seams: Seams) -> Result<Node, NodeError> {
        let mut node = self.begin(seams).await?;
        node.open_api();
        Ok(node)
    }

    /// As [`Config::build`], but does not answer its API yet: as long as a predecessor accepts connections, nothing
    /// may be purged here that is still served there.
    pub async fn begin(self, seams: Seams) -> Result<Node, NodeError> {
        let data_error = |source| NodeError::Data { path: seams.disk.display().to_string(), source };
        let lock = seams.disk.lock(LOCK).map_err(data_error)?;
        // The number of a process that is gone: whoever starts this one, or hands over to it, writes the new one.
        let _ = seams.disk.remove(PID);
        let tasks = seams.tasks.child();
        let owners = Owners { data: tasks.child(), traffic: tasks.child(), all: tasks };
        match Box::pin(self.begin_locked(seams, &owners)).await {
            Ok(node) => Ok(Node { lock: Some(lock), ..node }),
            Err(error) => {
                owners.give_up().await;
                Err(error)
            }
        }
    }

    async fn begin_locked(self, seams: Seams, owners: &Owners) -> Result<Node, NodeError> {
        let Seams { clock, rng, secrets, net, links, resolver, disk, registry, .. } = seams;
        let Owners { all: tasks, data: data_tasks, traffic: traffic_tasks } = owners.clone();
        let data_error = |source| NodeError::Data { path: disk.display().to_string(), source };
        let restore = restoring::begin(&disk, self.restore.as_deref(), &tasks).await?;
        let begins_with_backup = restore.is_some();
        let identity = Identity::load(&disk, &secrets)?;
        let hlc: Arc<Mutex<HlcClock>> = Arc::default();
        let workers = if tasks.is_inline() {
            Workers::inline(&traffic_tasks)
        } else {
            Workers::start(self.workers, "gateway", &traffic_tasks).map_err(NodeError::Threads)?
        };

        let seams = LinkSeams {
            disk: &disk,
            secrets: &secrets,
            clock: &clock,
            hlc: hlc.clone(),
            rng: &rng,
            tasks: &data_tasks,
            registry: &registry,
            links: &*links,
        };
        let hybrid = Hybrid::shared(clock.clone(), hlc.clone());
        if let Some(joined) = cluster::joined_at(&disk).map_err(data_error)? {
            hybrid.resume(joined);
        }
        let events = events::begin(&disk, &hybrid, &registry, &data_tasks).await;
        events.tell(Event::Started { version: env!("CARGO_PKG_VERSION").into() });
        let linked = Box::pin(Linked::begin(&self, identity.cluster, seams, &events)).await?;
        // Purges reach the cache once there is one; nobody can purge before.
        let purged: Arc<OnceLock<Cache>> = Arc::default();
        let purging = purged.clone();
        let directory = linked.directory.clone();
        let mut recorder = Recorder::new(events.clone());
        let setup = Setup {
            disk: disk.subdir("state").map_err(data_error)?,
            options: self.storage.state.clone(),
            cluster: identity.cluster,
            member: Member { node: linked.key.to_string() },
            restore,
            // An edge node keeps what it is sent in a group of its own.
            founds: !linked.was_let_in || linked.is_edge(),
            clock: clock.clone(),
            hlc: hlc.clone(),
            rng: rng.branch("state"),
            tasks: data_tasks.clone(),
            links: Arc::new(MeshLinks::new(linked.mesh.clone())),
            metrics: selvedge_state::Metrics::register(&registry),
            wal_metrics: wal::Metrics::register(&registry),
            observer: Box::new(move |changes: &[Change], time| {
                directory.observe(changes);
                recorder.observe(changes, time);
                if let Some(cache) = purging.get() {
                    stamp(cache, changes, hybrid.now());
                }
            }),
        };
        let mut waits_for_space = false;
        let (state, state_problem) = match Box::pin(State::open(setup)).await {
            Ok((state, opened)) => {
                if begins_with_backup {
                    restoring::done(&disk)?;
                }
                if let Some(problem) = &opened.problem {
                    tracing::error!(%problem, "no changes can be made until this is over; serving by the last snapshot");
                }
                (Some((state, opened)), None)
            }
            Err(error) => {
                waits_for_space = is_for_lack_of_space(&error);
                (None, Some(chain(&error)))
            }
        };
        let (state, opened) = state.unzip();

        let snapshot = match (&state, &state_problem) {
            (Some(state), _) => state.snapshots().borrow().clone(),
            (None, problem) => {
                // The file may be behind what was acknowledged: it is for a start without the state.
                let file = SnapshotFile::new(disk.subdir("state").map_err(data_error)?);
                let problem = problem.clone().unwrap_or_default();
                let last = last_snapshot(&file).ok_or_else(|| NodeError::State(problem.clone()))?;
                tracing::error!(%problem, "the control state cannot be opened; serving from the last snapshot");
                Arc::new(last)
            }
        };
        let settings = snapshot.settings.clone();

        let disk_tier = self.disk_tier(&disk, &settings, &rng, &data_tasks, &clock, &registry);
        let disk_problem = disk_tier.as_ref().err().cloned();
        let cache_options = CacheOptions {
            ram_bytes: self.cache_ram.unwrap_or(settings.cache.ram.get()),
            secret: identity.cache_secret,
            seed: rng.branch("cache").next_u64(),
            collapsed_waiters_max: settings.limits.collapsed_waiters,
            response_bytes_max: settings.limits.response_memory.get(),
            unread_fetches_max: settings.limits.unread_fetches,
        };
        let cache = Cache::new(
            &cache_options,
            disk_tier.ok().flatten(),
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
            limits: registry.limits(),
            state: RouterState {
                cluster: identity.cluster.to_string().as_str().into(),
                ids: Arc::new({
                    let mut rng = rng.branch("request ids");
                    RequestIds::new(rng.next_u64(), rng.next_u64())
                }),
                rates: Arc::new(RateTable::new(
                    settings.limits.rate_limit_keys,
                    rng.branch("rate limits").next_u64(),
                )),
            },
            clock: clock.clone(),
        });

        forget_gone(&plane, &tasks);
        let certificates = Certificates::new();
        certificates.set_self_signed_fallback(vec!["localhost".into(), "127.0.0.1".into()])?;
        let mut first_token = None;
        if let Some(state) = &state {
            let pending = opened.iter().flat_map(|opened| opened.pending.clone());
            for stamp in
                state.stamps().into_iter().chain(pending).filter(|_| !is_planted(Bug::PurgesForgotten))
            {
                purge_both(&cache, &stamp);
            }
            if opened.as_ref().is_some_and(|opened| opened.fresh)
                && let Err(error) = cache.distrust_for_good().await
            {
                // A state that was made anew knows no purges of what an older one left on disk.
                tracing::warn!(error = chain(&error), "what is on disk may be found again after a restart");
            }
            if !linked.was_let_in {
                first_token = self.first_token(state, begins_with_backup, &clock, &secrets).await?;
            }
        } else if !is_planted(Bug::DiskWithoutState) {
            // Which purges there were is not known.
            cache.distrust();
        }

        let front = Front::new(
            Arc::new(plane.clone()),
            settings::front_options(&settings.limits),
            clock.clone(),
            &registry,
        );
        let listening = Listening::new(
            front.clone(),
            certificates.clone(),
            net.clone(),
            traffic_tasks.clone(),
            workers.runtimes(),
        );
        // The command line's come before those that a manifest adds: whatever is declared, the API can be reached
        // to change it.
        let cannot_listen = |addr, what| move |source| NodeError::Listen { addr, what, source };
        let api_listener = match self.handed_over("api", self.api) {
            Some(listener) => listener,
            None => net.bind(self.api).await,
        };
        let api_listener = api_listener.map_err(cannot_listen(self.api, "the API"))?;
        let api = api_listener.local_addr().unwrap_or(self.api);
        let api_copy = api_listener.try_clone_std().map_err(cannot_listen(api, "the API"))?;
        let mut bound = Vec::new();
        for listen in self.listens() {
            let listener = listening.bind(&self, listen).await;
            bound.push((listen, listener.map_err(cannot_listen(listen.addr, listen.name()))?));
        }
        let in_force = InForce::new(certificates.clone(), &registry);
        let parts = Parts {
            config: self.clone(),
            plane: plane.clone(),
            cache: cache.clone(),
            certificates: certificates.clone(),
            front,
            listening: listening.clone(),
            secrets: Arc::new(SystemSecrets),
            tasks: tasks.clone(),
            began_with: settings.clone(),
        };
        parts.apply(snapshot.clone(), &in_force).await;
        for (listen, listener) in bound {
            listening.open(listen, listener).map_err(|error| match error {
                ListenError::Bind(source) => cannot_listen(listen.addr, listen.name())(source),
                ListenError::Tls(error) => error.into(),
            })?;
        }
        self.close_unclaimed();
        let forwarder = state.as_ref().filter(|_| linked.is_edge()).map(|state| {
            let (mirroring, at) =
                Mirroring::new(state.clone(), linked.mesh.clone(), linked.full_nodes(state), &registry);
            in_force.mirrors(state.clone(), at);
            data_tasks.spawn("mirroring", OnEnd::Forget, mirroring.run(data_tasks.clone()));
            Forwarder::new(linked.mesh.clone(), linked.full_nodes(state))
        });
        linked.rollout.serve(Box::new(in_force.clone()));
        if let Some(state) = &state {
            let record = self.record(&linked, state, &listening, api);
            Box::pin(linked.serve(state, record, &clock, &secrets, &data_tasks)).await?;
        }
        if let Some(state) = &state {
            parts.follow(state, in_force.clone(), &tasks);
        }
        let watching = certificates.clone().watch(tasks.clone());
        tasks.spawn("certificates", OnEnd::Forget, watching);
        let watcher = Watcher {
            events: events.clone(),
            linked: linked.clone(),
            state: state.clone(),
            state_problem: state_problem.clone(),
            cache: cache.clone(),
            in_force: in_force.clone(),
        };
        data_tasks.spawn("standing", OnEnd::Forget, watcher.run(data_tasks.clone()));

        let cluster = state.clone().map(|state| Cluster {
            id: identity.cluster,
            me: linked.key,
            state,
            mesh: linked.mesh.clone(),
            members: linked.members.clone(),
            clock: clock.clone(),
            secrets: secrets.clone(),
            rollout: linked.rollout.clone(),
            events: linked.telling.clone(),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
            translate: handles::translate,
        });
        if let Some(cluster) = &cluster {
            expire_purges(cluster, linked.is_edge(), &cache, &in_force, &data_tasks);
            KeyspaceMetrics::register(&registry, cluster.state.clone());
        }
        let handles = Handles {
            state: Arc::new(ApiState::new(
                state.clone(),
                state_problem.clone(),
                plane.clone(),
                in_force.clone(),
            )),
            cache: Arc::new(ApiCache {
                plane: plane.clone(),
                disk_problem,
                disk_capacity: self.cache_disk.unwrap_or(settings.cache.disk.get()),
            }),
            requests: Arc::new(ApiRequests::new(plane.clone())),
            node: Arc::new(ApiNode {
                config: self.clone(),
                listening: listening.clone(),
                api,
                in_force: in_force.clone(),
                clock: clock.clone(),
                started: clock.monotonic(),
                linked: linked.clone(),
                state: state.clone(),
                state_problem: state_problem.clone(),
            }),
            cluster: cluster.clone(),
            forwarder,
            registry,
            data: self.data.clone(),
            clock,
            secrets,
            tasks: data_tasks.clone(),
        };
        Ok(Node {
            http: listening.addresses(false),
            https: listening.addresses(true),
            api,
            first_token,
            state_problem,
            waits_for_space,
            plane,
            state,
            linked,
            in_force,
            events,
            listening,
            api_copy,
            closed_api: Some((api_listener, handles)),
            tasks,
            data_tasks,
            traffic_tasks,
            workers,
            lock: None,
        })
    }

    /// What this node is, whenever it is asked.
    fn record(
        &self,
        linked: &Linked,
        state: &State,
        listening: &Listening,
        api: SocketAddr,
    ) -> Box<dyn Fn() -> NodeRecord + Send + Sync> {
        let (config, linked, listening) = (self.clone(), linked.clone(), listening.clone());
        let voter = Some(state.group().id()).filter(|_| !linked.is_edge());
        Box::new(move || {
            let texts = |addresses: Vec<SocketAddr>| addresses.iter().map(ToString::to_string).collect();
            let serves = Serves {
                http: texts(listening.addresses(false)),
                https: texts(listening.addresses(true)),
                api: api.to_string(),
            };
            let mesh = linked.addresses();
            NodeRecord { voter, mesh, serves, ..cluster::record(&config, linked.key) }
        })
    }

    /// Has the node in `seams`' disk let into the cluster of a ticket. It can be built then, and is one of the
    /// cluster's for good.
    pub async fn join(&self, ticket: &Ticket, seams: &Seams) -> Result<(), NodeError> {
        let Seams { clock, secrets, links, rng, disk, tasks, registry, .. } = seams;
        let _lock = disk.lock(LOCK).map_err(|source| NodeError::data(disk, source))?;
        let hlc = Arc::default();
        let link = LinkSeams { disk, secrets, clock, hlc, rng, tasks, registry, links: &**links };
        let cluster = Box::pin(cluster::join(self, ticket, link)).await?;
        Ok(Identity::join(disk, secrets, cluster)?)
    }

    fn disk_tier(
        &self,
        disk: &selvedge_rt::Disk,
        settings: &Settings,
        rng: &selvedge_rt::Rng,
        tasks: &Tasks,
        clock: &selvedge_rt::Clock,
        registry: &Registry,
    ) -> Result<Option<DiskTier>, String> {
        let bytes_max = self.cache_disk.unwrap_or(settings.cache.disk.get());
        if bytes_max == 0 {
            return Ok(None);
        }
        let options = segments::Options { bytes_max, ..self.storage.segments };
        let opened = disk
            .subdir("cache")
            .map_err(|e| e.to_string())
            .and_then(|dir| Segments::open(dir, options, rng.branch("segments")).map_err(|e| chain(&e)));
        // Counted also when there is nothing to count: it is then not available.
        let metrics = segments::Metrics::register(registry);
        let opened = opened.inspect_err(|problem| {
            tracing::error!(%problem, "the cache's disk cannot be used; the cache is in memory alone");
        });
        Ok(Some(DiskTier::start(opened?, tasks, clock.clone(), metrics)))
    }

    /// Makes the first token where there is none.
    async fn first_token(
        &self,
        state: &State,
        begins_with_backup: bool,
        clock: &selvedge_rt::Clock,
        secrets: &selvedge_rt::Secrets,
    ) -> Result<Option<Secret>, NodeError> {
        let taken: BTreeSet<String> = state.tokens().into_iter().map(|token| token.name).collect();
        if !taken.is_empty() && !begins_with_backup {
            return Ok(None);
        }
        // The tokens of a backup are good still; whoever restores it may have none of them.
        let names = ["admin".to_owned()].into_iter().chain((2..).map(|n| format!("admin-{n}")));
        let free = names.take(taken.len() + 1).find(|name| !taken.contains(name));
        let secret = Secret::generate(secrets)?;
        let token = Token {
            name: free.unwrap_or_else(|| "admin".into()),
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

    /// Copies of its sockets with their names, to be handed to a successor.
    pub fn sockets(&self) -> io::Result<Vec<(&'static str, std::net::TcpListener)>> {
        let mut sockets = self.listening.sockets()?;
        if let Some(api) = &self.api_copy {
            sockets.push(("api", api.try_clone()?));
        }
        Ok(sockets)
    }

    /// Resolves when an essential part has ended, with its name.
    pub async fn failed(&self) -> &'static str {
        tokio::select! {
            () = self.tasks.stopped() => {}
            () = self.data_tasks.stopped() => {}
        }
        self.tasks.failed().unwrap_or("the node")
    }

    /// Answers its API from now on.
    pub fn open_api(&mut self) {
        if let Some((listener, handles)) = self.closed_api.take() {
            let answers_edges = self.state.is_some() && !self.linked.is_edge();
            let forwarding = answers_edges.then(|| self.linked.forwarding.serve(handles.clone()));
            let serving = async move {
                selvedge_control::serve(listener, ApiOptions::default(), handles).await;
                drop(forwarding);
            };
            self.data_tasks.spawn("api", OnEnd::Essential, serving);
        }
    }

    /// Ends everything that uses the data directory, and lets go of that for another node. Requests are answered as
    /// before, but without the disk cache, and by what was declared until now. Says whether it is free; if not,
    /// this can be called again.
    pub async fn lend(&mut self) -> bool {
        if !self.is_lent() {
            self.events.tell(Event::HandedOver);
        }
        self.data_tasks.stop();
        // Its successor is reached where this one was.
        self.linked.mesh.close().await;
        let free = self.data_tasks.shut_down(LENDING).await;
        if free {
            self.lock = None;
        }
        free
    }

    /// Whether its data directory was asked back from it.
    pub fn is_lent(&self) -> bool {
        self.data_tasks.is_stopping()
    }

    /// Stops accepting, and has requests under way be the last on their connections.
    pub fn close(&mut self) {
        self.listening.close();
        self.api_copy = None;
        self.traffic_tasks.stop();
    }

    /// Tells other nodes that this one goes, if there are any.
    async fn leave(&self) {
        let alone = self.state.as_ref().is_none_or(|state| state.nodes().len() <= 1);
        if !alone && !self.is_lent() {
            self.linked.members.leave().await;
        }
    }

    /// Stops accepting, lets requests under way end, then everything else. Says whether all ended in time.
    pub async fn shut_down(mut self) -> bool {
        if !self.is_lent() {
            self.events.tell(Event::Stopping);
        }
        self.close();
        // Others hear that it leaves while its requests end.
        let (drained, ()) = tokio::join!(self.traffic_tasks.shut_down(self.in_force.drain()), self.leave());
        if !drained {
            self.traffic_tasks.abandon();
        }
        self.data_tasks.stop();
        self.linked.mesh.close().await;
        let stopped = self.data_tasks.shut_down(Duration::from_secs(10)).await
            & self.tasks.shut_down(Duration::from_secs(10)).await;
        // Threads end when their tasks have, or were given up.
        let joined = self.workers.ended().await;
        drained && stopped && joined
    }
}

/// The owners of a node's tasks.
#[derive(Clone)]
struct Owners {
    all: Tasks,
    /// Of what uses the data directory: a node that hands over ends it before its last requests have ended.
    data: Tasks,
    /// Of what answers requests.
    traffic: Tasks,
}

impl Owners {
    /// Ends what was begun of a node that will not be.
    async fn give_up(&self) {
        let ended = [&self.data, &self.traffic, &self.all].map(|tasks| tasks.shut_down(LENDING));
        let [data, traffic, all] = ended;
        if !(data.await & traffic.await & all.await) {
            tracing::warn!("not all that was begun has ended in time");
        }
        self.traffic.abandon();
    }
}

/// Whether an error comes from a full disk.
fn is_for_lack_of_space(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let io = error.downcast_ref::<io::Error>();
        matches!(error.downcast_ref(), Some(selvedge_store::engine::Error::Full { .. }))
            || matches!(error.downcast_ref(), Some(wal::Error::Full { .. }))
            || io.is_some_and(|io| matches!(io.kind(), StorageFull | QuotaExceeded))
    })
}

/// The snapshot that was kept last; none if there is none to be read.
fn last_snapshot(file: &SnapshotFile) -> Option<Snapshot> {
    file.load().unwrap_or_else(|error| {
        tracing::warn!(%error, "the last snapshot cannot be read");
        None
    })
}

/// The file that says by its lock that a node runs.
pub(crate) const LOCK: &str = "lock";
/// The file with the number of the node's process.
pub(crate) const PID: &str = "pid";

/// How often it is looked for what was counted of sites that are long gone.
const FORGET_GONE: Duration = Duration::from_secs(600);

/// How long what uses the data directory may take to end.
const LENDING: Duration = Duration::from_secs(10);

/// How often purges are looked through for those that nothing can be covered by any more.
const EXPIRE_PURGES: Duration = Duration::from_secs(600);

fn forget_gone(plane: &Plane, tasks: &Tasks) {
    let (plane, stopping) = (plane.clone(), tasks.clone());
    tasks.spawn("counters of what is gone", OnEnd::Forget, async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(FORGET_GONE) => plane.forget_gone(),
                () = stopping.stopped() => return,
            }
        }
    });
}

/// Drops purges with the last object that they could cover, in the cache and then, when that holds of every node, in
/// the control state.
fn expire_purges(cluster: &Cluster, is_edge: bool, cache: &Cache, in_force: &InForce, tasks: &Tasks) {
    let (cluster, cache, in_force) = (cluster.clone(), cache.clone(), in_force.clone());
    let stopping = tasks.clone();
    tasks.spawn("purge expiry", OnEnd::Forget, async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EXPIRE_PURGES) => {}
                () = stopping.stopped() => return,
            }
            match cache.expire_purges().await {
                Ok(Some(oldest)) => in_force.set_oldest(oldest),
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "purges stay in the control state");
                    continue;
                }
            }
            if is_edge {
                // Others ask it, and it hears from them what goes.
                continue;
            }
            let Some(oldest) = cluster.oldest(EXPIRE_ASKING).await else { continue };
            if let Err(error) = cluster.state.apply(Command::ExpireStamps { oldest }).await {
                tracing::debug!(%error, "purges not expired");
            }
        }
    });
}

/// How long the other nodes may take to say since when they cache.
const EXPIRE_ASKING: Duration = Duration::from_secs(10);

/// Brings purges into force in the cache. What was fetched here until now is covered, also if this node's clock is ahead
/// of the one that the purge was stamped with.
fn stamp(cache: &Cache, changes: &[Change], now: Hlc) {
    for change in changes {
        if let Some((_, Value::Stamp(stamp))) = &change.value {
            purge_both(cache, &raised(stamp, now));
        }
    }
}

/// A purge that was just made, as of now: the later of its times is the one that is new.
fn raised(stamp: &Stamp, now: Hlc) -> Stamp {
    let (mut hard, mut soft) = (stamp.hard, stamp.soft);
    let new = if hard >= soft { &mut hard } else { &mut soft };
    *new = (*new).max(now);
    Stamp { scope: stamp.scope.clone(), hard, soft }
}

fn purge_both(cache: &Cache, stamp: &Stamp) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_cache::stamps::PurgeScope;
    use selvedge_gateway::upstream::SystemResolver;
    use selvedge_rt::{Clock, Disk, Net, Rng, Secrets};
    use selvedge_state::group::OpenError;
    use selvedge_store::engine;
    use selvedge_types::resource::{PopName, RegionName, Text};

    #[test]
    fn a_state_that_lacks_space_is_told_from_one_that_is_damaged() {
        let (path, what) = (String::new(), String::new());
        let of = |error: OpenError| is_for_lack_of_space(&selvedge_state::Error::from(error));
        assert!(of(engine::Error::Full { path: path.clone() }.into()));
        assert!(of(wal::Error::Full { path: path.clone() }.into()));
        assert!(of(io::Error::from(io::ErrorKind::StorageFull).into()));
        assert!(!of(engine::Error::Damaged { path, what }.into()));
        assert!(!of(io::Error::from(io::ErrorKind::PermissionDenied).into()));
    }

    fn config(api: SocketAddr) -> Config {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Config {
            name: "one".into(),
            pop: PopName::parse_text("default").unwrap(),
            region: RegionName::parse_text("default").unwrap(),
            http: vec![any],
            https: Vec::new(),
            api,
            mesh: vec![any],
            workers: 1,
            cache_ram: Some(1 << 20),
            cache_disk: Some(64 << 20),
            storage: Storage::default(),
            restore: None,
            data: None,
            sockets: Arc::default(),
        }
    }

    fn seams(dir: &tempfile::TempDir, tasks: &Tasks) -> Seams {
        Seams {
            clock: Clock::real(),
            rng: Rng::from_seed(1),
            secrets: Secrets::System,
            net: Net::Real,
            links: Arc::new(RealLinks),
            resolver: Arc::new(SystemResolver::new()),
            disk: Disk::real(dir.path()).unwrap(),
            tasks: tasks.clone(),
            registry: Registry::default(),
        }
    }

    #[tokio::test]
    async fn what_was_begun_of_a_node_that_cannot_be_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tasks = Tasks::real();
        let failed = config(busy.local_addr().unwrap()).begin(seams(&dir, &tasks)).await;
        assert!(matches!(failed.err(), Some(NodeError::Listen { .. })));
        // At once, and as often as one likes: nothing uses the directory.
        drop(busy);
        // What a node that was killed has left says nothing of this one.
        std::fs::write(dir.path().join(PID), "1\n").unwrap();
        for _ in 0..2 {
            let node =
                config(SocketAddr::from(([127, 0, 0, 1], 0))).build(seams(&dir, &tasks)).await.unwrap();
            assert!(node.state_problem.is_none() && !dir.path().join(PID).exists());
            assert!(node.shut_down().await);
        }
        assert!(!tasks.is_stopping(), "the owner's other tasks go on");
    }

    #[test]
    fn a_purge_from_a_slower_clock_covers_what_was_fetched_until_it_came() {
        let scope = PurgeScope::Site { site: "default/a".into() };
        let stamp = |hard, soft| {
            let (hard, soft) = (Hlc::from_bits(hard), Hlc::from_bits(soft));
            Stamp { scope: scope.clone(), hard, soft }
        };
        assert_eq!(raised(&stamp(5, 0), Hlc::from_bits(9)), stamp(9, 0));
        assert_eq!(raised(&stamp(5, 6), Hlc::from_bits(9)), stamp(5, 9), "a soft one does not become hard");
        assert_eq!(raised(&stamp(12, 6), Hlc::from_bits(9)), stamp(12, 6));
    }
}
