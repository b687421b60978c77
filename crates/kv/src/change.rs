//! One change of one key: the unit of history.

use crate::answer::KeyValue;
use crate::id::{KeyspaceNumber, LeaseId};
use crate::key::{Key, Value};
use minicbor::{Decode, Encode};
use selvedge_types::Revision;

/// What a change costs against the quota beside its key and value, in bytes: about what memory it takes.
pub const CHANGE_OVERHEAD_BYTES: u64 = 200;

/// Where a change stands in the store's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct Position {
    /// The revision, which several changes may share.
    #[n(0)]
    pub revision: Revision,
    /// The place among the changes of the revision, from 0.
    #[n(1)]
    pub index: u32,
}

impl Position {
    /// Before every change of a revision.
    pub const fn start(revision: Revision) -> Self {
        Position { revision, index: 0 }
    }
}

/// A key as a revision left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The keyspace.
    pub keyspace: KeyspaceNumber,
    /// Where in the order it stands.
    pub position: Position,
    /// The key.
    pub key: Key,
    /// What it is now; none if it was deleted.
    pub record: Option<Record>,
}

/// What is kept of a key that is there.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// What it holds.
    #[n(0)]
    pub value: Value,
    /// The revision that made it.
    #[n(1)]
    pub created: Revision,
    /// How often it was put since, from 1.
    #[n(2)]
    pub version: u64,
    /// The lease with which it ends.
    #[n(3)]
    pub lease: Option<LeaseId>,
}

impl Change {
    /// The key and all about it; none if the change deleted it.
    pub fn key_value(&self) -> Option<KeyValue> {
        let record = self.record.as_ref()?;
        Some(KeyValue {
            key: self.key.clone(),
            value: record.value.clone(),
            created: record.created,
            modified: self.position.revision,
            version: record.version,
            lease: record.lease,
        })
    }

    /// Bytes of key and value.
    pub(crate) fn bytes(&self) -> u64 {
        (self.key.len() + self.record.as_ref().map_or(0, |r| r.value.len())) as u64
    }

    /// What it takes of the quota, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        self.bytes() + CHANGE_OVERHEAD_BYTES
    }
}
