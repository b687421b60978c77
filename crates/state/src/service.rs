//! The one writer: commands into the log, from there into the state, the tables and the snapshot.

use crate::codec::encode_entry;
use crate::command::{Command, Entry};
use crate::machine::{Change, Kind, Rejection};
use crate::recovery::{self, GROUP, unreadable};
use crate::snapshots::SnapshotFile;
use crate::state::{Observer, Shared, snapshot};
use crate::{Error, Options};
use bytes::Bytes;
use selvedge_observe::{Counter, Gauge, Registry};
use selvedge_rt::{Clock, Disk, Tasks};
use selvedge_store::engine::{self, Batch, Engine};
use selvedge_store::wal::{self, PAYLOAD_BYTES_MAX, Sequence, Wal};
use selvedge_types::{HlcClock, Revision, Snapshot};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands flushed together, at most.
const BATCH_MAX: usize = 256;

/// How long failed tables are left alone before they are made anew.
const TABLES_RETRY: Duration = Duration::from_secs(30);

/// What the control state counts.
#[derive(Clone, Default)]
pub struct Metrics {
    revision: Gauge,
    commands: Counter,
    rejected: Counter,
    stamps: Gauge,
    tables_failed: Gauge,
    snapshot_failures: Counter,
}

impl Metrics {
    /// Registers the metrics of a node's control state.
    pub fn register(registry: &Registry) -> Self {
        let m = Metrics::default();
        registry.register("state_revision", "The control state's revision", m.revision.clone());
        registry.register("state_commands", "Commands taken into the log", m.commands.clone());
        registry.register("state_rejected", "Commands that broke a rule", m.rejected.clone());
        registry.register("state_purges", "Purges in force", m.stamps.clone());
        registry.register(
            "state_tables_failed",
            "Whether the tables wait to be made anew",
            m.tables_failed.clone(),
        );
        registry.register(
            "state_snapshot_failures",
            "Snapshots that could not be kept",
            m.snapshot_failures.clone(),
        );
        m
    }
}

/// A command and who waits for it.
pub(crate) struct Pending {
    pub(crate) command: Command,
    pub(crate) done: oneshot::Sender<Result<Revision, Error>>,
}

pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::Receiver<Pending>,
    pub(crate) wal: Wal,
    /// Away while a blocking call has them.
    pub(crate) tables: Option<Tables>,
    /// Up to where the tables last.
    pub(crate) durable: Sequence,
    pub(crate) snapshot_file: SnapshotFile,
    pub(crate) clock: Clock,
    pub(crate) hlc: Arc<Mutex<HlcClock>>,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
    pub(crate) observer: Observer,
    pub(crate) options: Options,
}

/// Entries on their way into the log, with those who wait for them.
#[derive(Default)]
struct Accepted {
    entries: Vec<Entry>,
    payloads: Vec<Bytes>,
    waiting: Vec<oneshot::Sender<Result<Revision, Error>>>,
}

impl Service {
    pub(crate) async fn run(mut self) {
        let tasks = self.tasks.clone();
        self.observe();
        loop {
            let mut batch = Vec::new();
            let count = tokio::select! {
                biased;
                count = self.commands.recv_many(&mut batch, BATCH_MAX) => count,
                () = tasks.stopped() => break,
            };
            if count == 0 {
                break;
            }
            self.process(batch).await;
        }
        self.checkpoint().await;
        self.shared.history.close();
    }

    async fn process(&mut self, batch: Vec<Pending>) {
        let accepted = self.accept(batch);
        if accepted.entries.is_empty() {
            return;
        }
        let Accepted { entries, payloads, waiting } = accepted;
        let count = entries.len() as u64;
        match self.wal.append(GROUP, payloads).await {
            Err(error) => {
                self.shared.note(Some(error.to_string()));
                waiting.into_iter().for_each(|w| drop(w.send(Err(error.clone().into()))));
            }
            Ok(first) => {
                self.shared.note(None);
                self.metrics.commands.inc_by(count);
                let (results, changes) = self.apply(&entries);
                self.publish(&changes);
                for (waiting, result) in waiting.into_iter().zip(results) {
                    // Who no longer waits does not want to know.
                    let _ = waiting.send(result.map_err(Error::Rejected));
                }
                self.keep(&changes, Sequence(first.0 + count - 1)).await;
            }
        }
        self.observe();
    }

    /// Gives each command its time and its bytes; refuses those that are too long.
    fn accept(&mut self, batch: Vec<Pending>) -> Accepted {
        let mut accepted = Accepted::default();
        for Pending { command, done } in batch {
            let time = self.hlc.lock().unwrap_or_else(PoisonError::into_inner).tick(self.clock.wall());
            let entry = Entry { time, command };
            match encode_entry(&entry) {
                Ok(bytes) if bytes.len() <= PAYLOAD_BYTES_MAX => {
                    accepted.entries.push(entry);
                    accepted.payloads.push(bytes.into());
                    accepted.waiting.push(done);
                }
                Ok(bytes) => {
                    let error = wal::Error::TooLong { bytes: bytes.len(), limit: PAYLOAD_BYTES_MAX };
                    drop(done.send(Err(error.into())));
                }
                Err(error) => drop(done.send(Err(unreadable(error)))),
            }
        }
        accepted
    }

