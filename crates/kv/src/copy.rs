//! The state out of a store and into another, as rows.
//!
//! A copy is taken bit by bit while the store goes on: the rows of each entry applied meanwhile are written
//! over what was already taken, in order. When the last bit is there, the copy is the store.

use crate::change::{Change, Position};
use crate::codec::CodecError;
use crate::id::{KeyspaceNumber, LeaseId, SessionId};
use crate::keyspace::Keyspace;
use crate::lease::Lease;
use crate::row::{LeaseForm, Meta, Place, Row, Rows, Table};
use crate::session::{Kept, Sessions};
use crate::store::Store;
use selvedge_types::Revision;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// No store counts so far: a row that says so is damaged.
const COUNT_MAX: u64 = 1 << 62;

/// Where the next bit of a copy begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(Place);

impl Default for Cursor {
    fn default() -> Self {
        Cursor(Place::Meta)
    }
}

impl Store {
    /// Rows from a place on, in order, of about so many bytes and at least one; and where to go on.
    pub fn rows(&self, from: Cursor, bytes_max: usize) -> (Rows, Option<Cursor>) {
        let mut rows = Rows::default();
        let mut bytes = 0;
        for row in self.rows_from(from.0) {
            if bytes >= bytes_max.max(1) {
                return (rows, Some(Cursor(row.place())));
            }
            bytes += rows.put(&row);
        }
        (rows, None)
    }

    fn rows_from(&self, from: Place) -> impl Iterator<Item = Row> {
        let meta = (from == Place::Meta).then(|| Row::Meta(self.meta()));
        meta.into_iter()
            .chain(self.keyspace_rows(from))
            .chain(self.change_rows(from))
            .chain(self.lease_rows(from))
            .chain(self.session_rows(from))
            .chain(self.answer_rows(from))
    }

    fn keyspace_rows(&self, from: Place) -> impl Iterator<Item = Row> {
        let from = match from {
            Place::Meta => Some(KeyspaceNumber(0)),
            Place::Keyspace(number) => Some(number),
            _ => None,
        };
        let keyspaces = from.map(|from| self.keyspaces.range(from..)).into_iter().flatten();
        keyspaces.map(|(number, keyspace)| Row::Keyspace(*number, keyspace.about.clone()))
    }

    fn change_rows(&self, from: Place) -> impl Iterator<Item = Row> {
        let from = match from {
            Place::Change(number, position) => Some((number, position)),
            from => (from < Place::Change(KeyspaceNumber(0), Position::default()))
                .then_some((KeyspaceNumber(0), Position::default())),
        };
        from.into_iter().flat_map(|(first, position)| {
            self.keyspaces.range(first..).flat_map(move |(number, keyspace)| {
                let from = if *number == first { position } else { Position::default() };
                keyspace.changes_from(from).map(|change| Row::Change(Change::clone(change)))
            })
        })
    }

    fn lease_rows(&self, from: Place) -> impl Iterator<Item = Row> {
        let from = match from {
            Place::Lease(number, lease) => Some((number, lease)),
            from => (from < Place::Lease(KeyspaceNumber(0), LeaseId(0)))
                .then_some((KeyspaceNumber(0), LeaseId(0))),
        };
        from.into_iter().flat_map(|(first, lease)| {
            self.keyspaces.range(first..).flat_map(move |(number, keyspace)| {
                let from = if *number == first { lease } else { LeaseId(0) };
                keyspace.leases.range(from..).map(|(id, lease)| Row::Lease(*number, *id, lease.into()))
            })
        })
    }

    fn session_rows(&self, from: Place) -> impl Iterator<Item = Row> {
        let from = match from {
            Place::Session(session) => Some(session),
            from => (from < Place::Session(SessionId(0))).then_some(SessionId(0)),
        };
        let sessions = from.into_iter().flat_map(|from| self.sessions.from(from));
        sessions.map(|(id, session)| Row::Session(id, session.used))
    }

    fn answer_rows(&self, from: Place) -> impl Iterator<Item = Row> {
        let (first, slot) = match from {
            Place::Answer(session, slot) => (session, slot),
            _ => (SessionId(0), 0),
        };
        self.sessions.from(first).flat_map(move |(id, session)| {
            let from = if id == first { slot } else { 0 };
            session.answers.range(from..).map(move |(slot, kept)| Row::Answer(id, *slot, kept.clone()))
        })
    }
}

