//! The state as rows of tables: what changed with each entry, and all of it bit by bit.
//!
//! | table | key | row |
//! |---|---|---|
//! | `kv.meta` | none | format, limits, revision, time |
//! | `kv.keyspaces` | keyspace | name, quota, how far compacted and swept |
//! | `kv.changes` | keyspace, revision, index | key, value, version, lease |
//! | `kv.leases` | keyspace, lease | time to live, last renewal |
//! | `kv.sessions` | session | last use |
//! | `kv.answers` | session, slot | sequence, answer |
//!
//! Numbers in keys are big-endian, so that keys are ordered as their numbers. The keys of a keyspace are not
//! rows of their own: they follow from its changes.

use crate::change::{Change, Position, Record};
use crate::codec::{CodecError, form, from_bytes, to_bytes};
use crate::id::{KeyspaceNumber, LeaseId, SessionId};
use crate::key::Key;
use crate::keyspace::About;
use crate::lease::Lease;
use crate::limits::Limits;
use crate::session::Kept;
use minicbor::{Decode, Encode};
use selvedge_types::{Hlc, Revision, UnixMillis};
use std::collections::BTreeMap;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One row: what concerns all.
    Meta,
    /// One row for each keyspace.
    Keyspaces,
    /// One row for each change that is kept.
    Changes,
    /// One row for each lease.
    Leases,
    /// One row for each session.
    Sessions,
    /// One row for each answer that is kept.
    Answers,
}

impl Table {
    /// All tables, in their order.
    pub const ALL: [Table; 6] =
        [Table::Meta, Table::Keyspaces, Table::Changes, Table::Leases, Table::Sessions, Table::Answers];

    /// What it is called on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Meta => "kv.meta",
            Table::Keyspaces => "kv.keyspaces",
            Table::Changes => "kv.changes",
            Table::Leases => "kv.leases",
            Table::Sessions => "kv.sessions",
            Table::Answers => "kv.answers",
        }
    }
}

/// Rows to be written together: each with its value, or none if it is to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>);

impl Rows {
    /// Takes over later changes, so that several entries can be written at once.
    pub fn extend(&mut self, later: Rows) {
        self.0.extend(later.0);
    }

