//! The world, once it has begun: who runs, what is cut off, and what is shown of it.
//!
//! What is switched off stands in files of the world's directory: `NAME.down` for a node or the origin, `POP.cut` for a
//! PoP. Keys make and remove them, and so can anybody else; a process that somebody else ends gets one too.

use super::api::Api;
use super::board::{Board, Row, Screen};
use super::demo::{Demo, Say};
use super::forming::{Node, write_distances};
use super::keys::Keys;
use super::origin::Origin;
use super::plan;
use super::process::{Process, Started};
use super::visitors::{self, Count};
use crate::cli::Failure;
use crate::cli::commands::cluster::round_trip as shown_round_trip;
use crate::cli::commands::node::Signals;
use selvedge_control::wire::ClusterNode;
use selvedge_rt::{OnEnd, Tasks};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How often switches are looked at, and the board is drawn.
const LOOK: Duration = Duration::from_millis(200);
/// How often the cluster is asked.
const ASK: Duration = Duration::from_millis(500);
/// How often a visitor asks for the documentation.
const VISIT: Duration = Duration::from_millis(100);
/// How often one asks for a site whose origin is not ours.
const VISIT_GUEST: Duration = Duration::from_secs(1);
/// How long nodes may take to end.
const END_MAX: Duration = Duration::from_secs(15);
/// How often it is looked whether they have.
const END_LOOK: Duration = Duration::from_millis(20);

/// What a node answered about the cluster: who it is, and its nodes.
type Seen = (String, Vec<ClusterNode>);

/// The world.
pub(super) struct World {
    root: PathBuf,
    nodes: Vec<Node>,
    counts: Vec<Arc<Count>>,
    starting: JoinSet<(usize, Started)>,
    being_started: BTreeSet<usize>,
    origin: Option<Origin>,
    origin_url: Option<String>,
    cut: BTreeSet<&'static str>,
    leader: Option<String>,
    api: Api,
    demo: Demo,
    seen: watch::Receiver<Seen>,
    /// Whether keys are read.
    has_keys: bool,
    say: Say,
    said: mpsc::UnboundedReceiver<String>,
    tasks: Tasks,
}

/// What can be switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    Node(usize),
    Pop(&'static str),
    Origin,
}

impl World {
    /// The nodes that `form` started, and the origin of their site if it is ours.
    pub(super) async fn new(
        root: &Path,
        nodes: Vec<Node>,
        origin: Option<Origin>,
        api: Api,
        demo: Demo,
        tasks: &Tasks,
    ) -> Self {
        let every = if origin.is_some() { VISIT } else { VISIT_GUEST };
        let send = |i| visitors::send(&nearest(&nodes, i), demo.host(), every, tasks);
        let counts = (0..nodes.len()).map(send).collect();
        let (say, said) = mpsc::unbounded_channel();
        let (tell, seen) = watch::channel(api.nodes().await.unwrap_or_default());
        tasks.spawn("cluster as seen", OnEnd::Forget, look_on(api.clone(), tell, tasks.clone()));
        World {
            root: root.to_owned(),
            nodes,
            counts,
            starting: JoinSet::new(),
            being_started: BTreeSet::new(),
            origin_url: origin.as_ref().map(|origin| origin.url().to_owned()),
            origin,
            cut: BTreeSet::new(),
            leader: None,
            api,
            demo,
            seen,
            has_keys: false,
            say,
            said,
            tasks: tasks.clone(),
        }
    }

    /// Where to say what is to stay on the screen.
    pub(super) fn say(&self) -> Say {
        self.say.clone()
    }

    /// Goes on until it is told to stop.
    pub(super) async fn run(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        let mut screen = Screen::new();
        let mut keys = Keys::listen(&self.tasks);
        self.has_keys = keys.is_some();
        self.remove_switches();
        screen.say(&self.invitation());
        let mut ticks = tokio::time::interval(LOOK);
        let mut verb = None;
        loop {
            tokio::select! {
                () = signals.stop() => break,
                _ = ticks.tick() => {
                    self.look(&mut screen).await?;
                    screen.show(self.board());
                }
                Some(text) = self.said.recv() => screen.say(&text),
                Some(Ok((i, started))) = self.starting.join_next(), if !self.starting.is_empty() => {
                    self.started(i, started, &mut screen);
                }
                key = next(&mut keys) => verb = self.press(verb, key, &mut screen),
            }
        }
        screen.leave();
        self.remove_switches();
        Ok(())
    }

