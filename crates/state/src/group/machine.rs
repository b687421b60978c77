//! The state machine: entries in, answers out; the store in memory, its rows in tables.
//!
//! ```text
//!   entry --> store (memory) --> answer, watches, observer
//!                  \--> rows --(some at a time, with the place they are of)--> tables
//!   snapshot: tables made to last, and a view of them
//! ```
//! The log has what the tables lack: it is cut only up to what the tables certainly hold. Failed tables are
//! left alone for a while and made anew from the memory; meanwhile the log is not cut.

mod content;
mod snapshot;
mod tables;

pub use content::Progress;
pub(super) use content::{Shared, WatchSlot};
pub(super) use snapshot::{Place, Snapshot};
pub(super) use tables::{Loaded, begin_with};

use super::error::OpenError;
use super::id::{Member, VoterId};
use super::options::Options;
use super::proposal::Applied;
use super::raft::{LeaderId, Log, SnapshotMeta, StoredMembership, Types};
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use selvedge_kv::{Answer, Change, Entry, Refusal, Store};
use selvedge_rt::{Clock, Disk, Tasks};
use selvedge_types::Revision;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tables::Tables;

/// Rows that are written together, about.
const ROWS_MAX: usize = 2_000;

/// Bytes of entries whose rows are written together, about.
const ROW_BYTES_MAX: u64 = 4 << 20;

/// How long a full disk is left alone while a snapshot has to be put on it.
const FULL_RETRY: Duration = Duration::from_millis(500);

/// What an observer is shown.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// The changes of one entry, in order.
    Changes(&'a [Arc<Change>]),
    /// The store is another one: it was opened, or a snapshot of others came.
    Replaced,
}

