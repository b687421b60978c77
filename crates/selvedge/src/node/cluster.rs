//! The node's part in its cluster: its links with others, how it was let in, and what it does for those who come.

use super::config::{BindLinks, Config};
use super::control::is_for_lack_of_space;
use super::events::clock_ahead;
use super::{NodeError, chain};
use minicbor::{Decode, Encode};
use selvedge_control::cluster::{
    Council, Directory, ENROL, EVENTS, EnrolService, Enrolment, EventsService, JOIN, JoinService, Keyspaces,
    Known, ROLLOUT, RolloutService, join as ask_to_join,
};
use selvedge_control::{FORWARD, ForwardService};
use selvedge_mesh::members::{
    Inbox, Options as MemberOptions, SERVICE as MEMBERS, Seed, State as Seen, learn_into,
};
use selvedge_mesh::rpc::{Options as CallOptions, PROTOCOLS, Service};
use selvedge_mesh::ticket::{NodeRole, Ticket};
use selvedge_mesh::{Hybrid, Identity as NodeIdentity, Members, Mesh};
use selvedge_observe::{Events, Registry};
use selvedge_rt::links::{Options as LinkOptions, Peers};
use selvedge_rt::{Clock, Disk, OnEnd, Rng, Secrets, Tasks};
use selvedge_state::group::{Receiver, SERVICE as GROUP};
use selvedge_state::mirror::{MIRROR, MirrorService};
use selvedge_state::{ClusterRecord, Command, NodeRecord, Serves, State};
use selvedge_types::resource::{PopName, Text};
use selvedge_types::{ClusterId, Hlc, HlcClock, NodeKey};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a node that was let in was told, kept until the control state has come.
const JOINED: &str = "joined";
const JOINED_NEW: &str = "joined.new";
const FORMAT: u16 = 1;

/// The number of the node's present life.
const GENERATION: &str = "generation";
const GENERATION_NEW: &str = "generation.new";

/// How often it is looked whether the control state has other nodes than membership was told of.
const TELL: Duration = Duration::from_millis(500);

/// Addresses of the mesh that others are told.
const TOLD_MAX: usize = selvedge_state::ADDRESSES_MAX;

#[derive(Encode, Decode)]
struct JoinedForm {
    #[n(0)]
    format: u16,
    #[n(1)]
    nodes: Vec<(NodeKey, String, Vec<String>)>,
    /// Of those that joined before there were others, none: they may vote.
    #[n(2)]
    role: Option<NodeRole>,
    /// When it was let in, by the clock of the node that did.
    #[n(3)]
    time: Option<Hlc>,
}

/// What a node that was let in was told.
struct Joined {
    nodes: Vec<Known>,
    role: NodeRole,
}

/// The node's links, and what answers on them. Clones are the same.
#[derive(Clone)]
pub(super) struct Linked {
    pub(super) key: NodeKey,
    pub(super) mesh: Mesh,
    pub(super) directory: Directory,
    pub(super) receiver: Receiver,
    joining: JoinService,
    enrolling: EnrolService,
    pub(super) rollout: RolloutService,
    pub(super) telling: EventsService,
    mirrors: MirrorService,
    /// Answers for edge nodes.
    pub(super) forwarding: ForwardService,
    pub(super) members: Members,
    /// What this node may be.
    pub(super) role: NodeRole,
    pop: String,
    region: String,
    /// Whether every other node refuses this one.
    pub(super) refused: Arc<AtomicBool>,
    /// Whether this node was let in by others; else it makes the cluster.
    pub(super) was_let_in: bool,
}

/// What links need of the node.
pub(super) struct LinkSeams<'a> {
    pub(super) disk: &'a Disk,
    pub(super) secrets: &'a Secrets,
    pub(super) clock: &'a Clock,
    pub(super) hlc: Arc<Mutex<HlcClock>>,
    pub(super) rng: &'a Rng,
    pub(super) tasks: &'a Tasks,
    pub(super) registry: &'a Registry,
    pub(super) links: &'a dyn BindLinks,
}

