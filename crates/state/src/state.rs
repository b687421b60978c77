//! The handle to the control state, and opening it.

use crate::command::Command;
use crate::history::{History, Watch};
use crate::machine::{Change, Kind, Machine, ObjectName, Stamp, Value, Version, site_name};
use crate::recovery::{self, Recovered};
use crate::service::{Metrics, Pending, Service, Tables};
use crate::snapshots::{SnapshotFile, SnapshotFileError};
use crate::{Error, Options};
use selvedge_rt::{Clock, Disk, OnEnd, Tasks};
use selvedge_store::wal::{self, Wal};
use selvedge_types::resource::{Resources, SiteId};
use selvedge_types::{HlcClock, Revision, Snapshot, SnapshotError, Token};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// Is shown every change, in order, before whoever asked for it is answered. Must not block.
pub type Observer = Box<dyn FnMut(&[Change]) + Send>;

/// What the control state needs.
pub struct Setup {
    /// Its directory.
    pub disk: Disk,
    /// Its limits.
    pub options: Options,
    /// The node's clock.
    pub clock: Clock,
    /// The node's hybrid clock: the one that also stamps the cache's fetches, so that a fetch and a purge
    /// are ordered as they happened.
    pub hlc: Arc<Mutex<HlcClock>>,
    /// The owner of its tasks.
    pub tasks: Tasks,
    /// Its metrics.
    pub metrics: Metrics,
    /// Its log's metrics.
    pub wal_metrics: wal::Metrics,
    /// Sees every change.
    pub observer: Observer,
}

/// What opening found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The present revision; 0 if nothing was ever changed.
    pub revision: Revision,
    /// Records that were in the log alone.
    pub replayed: u64,
    /// Whether the log's last batch was cut. On a sound disk it was never acknowledged.
    pub torn: bool,
    /// Whether damaged tables were made anew from the log.
    pub rebuilt: bool,
}

/// What is declared.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// The revision of the last change to sites or settings.
    pub revision: Revision,
    /// Sites and settings.
    pub resources: Arc<Resources>,
    /// The sites' versions.
    pub versions: BTreeMap<SiteId, Version>,
}

/// A handle to the control state. Clones are the same state.
#[derive(Clone)]
pub struct State {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Pending>,
}

pub(crate) struct Shared {
    machine: Mutex<Machine>,
    /// Why no change is taken at present.
    problem: Mutex<Option<String>>,
    pub(crate) history: Arc<History>,
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
}

impl State {
    /// Opens the state, or begins an empty one, and starts its service on this thread's runtime.
    ///
    /// A directory has one owner at a time: see [`Disk::lock`]. The service ends when the tasks are told to
    /// stop.
    pub async fn open(setup: Setup) -> Result<(State, Opened), Error> {
        let Setup { disk, options, clock, hlc, tasks, metrics, wal_metrics, observer } = setup;
        let at = disk.clone();
        let recovered = tasks.blocking("state", move || open_state(&at, &options)).await??;
        let Recovered { machine, engine, log, durable, replayed, torn, rebuilt } = recovered;
        let opened = Opened { revision: machine.revision(), replayed, torn, rebuilt };
        resume_clock(&hlc, &machine);
        let snapshot = Arc::new(snapshot(&machine));
        let shared = Arc::new(Shared {
            history: Arc::new(History::new(machine.revision(), options.history_max)),
            snapshots: watch::Sender::new(snapshot.clone()),
            machine: Mutex::new(machine),
            problem: Mutex::default(),
        });
        let tables = Tables::new(disk.subdir("tables")?, options, engine);
        let (queue, commands) = mpsc::channel(options.queue_max);
        let mut service = Service {
            shared: shared.clone(),
            commands,
            wal: Wal::start(log, &tasks.child(), wal_metrics),
            tables: Some(tables),
            durable,
            snapshot_file: SnapshotFile::new(disk),
            clock,
            hlc,
            tasks: tasks.clone(),
            metrics,
            observer,
            options,
        };
        service.save_snapshot(snapshot).await;
        tasks.spawn("state", OnEnd::Forget, service.run());
        Ok((State { shared, queue }, opened))
    }

