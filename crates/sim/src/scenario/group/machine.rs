//! The machines of a group: each life of one opens what is on its disk, repairs it if it is damaged, and
//! serves until it is ended.

use super::book::Book;
use crate::calls::{Arrival, SimLinks};
use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::run::Run;
use selvedge_kv::WatchLimits;
use selvedge_rt::{Disk, Tasks};
use selvedge_state::group::{Group, OpenError, Opened, Options, Seen, Setup, VoterId, repair};
use selvedge_store::wal;
use selvedge_types::{ClusterId, HlcClock};
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
    pub(super) disk: SimDisk,
    pub(super) clock: SimClock,
    links: SimLinks,
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
    pub(super) fn new(name: String, run: &Run, links: &SimLinks, book: &Book) -> Self {
        let disk = SimDisk::new(&name, run.rng.branch(&format!("{name} disk")), run.trace.clone());
        let (run, links, book) = (run.clone(), links.clone(), book.clone());
        Machine { name, disk, clock: SimClock::new(), links, run, book, now: Arc::default() }
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
        let disk = self.disk.disk();
        let opened = match self.open(&disk, &tasks, life).await {
            Err(error) if error.is_damage() => {
                self.run.trace.line(&self.name, format_args!("is damaged: {error:?}"));
                self.run.exercised("group: members repaired", 1);
                self.book.lost(self.id());
                match repair(&disk) {
                    Ok(()) => self.open(&disk, &tasks, life).await,
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
        self.run.trace.line(&self.name, format_args!("life {life} opens {opened:?}"));
        self.run.exercised("group: lives", 1);
        self.run.exercised("group: torn logs", u64::from(opened.torn));
        self.serve(group, opened.id).await;
        Ok(())
    }

    async fn serve(&self, group: Group, id: VoterId) {
        let mut arrivals = self.links.listen(&self.name);
        let (sender, mut errands) = mpsc::unbounded_channel::<Errand>();
        {
            let mut now = self.now();
            now.id = Some(id);
            now.group = Some(group.clone());
            now.errands = Some(sender);
        }
        loop {
            tokio::select! {
                biased;
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => drop(tokio::task::spawn_local(answer(group.clone(), arrival))),
                    None => return,
                },
                errand = errands.recv() => match errand {
                    Some(errand) => drop(tokio::task::spawn_local(errand(group.clone()))),
                    None => return,
                },
            }
        }
    }

    async fn open(&self, disk: &Disk, tasks: &Tasks, life: u64) -> Result<(Group, Opened), OpenError> {
        let book = self.book.clone();
        Group::open(Setup {
            disk: disk.clone(),
            options: options(),
            cluster: CLUSTER,
            clock: self.clock.clock(),
            hlc: Arc::new(Mutex::new(HlcClock::default())),
            rng: self.run.rng.branch(&format!("{} life {life}", self.name)),
            tasks: tasks.clone(),
            links: self.links.of(&self.name),
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

async fn answer(group: Group, arrival: Arrival) {
    let answer = group.answer(&arrival.message).await;
    if let Some(back) = arrival.answer {
        // Who no longer waits does not want to know.
        let _ = back.send(answer);
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