    fn apply(&mut self, entries: &[Entry]) -> (Vec<Result<Revision, Rejection>>, Vec<Change>) {
        let mut machine = self.shared.machine();
        let mut changes = Vec::new();
        let results = entries.iter().map(|entry| {
            let result = machine.apply(entry).map(|new| changes.extend(new));
            self.metrics.rejected.inc_by(u64::from(result.is_err()));
            result.map(|()| machine.revision())
        });
        (results.collect(), changes)
    }

    /// Shows changes to all who follow them.
    fn publish(&mut self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        (self.observer)(changes);
        let (revision, next) = {
            let machine = self.shared.machine();
            (machine.revision(), concerns_snapshot(changes).then(|| snapshot(&machine)))
        };
        if let Some(next) = next {
            self.shared.snapshots.send_replace(Arc::new(next));
        }
        self.shared.history.add(revision, changes.iter().cloned());
    }

    /// Writes changes to the tables and the snapshot's file. What fails here is in the log all the same.
    async fn keep(&mut self, changes: &[Change], applied: Sequence) {
        if concerns_snapshot(changes) {
            let snapshot = self.shared.snapshots.borrow().clone();
            self.save_snapshot(snapshot).await;
        }
        if let Err(error) = self.write_tables(changes, applied).await {
            tracing::warn!(%error, "the control state's tables are behind; they will be made anew");
        }
        if applied.0 - self.durable.0.min(applied.0) >= self.options.checkpoint_records {
            self.checkpoint().await;
        }
    }

    async fn write_tables(&mut self, changes: &[Change], applied: Sequence) -> Result<(), Error> {
        let Some(mut tables) = self.tables.take() else { return Err(Error::Stopped) };
        let mut batch = Batch::default();
        let now = self.clock.monotonic();
        {
            let machine = self.shared.machine();
            if tables.engine.is_some() {
                recovery::add(&mut batch, changes)?;
                recovery::finish(&mut batch, &machine);
            } else if tables.is_due(now) {
                batch = recovery::contents(&machine)?;
            }
        }
        let written = self.tasks.blocking("state tables", move || {
            let result = tables.write(&batch, applied, now);
            (tables, result)
        });
        let (tables, result) = written.await?;
        self.tables = Some(tables);
        Ok(result?)
    }

    /// Makes the tables last, and cuts what they hold off the log.
    async fn checkpoint(&mut self) {
        let Some(tables) = self.tables.take() else { return };
        let done = self.tasks.blocking("state checkpoint", move || {
            let result = tables.engine.as_ref().map(Engine::checkpoint);
            (tables, result)
        });
        let Ok((tables, result)) = done.await else { return };
        self.tables = Some(tables);
        match result {
            Some(Ok(durable)) => {
                self.durable = durable;
                // A log that has stopped says so at the next append; cutting it can wait.
                let _ = self.wal.truncate_before(durable.plus(1)).await;
            }
            Some(Err(error)) => self.fail_tables(&error),
            None => {}
        }
    }

    fn fail_tables(&mut self, error: &engine::Error) {
        tracing::warn!(%error, "the control state's tables failed; they will be made anew");
        let now = self.clock.monotonic();
        if let Some(tables) = &mut self.tables {
            tables.fail(now);
        }
    }

    /// Keeps a snapshot for a start without the state.
    pub(crate) async fn save_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        let file = self.snapshot_file.clone();
        match self.tasks.blocking("snapshot", move || file.save(&snapshot)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.metrics.snapshot_failures.inc();
                tracing::warn!(%error, "the snapshot for a start without the control state was not kept");
            }
            Err(error) => tracing::warn!(%error, "the snapshot was not kept"),
        }
    }

    fn observe(&self) {
        let machine = self.shared.machine();
        self.metrics.revision.set(i64::try_from(machine.revision().0).unwrap_or(i64::MAX));
        self.metrics.stamps.set(i64::try_from(machine.stamps().len()).unwrap_or(i64::MAX));
        let failed = self.tables.as_ref().is_none_or(|t| t.engine.is_none());
        self.metrics.tables_failed.set(i64::from(failed));
    }
}

fn concerns_snapshot(changes: &[Change]) -> bool {
    changes.iter().any(|c| matches!(c.object.kind, Kind::Site | Kind::Settings))
}

/// The tables, which are made anew from the state after a failure.
pub(crate) struct Tables {
    disk: Disk,
    options: Options,
    engine: Option<Engine>,
    retry_at: Duration,
}

impl Tables {
    pub(crate) fn new(disk: Disk, options: Options, engine: Engine) -> Self {
        Tables { disk, options, engine: Some(engine), retry_at: Duration::ZERO }
    }

    fn is_due(&self, now: Duration) -> bool {
        now >= self.retry_at
    }

    /// Commits changes; or, after a failure, makes the tables anew if it is time, `batch` being all there is.
    fn write(&mut self, batch: &Batch, applied: Sequence, now: Duration) -> Result<(), engine::Error> {
        let written = match &self.engine {
            Some(engine) => engine.commit(batch, applied),
            None if self.is_due(now) => Engine::recreate(&self.disk, self.options.engine, batch, applied)
                .map(|e| self.engine = Some(e)),
            None => Ok(()),
        };
        if written.is_err() {
            self.fail(now);
        }
        written
    }

    fn fail(&mut self, now: Duration) {
        self.engine = None;
        self.retry_at = now + TABLES_RETRY;
    }
}
