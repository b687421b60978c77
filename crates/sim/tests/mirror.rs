//! What an edge node's state promises, over simulated links.

use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_mesh::rpc::{self, PROTOCOLS, Service};
use selvedge_mesh::ticket::{ClusterKey, Contact, NodeRole, TicketOffer};
use selvedge_mesh::{Hybrid, Mesh};
use selvedge_observe::Registry;
use selvedge_rt::{Clock, OnEnd, Rng, Tasks, links};
use selvedge_sim::{SimDisk, SimMesh, Trace};
use selvedge_state::group::{ClusterId, Member, MeshLinks};
use selvedge_state::mirror::{MIRROR, MirrorService, Mirrored, Mirroring};
use selvedge_state::{ClusterRecord, Command, Kind, Metrics, NodeRecord, Options, Serves, Setup, State};
use selvedge_store::wal;
use selvedge_types::token::{Role, Token};
use selvedge_types::{HlcClock, Manifest, NodeKey, Permissions, Revision, UnixMillis};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const CLUSTER: ClusterId = ClusterId::from_bytes([5; 16]);
const SEED: [u8; 32] = [7; 32];
const SOON: Duration = Duration::from_secs(60);

struct World {
    mesh: SimMesh,
    peers: links::Peers,
    rng: Rng,
}

struct Machine {
    key: NodeKey,
    disk: SimDisk,
}

struct Running {
    state: State,
    mesh: Mesh,
    mirrors: MirrorService,
    tasks: Tasks,
}

impl World {
    fn new() -> Self {
        let rng = Rng::from_seed(1);
        let mesh = SimMesh::new(rng.branch("links"), Trace::default());
        World { mesh, peers: links::Peers::default(), rng }
    }

    fn machine(&self, n: u8) -> Machine {
        let disk = SimDisk::new(&n.to_string(), self.rng.branch(&format!("disk {n}")), Trace::default());
        Machine { key: NodeKey::from_bytes([n; 32]), disk }
    }

    /// A node with a state of its own, which is empty at first.
    async fn start(&self, machine: &Machine) -> Running {
        let (tasks, hlc) = (Tasks::simulated(), Arc::<Mutex<HlcClock>>::default());
        let (accepts, peers) = (PROTOCOLS.to_vec(), self.peers.clone());
        let links = self.mesh.links(machine.key, links::Options { cluster: CLUSTER, accepts, peers });
        self.peers.allow(machine.key, &links.addresses());
        let mirrors = MirrorService::default();
        let service: Arc<dyn Service> = Arc::new(mirrors.clone());
        let options = rpc::Options {
            services: BTreeMap::from([(MIRROR, service)]),
            hybrid: Hybrid::shared(Clock::real(), hlc.clone()),
            registry: Registry::default(),
            clock_ahead: Arc::new(|_, _| {}),
        };
        let mesh = Mesh::start(links, options, &tasks);
        let setup = Setup {
            disk: machine.disk.disk(),
            options: Options::default(),
            cluster: CLUSTER,
            member: Member { node: machine.key.to_string() },
            restore: None,
            founds: true,
            clock: Clock::real(),
            hlc,
            rng: self.rng.branch(&machine.key.to_string()),
            tasks: tasks.clone(),
            links: Arc::new(MeshLinks::new(mesh.clone())),
            metrics: Metrics::default(),
            wal_metrics: wal::Metrics::default(),
            observer: Box::new(|_, _| {}),
        };
        let (state, _) = State::open(setup).await.unwrap();
        Running { state, mesh, mirrors, tasks }
    }

    /// A node with the cluster's state, in which `edge` was let in.
    async fn full(&self, machine: &Machine, edge: &Machine) -> Running {
        let running = self.start(machine).await;
        let now = UnixMillis(1_000);
        let cluster = ClusterRecord { seed: SEED, created: now, voters: Vec::new() };
        let node = Box::new(record(machine, "full"));
        running.state.apply(Command::Found { cluster, node }).await.unwrap();
        let contacts = vec![Contact { key: machine.key, addresses: Vec::new() }];
        let offer = TicketOffer { cluster: CLUSTER, role: NodeRole::Edge, uses: 1, ttl: SOON, now, contacts };
        let (_, ticket) = ClusterKey::from_seed(SEED).issue(&offer, [9; 32]).unwrap();
        running.state.apply(Command::IssueTicket(ticket.clone())).await.unwrap();
        let node = Box::new(record(edge, "edge"));
        running.state.apply(Command::Admit { ticket: ticket.grant.key, node, at: now }).await.unwrap();
        running.mirrors.serve(running.state.clone());
        running
    }
}

impl Running {
    /// Follows these, in that order.
    fn mirror(&self, sources: &[&Machine]) -> watch::Receiver<Mirrored> {
        let sources: Vec<NodeKey> = sources.iter().map(|source| source.key).collect();
        let (mirroring, at) = Mirroring::new(
            self.state.clone(),
            self.mesh.clone(),
            move || sources.clone(),
            &Registry::default(),
        );
        self.tasks.spawn("mirroring", OnEnd::Forget, mirroring.run(self.tasks.clone()));
        at
    }