impl Linked {
    /// Begins to link with the nodes of `cluster`.
    pub(super) async fn begin(
        config: &Config,
        cluster: ClusterId,
        seams: LinkSeams<'_>,
        events: &Events,
    ) -> Result<Self, NodeError> {
        let identity = NodeIdentity::load_or_make(seams.disk, seams.secrets)?;
        let joined = read_joined(seams.disk).map_err(|source| NodeError::data(seams.disk, source))?;
        let peers = Peers::default();
        let directory = Directory::new(identity.key(), peers.clone(), seams.clock.clone());
        let known: &[Known] = joined.as_ref().map_or(&[], |joined| &joined.nodes);
        directory.seed(known);
        let admission = directory.clone();
        let receiver = Receiver::new(Arc::new(move |peer: &NodeKey| admission.may_vote(peer)));
        let (joining, enrolling) = (JoinService::new(cluster, seams.clock.clone()), EnrolService::default());
        let rollout = RolloutService::default();
        let admission = directory.clone();
        let telling = EventsService::new(events.clone(), Arc::new(move |peer| admission.may_vote(peer)));
        let (mirrors, forwarding) = (MirrorService::default(), ForwardService::default());
        let (door, inbox) = Inbox::new(seams.registry);
        let services: [(&'static str, Arc<dyn Service>); 8] = [
            (MEMBERS, door),
            (GROUP, Arc::new(receiver.clone())),
            (JOIN, Arc::new(joining.clone())),
            (ENROL, Arc::new(enrolling.clone())),
            (ROLLOUT, Arc::new(rollout.clone())),
            (EVENTS, Arc::new(telling.clone())),
            (MIRROR, Arc::new(mirrors.clone())),
            (FORWARD, Arc::new(forwarding.clone())),
        ];
        let options = LinkOptions { cluster, accepts: PROTOCOLS.to_vec(), peers: peers.clone() };
        let links = seams.links.bind(&identity, &config.mesh, options, seams.clock, seams.tasks).await?;
        let calls = CallOptions {
            services: BTreeMap::from(services),
            hybrid: Hybrid::shared(seams.clock.clone(), seams.hlc.clone()),
            registry: seams.registry.clone(),
            clock_ahead: clock_ahead(events.clone(), seams.clock.clone()),
        };
        let mesh = Mesh::start(links, calls, seams.tasks);
        directory.serve(mesh.clone());
        let now = Hybrid::shared(seams.clock.clone(), seams.hlc).now();
        let generation =
            next_generation(seams.disk, now).map_err(|source| NodeError::data(seams.disk, source))?;
        let options = MemberOptions {
            cluster,
            generation,
            pop: config.pop.clone(),
            region: config.region.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            addresses: told(mesh.links().addresses()),
            seeds: known.iter().filter_map(|known| seed(known.key, &known.pop)).collect(),
            learnt: learn_into(peers),
            registry: seams.registry.clone(),
            events: events.clone(),
        };
        let members = Members::start(&mesh, inbox, options, seams.clock, seams.rng, seams.tasks);
        let was_let_in = joined.is_some();
        let role = joined.as_ref().map_or(NodeRole::Voter, |joined| joined.role);
        let (key, refused) = (identity.key(), Arc::default());
        Ok(Linked {
            key,
            mesh,
            directory,
            receiver,
            joining,
            enrolling,
            rollout,
            telling,
            mirrors,
            forwarding,
            members,
            role,
            pop: config.pop.to_string(),
            region: config.region.to_string(),
            refused,
            was_let_in,
        })
    }

    /// Takes part in the cluster from now on: makes it if this is its first node, says what this node is, lets
    /// others in, and sees to the voters while it leads.
    pub(super) async fn serve(
        &self,
        state: &State,
        record: Box<dyn Fn() -> NodeRecord + Send + Sync>,
        clock: &Clock,
        secrets: &Secrets,
        tasks: &Tasks,
    ) -> Result<(), NodeError> {
        if self.is_edge() {
            self.take_part(state, record, tasks);
            return Ok(());
        }
        self.receiver.serve(state.group().clone());
        if !self.was_let_in && state.cluster().is_none() {
            let seed = secrets.bytes().map_err(|source| NodeError::Randomness(source.to_string()))?;
            let cluster = ClusterRecord { seed, created: clock.wall(), voters: Vec::new() };
            let node = NodeRecord { joined: clock.wall(), ..record() };
            let found = Command::Found { cluster, node: Box::new(node) };
            if let Err(error) = state.apply(found).await {
                tracing::warn!(error = chain(&error), "the cluster is not made yet; it is at the next start");
            }
        }
        self.joining.serve(state.clone());
        self.enrolling.serve(state.clone());
        self.mirrors.serve(state.clone());
        self.take_part(state, record, tasks);
        tasks.spawn("tickets", OnEnd::Forget, self.directory.clone().sweep(tasks.clone()));
        let council = Council { state: state.clone() };
        tasks.spawn("council", OnEnd::Forget, council.run(tasks.clone()));
        let keyspaces = Keyspaces { state: state.clone() };
        tasks.spawn("keyspaces", OnEnd::Forget, keyspaces.run(tasks.clone()));
        Ok(())
    }

    /// What nodes of every role do: says what this node is, and tells membership of the others.
    fn take_part(&self, state: &State, record: Box<dyn Fn() -> NodeRecord + Send + Sync>, tasks: &Tasks) {
        let (mesh, refused, is_edge) = (self.mesh.clone(), self.refused.clone(), self.is_edge());
        let enrolment = Enrolment { state: state.clone(), mesh, refused, is_edge, record };
        tasks.spawn("enrolment", OnEnd::Forget, enrolment.run(tasks.clone()));
        let telling = tell_members(state.clone(), self.key, self.members.clone(), tasks.clone());
        tasks.spawn("nodes for membership", OnEnd::Forget, telling);
    }

    /// Whether this node has what it serves by, and nothing else of the control state.
    pub(super) fn is_edge(&self) -> bool {
        self.role == NodeRole::Edge
    }

    /// The nodes that have the control state, the nearest of those that are there first; no two edge nodes of a place
    /// have the same order.
    pub(super) fn full_nodes(&self, state: &State) -> impl Fn() -> Vec<NodeKey> + Send + Sync + use<> {
        let (linked, state) = (self.clone(), state.clone());
        move || {
            let view = linked.members.view();
            let is_there = |node: &NodeRecord| {
                let pop = PopName::parse_text(&node.pop).ok();
                pop.and_then(|pop| view.state_of(&node.key, &pop)) == Some(Seen::Alive)
            };
            let nodes = state.nodes();
            let mut full: Vec<&NodeRecord> = nodes
                .values()
                .filter(|node| node.role == NodeRole::Voter && node.key != linked.key)
                .collect();
            full.sort_by_key(|node| {
                let (own, other) = (linked.key.as_bytes(), node.key.as_bytes());
                let distance: Vec<u8> = own.iter().zip(other).map(|(a, b)| a ^ b).collect();
                (!is_there(node), node.pop != linked.pop, node.region != linked.region, distance)
            });
            if full.is_empty() {
                // Those that it was told of when it was let in.
                return linked.mesh.links().peers().all();
            }
            full.into_iter().map(|node| node.key).collect()
        }
    }

    /// Where the mesh of this node is reached.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        told(self.mesh.links().addresses())
    }
}