    /// Whether this version can read the state in `disk`, as far as that can be told while another process has it:
    /// reads alone. Blocking.
    pub fn check_format(disk: &Disk) -> Result<(), Error> {
        wal::check_format(&disk.subdir("wal")?)?;
        match SnapshotFile::new(disk.clone()).load() {
            Err(SnapshotFileError::Snapshot { source: source @ SnapshotError::Format { .. }, .. }) => {
                Err(source.into())
            }
            // What is damaged is written anew, or not needed.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Makes a change; returns the revision once it is on disk and seen by observer and watches. A change
    /// that changes nothing returns the present revision.
    ///
    /// After an error that is no refusal, whether the change was made is unknown. Not cancel-safe: a
    /// dropped future does not take the command back.
    pub async fn apply(&self, command: Command) -> Result<Revision, Error> {
        let (done, answer) = oneshot::channel();
        self.queue.send(Pending { command, done }).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    /// The present revision.
    pub fn revision(&self) -> Revision {
        self.shared.machine().revision()
    }

    /// Why the last change was not taken by the log, if it was not: the disk is full, or has failed.
    pub fn problem(&self) -> Option<String> {
        self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sites and settings, and the sites' versions.
    pub fn declared(&self) -> Declared {
        let machine = self.shared.machine();
        let resources = machine.resources().clone();
        let version = |id: &SiteId| Some((id.clone(), machine.version(&site_name(id))?));
        let versions = resources.sites.keys().filter_map(version).collect();
        Declared { revision: machine.declared(), resources, versions }
    }

    /// What an object holds, and its version; none if it is not there.
    pub fn get(&self, object: &ObjectName) -> Option<(Version, Value)> {
        let machine = self.shared.machine();
        Some((machine.version(object)?, machine.get(object)?))
    }

    /// All objects of a kind, by name, and the revision as of which they are.
    pub fn list(&self, kind: Kind) -> (Revision, Vec<(ObjectName, Version, Value)>) {
        let machine = self.shared.machine();
        (machine.revision(), machine.objects().filter(|(name, ..)| name.kind == kind).collect())
    }

    /// The tokens, by name.
    pub fn tokens(&self) -> Vec<Token> {
        self.shared.machine().tokens().cloned().collect()
    }

    /// The purges in force.
    pub fn stamps(&self) -> Vec<Stamp> {
        self.shared.machine().stamps().cloned().collect()
    }

    /// Follows the changes after a revision. Those of before the last restart are not kept: see
    /// [`crate::WatchError::Compacted`].
    pub fn watch(&self, after: Revision) -> Watch {
        self.shared.history.watch(after)
    }

    /// The present snapshot, and each that follows.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.snapshots.subscribe()
    }
}

impl Shared {
    pub(crate) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

pub(crate) fn snapshot(machine: &Machine) -> Snapshot {
    Snapshot::new(machine.revision(), Resources::clone(machine.resources()))
}

/// Recovers the state, and checks that it is no older than the last snapshot made of it.
fn open_state(disk: &Disk, options: &Options) -> Result<Recovered, Error> {
    let recovered = recovery::recover(disk, options)?;
    let state = recovered.machine.revision();
    // A snapshot that cannot be read says nothing; it is written anew.
    let snapshot = SnapshotFile::new(disk.clone()).load().ok().flatten().map_or(state, |s| s.revision);
    if snapshot > state { Err(Error::Lost { state, snapshot }) } else { Ok(recovered) }
}

/// No reading may come before one that is in the log, wherever the wall clock now stands.
fn resume_clock(hlc: &Mutex<HlcClock>, machine: &Machine) {
    let mut hlc = hlc.lock().unwrap_or_else(PoisonError::into_inner);
    // Its own reading cannot be too far ahead of itself.
    let _ = hlc.observe(machine.time(), machine.time().millis());
}
