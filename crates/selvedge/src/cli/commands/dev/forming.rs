//! How the world begins: nodes started, let in, made voters.

use super::api::Api;
use super::plan::{self, Place};
use super::process::{DISTANCES, Process, Start};
use super::{CACHE_DISK, CACHE_RAM, DevArgs};
use crate::cli::Failure;
use crate::cli::commands::node::Addresses;
use crate::cli::commands::up::has_node;
use crate::cli::context::Context;
use crate::node::distances;
use selvedge_mesh::Identity;
use selvedge_rt::{Clock, Disk, Secrets, Tasks};
use selvedge_types::NodeKey;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinSet;

/// The file in a node's directory that says where its mesh is: its peers look for it there.
const MESH: &str = "mesh-address";
/// How often it is looked whether all are there.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take until all are there.
const FORM_MAX: Duration = Duration::from_secs(60);
/// How many vote, where there are enough.
const VOTERS: usize = 3;
/// Threads of each of several nodes that serve requests, unless told otherwise.
const WORKERS: usize = 2;

/// A node of the world, whether it runs or not.
pub(super) struct Node {
    /// Where it is.
    pub(super) place: Place,
    /// Who it is.
    pub(super) key: NodeKey,
    /// Its data directory.
    pub(super) data: PathBuf,
    /// Where it answers, the same in all its lives.
    pub(super) addresses: Addresses,
    /// While it runs.
    pub(super) process: Option<Process>,
    mesh: SocketAddr,
    machine: Vec<OsString>,
}

impl Node {
    /// How it is started: where it answered before, or in its first life where it is told to.
    pub(super) fn start(&self, more: &[&str]) -> Start {
        let Place { name, pop, region, .. } = &self.place;
        let mut words: Vec<OsString> = more.iter().map(Into::into).collect();
        words.extend(["--name", name, "--pop", pop, "--region", region].map(Into::into));
        for (flag, addr) in [("--http", self.addresses.front()), ("--https", self.addresses.tls())] {
            words.extend(addr.iter().flat_map(|addr| [flag.into(), addr.to_string().into()]));
        }
        let api = self.addresses.api().trim_start_matches("http://");
        words.extend(["--api", api, "--mesh", &self.mesh.to_string()].map(Into::into));
        words.extend(self.machine.iter().cloned());
        Start { name: name.clone(), data: self.data.clone(), words }
    }
}

/// Says how far nodes are from each other.
pub(super) fn write_distances(nodes: &[Node], cut: &BTreeSet<&'static str>) -> Result<(), Failure> {
    let known: Vec<(Place, NodeKey)> = nodes.iter().map(|node| (node.place.clone(), node.key)).collect();
    for node in nodes {
        let file = node.data.join(DISTANCES);
        distances::write(&file, &plan::ways(&node.place, &known, cut))
            .map_err(|e| Failure::failed(format!("cannot write {}", file.display())).because(e))?;
    }
    Ok(())
}