/// Tells membership which nodes there are, and whether this one is drained, as the control state has it.
async fn tell_members(state: State, me: NodeKey, members: Members, tasks: Tasks) {
    let (mut known, mut draining) = (BTreeSet::new(), false);
    loop {
        let nodes = state.nodes();
        for node in nodes.values().filter(|node| node.key != me) {
            if let Some(seed) = seed(node.key, &node.pop).filter(|_| known.insert(node.key)) {
                members.add_seed(seed).await;
            }
        }
        let gone: Vec<NodeKey> = known.iter().filter(|key| !nodes.contains_key(*key)).copied().collect();
        for key in gone {
            known.remove(&key);
            members.remove(key).await;
        }
        let is_draining = nodes.get(&me).is_some_and(|node| node.draining);
        if is_draining != draining {
            draining = is_draining;
            members.drain(draining).await;
        }
        tokio::select! {
            () = tokio::time::sleep(TELL) => {}
            () = tasks.stopped() => return,
        }
    }
}

fn seed(node: NodeKey, pop: &str) -> Option<Seed> {
    // The table of peers has its addresses.
    Some(Seed { node, pop: PopName::parse_text(pop).ok()?, addresses: Vec::new() })
}

/// The addresses that are worth telling others: this machine's own are of use on it alone.
fn told(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_by_key(|address| address.ip().is_loopback());
    addresses.truncate(TOLD_MAX);
    addresses
}

/// What of a node's record follows from how it was started.
pub(super) fn record(config: &Config, key: NodeKey) -> NodeRecord {
    NodeRecord {
        key,
        name: config.name.clone(),
        pop: config.pop.to_string(),
        region: config.region.to_string(),
        // Set by those who let it in.
        role: NodeRole::Voter,
        voter: None,
        mesh: Vec::new(),
        serves: Serves::default(),
        version: env!("CARGO_PKG_VERSION").into(),
        joined: selvedge_types::UnixMillis(0),
        draining: false,
    }
}

