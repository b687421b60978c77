//! Membership over links: who is there, as each node sees it.

use crate::world::{CLUSTER, World, soon};
use bytes::Bytes;
use selvedge_mesh::members::{
    Inbox, Load, Members, Options as MemberOptions, Phase, SERVICE, Seed, State, View, Why, learn_into,
};
use selvedge_mesh::rpc::limits::DATAGRAM_BYTES_MAX;
use selvedge_mesh::rpc::{Options as CallOptions, PROTOCOLS, Service};
use selvedge_mesh::{Hybrid, Mesh};
use selvedge_observe::{Events, Registry};
use selvedge_rt::links::{Options, Peers};
use selvedge_rt::{Clock, Rng, Tasks};
use selvedge_sim::SimMesh;
use selvedge_types::resource::{PopName, RegionName, Text};
use selvedge_types::{Hlc, HlcClock, NodeKey, Record};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

struct Node {
    number: u8,
    pop: PopName,
    mesh: Mesh,
    members: Members,
    events: Events,
    registry: Registry,
    tasks: Tasks,
}

fn pop(name: &str) -> PopName {
    PopName::parse_text(name).unwrap()
}

impl Node {
    /// A node whose links are open.
    async fn start(world: &World, number: u8, pop_name: &str, generation: u64, seeds: &[&Node]) -> Self {
        let peers = Peers::default();
        let options = Options { cluster: CLUSTER, accepts: PROTOCOLS.to_vec(), peers: peers.clone() };
        let links = world.node_with(number, options).await;
        let tasks = match world {
            World::Real(tasks) => tasks.child(),
            World::Simulated(_) | World::Distant(..) => Tasks::simulated(),
        };
        let (clock, registry) = (Clock::real(), Registry::default());
        let (service, inbox) = Inbox::new(&registry);
        let services: BTreeMap<&'static str, Arc<dyn Service>> = BTreeMap::from([(SERVICE, service)]);
        let hybrid = Hybrid::new(clock.clone(), HlcClock::default());
        let stamps = hybrid.clone();
        let events = Events::new(move || stamps.now(), &registry);
        let options =
            CallOptions { services, hybrid, registry: registry.clone(), clock_ahead: Arc::new(|_, _| {}) };
        let mesh = Mesh::start(links, options, &tasks);
        let options = MemberOptions {
            cluster: CLUSTER,
            generation,
            pop: pop(pop_name),
            region: RegionName::parse_text("eu").unwrap(),
            version: "0.1.0".into(),
            addresses: mesh.links().addresses(),
            seeds: seeds.iter().map(|seed| seed.seed()).collect(),
            learnt: learn_into(peers),
            registry: registry.clone(),
            events: events.clone(),
        };
        let rng = Rng::from_seed(number.into());
        let members = Members::start(&mesh, inbox, options, &clock, &rng, &tasks);
        Node { number, pop: pop(pop_name), mesh, members, events, registry, tasks }
    }

    fn key(&self) -> NodeKey {
        self.mesh.links().local()
    }

    fn seed(&self) -> Seed {
        Seed { node: self.key(), pop: self.pop.clone(), addresses: Vec::new() }
    }

    fn sees(&self, other: &Node) -> Option<State> {
        self.members.view().state_of(&other.key(), &other.pop)
    }

    /// Waits until this node's view fits; how long that took.
    async fn until(&self, fits: impl Fn(&View) -> bool) -> Duration {
        let begun = Instant::now();
        let mut changes = self.members.changes();
        soon(async {
            while !fits(&self.members.view()) {
                changes.next().await.expect("membership runs");
            }
        })
        .await;
        begun.elapsed()
    }

    async fn until_sees(&self, other: &Node, state: State) -> Duration {
        self.until(|view| view.state_of(&other.key(), &other.pop) == Some(state)).await
    }