    /// Ends the nodes, then the origin. A second signal ends the waiting.
    pub(super) async fn end(mut self, signals: &mut Signals) {
        self.starting.shutdown().await;
        end(self.nodes, signals).await;
    }

    /// Does what switches say, after what happened by itself has been written down there.
    async fn look(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        for node in &mut self.nodes {
            if let Some(status) = node.process.as_mut().and_then(Process::ended) {
                node.process = None;
                screen.say(&format!("{} has ended: {status}", node.place.name));
                touch(&self.root, &format!("{}.down", node.place.name));
            }
        }
        if self.origin.as_mut().is_some_and(Origin::has_ended) {
            touch(&self.root, "origin.down");
        }
        for i in 0..self.nodes.len() {
            self.switch_node(i, screen);
        }
        self.switch_origin(screen).await;
        self.switch_pops(screen)?;
        let leader =
            self.seen.borrow().1.iter().find(|node| node.control == "leader").map(|node| node.name.clone());
        if leader.is_some() && leader != self.leader {
            if let (Some(_), Some(now)) = (&self.leader, &leader) {
                screen.say(&format!("{now} leads now"));
            }
            self.leader = leader;
        }
        self.api.set_nodes(self.reachable());
        Ok(())
    }

    fn switch_node(&mut self, i: usize, screen: &mut Screen) {
        let off = self.is_off(Switch::Node(i));
        let Some(node) = self.nodes.get_mut(i) else { return };
        match (&node.process, off) {
            (Some(_), true) => {
                node.process = None;
                screen.say(&format!("killed {} (-9)", node.place.name));
            }
            (None, false) if self.being_started.insert(i) => {
                let (start, tasks) = (node.start(&[]), self.tasks.clone());
                self.starting.spawn(async move { (i, Process::start(start, &tasks).await) });
            }
            _ => {}
        }
    }

    fn started(&mut self, i: usize, started: Started, screen: &mut Screen) {
        self.being_started.remove(&i);
        let Some(node) = self.nodes.get_mut(i) else { return };
        match started {
            Ok((process, _)) => {
                screen.say(&format!("{} runs again (process {})", node.place.name, process.pid()));
                node.process = Some(process);
            }
            Err(failure) => {
                screen.say(&failure.text());
                touch(&self.root, &format!("{}.down", node.place.name));
            }
        }
    }

    async fn switch_origin(&mut self, screen: &mut Screen) {
        let Some(url) = &self.origin_url else { return };
        match (&self.origin, self.is_off(Switch::Origin)) {
            (Some(_), true) => {
                self.origin = None;
                screen.say("killed the origin");
                let showing = self.demo.clone().without_origin(self.api.clone(), self.say());
                self.tasks.spawn("show a page that stays", OnEnd::Forget, showing);
            }
            (None, false) => match Origin::start(Some(url)).await {
                Ok(origin) => {
                    self.origin = Some(origin);
                    screen.say("the origin is back");
                    let showing = self.demo.clone().with_origin(self.say());
                    self.tasks.spawn("show a page that is renewed", OnEnd::Forget, showing);
                }
                Err(failure) => {
                    screen.say(&failure.text());
                    touch(&self.root, "origin.down");
                }
            },
            _ => {}
        }
    }

    fn switch_pops(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        let pops = self.pops();
        let cut: BTreeSet<_> = pops.iter().copied().filter(|pop| self.is_off(Switch::Pop(pop))).collect();
        if cut == self.cut {
            return Ok(());
        }
        write_distances(&self.nodes, &cut)?;
        cut.difference(&self.cut).for_each(|pop| screen.say(&format!("{pop} is cut off from the mesh")));
        self.cut.difference(&cut).for_each(|pop| screen.say(&format!("{pop} is no longer cut off")));
        self.cut = cut;
        Ok(())
    }

