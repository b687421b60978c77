//! The machine that the node runs on: its disk and clock outlive the node's lives.

use super::history::History;
use super::{API_PORT, HTTP_PORT};
use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::links::SimMesh;
use crate::net::net;
use crate::run::Run;
use selvedge::node::{Config, Node, NodeError, Seams, Storage};
use selvedge_gateway::upstream::{Found, Lookup, Resolve, ResolveError, Service};
use selvedge_observe::Registry;
use selvedge_rt::{Secrets, Tasks};
use selvedge_store::{segments, wal};
use selvedge_types::resource::{PopName, RegionName, Text};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const CACHE_RAM: u64 = 1 << 20;
const CACHE_DISK: u64 = 4 << 20;

/// What lasts while nodes come and go.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) run: Run,
    pub(super) disk: SimDisk,
    pub(super) clock: SimClock,
    pub(super) history: History,
    pub(super) token: Arc<Mutex<Option<String>>>,
    pub(super) lives: Arc<Mutex<u64>>,
    pub(super) mesh: SimMesh,
}

impl Machine {
    /// One life of the node: built as the real one is, and left alone.
    pub(super) async fn live(self) -> turmoil::Result {
        let life = {
            let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
            *lives += 1;
            *lives
        };
        self.history.node_started(false);
        let slow = self.disk.clone();
        let tasks = Tasks::simulated_slow(Arc::new(move || slow.delay()));
        let node = match config().build(self.seams(life, &tasks)).await {
            Ok(node) => node,
            Err(error) => return self.not_built(life, &error),
        };
        self.run.trace.line("node", format_args!("life {life} serves; state: {:?}", node.state_problem));
        self.run.exercised("node: lives", 1);
        self.run.exercised("node: lives without state", u64::from(node.state_problem.is_some()));
        self.history.node_started(node.state_problem.is_none());
        self.note_token(&node);
        let failed = node.failed().await;
        self.run.trace.line("node", format_args!("life {life} ends: {failed}"));
        node.shut_down().await;
        Ok(())
    }

    fn seams(&self, life: u64, tasks: &Tasks) -> Seams {
        let rng = self.run.rng.branch(&format!("life {life}"));
        Seams {
            clock: self.clock.clock(),
            secrets: Secrets::Simulated(Arc::new(Mutex::new(rng.branch("secrets")))),
            rng,
            net: net(),
            links: Arc::new(self.mesh.clone()),
            resolver: Arc::new(Names),
            disk: self.disk.disk(),
            tasks: tasks.clone(),
            registry: Registry::default(),
        }
    }

    /// A node may not start because of its disk, never because of what it wrote itself.
    fn not_built(&self, life: u64, error: &NodeError) -> turmoil::Result {
        self.run.trace.line("node", format_args!("life {life} does not start: {error}"));
        self.run.exercised("node: lives that did not begin", 1);
        if matches!(error, NodeError::Listen { .. } | NodeError::Tls(_) | NodeError::Threads(_)) {
            self.history.fail(format!("the node does not start: {error}"));
        }
        Ok(())
    }

    fn note_token(&self, node: &Node) {
        if let Some(secret) = &node.first_token {
            *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret.reveal().to_owned());
        }
    }
}

fn config() -> Config {
    let everywhere = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let wal = wal::Options { reserve_bytes: 4096, file_bytes: 16 << 10, ..wal::Options::default() };
    let mut state = selvedge_state::Options::default();
    state.group.wal = wal;
    state.group.compaction_entries = 20;
    state.group.kept_bytes = 1000;
    let segments = segments::Options {
        segment_bytes: 256 << 10,
        reserve_bytes: 64 << 10,
        ..segments::Options::default()
    };
    Config {
        name: "simulated".into(),
        pop: PopName::parse_text("pop").expect("a name"),
        region: RegionName::parse_text("region").expect("a name"),
        http: vec![everywhere(HTTP_PORT)],
        https: Vec::new(),
        api: everywhere(API_PORT),
        mesh: vec![everywhere(7071)],
        workers: 1,
        cache_ram: Some(CACHE_RAM),
        cache_disk: Some(CACHE_DISK),
        storage: Storage { state, segments },
        data: None,
        restore: None,
        sockets: Arc::default(),
    }
}

/// The names of the simulated network.
struct Names;

impl Resolve for Names {
    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, IpAddr> {
        Box::pin(async move {
            if host != super::ORIGIN {
                return Err(ResolveError::NotFound);
            }
            Ok(Found { items: vec![turmoil::lookup(host)], ttl: Duration::from_secs(5) })
        })
    }

    fn services<'a>(&'a self, _: &'a str) -> Lookup<'a, Service> {
        Box::pin(async { Err(ResolveError::NotFound) })
    }
}