/// Starts the nodes and waits until they are one cluster; `say` is told how far that is.
pub(super) async fn form(
    args: &DevArgs,
    root: &Path,
    tasks: &Tasks,
    say: &mut dyn FnMut(String),
) -> Result<(Vec<Node>, Api), Failure> {
    let clock = Clock::real();
    let begun = clock.monotonic();
    let after = || format!("after {:.1} s", (clock.monotonic() - begun).as_secs_f64());
    let mut nodes = prepare(args, root)?;
    let pops: BTreeSet<&str> = nodes.iter().map(|node| node.place.pop).collect();
    let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    if nodes.len() > 1 {
        say(format!("starting {} in {}", many(nodes.len(), "node"), many(pops.len(), "PoP")));
    }
    let (old, new): (Vec<usize>, Vec<usize>) = (0..nodes.len()).partition(|i| has_node(&nodes[*i].data));
    let (first, joining) = match old.is_empty() {
        true => (new.iter().copied().take(1).collect(), new.iter().copied().skip(1).collect()),
        false => (old, new),
    };
    start(&mut nodes, &first, &["--new"], tasks).await?;
    let api = Api::new(token(&nodes, root)?, tasks);
    let ask = |nodes: &[Node]| {
        let running = nodes.iter().filter(|node| node.process.is_some());
        running.map(|node| node.addresses.api().to_owned()).collect()
    };
    api.set_nodes(ask(&nodes));
    if nodes.len() > 1 {
        let runs = if first.len() == 1 { "runs" } else { "run" };
        say(format!("  {} {runs} {}", names(&nodes, &first), after()));
    }
    if !joining.is_empty() {
        let uses = u32::try_from(joining.len()).unwrap_or(u32::MAX);
        let ticket = api.ticket(uses).await?;
        start(&mut nodes, &joining, &["--join", &ticket], tasks).await?;
        say(format!("  {} joined {}", names(&nodes, &joining), after()));
        api.set_nodes(ask(&nodes));
    }
    if nodes.len() > 1 {
        let voters = until_whole(&nodes, &api, &clock).await?;
        say(format!("  {} {}", many(voters, "voter"), after()));
    }
    for node in &nodes {
        let context = Context { api: node.addresses.api().to_owned(), token: Some(api.token().to_owned()) };
        if let Err(e) = context.write(&node.data) {
            tracing::warn!(directory = %node.data.display(), error = %e, "no context file was left");
        }
    }
    Ok((nodes, api))
}

fn names(nodes: &[Node], which: &[usize]) -> String {
    let names = which.iter().filter_map(|i| Some(nodes.get(*i)?.place.name.as_str()));
    names.collect::<Vec<_>>().join(", ")
}

/// Makes what nodes need before they start: directories, keys, places in the mesh.
fn prepare(args: &DevArgs, root: &Path) -> Result<Vec<Node>, Failure> {
    let places = plan::places(args.pops, args.nodes_per_pop);
    check(root, places.len() == 1)?;
    let unusable = |data: &Path, why: Box<dyn std::error::Error + Send + Sync>| {
        let what = format!("cannot use the data directory {}", data.display());
        Failure::failed(what).because(why).next("name another directory with --data")
    };
    let free = free_udp(places.len())
        .map_err(|e| Failure::failed("no port is free for the nodes' mesh").because(e))?;
    let machine = machine(args, places.len());
    let mut nodes = Vec::new();
    for (place, free) in places.into_iter().zip(free) {
        let data = if place.name == "dev" { root.to_owned() } else { root.join(&place.name) };
        let disk = Disk::real(&data).map_err(|e| unusable(&data, e.into()))?;
        let identity = Identity::load_or_make(&disk, &Secrets::System);
        let key = identity.map_err(|e| unusable(&data, e.into()))?.key();
        let mesh = mesh_address(&data, free).map_err(|e| unusable(&data, e.into()))?;
        let addresses = if nodes.is_empty() { args.addresses() } else { anywhere() };
        nodes.push(Node { place, key, data, addresses, process: None, mesh, machine: machine.clone() });
    }
    write_distances(&nodes, &BTreeSet::new())?;
    Ok(nodes)
}

/// Refuses a directory that has another kind of world.
fn check(root: &Path, single: bool) -> Result<(), Failure> {
    let several = || ["ams", "ams-1"].iter().any(|name| has_node(&root.join(name)));
    let (what, next) = match single {
        false if has_node(root) => {
            ("one node", "go on with it by --pops 1, or name another directory with --data")
        }
        true if several() => {
            ("a cluster", "go on with it without --pops 1, or name another directory with --data")
        }
        _ => return Ok(()),
    };
    Err(Failure::usage(format!("there is {what} in {}", root.display())).next(next))
}