    /// The PoPs that can be cut off, in order.
    fn pops(&self) -> Vec<&'static str> {
        let mut pops: Vec<&'static str> = self.nodes.iter().map(|node| node.place.pop).collect();
        pops.dedup();
        if pops.len() == 1 { Vec::new() } else { pops }
    }

    /// The APIs of nodes that run, of those that are cut off last.
    fn reachable(&self) -> Vec<String> {
        let running = self.nodes.iter().filter(|node| node.process.is_some());
        let (cut, well): (Vec<&Node>, Vec<&Node>) =
            running.partition(|node| self.cut.contains(node.place.pop));
        well.into_iter().chain(cut).map(|node| node.addresses.api().to_owned()).collect()
    }

    fn file(&self, switch: Switch) -> PathBuf {
        let name = match switch {
            Switch::Node(i) => {
                format!("{}.down", self.nodes.get(i).map_or("", |node| node.place.name.as_str()))
            }
            Switch::Pop(pop) => format!("{pop}.cut"),
            Switch::Origin => "origin.down".to_owned(),
        };
        self.root.join(name)
    }

    fn is_off(&self, switch: Switch) -> bool {
        self.file(switch).exists()
    }

    /// Nothing is switched off at the beginning, nor left so at the end.
    fn remove_switches(&self) {
        let nodes = (0..self.nodes.len()).map(Switch::Node);
        let pops = self.pops();
        for switch in nodes.chain(pops.iter().map(|pop| Switch::Pop(pop))).chain([Switch::Origin]) {
            // Mostly there is none.
            let _ = std::fs::remove_file(self.file(switch));
        }
    }

    /// Turns the switch that two keys name, or one; the first of two is kept.
    fn press(&self, verb: Option<u8>, key: u8, screen: &mut Screen) -> Option<u8> {
        let digit = char::from(key).to_digit(10).and_then(|digit| (digit as usize).checked_sub(1));
        let switch = match (verb, key, digit) {
            (_, b'o', _) if self.origin_url.is_some() => Some(Switch::Origin),
            (Some(b'k'), _, Some(i)) if i < self.nodes.len() => Some(Switch::Node(i)),
            (Some(b'c'), _, Some(i)) => self.pops().get(i).map(|pop| Switch::Pop(pop)),
            (_, b'k' | b'c', _) => return Some(key),
            _ => None,
        };
        if let Some(switch) = switch {
            let file = self.file(switch);
            let turned = match self.is_off(switch) {
                true => std::fs::remove_file(&file),
                false => std::fs::write(&file, ""),
            };
            if let Err(error) = turned {
                screen.say(&format!("cannot write {}: {error}", file.display()));
            }
        }
        None
    }

    /// What can be done.
    fn invitation(&self) -> String {
        let (curl, root, keys) = (self.demo.curl(), self.root.display(), self.has_keys);
        let mut text = String::from("\n");
        match &self.origin {
            Some(origin) => {
                let kill = format!("kill {} && {curl}", origin.pid());
                let press = if keys { " Press o to kill it, or" } else { "" };
                let stop = if keys { "." } else { "" };
                text.push_str(&format!("The page stays when its origin is gone{stop}{press}: {kill}\n"));
            }
            None => text.push_str(&format!("Try: {curl}\n")),
        }
        if keys {
            text.push_str("Press k1 to kill the first node (-9), and again to start it");
            let cut = "; c1 to cut the first PoP off, and again to heal it";
            text.push_str(if self.pops().is_empty() { "" } else { cut });
            text.push_str(".\n");
        }
        if let (Some(node), false) = (self.nodes.last(), self.nodes.len() == 1) {
            let (name, pop) = (&node.place.name, node.place.pop);
            let pids: Vec<String> = self
                .nodes
                .iter()
                .filter_map(|node| Some(format!("{} {}", node.place.name, node.process.as_ref()?.pid())))
                .collect();
            text.push_str(&format!(
                "From another shell:\n  kill -9 PID                kills a node: {}\n",
                pids.join(", ")
            ));
            text.push_str(&format!("  rm {root}/{name}.down      starts it again\n"));
            text.push_str(&format!("  touch {root}/{pop}.cut     cuts PoP {pop} off; rm heals it\n"));
            text.push_str(&format!(
                "  selvedge get nodes         as any node sees it: --data {root}/{name}\n"
            ));
        }
        text.push_str("Ctrl-C ends all.");
        text
    }

    /// What to press for a node and for its PoP.
    fn keys(&self, i: usize) -> String {
        if !self.has_keys {
            return String::new();
        }
        let pop = self.nodes.get(i).map(|node| node.place.pop);
        let pop = self.pops().iter().position(|name| Some(*name) == pop);
        let key = |verb, i: Option<usize>| i.filter(|i| *i < 9).map(|i| format!("{verb}{}", i + 1));
        [key("k", Some(i)), key("c", pop)].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// How it is now.
    fn board(&self) -> Board {
        let seen = self.seen.borrow();
        let (seen_by, known) = &*seen;
        let asked = self.nodes.iter().find(|node| node.addresses.api() == seen_by);
        let rows = self.nodes.iter().enumerate().map(|(i, node)| {
            let known = known.iter().find(|known| known.name == node.place.name);
            let of = |field: fn(&ClusterNode) -> &str| known.map_or("", field).to_owned();
            let is_cut = self.cut.contains(node.place.pop);
            let state = match &node.process {
                None if self.being_started.contains(&i) => "starting".to_owned(),
                None => "killed".to_owned(),
                Some(_) if is_cut => "cut off".to_owned(),
                Some(_) => of(|known| &known.state),
            };
            let round_trip = known.and_then(|known| known.round_trip_us);
            let round_trip = round_trip.filter(|_| node.process.is_some() && !is_cut);
            Row {
                keys: self.keys(i),
                name: node.place.name.clone(),
                pop: node.place.pop.to_owned(),
                state,
                control: of(|known| &known.control),
                http: node.addresses.front().map_or(String::new(), |addr| format!("http://{addr}/")),
                round_trip: round_trip.map_or(String::new(), shown_round_trip),
                counted: self.counts.get(i).map(|count| count.now()).unwrap_or_default(),
            }
        });
        Board { seen_by: asked.map_or(String::new(), |node| node.place.name.clone()), rows: rows.collect() }
    }
}