/// Asks the cluster of a ticket to let the node in whose data is in `disk`, and notes that it did.
pub(super) async fn join(
    config: &Config,
    ticket: &Ticket,
    seams: LinkSeams<'_>,
) -> Result<ClusterId, NodeError> {
    let identity = NodeIdentity::load_or_make(seams.disk, seams.secrets)?;
    let cluster = ticket.grant().cluster;
    let peers = Peers::default();
    for contact in ticket.contacts() {
        peers.allow(contact.key, &contact.addresses);
    }
    let tasks = seams.tasks.child();
    let options = LinkOptions { cluster, accepts: Vec::new(), peers };
    let anywhere = [SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)];
    let links = seams.links.bind(&ticket.identity(), &anywhere, options, seams.clock, &tasks).await?;
    let hybrid = Hybrid::shared(seams.clock.clone(), seams.hlc);
    let calls = CallOptions {
        services: BTreeMap::new(),
        hybrid: hybrid.clone(),
        // Its own: the node's metrics are those of the links that it makes in its own name.
        registry: Registry::default(),
        clock_ahead: Arc::new(|_, _| {}),
    };
    let mesh = Mesh::start(links, calls, &tasks);
    let node = NodeRecord { role: ticket.grant().role, ..record(config, identity.key()) };
    let joined = ask_to_join(&mesh, ticket, &node).await;
    tasks.stop();
    mesh.close().await;
    let joined = joined.map_err(|error| NodeError::Join(chain(&error)))?;
    write_joined(seams.disk, &joined.nodes, ticket.grant().role, hybrid.now())
        .map_err(|source| NodeError::data(seams.disk, source))?;
    Ok(cluster)
}

/// When this node was let in, if others let it in: what it does comes after that.
pub(super) fn joined_at(disk: &Disk) -> io::Result<Option<Hlc>> {
    Ok(read_joined_form(disk)?.and_then(|form| form.time))
}

fn read_joined(disk: &Disk) -> io::Result<Option<Joined>> {
    let addresses = |texts: Vec<String>| texts.iter().filter_map(|text| text.parse().ok()).collect();
    let known = |(key, pop, texts)| Known { key, pop, addresses: addresses(texts) };
    Ok(read_joined_form(disk)?.map(|form| Joined {
        nodes: form.nodes.into_iter().map(known).collect(),
        role: form.role.unwrap_or(NodeRole::Voter),
    }))
}

fn read_joined_form(disk: &Disk) -> io::Result<Option<JoinedForm>> {
    let file = match disk.open(JOINED, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let read = file.read_at(&mut bytes, 0)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the file `joined` is damaged");
    let form: JoinedForm = minicbor::decode(&bytes[..read]).map_err(|_| damaged())?;
    if form.format == FORMAT { Ok(Some(form)) } else { Err(damaged()) }
}

fn write_joined(disk: &Disk, nodes: &[Known], role: NodeRole, time: Hlc) -> io::Result<()> {
    let texts = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect();
    let nodes = nodes.iter().map(|known| (known.key, known.pop.clone(), texts(&known.addresses))).collect();
    let form = JoinedForm { format: FORMAT, nodes, role: Some(role), time: Some(time) };
    let bytes = minicbor::to_vec(form).map_err(io::Error::other)?;
    write(disk, JOINED, JOINED_NEW, &bytes)
}

/// A number for this life of the node: higher than that of any before, wherever its clock stands. Where there is no
/// space to keep it, the clock's counts: a node that others know by a higher one is told so by them.
fn next_generation(disk: &Disk, time: Hlc) -> io::Result<u64> {
    let mut bytes = [0; 8];
    let former = match disk.open(GENERATION, false) {
        Ok(file) if file.read_at(&mut bytes, 0)? == bytes.len() => u64::from_le_bytes(bytes),
        Ok(_) => 0,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let next = former.saturating_add(1).max(time.to_bits());
    match write(disk, GENERATION, GENERATION_NEW, &next.to_le_bytes()) {
        Err(error) if is_for_lack_of_space(&error) => {
            tracing::warn!(%error, "the number of this start is not kept");
            Ok(next)
        }
        written => written.map(|()| next),
    }
}

/// Writes a file whole or not at all.
fn write(disk: &Disk, name: &str, part: &str, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(part, true)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(part, name)?;
    disk.sync()
}