    /// The rows by table and key.
    pub fn iter(&self) -> impl Iterator<Item = (Table, &[u8], Option<&[u8]>)> {
        self.0.iter().map(|((table, key), value)| (*table, &key[..], value.as_deref()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a row; returns its size in bytes.
    pub(crate) fn put(&mut self, row: &Row) -> usize {
        let (table, key, value) = row.encode();
        let bytes = key.len() + value.len();
        self.0.insert((table, key), Some(value));
        bytes
    }

    pub(crate) fn delete(&mut self, place: Place) {
        let (table, key) = place.encode();
        self.0.insert((table, key), None);
    }
}

impl IntoIterator for Rows {
    type Item = ((Table, Vec<u8>), Option<Vec<u8>>);
    type IntoIter = std::collections::btree_map::IntoIter<(Table, Vec<u8>), Option<Vec<u8>>>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Meta,
    Keyspace(KeyspaceNumber),
    Change(KeyspaceNumber, Position),
    Lease(KeyspaceNumber, LeaseId),
    Session(SessionId),
    Answer(SessionId, u16),
}

impl Place {
    pub(crate) fn encode(self) -> (Table, Vec<u8>) {
        let pair = |a: u64, b: &[u8]| [&a.to_be_bytes()[..], b].concat();
        match self {
            Place::Meta => (Table::Meta, Vec::new()),
            Place::Keyspace(number) => (Table::Keyspaces, pair(number.0, &[])),
            Place::Change(number, Position { revision, index }) => {
                let position = pair(revision.0, &index.to_be_bytes());
                (Table::Changes, pair(number.0, &position))
            }
            Place::Lease(number, lease) => (Table::Leases, pair(number.0, &lease.0.to_be_bytes())),
            Place::Session(session) => (Table::Sessions, pair(session.0, &[])),
            Place::Answer(session, slot) => (Table::Answers, pair(session.0, &slot.to_be_bytes())),
        }
    }

    pub(crate) fn decode(table: Table, key: &[u8]) -> Result<Self, CodecError> {
        let place = match table {
            Table::Meta => key.is_empty().then_some(Place::Meta),
            Table::Keyspaces => number(key).map(|number| Place::Keyspace(KeyspaceNumber(number))),
            Table::Changes => change_place(key),
            Table::Leases => {
                let rest = key.split_first_chunk::<8>();
                let place = |(head, rest): (&[u8; 8], &[u8])| {
                    Some(Place::Lease(KeyspaceNumber(u64::from_be_bytes(*head)), LeaseId(number(rest)?)))
                };
                rest.and_then(place)
            }
            Table::Sessions => number(key).map(|number| Place::Session(SessionId(number))),
            Table::Answers => {
                let rest = key.split_first_chunk::<8>();
                let place = |(head, rest): (&[u8; 8], &[u8])| {
                    let slot = u16::from_be_bytes(rest.try_into().ok()?);
                    Some(Place::Answer(SessionId(u64::from_be_bytes(*head)), slot))
                };
                rest.and_then(place)
            }
        };
        place.ok_or_else(|| form(format!("a key of {} bytes in table {}", key.len(), table.name())))
    }
}

fn change_place(key: &[u8]) -> Option<Place> {
    let (keyspace, rest) = key.split_first_chunk::<8>()?;
    let (revision, index) = rest.split_first_chunk::<8>()?;
    let revision = Revision(u64::from_be_bytes(*revision));
    let index = u32::from_be_bytes(index.try_into().ok()?);
    Some(Place::Change(KeyspaceNumber(u64::from_be_bytes(*keyspace)), Position { revision, index }))
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// A row and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Meta(Meta),
    Keyspace(KeyspaceNumber, About),
    Change(Change),
    Lease(KeyspaceNumber, LeaseId, LeaseForm),
    Session(SessionId, UnixMillis),
    Answer(SessionId, u16, Kept),
}

/// What concerns all.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Meta {
    #[n(0)]
    pub(crate) format: u16,
    #[n(1)]
    pub(crate) limits: Limits,
    #[n(2)]
    pub(crate) revision: Revision,
    #[n(3)]
    pub(crate) time: Hlc,
    #[n(4)]
    pub(crate) last_number: u64,
    #[n(5)]
    pub(crate) all_renewed: UnixMillis,
}

/// A lease without its keys, which say themselves that they are attached to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct LeaseForm {
    #[n(0)]
    pub(crate) ttl_ms: u64,
    #[n(1)]
    pub(crate) renewed: UnixMillis,
}

impl From<&Lease> for LeaseForm {
    fn from(lease: &Lease) -> Self {
        LeaseForm { ttl_ms: lease.ttl_ms, renewed: lease.renewed }
    }
}

#[derive(Encode, Decode)]
struct ChangeForm {
    #[n(0)]
    key: Key,
    #[n(1)]
    record: Option<Record>,
}

impl Row {
    pub(crate) fn place(&self) -> Place {
        match self {
            Row::Meta(_) => Place::Meta,
            Row::Keyspace(number, _) => Place::Keyspace(*number),
            Row::Change(change) => Place::Change(change.keyspace, change.position),
            Row::Lease(number, lease, _) => Place::Lease(*number, *lease),
            Row::Session(session, _) => Place::Session(*session),
            Row::Answer(session, slot, _) => Place::Answer(*session, *slot),
        }
    }

    pub(crate) fn encode(&self) -> (Table, Vec<u8>, Vec<u8>) {
        let (table, key) = self.place().encode();
        let value = match self {
            Row::Meta(meta) => to_bytes(meta),
            Row::Keyspace(_, about) => to_bytes(about),
            Row::Change(Change { key, record, .. }) => {
                to_bytes(&ChangeForm { key: key.clone(), record: record.clone() })
            }
            Row::Lease(_, _, lease) => to_bytes(lease),
            Row::Session(_, used) => to_bytes(used),
            Row::Answer(_, _, kept) => to_bytes(kept),
        };
        (table, key, value)
    }

    /// Reads a row. Never panics.
    pub(crate) fn decode(table: Table, key: &[u8], value: &[u8]) -> Result<Self, CodecError> {
        Ok(match Place::decode(table, key)? {
            Place::Meta => {
                crate::codec::check_format(value)?;
                Row::Meta(from_bytes(value)?)
            }
            Place::Keyspace(number) => Row::Keyspace(number, from_bytes(value)?),
            Place::Change(keyspace, position) => {
                let ChangeForm { key, record } = from_bytes(value)?;
                Row::Change(Change { keyspace, position, key, record })
            }
            Place::Lease(number, lease) => Row::Lease(number, lease, from_bytes(value)?),
            Place::Session(session) => Row::Session(session, from_bytes(value)?),
            Place::Answer(session, slot) => Row::Answer(session, slot, from_bytes(value)?),
        })
    }
}