    async fn apply(&self, site: &str) -> Revision {
        let text = format!("[site.{site}]\nhosts = [\"{site}.test\"]\norigin = [\"http://127.0.0.1:1\"]\n");
        let manifest = Box::new(Manifest::parse("m", &text).unwrap());
        let command = Command::ApplyManifest { manifest, expected: None, permitted: Permissions::ALL };
        self.state.apply(command).await.unwrap()
    }

    async fn purge(&self, site: &str) -> Revision {
        let scope = PurgeScope::Site { site: site.to_owned() };
        self.state.apply(Command::Purge { scope, kind: PurgeKind::Hard }).await.unwrap()
    }

    fn sites(&self) -> Vec<String> {
        self.state.declared().resources.sites.keys().map(ToString::to_string).collect()
    }

    async fn stop(self) {
        self.mesh.close().await;
        assert!(self.tasks.shut_down(SOON).await);
    }
}

fn record(machine: &Machine, name: &str) -> NodeRecord {
    NodeRecord {
        key: machine.key,
        name: name.to_owned(),
        pop: "ams".to_owned(),
        region: "eu".to_owned(),
        role: NodeRole::Voter,
        voter: None,
        mesh: Vec::new(),
        serves: Serves::default(),
        version: "1".to_owned(),
        joined: UnixMillis(0),
        draining: false,
    }
}

async fn reaches(at: &mut watch::Receiver<Mirrored>, revision: Revision) {
    let reached = at.wait_for(|at| at.revision >= revision && at.source.is_some());
    tokio::time::timeout(SOON, reached).await.expect("it catches up").unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_edge_node_gets_sites_purges_and_nodes_and_nothing_else() {
    let world = World::new();
    let [one, edge] = [1, 2].map(|n| world.machine(n));
    let full = world.full(&one, &edge).await;
    let token =
        Token { name: "t".into(), role: Role::Admin, namespace: None, hash: [1; 32], created: UnixMillis(0) };
    full.state.apply(Command::CreateToken(token)).await.unwrap();
    full.apply("a").await;
    let served = world.start(&edge).await;
    let mut at = served.mirror(&[&one]);
    reaches(&mut at, full.state.revision()).await;
    assert_eq!(served.sites(), ["default/a"]);
    let revision = full.purge("default/a").await;
    reaches(&mut at, revision).await;
    assert_eq!(served.state.stamps(), full.state.stamps());
    let revision = full.apply("b").await;
    reaches(&mut at, revision).await;
    assert_eq!(served.sites(), ["default/b"], "what is not declared any more is gone");
    assert_eq!(served.state.nodes(), full.state.nodes());
    for kind in [Kind::Token, Kind::Ticket, Kind::Cluster, Kind::Keyspace] {
        assert!(served.state.list(kind).1.is_empty(), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_edge_node_goes_on_after_a_restart_and_is_told_what_it_missed() {
    let world = World::new();
    let [one, edge] = [1, 2].map(|n| world.machine(n));
    let full = world.full(&one, &edge).await;
    full.apply("a").await;
    let served = world.start(&edge).await;
    let mut at = served.mirror(&[&one]);
    reaches(&mut at, full.state.revision()).await;
    served.stop().await;
    world.mesh.crash(edge.key);
    full.purge("default/a").await;
    full.apply("b").await;
    let served = world.start(&edge).await;
    assert_eq!(served.sites(), ["default/a"], "it serves without any other node");
    assert!(served.state.mirrored_revision() > Revision(0));
    let mut at = served.mirror(&[&one]);
    reaches(&mut at, full.state.revision()).await;
    assert_eq!((served.sites(), served.state.stamps()), (full.sites(), full.state.stamps()));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_from_a_node_that_is_behind_what_is_in_force() {
    let world = World::new();
    let [one, other, edge] = [1, 2, 3].map(|n| world.machine(n));
    let full = world.full(&one, &edge).await;
    let behind = world.full(&other, &edge).await;
    full.apply("a").await;
    full.purge("default/a").await;
    let served = world.start(&edge).await;
    let mut at = served.mirror(&[&one, &other]);
    reaches(&mut at, full.state.revision()).await;
    full.stop().await;
    world.mesh.crash(one.key);
    let lost = at.wait_for(|at| at.source.is_none());
    tokio::time::timeout(SOON, lost).await.expect("it is cut off").unwrap();
    tokio::time::sleep(SOON).await;
    assert_eq!(at.borrow().source, None);
    assert_eq!((served.sites(), served.state.stamps().len()), (vec!["default/a".to_owned()], 1));
    while behind.state.revision() < at.borrow().revision {
        behind.purge("default/a").await;
    }
    let revision = behind.apply("c").await;
    reaches(&mut at, revision).await;
    assert!(served.sites().contains(&"default/c".to_owned()), "it goes on from there");
}

#[tokio::test(start_paused = true)]
async fn only_nodes_of_the_cluster_are_told() {
    let world = World::new();
    let [one, edge, stranger] = [1, 2, 3].map(|n| world.machine(n));
    let full = world.full(&one, &edge).await;
    full.apply("a").await;
    let served = world.start(&stranger).await;
    let at = served.mirror(&[&one]);
    tokio::time::sleep(SOON).await;
    assert_eq!(*at.borrow(), Mirrored::default());
    assert!(served.sites().is_empty());
}
