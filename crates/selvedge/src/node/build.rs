//! Puts a node together, part by part, in the order in which they need each other.

use super::cluster::{self, LinkSeams, Linked};
use super::config::{Config, Seams};
use super::control::Control;
use super::error::NodeError;
use super::events::Watcher;
use super::following::{InForce, Parts};
use super::gateway::Gateway;
use super::handles::{self, ApiCache, ApiNode, ApiRequests, ApiState};
use super::identity::Identity;
use super::listening::{Bound, Listening};
use super::{LOCK, Node, Owners, PID, events, purges, restoring};
use selvedge_control::cluster::{BACKUPS_MAX, Cluster};
use selvedge_control::{Forwarder, Handles, KeyspaceMetrics};
use selvedge_gateway::site::SystemSecrets;
use selvedge_mesh::Hybrid;
use selvedge_mesh::ticket::Ticket;
use selvedge_observe::Events;
use selvedge_rt::{OnEnd, Workers};
use selvedge_state::mirror::Mirroring;
use selvedge_state::{NodeRecord, Serves, State};
use selvedge_types::{Event, HlcClock};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What the parts of a node stand on.
pub(super) struct Ground {
    pub(super) config: Config,
    pub(super) seams: Seams,
    pub(super) owners: Owners,
    pub(super) hlc: Arc<Mutex<HlcClock>>,
    /// Reads both clocks.
    pub(super) hybrid: Hybrid,
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
        let lock = seams.disk.lock(LOCK).map_err(|source| NodeError::data(&seams.disk, source))?;
        // The number of a process that is gone: whoever starts this one, or hands over to it, writes the new one.
        let _ = seams.disk.remove(PID);
        let tasks = seams.tasks.child();
        let owners = Owners { data: tasks.child(), traffic: tasks.child(), all: tasks };
        let hlc: Arc<Mutex<HlcClock>> = Arc::default();
        let hybrid = Hybrid::shared(seams.clock.clone(), hlc.clone());
        let ground = Ground { config: self, seams, owners: owners.clone(), hlc, hybrid };
        match Box::pin(ground.begin()).await {
            Ok(node) => Ok(Node { lock: Some(lock), ..node }),
            Err(error) => {
                owners.give_up().await;
                Err(error)
            }
        }
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
}

impl Ground {
    async fn begin(self) -> Result<Node, NodeError> {
        let (config, seams, owners) = (&self.config, &self.seams, &self.owners);
        // First of all: a node that finds its addresses taken leaves nothing that looks like one.
        let bound = Bound::open(config, &seams.net).await?;
        let restore = restoring::begin(&seams.disk, config.restore.as_deref(), &owners.all).await?;
        let (identity, linked, events) = self.link().await?;
        let workers = if owners.all.is_inline() {
            Workers::inline(&owners.traffic)
        } else {
            Workers::start(config.workers, "gateway", &owners.traffic).map_err(NodeError::Threads)?
        };
        let control = Box::pin(Control::open(&self, identity.cluster, &linked, &events, restore)).await?;
        let gateway = Gateway::build(&self, &identity, &control.snapshot.settings, workers.runtimes())?;
        control.purge_into(&gateway.cache).await;
        let first_token = if linked.was_let_in { None } else { control.first_token(&self).await? };

        let in_force = InForce::new(gateway.certificates.clone(), &seams.registry);
        let parts = self.parts(&gateway, &control);
        parts.apply(control.snapshot.clone(), &in_force).await;
        let (api, api_copy) = (bound.api_addr, bound.api_copy);
        for (listen, listener) in bound.front {
            gateway.listening.open(listen, listener)?;
        }
        config.close_unclaimed();
        linked.rollout.serve(Box::new(in_force.clone()));
        let mut forwarder = None;
        if let Some(state) = &control.state {
            forwarder = self.mirror(state, &linked, &in_force);
            let record = self.record(&linked, state, &gateway.listening, api);
            Box::pin(linked.serve(state, record, &seams.clock, &seams.secrets, &owners.data)).await?;
            parts.follow(state, in_force.clone(), &owners.all);
        }
        let watching = gateway.certificates.clone().watch(owners.all.clone());
        owners.all.spawn("certificates", OnEnd::Forget, watching);
        let watcher = Watcher {
            events: events.clone(),
            linked: linked.clone(),
            state: control.state.clone(),
            state_problem: control.problem.clone(),
            cache: gateway.cache.clone(),
            in_force: in_force.clone(),
        };
        owners.data.spawn("standing", OnEnd::Forget, watcher.run(owners.data.clone()));
        let cluster = control.state.clone().map(|state| self.cluster(&identity, &linked, state));
        if let Some(cluster) = &cluster {
            purges::expire(cluster, linked.is_edge(), &gateway.cache, &in_force, &owners.data);
            KeyspaceMetrics::register(&seams.registry, cluster.state.clone());
        }
        let handles = self.handles(&gateway, &control, &linked, &in_force, api, cluster, forwarder);
        Ok(Node {
            http: gateway.listening.addresses(false),
            https: gateway.listening.addresses(true),
            api,
            first_token,
            state_problem: control.problem,
            waits_for_space: control.waits_for_space,
            plane: gateway.plane,
            state: control.state,
            linked,
            in_force,
            events,
            listening: gateway.listening,
            api_copy,
            closed_api: Some((bound.api, handles)),
            tasks: self.owners.all,
            data_tasks: self.owners.data,
            traffic_tasks: self.owners.traffic,
            workers,
            lock: None,
        })
    }