/// Why rows are not a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A row cannot be read.
    #[error("a row of table {table} cannot be read")]
    Row {
        /// In which table.
        table: &'static str,
        /// Why not.
        source: CodecError,
    },
    /// The row that concerns all is missing.
    #[error("the rows are not a whole store: table kv.meta is empty; restore from a backup or a peer")]
    NoMeta,
    /// A row belongs to something that is not there.
    #[error("the rows do not fit together: {0}; restore from a backup or a peer")]
    Unfit(String),
}

/// Makes a store from the rows of one, in any order.
#[derive(Debug, Default)]
pub struct Loader {
    meta: Option<Meta>,
    keyspaces: BTreeMap<KeyspaceNumber, Keyspace>,
    changes: BTreeMap<(KeyspaceNumber, Position), Change>,
    leases: Vec<(KeyspaceNumber, LeaseId, LeaseForm)>,
    sessions: Sessions,
    answers: Vec<(SessionId, u16, Kept)>,
}

impl Loader {
    /// Takes a row.
    pub fn row(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let row = Row::decode(table, key, value);
        match row.map_err(|source| LoadError::Row { table: table.name(), source })? {
            Row::Meta(meta) => self.meta = Some(meta),
            Row::Keyspace(number, about) => {
                self.keyspaces.insert(number, Keyspace::from_about(about));
            }
            Row::Change(change) => {
                self.changes.insert((change.keyspace, change.position), change);
            }
            Row::Lease(number, id, lease) => self.leases.push((number, id, lease)),
            Row::Session(session, used) => self.sessions.put(session, used),
            Row::Answer(session, slot, kept) => self.answers.push((session, slot, kept)),
        }
        Ok(())
    }

    /// The store, once all rows were taken.
    pub fn finish(self) -> Result<Store, LoadError> {
        let meta = self.meta.ok_or(LoadError::NoMeta)?;
        if meta.revision.0.max(meta.last_number) > COUNT_MAX {
            return Err(LoadError::Unfit(format!("revision {} was never reached", meta.revision)));
        }
        let mut store = Store::new(meta.limits);
        store.revision = meta.revision;
        store.time = meta.time;
        store.last_number = meta.last_number;
        store.all_renewed = meta.all_renewed;
        store.keyspaces = self.keyspaces;
        store.sessions = self.sessions;
        add_leases(&mut store, self.leases)?;
        add_changes(&mut store, self.changes.into_values())?;
        add_answers(&mut store, self.answers)?;
        derive(&mut store)?;
        Ok(store)
    }
}

fn add_leases(store: &mut Store, leases: Vec<(KeyspaceNumber, LeaseId, LeaseForm)>) -> Result<(), LoadError> {
    for (number, id, LeaseForm { ttl_ms, renewed }) in leases {
        let lease = Lease { ttl_ms, renewed, keys: BTreeSet::new() };
        keyspace_of(store, number)?.leases.insert(id, lease);
    }
    Ok(())
}

/// Adds changes, which must come in the order of their places.
fn add_changes(store: &mut Store, changes: impl Iterator<Item = Change>) -> Result<(), LoadError> {
    let revision = store.revision;
    for change in changes {
        let position = change.position;
        if position.revision > revision || position.revision == Revision(0) {
            return Err(LoadError::Unfit(format!(
                "a change of revision {} of {revision}",
                position.revision
            )));
        }
        keyspace_of(store, change.keyspace)?.add(Arc::new(change));
    }
    Ok(())
}

fn add_answers(store: &mut Store, answers: Vec<(SessionId, u16, Kept)>) -> Result<(), LoadError> {
    for (session, slot, kept) in answers {
        if store.sessions.get(session).is_none() {
            return Err(LoadError::Unfit(format!("an answer of session {session}, which is not there")));
        }
        store.sessions.keep(session, slot, kept);
    }
    Ok(())
}

/// Finds out what follows from the rest.
fn derive(store: &mut Store) -> Result<(), LoadError> {
    for (number, keyspace) in &store.keyspaces {
        if keyspace.is_unswept() {
            store.unswept.insert(*number);
        }
        if keyspace.about.compacted > store.revision {
            return Err(LoadError::Unfit(format!("keyspace {number} is compacted beyond its end")));
        }
        let name = keyspace.about.name.clone();
        if !keyspace.about.removed && store.names.insert(name, *number).is_some() {
            return Err(LoadError::Unfit(format!("two keyspaces are called {}", keyspace.about.name)));
        }
    }
    store.deadlines = store.list_deadlines();
    Ok(())
}

fn keyspace_of(store: &mut Store, number: KeyspaceNumber) -> Result<&mut Keyspace, LoadError> {
    let missing = || LoadError::Unfit(format!("something of keyspace {number}, which is not there"));
    store.keyspaces.get_mut(&number).ok_or_else(missing)
}
