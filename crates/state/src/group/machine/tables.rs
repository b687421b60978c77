//! The tables: the store's rows, and the entry that they are of.

use super::content::Shared;
use super::snapshot::{Snapshot, SnapshotError};
use crate::group::codec::{self, LogForm, StoredMembershipForm};
use crate::group::error::OpenError;
use crate::group::options::Options;
use crate::group::raft::{Log, StoredMembership};
use minicbor::{Decode, Encode};
use selvedge_kv::{Cursor, Limits, Rows, Store};
use selvedge_rt::Disk;
use selvedge_store::engine::{self, Batch, Engine, Table, View};
use selvedge_store::wal::Sequence;
use std::time::Duration;

/// What belongs to the group and not to its store.
const GROUP: Table = Table("group");
const APPLIED: &[u8] = b"applied";

/// How long failed tables are left alone before they are made anew.
const RETRY: Duration = Duration::from_secs(10);

/// Bytes of rows taken out of the store at once.
const PAGE_BYTES: usize = 1 << 20;

/// The row that says which entry the tables are of.
#[derive(Encode, Decode)]
struct AppliedForm {
    #[n(0)]
    format: u16,
    #[n(1)]
    log: Option<LogForm>,
    #[n(2)]
    membership: StoredMembershipForm,
}

/// What tables held.
pub(in crate::group) struct Loaded {
    pub(super) tables: Tables,
    pub(super) store: Store,
    pub(in crate::group) applied: Option<Log>,
    pub(super) membership: StoredMembership,
}

pub(in crate::group) struct Tables {
    disk: Disk,
    options: engine::Options,
    /// None since they failed.
    engine: Option<Engine>,
    failed_at: Duration,
    unwritten: Rows,
}

pub(super) fn load(disk: Disk, options: &Options) -> Result<Loaded, OpenError> {
    let engine = Engine::open(&disk, options.engine)?;
    let view = engine.view()?;
    let (mut applied, mut membership) = (None, StoredMembership::default());
    if let Some(bytes) = view.get(GROUP, APPLIED)? {
        let form: AppliedForm = codec::from_bytes(&bytes)?;
        applied = form.log.map(Log::from);
        membership = form.membership.try_into()?;
    }
    let store = Snapshot::of_view(view).store(options.limits.clone()).map_err(|error| match error {
        SnapshotError::Tables(error) => OpenError::Tables(error),
        SnapshotError::Load(error) => OpenError::Rows(error),
    })?;
    let tables = Tables {
        disk,
        options: options.engine,
        engine: Some(engine),
        failed_at: Duration::ZERO,
        unwritten: Rows::default(),
    };
    Ok(Loaded { tables, store, applied, membership })
}

/// Writes the tables of a member that begins with that store, as of that entry. Blocking.
pub(in crate::group) fn begin_with(
    disk: &Disk,
    options: &Options,
    store: &Store,
    applied: Log,
    membership: &StoredMembership,
) -> Result<(), OpenError> {
    let mut batch = contents(store);
    add_applied(&mut batch, Some(applied), membership);
    Engine::recreate(disk, options.engine, &batch, sequence(Some(applied)))?;
    Ok(())
}

impl Tables {
    /// Takes rows to be written.
    pub(super) fn add(&mut self, rows: Rows) {
        if self.engine.is_some() {
            self.unwritten.extend(rows);
        }
    }

    /// Rows that wait to be written.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// Writes what waits, with the entry that it is of, in one commit. If that fails, the tables have failed.
    pub(super) fn write(&mut self, applied: Option<Log>, membership: &StoredMembership, now: Duration) {
        let Some(engine) = &self.engine else { return };
        let mut batch = Batch::default();
        for ((table, key), value) in std::mem::take(&mut self.unwritten) {
            match value {
                Some(value) => batch.put(Table(table.name()), key, value),
                None => batch.delete(Table(table.name()), key),
            }
        }
        add_applied(&mut batch, applied, membership);
        if let Err(error) = engine.commit(&batch, sequence(applied)) {
            self.fail(&error, now);
        }
    }

    /// Writes what waits and makes all last; a view of it.
    pub(super) fn checkpoint(
        &mut self,
        applied: Option<Log>,
        membership: &StoredMembership,
        now: Duration,
    ) -> Result<View, engine::Error> {
        self.write(applied, membership, now);
        let made = match &self.engine {
            None => return Err(self.unusable()),
            Some(engine) => engine.checkpoint().and_then(|_| engine.view()),
        };
        if let Err(error) = &made {
            self.fail(error, now);
        }
        made
    }

    /// Makes failed tables anew from the memory, if they were left alone for long enough.
    pub(super) fn remake_if_due(&mut self, shared: &Shared, now: Duration) {
        if self.engine.is_some() || now < self.failed_at + RETRY {
            return;
        }
        let (applied, membership) = shared.applied();
        let mut batch = shared.look(contents);
        add_applied(&mut batch, applied, &membership);
        self.failed_at = now;
        match Engine::recreate(&self.disk, self.options, &batch, sequence(applied)) {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => tracing::warn!(%error, "the group's tables cannot be made anew yet"),
        }
    }

    /// Puts a snapshot in the place of everything, so that it lasts; the store that it is.
    pub(super) fn replace(
        &mut self,
        snapshot: &Snapshot,
        limits: Limits,
        applied: Option<Log>,
        membership: &StoredMembership,
        now: Duration,
    ) -> Result<(Store, View), SnapshotError> {
        let store = snapshot.store(limits)?;
        let mut batch = Batch::default();
        snapshot.rows(|row| {
            batch.put(Table(row.table.name()), &row.key[..], &row.value[..]);
            Ok(())
        })?;
        add_applied(&mut batch, applied, membership);
        let engine = Engine::recreate(&self.disk, self.options, &batch, sequence(applied))?;
        let view = engine.view()?;
        self.unwritten = Rows::default();
        self.engine = Some(engine);
        self.failed_at = now;
        Ok((store, view))
    }

    fn fail(&mut self, error: &engine::Error, now: Duration) {
        tracing::warn!(%error, "the group's tables failed; they will be made anew");
        self.engine = None;
        self.failed_at = now;
        self.unwritten = Rows::default();
    }

    fn unusable(&self) -> engine::Error {
        engine::Error::Full { path: self.disk.display().to_string() }
    }
}

fn add_applied(batch: &mut Batch, applied: Option<Log>, membership: &StoredMembership) {
    let form = AppliedForm {
        format: codec::FORMAT,
        log: applied.as_ref().map(LogForm::from),
        membership: membership.into(),
    };
    batch.put(GROUP, APPLIED, codec::to_bytes(&form));
}

/// All rows of a store.
fn contents(store: &Store) -> Batch {
    let (mut batch, mut from) = (Batch::default(), Some(Cursor::default()));
    while let Some(cursor) = from.take() {
        let (rows, next) = store.rows(cursor, PAGE_BYTES);
        for ((table, key), value) in rows {
            batch.put(Table(table.name()), key, value.unwrap_or_default());
        }
        from = next;
    }
    batch
}

/// The engine counts from 1.
fn sequence(applied: Option<Log>) -> Sequence {
    Sequence(applied.map_or(0, |log| log.index + 1))
}