/// How much of the machine each node uses.
fn machine(args: &DevArgs, nodes: usize) -> Vec<OsString> {
    let single = nodes == 1;
    let workers = match args.machine.workers {
        None if !single => args.machine.workers().min(WORKERS),
        _ => args.machine.workers(),
    };
    let ram = args.machine.cache_ram.or((!single).then_some(CACHE_RAM));
    let disk = args.machine.cache_disk.unwrap_or(CACHE_DISK / nodes.max(1) as u64);
    let mut words = vec!["--workers".into(), workers.to_string().into()];
    words.extend(ram.iter().flat_map(|ram| ["--cache-ram".into(), format!("{ram}B").into()]));
    words.extend(["--cache-disk".into(), format!("{disk}B").into()]);
    words
}

/// Where the node's mesh is: where it was, or else there.
fn mesh_address(data: &Path, free: SocketAddr) -> io::Result<SocketAddr> {
    let file = data.join(MESH);
    if let Some(former) = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(former);
    }
    std::fs::write(&file, format!("{free}\n"))?;
    Ok(free)
}

#[allow(clippy::disallowed_methods)] // only to see which are free, and closed at once
fn free_udp(count: usize) -> io::Result<Vec<SocketAddr>> {
    let sockets: io::Result<Vec<UdpSocket>> = (0..count).map(|_| UdpSocket::bind("127.0.0.1:0")).collect();
    sockets?.iter().map(UdpSocket::local_addr).collect()
}

/// Where a node answers of which nobody expects where.
fn anywhere() -> Addresses {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    Addresses::at(free, free, free)
}

/// The usual port if it is free, else any.
#[allow(clippy::disallowed_methods)] // only to see whether it is free, and closed at once
pub(super) fn free_or(port: u16) -> SocketAddr {
    let usual = SocketAddr::from(([127, 0, 0, 1], port));
    if TcpListener::bind(usual).is_ok() { usual } else { SocketAddr::from(([127, 0, 0, 1], 0)) }
}

/// Starts some of the nodes at once, and waits until all of them run.
async fn start(nodes: &mut [Node], which: &[usize], how: &[&str], tasks: &Tasks) -> Result<(), Failure> {
    let mut starting = JoinSet::new();
    for i in which {
        let Some(node) = nodes.get(*i) else { continue };
        let (i, start, tasks) = (*i, node.start(how), tasks.clone());
        starting.spawn(async move { Process::start(start, &tasks).await.map(|started| (i, started)) });
    }
    while let Some(started) = starting.join_next().await {
        let started = started.map_err(|e| Failure::failed("cannot start a node").because(e))?;
        let (i, (process, addresses)) = started?;
        if let Some(node) = nodes.get_mut(i) {
            (node.process, node.addresses) = (Some(process), addresses);
        }
    }
    Ok(())
}

/// The token that the first node left, or this program in a former life of the world.
fn token(nodes: &[Node], root: &Path) -> Result<String, Failure> {
    let contexts = nodes.iter().filter_map(|node| Context::read(&node.data).ok().flatten());
    contexts.filter_map(|context| context.token).next().ok_or_else(|| {
        Failure::failed(format!("the node in {} has no token that this command knows", root.display()))
            .next("leave --data out, or set it to a directory that `dev` made")
    })
}

/// Waits until all nodes are there and as many vote as should; how many that is.
async fn until_whole(nodes: &[Node], api: &Api, clock: &Clock) -> Result<usize, Failure> {
    let wanted = if nodes.len() >= VOTERS { VOTERS } else { 1 };
    let begun = clock.monotonic();
    loop {
        if let (Ok(voters), Ok((_, known))) = (api.voters().await, api.nodes().await) {
            let is_there = |node: &Node| {
                let found = known.iter().find(|known| known.name == node.place.name);
                found.is_some_and(|known| matches!(known.state.as_str(), "alive" | "draining"))
            };
            let enough = voters.voters.len() >= wanted || voters.chosen;
            if enough && voters.leader.is_some() && !voters.changing && nodes.iter().all(is_there) {
                return Ok(voters.voters.len());
            }
        }
        if clock.monotonic() - begun > FORM_MAX {
            return Err(Failure::failed(format!("the nodes are no cluster after {FORM_MAX:?}"))
                .next("what they say is in the file `log` of each node's directory; name that with --data to keep it"));
        }
        tokio::time::sleep(LOOK).await;
    }
}
