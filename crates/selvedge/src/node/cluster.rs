//! The node's part in its cluster: its links with others, how it was let in, and what it does for those who come.

use super::config::{BindLinks, Config};
use super::{NodeError, chain};
use minicbor::{Decode, Encode};
use selvedge_control::cluster::{
    Council, Directory, ENROL, EnrolService, Enrolment, JOIN, JoinService, Keyspaces, join as ask_to_join,
};
use selvedge_mesh::rpc::{Options as CallOptions, PROTOCOLS, Service};
use selvedge_mesh::ticket::{NodeRole, Ticket};
use selvedge_mesh::{Hybrid, Identity as NodeIdentity, Mesh};
use selvedge_observe::Registry;
use selvedge_rt::links::{Options as LinkOptions, Peers};
use selvedge_rt::{Clock, Disk, OnEnd, Secrets, Tasks};
use selvedge_state::group::{Receiver, SERVICE as GROUP};
use selvedge_state::{ClusterRecord, Command, NodeRecord, Serves, State};
use selvedge_types::{ClusterId, HlcClock, NodeKey};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

/// What a node that was let in was told, kept until the control state has come.
const JOINED: &str = "joined";
const JOINED_NEW: &str = "joined.new";
const FORMAT: u16 = 1;

/// Addresses of the mesh that others are told.
const TOLD_MAX: usize = selvedge_state::ADDRESSES_MAX;

#[derive(Encode, Decode)]
struct JoinedForm {
    #[n(0)]
    format: u16,
    #[n(1)]
    nodes: Vec<(NodeKey, Vec<String>)>,
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
    /// Whether this node was let in by others; else it makes the cluster.
    pub(super) was_let_in: bool,
}

/// What links need of the node.
pub(super) struct LinkSeams<'a> {
    pub(super) disk: &'a Disk,
    pub(super) secrets: &'a Secrets,
    pub(super) clock: &'a Clock,
    pub(super) hlc: Arc<Mutex<HlcClock>>,
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
    ) -> Result<Self, NodeError> {
        let identity = NodeIdentity::load_or_make(seams.disk, seams.secrets)?;
        let joined = read_joined(seams.disk).map_err(|source| NodeError::data(seams.disk, source))?;
        let peers = Peers::default();
        let directory = Directory::new(identity.key(), peers.clone(), seams.clock.clone());
        directory.seed(joined.as_deref().unwrap_or_default());
        let admission = directory.clone();
        let receiver = Receiver::new(Arc::new(move |peer: &NodeKey| admission.may_vote(peer)));
        let (joining, enrolling) = (JoinService::new(cluster, seams.clock.clone()), EnrolService::default());
        let services: [(&'static str, Arc<dyn Service>); 3] = [
            (GROUP, Arc::new(receiver.clone())),
            (JOIN, Arc::new(joining.clone())),
            (ENROL, Arc::new(enrolling.clone())),
        ];
        let options = LinkOptions { cluster, accepts: PROTOCOLS.to_vec(), peers };
        let links = seams.links.bind(&identity, &config.mesh, options, seams.clock, seams.tasks).await?;
        let calls = CallOptions {
            services: BTreeMap::from(services),
            hybrid: Hybrid::shared(seams.clock.clone(), seams.hlc),
            registry: seams.registry.clone(),
            clock_ahead: Arc::new(|peer, error| {
                tracing::warn!(%peer, %error, "the clock of another node is too far ahead, or this one's behind");
            }),
        };
        let mesh = Mesh::start(links, calls, seams.tasks);
        directory.serve(mesh.clone());
        let was_let_in = joined.is_some();
        Ok(Linked { key: identity.key(), mesh, directory, receiver, joining, enrolling, was_let_in })
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
        let enrolment = Enrolment { state: state.clone(), mesh: self.mesh.clone(), record };
        tasks.spawn("enrolment", OnEnd::Forget, enrolment.run(tasks.clone()));
        tasks.spawn("tickets", OnEnd::Forget, self.directory.clone().sweep(tasks.clone()));
        let council = Council { state: state.clone() };
        tasks.spawn("council", OnEnd::Forget, council.run(tasks.clone()));
        let keyspaces = Keyspaces { state: state.clone() };
        tasks.spawn("keyspaces", OnEnd::Forget, keyspaces.run(tasks.clone()));
        Ok(())
    }

    /// Where the mesh of this node is reached.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        told(self.mesh.links().addresses())
    }
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
        pop: config.pop.clone(),
        region: config.region.clone(),
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
    let calls = CallOptions {
        services: BTreeMap::new(),
        hybrid: Hybrid::shared(seams.clock.clone(), seams.hlc),
        // Its own: the node's metrics are those of the links that it makes in its own name.
        registry: Registry::default(),
        clock_ahead: Arc::new(|_, _| {}),
    };
    let mesh = Mesh::start(links, calls, &tasks);
    let node = NodeRecord { role: ticket.grant().role, ..record(config, identity.key()) };
    let joined = ask_to_join(&mesh, ticket, &node).await;
    mesh.links().close().await;
    tasks.stop();
    let joined = joined.map_err(|error| NodeError::Join(chain(&error)))?;
    write_joined(seams.disk, &joined.nodes).map_err(|source| NodeError::data(seams.disk, source))?;
    Ok(cluster)
}

fn read_joined(disk: &Disk) -> io::Result<Option<Vec<(NodeKey, Vec<SocketAddr>)>>> {
    let file = match disk.open(JOINED, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let read = file.read_at(&mut bytes, 0)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the file `joined` is damaged");
    let form: JoinedForm = minicbor::decode(&bytes[..read]).map_err(|_| damaged())?;
    if form.format != FORMAT {
        return Err(damaged());
    }
    let addresses = |texts: Vec<String>| texts.iter().filter_map(|text| text.parse().ok()).collect();
    Ok(Some(form.nodes.into_iter().map(|(key, texts)| (key, addresses(texts))).collect()))
}

fn write_joined(disk: &Disk, nodes: &[(NodeKey, Vec<SocketAddr>)]) -> io::Result<()> {
    let texts = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect();
    let nodes = nodes.iter().map(|(key, addresses)| (*key, texts(addresses))).collect();
    let bytes = minicbor::to_vec(JoinedForm { format: FORMAT, nodes }).map_err(io::Error::other)?;
    let file = disk.open(JOINED_NEW, true)?;
    file.set_len(0)?;
    file.write_at(&bytes, 0)?;
    file.sync()?;
    disk.rename(JOINED_NEW, JOINED)?;
    disk.sync()
}