/// Ends nodes. A second signal ends the waiting; those that still run then are killed.
pub(super) async fn end(mut nodes: Vec<Node>, signals: &mut Signals) {
    let mut ending: Vec<Process> = nodes.iter_mut().filter_map(|node| node.process.take()).collect();
    ending.iter().for_each(Process::interrupt);
    let ended = async {
        while ending.iter_mut().any(|process| process.ended().is_none()) {
            tokio::time::sleep(END_LOOK).await;
        }
    };
    tokio::select! {
        ended = tokio::time::timeout(END_MAX, ended) => if ended.is_err() {
            tracing::warn!("nodes that did not end in time are killed");
        },
        () = signals.stop() => tracing::warn!("stopped at once"),
    }
}

/// The next key, if there are any. Cancel-safe.
async fn next(keys: &mut Option<Keys>) -> u8 {
    match keys {
        Some(keys) => keys.next().await,
        None => std::future::pending().await,
    }
}

/// Where visitors near a node ask: there, then at the nearest others.
fn nearest(nodes: &[Node], from: usize) -> Vec<SocketAddr> {
    let Some(here) = nodes.get(from).map(|node| node.place.number) else { return Vec::new() };
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|i| (*i != from, nodes.get(*i).map(|node| plan::round_trip(here, node.place.number))));
    order.iter().filter_map(|i| nodes.get(*i)?.addresses.front()).collect()
}

fn touch(root: &Path, name: &str) {
    if let Err(error) = std::fs::write(root.join(name), "") {
        tracing::warn!(name, %error, "what has ended is started again: that it is to stay down cannot be written");
    }
}

/// Asks the cluster again and again.
async fn look_on(api: Api, tell: watch::Sender<Seen>, tasks: Tasks) {
    loop {
        if let Ok(seen) = api.nodes().await {
            tell.send_replace(seen);
        }
        tokio::select! {
            () = tokio::time::sleep(ASK) => {}
            () = tasks.stopped() => return,
        }
    }
}