/// Sees the store after each entry that changed keys, before anybody is answered. Must be short, and ask nothing
/// of the group: nobody can look at the store meanwhile.
pub type Observer = Box<dyn FnMut(&Store, Seen<'_>) + Send + Sync>;

/// The state machine of one node.
pub(super) struct StateMachine {
    shared: Arc<Shared>,
    /// Away while a blocking call has them.
    tables: Option<Tables>,
    /// Bytes of entries whose rows are not in the tables.
    unwritten_bytes: u64,
    current: Option<(SnapshotMeta, Snapshot)>,
    clock: Clock,
    tasks: Tasks,
    observer: Observer,
}

/// Reads what the tables in `disk` hold, or begins empty ones. Blocking.
pub(super) fn load(disk: Disk, options: &Options) -> Result<Loaded, OpenError> {
    tables::load(disk, options)
}

impl StateMachine {
    pub(super) fn new(
        loaded: Loaded,
        options: &Options,
        clock: Clock,
        tasks: Tasks,
        mut observer: Observer,
    ) -> Self {
        let Loaded { tables, store, applied, membership } = loaded;
        observer(&store, Seen::Replaced);
        let shared = Shared::new(store, options.watches, applied, membership);
        StateMachine {
            shared: Arc::new(shared),
            tables: Some(tables),
            unwritten_bytes: 0,
            current: None,
            clock,
            tasks,
            observer,
        }
    }

    /// What readers look at.
    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    fn apply_command(&mut self, at: Log, bytes: &[u8]) -> io::Result<Result<Answer, Refusal>> {
        let entry = Entry::decode(bytes).map_err(io::Error::other)?;
        let outcome = self.shared.apply(at, &entry, &mut self.observer);
        if let Some(tables) = &mut self.tables {
            tables.add(outcome.rows);
        }
        self.unwritten_bytes += bytes.len() as u64;
        Ok(outcome.answer)
    }

    /// Runs blocking work on the tables.
    async fn with_tables<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Tables) -> T + Send + 'static,
    ) -> io::Result<T> {
        let Some(mut tables) = self.tables.take() else {
            return Err(io::Error::other("the tables are gone: a former use of them did not end"));
        };
        let done = self.tasks.blocking("group tables", move || {
            let result = work(&mut tables);
            (tables, result)
        });
        let (tables, result) = done.await?;
        self.tables = Some(tables);
        Ok(result)
    }

    /// Writes rows to the tables if there are many.
    async fn keep(&mut self) -> io::Result<()> {
        let rows = self.tables.as_ref().map_or(0, Tables::unwritten);
        if rows < ROWS_MAX && self.unwritten_bytes < ROW_BYTES_MAX {
            return Ok(());
        }
        self.unwritten_bytes = 0;
        let (applied, membership) = self.shared.applied();
        let now = self.clock.monotonic();
        self.with_tables(move |tables| tables.write(applied, &membership, now)).await
    }

    /// The state as it is now.
    pub(super) async fn image(&mut self) -> io::Result<(Snapshot, Revision)> {
        // Nothing is applied meanwhile: it is done here.
        let revision = self.shared.look(Store::revision);
        let (_, snapshot) = self.view().await?;
        Ok((snapshot, revision))
    }

    /// The state as it is now, to be sent to others.
    async fn snapshot(&mut self) -> io::Result<(SnapshotMeta, Snapshot)> {
        let made = self.view().await?;
        self.current = Some(made.clone());
        Ok(made)
    }

    /// Makes the tables last; a view of them.
    async fn view(&mut self) -> io::Result<(SnapshotMeta, Snapshot)> {
        self.unwritten_bytes = 0;
        let (applied, membership) = self.shared.applied();
        let meta = SnapshotMeta { last_log_id: applied, last_membership: membership.clone() };
        let (now, shared) = (self.clock.monotonic(), self.shared.clone());
        let view = self.with_tables(move |tables| {
            tables.remake_if_due(&shared, now);
            tables.checkpoint(applied, &membership, now)
        });
        let view = view.await?.map_err(io::Error::other)?;
        Ok((meta, Snapshot::of_view(view)))
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<Log>, StoredMembership)> {
        Ok(self.shared.applied())
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let answer = match &entry.payload {
                EntryPayload::Blank => {
                    self.shared.skip(entry.log_id);
                    None
                }
                EntryPayload::Normal(proposal) => Some(self.apply_command(entry.log_id, &proposal.0)?),
                EntryPayload::Membership(membership) => {
                    let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
                    self.shared.reconfigure(entry.log_id, stored);
                    None
                }
            };
            if let Some(responder) = responder {
                responder.send(Applied(answer));
            }
        }
        self.keep().await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        let built = self.snapshot().await;
        match built {
            Err(error) if !force => {
                tracing::warn!(%error, "the group's tables cannot be made to last now; the log grows");
                None
            }
            built => Some(Builder(Some(built))),
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder(Some(self.snapshot().await))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Snapshot) -> io::Result<()> {
        let (applied, membership) = (meta.last_log_id, meta.last_membership.clone());
        let now = self.clock.monotonic();
        let (store, view) = loop {
            let (snapshot, membership) = (snapshot.clone(), membership.clone());
            let limits = self.shared.limits();
            let replaced =
                self.with_tables(move |tables| tables.replace(&snapshot, limits, applied, &membership, now));
            match replaced.await? {
                Ok(replaced) => break replaced,
                // The state goes on as it was until there is room for the new one.
                Err(error) if error.is_full() && !self.tasks.is_stopping() => {
                    tokio::time::sleep(FULL_RETRY).await;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        };
        self.unwritten_bytes = 0;
        self.shared.replace(store, applied, membership, &mut self.observer);
        self.current = Some((meta.clone(), Snapshot::of_view(view)));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        let current = self.current.clone();
        Ok(current.map(|(meta, snapshot)| openraft::Snapshot { meta, snapshot }))
    }
}

type SnapshotOf = openraft::Snapshot<LeaderId, VoterId, Member, Snapshot>;

/// A snapshot that was made.
pub(super) struct Builder(Option<io::Result<(SnapshotMeta, Snapshot)>>);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Snapshot;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        let built = self.0.take().unwrap_or_else(|| Err(io::Error::other("the snapshot was taken")));
        built.map(|(meta, snapshot)| openraft::Snapshot { meta, snapshot })
    }
}