    /// What it told of `subject` up to an event of that kind.
    async fn told(&self, subject: &str, kind: &str) -> Vec<String> {
        let mut at = Hlc::ZERO;
        loop {
            let all = self.events.after(Hlc::ZERO);
            let about = all.iter().filter(|record| about(record) == subject);
            let kinds: Vec<String> = about.map(|record| record.kind.clone()).collect();
            if kinds.iter().any(|told| told == kind) {
                return kinds;
            }
            at = all.last().map_or(at, |record| record.at);
            soon(self.events.wait(at)).await;
        }
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.registry.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Goes without a word.
    fn crash(&self, mesh: &SimMesh) {
        mesh.crash(self.key());
        self.tasks.stop();
    }
}

/// Whom or what an event is about: nodes here have no names.
fn about(record: &Record) -> String {
    record.node.map_or_else(|| record.subject.clone(), |node| node.to_string())
}

/// The cluster lets all of them in.
fn let_in(nodes: &[&Node]) {
    for one in nodes {
        for other in nodes.iter().filter(|other| other.number != one.number) {
            one.mesh.links().peers().allow(other.key(), &other.mesh.links().addresses());
        }
    }
}

/// Waits until each sees all others.
async fn formed(nodes: &[&Node]) {
    for one in nodes {
        for other in nodes {
            one.until_sees(other, State::Alive).await;
        }
    }
}

/// Two PoPs of three; all have the first node as their seed.
async fn two_pops() -> (World, SimMesh, Vec<Node>) {
    let world = World::simulated();
    let World::Simulated(mesh) = &world else { unreachable!("a simulated world") };
    let mesh = mesh.clone();
    let mut nodes: Vec<Node> = Vec::new();
    for number in 1..=6 {
        let seeds: Vec<&Node> = nodes.first().into_iter().collect();
        let node = Node::start(&world, number, if number <= 3 { "ams" } else { "fra" }, 1, &seeds).await;
        nodes.push(node);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    let_in(&all);
    // Those of the other PoP are told of one of theirs.
    for node in &nodes[4..] {
        node.members.add_seed(nodes[3].seed()).await;
    }
    formed(&all).await;
    (world, mesh, nodes)
}

pub(crate) async fn nodes_find_each_other_through_one_that_all_know(world: World) {
    let a = Node::start(&world, 1, "ams", 1, &[]).await;
    let b = Node::start(&world, 2, "ams", 1, &[&a]).await;
    let c = Node::start(&world, 3, "ams", 1, &[&a]).await;
    for (one, other) in [(&a, &b), (&b, &a), (&a, &c), (&c, &a)] {
        one.mesh.links().peers().allow(other.key(), &other.mesh.links().addresses());
    }
    // The cluster let them in, and nobody told them where the other is.
    b.mesh.links().peers().allow(c.key(), &[]);
    c.mesh.links().peers().allow(b.key(), &[]);
    formed(&[&a, &b, &c]).await;
    b.until(|view| view.members[&c.key()].takes_work()).await;
    let view = b.members.view();
    let member = &view.members[&c.key()];
    assert_eq!(member.addresses, c.mesh.links().addresses());
    assert_eq!((member.version.as_str(), member.generation), ("0.1.0", 1));
    assert_eq!(b.mesh.links().peers().addresses(&c.key()), c.mesh.links().addresses());
    assert!(b.members.round_trip(&a.key()).is_some_and(|rtt| rtt > Duration::ZERO));
    b.until(|view| view.pops.get(&b.pop).is_some_and(|pop| pop.digest.present == 3)).await;
}

pub(crate) async fn whoever_leaves_is_known_to_have_left(world: World) {
    let a = Node::start(&world, 1, "ams", 1, &[]).await;
    let b = Node::start(&world, 2, "ams", 1, &[&a]).await;
    let_in(&[&a, &b]);
    formed(&[&a, &b]).await;
    let left = a.members.leave();
    soon(left).await;
    assert_eq!(b.sees(&a), Some(State::Gone(Why::Left)));
    assert_eq!(b.told(&a.key().to_string(), "left").await, ["up", "left"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_known_in_its_pop_and_elsewhere_in_time() {
    let (world, mesh, mut nodes) = two_pops().await;
    let last = nodes.pop().unwrap();
    last.crash(&mesh);
    for node in &nodes {
        let took = node.until_sees(&last, State::Gone(Why::Failed)).await;
        assert!(took < Duration::from_secs(if node.pop == last.pop { 3 } else { 5 }), "{took:?}");
    }
    assert_eq!(nodes[4].metric("selvedge_mesh_members{state=\"gone\"}"), 1);
    assert_eq!(nodes[4].metric("selvedge_mesh_members{state=\"alive\"}"), 1);
    let key = last.key().to_string();
    assert_eq!(nodes[4].told(&key, "failed").await, ["up", "suspected", "failed"]);
    // It starts again, in a new life.
    let seed = &nodes[3];
    let back = Node::start(&world, last.number, "fra", 2, &[seed]).await;
    let_in(&nodes.iter().chain([&back]).collect::<Vec<_>>());
    formed(&nodes.iter().chain([&back]).collect::<Vec<_>>()).await;
    assert_eq!(nodes[4].told(&key, "back").await, ["up", "suspected", "failed", "back"]);
    assert_eq!(nodes[4].members.view().members[&last.key()].generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_pop_that_is_cut_off_is_missed_and_found_again() {
    let (_, mesh, nodes) = two_pops().await;
    let keys: Vec<NodeKey> = nodes.iter().map(Node::key).collect();
    mesh.partition(&keys[..3], &keys[3..]);
    for (one, other) in [(0, 5), (2, 3), (3, 0), (5, 2)] {
        nodes[one].until_sees(&nodes[other], State::Gone(Why::PopUnreachable)).await;
    }
    assert_eq!(nodes[0].metric("selvedge_mesh_pops{state=\"unreachable\"}"), 1);
    for (one, other) in [(0, 1), (1, 2), (3, 5)] {
        assert_eq!(nodes[one].sees(&nodes[other]), Some(State::Alive), "neighbours still see each other");
    }
    mesh.heal();
    formed(&nodes.iter().collect::<Vec<_>>()).await;
    let told = nodes[0].told("fra", "pop-found").await;
    assert!(told.contains(&"pop-lost".to_owned()), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_halves_of_a_pop_take_each_other_for_gone_until_they_meet_again() {
    let (_, mesh, nodes) = two_pops().await;
    let rest: Vec<NodeKey> = nodes.iter().filter(|node| node.number != 1).map(Node::key).collect();
    mesh.partition(&[nodes[0].key()], &rest);
    nodes[0].until_sees(&nodes[1], State::Gone(Why::Failed)).await;
    nodes[1].until_sees(&nodes[0], State::Gone(Why::Failed)).await;
    mesh.heal();
    formed(&nodes.iter().collect::<Vec<_>>()).await;
}

#[tokio::test(start_paused = true)]
async fn draining_and_load_are_told() {
    let (_, _, nodes) = two_pops().await;
    let key = nodes[1].key();
    nodes[1].members.drain(true).await;
    nodes[1].members.set_load(Load(70)).await;
    nodes[0].until(|view| view.members[&key].phase == Phase::Draining).await;
    nodes[0].until(|view| view.members[&key].load == Load(70)).await;
    assert!(!nodes[0].members.view().members[&key].takes_work());
    nodes[4].until(|view| view.is_draining(&key, &nodes[1].pop)).await;
    assert_eq!(nodes[4].sees(&nodes[1]), Some(State::Alive));
    nodes[1].members.drain(false).await;
    nodes[4].until(|view| !view.is_draining(&key, &nodes[1].pop)).await;
    nodes[0].until(|view| view.members[&key].takes_work()).await;
}

#[tokio::test(start_paused = true)]
async fn a_pop_whose_nodes_are_all_drained_is_not_lost() {
    let (_, _, nodes) = two_pops().await;
    for node in &nodes[3..] {
        node.members.drain(true).await;
    }
    for node in &nodes[3..] {
        nodes[0].until(|view| view.is_draining(&node.key(), &node.pop)).await;
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    for node in &nodes[3..] {
        assert_eq!(nodes[0].sees(node), Some(State::Alive));
    }
    assert_eq!(nodes[0].metric("selvedge_mesh_pops{state=\"unreachable\"}"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_is_gone_for_good() {
    let (_, _, nodes) = two_pops().await;
    let removed = &nodes[2];
    for node in nodes.iter().filter(|node| node.number != removed.number) {
        node.members.remove(removed.key()).await;
        node.mesh.remove(&removed.key());
    }
    for node in nodes.iter().filter(|node| node.number != removed.number) {
        node.until_sees(removed, State::Gone(Why::Removed)).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(nodes[0].sees(removed), Some(State::Gone(Why::Removed)));
}

#[tokio::test(start_paused = true)]
async fn whatever_a_hostile_member_sends_others_go_on_and_hold_no_more_for_it() {
    let (_, _, nodes) = two_pops().await;
    let (hostile, victim) = (&nodes[1], &nodes[0]);
    let before = victim.members.view();
    let mut rng = Rng::from_seed(9);
    let send =
        |bytes: Vec<u8>| hostile.mesh.send_datagram(victim.key(), SERVICE, Bytes::from(bytes)).unwrap();
    for _ in 0..20 {
        for _ in 0..100 {
            let length = rng.below(DATAGRAM_BYTES_MAX as u64 + 1) as usize;
            send((0..length).map(|_| rng.below(256) as u8).collect());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // At once, more than may wait.
    (0..5_000).for_each(|_| send(vec![0x84; DATAGRAM_BYTES_MAX]));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = victim.members.view();
    assert_eq!(after.members.keys().collect::<Vec<_>>(), before.members.keys().collect::<Vec<_>>());
    assert_eq!(after.pops.len(), 2);
    assert_eq!(victim.sees(&nodes[2]), Some(State::Alive));
    assert!(victim.metric("selvedge_mesh_membership_refused_total{cause=\"form\"}") > 500);
    assert!(victim.metric("selvedge_mesh_probes_total") > 10);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_says_of_itself_is_no_event() {
    let (_, mesh, nodes) = two_pops().await;
    let before = nodes[1].events.last(1)[0].at;
    for _ in 0..400 {
        nodes[0].members.drain(true).await;
        nodes[0].members.drain(false).await;
    }
    nodes[2].crash(&mesh);
    nodes[1].until_sees(&nodes[2], State::Gone(Why::Failed)).await;
    let next = nodes[1].events.after(before).remove(0);
    assert_eq!((next.kind.as_str(), next.node), ("suspected", Some(nodes[2].key())));
}