    /// Who this node is, and its links to others. An identity that was made for a node that cannot link goes again: the
    /// next start may be told to join.
    async fn link(&self) -> Result<(Identity, Linked, Events), NodeError> {
        let Seams { clock, rng, secrets, links, disk, registry, .. } = &self.seams;
        let is_new = !Identity::is_there(disk).map_err(|source| NodeError::data(disk, source))?;
        let identity = Identity::load(disk, secrets)?;
        let seams = LinkSeams {
            disk,
            secrets,
            clock,
            hlc: self.hlc.clone(),
            rng,
            tasks: &self.owners.data,
            registry,
            links: &**links,
        };
        if let Some(joined) = cluster::joined_at(disk).map_err(|source| NodeError::data(disk, source))? {
            self.hybrid.resume(joined);
        }
        let events = events::begin(disk, &self.hybrid, registry, &self.owners.data).await;
        events.tell(Event::Started { version: env!("CARGO_PKG_VERSION").into() });
        match Box::pin(Linked::begin(&self.config, identity.cluster, seams, &events)).await {
            Ok(linked) => Ok((identity, linked, events)),
            Err(error) => {
                if is_new {
                    Identity::forget(disk);
                }
                Err(error)
            }
        }
    }

    fn parts(&self, gateway: &Gateway, control: &Control) -> Parts {
        Parts {
            config: self.config.clone(),
            plane: gateway.plane.clone(),
            cache: gateway.cache.clone(),
            certificates: gateway.certificates.clone(),
            front: gateway.front.clone(),
            listening: gateway.listening.clone(),
            secrets: Arc::new(SystemSecrets),
            tasks: self.owners.all.clone(),
            began_with: control.snapshot.settings.clone(),
        }
    }

    /// Of an edge node: follows the part of the control state that it serves by; the way to the rest.
    fn mirror(&self, state: &State, linked: &Linked, in_force: &InForce) -> Option<Forwarder> {
        if !linked.is_edge() {
            return None;
        }
        let (registry, tasks) = (&self.seams.registry, &self.owners.data);
        let (mirroring, at) =
            Mirroring::new(state.clone(), linked.mesh.clone(), linked.full_nodes(state), registry);
        in_force.mirrors(state.clone(), at);
        tasks.spawn("mirroring", OnEnd::Forget, mirroring.run(tasks.clone()));
        Some(Forwarder::new(linked.mesh.clone(), linked.full_nodes(state)))
    }

    /// What this node is, whenever it is asked.
    fn record(
        &self,
        linked: &Linked,
        state: &State,
        listening: &Listening,
        api: SocketAddr,
    ) -> Box<dyn Fn() -> NodeRecord + Send + Sync> {
        let (config, linked, listening) = (self.config.clone(), linked.clone(), listening.clone());
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

    fn cluster(&self, identity: &Identity, linked: &Linked, state: State) -> Cluster {
        Cluster {
            id: identity.cluster,
            me: linked.key,
            state,
            mesh: linked.mesh.clone(),
            members: linked.members.clone(),
            clock: self.seams.clock.clone(),
            secrets: self.seams.secrets.clone(),
            rollout: linked.rollout.clone(),
            events: linked.telling.clone(),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
            translate: handles::translate,
        }
    }

    #[allow(clippy::too_many_arguments)] // each part once
    fn handles(
        &self,
        gateway: &Gateway,
        control: &Control,
        linked: &Linked,
        in_force: &InForce,
        api: SocketAddr,
        cluster: Option<Cluster>,
        forwarder: Option<Forwarder>,
    ) -> Handles {
        let Seams { clock, secrets, registry, .. } = &self.seams;
        let state = ApiState::new(
            control.state.clone(),
            control.problem.clone(),
            gateway.plane.clone(),
            in_force.clone(),
        );
        let cache = ApiCache {
            plane: gateway.plane.clone(),
            disk_problem: gateway.disk_problem.clone(),
            disk_capacity: gateway.disk_capacity,
        };
        let node = ApiNode {
            config: self.config.clone(),
            listening: gateway.listening.clone(),
            api,
            in_force: in_force.clone(),
            clock: clock.clone(),
            started: clock.monotonic(),
            linked: linked.clone(),
            state: control.state.clone(),
            state_problem: control.problem.clone(),
        };
        Handles {
            state: Arc::new(state),
            cache: Arc::new(cache),
            requests: Arc::new(ApiRequests::new(gateway.plane.clone())),
            node: Arc::new(node),
            cluster,
            forwarder,
            registry: registry.clone(),
            data: self.config.data.clone(),
            clock: clock.clone(),
            secrets: secrets.clone(),
            tasks: self.owners.data.clone(),
        }
    }
}
