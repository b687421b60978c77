//! The machines of a group: each life of one opens what is on its disk, repairs it if it is damaged, and
//! serves until it is ended.

use super::book::Book;
use super::network::Network;
use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::run::Run;
use selvedge_kv::WatchLimits;
use selvedge_mesh::rpc::{self, PROTOCOLS, Service};
use selvedge_mesh::{Hybrid, Mesh};
use selvedge_observe::Registry;
use selvedge_rt::{Tasks, links};
use selvedge_state::group::{
    ClusterId, Group, Member, MeshLinks, OpenError, Opened, Options, Receiver, SERVICE, Seen, Setup, VoterId,
    repair,
};
use selvedge_store::wal;
use selvedge_types::{HlcClock, NodeKey};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

const CLUSTER: ClusterId = ClusterId::from_bytes(*b"a simulated one.");

/// Something that a client does at a machine.
pub(super) type Errand = Box<dyn FnOnce(Group) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A machine, whatever runs on it.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) key: NodeKey,
    pub(super) disk: SimDisk,
    pub(super) clock: SimClock,
    network: Network,
    run: Run,
    book: Book,
    now: Arc<Mutex<Now>>,
}

/// What runs on a machine.
#[derive(Default)]
struct Now {
    lives: u64,
    id: Option<VoterId>,
    group: Option<Group>,
    errands: Option<mpsc::UnboundedSender<Errand>>,
}

impl Machine {
    pub(super) fn new(name: String, run: &Run, network: &Network, book: &Book) -> Self {
        let key = NodeKey::from_bytes(*blake3::hash(name.as_bytes()).as_bytes());
        let disk = SimDisk::new(&name, run.rng.branch(&format!("{name} disk")), run.trace.clone());
        let (run, network, book) = (run.clone(), network.clone(), book.clone());
        Machine { name, key, disk, clock: SimClock::new(), network, run, book, now: Arc::default() }
    }

    /// How members find it.
    pub(super) fn member(&self) -> Member {
        Member { node: self.key.to_string() }
    }

    /// Who runs here now, or ran last.
    pub(super) fn id(&self) -> Option<VoterId> {
        self.now().id
    }

    /// What runs here.
    pub(super) fn group(&self) -> Option<Group> {
        self.now().group.clone()
    }

    /// Has something done here; it may be ended in the midst of it. False if nothing runs.
    pub(super) fn send(&self, errand: Errand) -> bool {
        let errands = self.now().errands.clone();
        errands.is_some_and(|errands| errands.send(errand).is_ok())
    }

    /// Takes note that all that ran here was ended.
    pub(super) fn ended(&self) {
        let mut now = self.now();
        now.group = None;
        now.errands = None;
    }

    /// One life.
    pub(super) async fn live(self) -> turmoil::Result {
        let life = {
            let mut now = self.now();
            now.lives += 1;
            now.lives
        };
        let slow = self.disk.clone();
        let tasks = Tasks::simulated_slow(Arc::new(move || slow.delay()));
        let hlc = Arc::<Mutex<HlcClock>>::default();
        let receiver = Receiver::new(Arc::new(|_| true));
        let mesh = self.join(&hlc, receiver.clone(), &tasks);
        let links = MeshLinks::new(mesh);
        let opened = match self.open(&links, &hlc, &tasks, life).await {
            Err(error) if error.is_damage() => {
                self.run.trace.line(&self.name, format_args!("is damaged: {error:?}"));
                self.run.exercised("group: members repaired", 1);
                self.book.lost(self.id());
                match repair(&self.disk.disk()) {
                    Ok(()) => self.open(&links, &hlc, &tasks, life).await,
                    Err(error) => Err(error.into()),
                }
            }
            opened => opened,
        };
        let (group, opened) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.run.trace.line(&self.name, format_args!("does not open: {error:?}"));
                return Ok(());
            }
        };
        receiver.serve(group.clone());
        self.run.trace.line(&self.name, format_args!("life {life} opens {opened:?}"));
        self.run.exercised("group: lives", 1);
        self.run.exercised("group: torn logs", u64::from(opened.torn));
        self.serve(group, opened.id).await;
        Ok(())
    }

    async fn serve(&self, group: Group, id: VoterId) {
        let (sender, mut errands) = mpsc::unbounded_channel::<Errand>();
        {
            let mut now = self.now();
            now.id = Some(id);
            now.group = Some(group.clone());
            now.errands = Some(sender);
        }
        while let Some(errand) = errands.recv().await {
            drop(tokio::task::spawn_local(errand(group.clone())));
        }
    }

    /// Begins to call others, and to be called.
    fn join(&self, hlc: &Arc<Mutex<HlcClock>>, receiver: Receiver, tasks: &Tasks) -> Mesh {
        let peers = self.network.peers.clone();
        let options = links::Options { cluster: CLUSTER, accepts: PROTOCOLS.to_vec(), peers: peers.clone() };
        let links = self.network.mesh.links(self.key, options);
        peers.allow(self.key, &links.addresses());
        let receiver: Arc<dyn Service> = Arc::new(receiver);
        let options = rpc::Options {
            services: BTreeMap::from([(SERVICE, receiver)]),
            hybrid: Hybrid::shared(self.clock.clock(), hlc.clone()),
            registry: Registry::default(),
            clock_ahead: Arc::new(|_, _| {}),
        };
        Mesh::start(links, options, tasks)
    }

    async fn open(
        &self,
        links: &MeshLinks,
        hlc: &Arc<Mutex<HlcClock>>,
        tasks: &Tasks,
        life: u64,
    ) -> Result<(Group, Opened), OpenError> {
        let book = self.book.clone();
        Group::open(Setup {
            disk: self.disk.disk(),
            options: options(),
            cluster: CLUSTER,
            clock: self.clock.clock(),
            hlc: hlc.clone(),
            rng: self.run.rng.branch(&format!("{} life {life}", self.name)),
            tasks: tasks.clone(),
            links: self.network.links(links.clone()),
            observer: Box::new(move |_, seen| {
                if let Seen::Changes(changes) = seen {
                    book.applied(changes);
                }
            }),
            wal_metrics: wal::Metrics::default(),
        })
        .await
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Small, so that every limit is met.
fn options() -> Options {
    Options {
        wal: wal::Options { reserve_bytes: 4 << 10, file_bytes: 4 << 10, ..wal::Options::default() },
        watches: WatchLimits { events_max: 2, ..WatchLimits::default() },
        compaction_entries: 40,
        compaction_bytes: 64 << 10,
        kept_bytes: 3_000,
        snapshot_chunk_bytes: 2_000,
        promotion_lag_max: 10,
        chores_interval: Duration::from_millis(200),
        ..Options::default()
    }
}
