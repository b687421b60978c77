//! What a store answers.

use crate::change::Change;
use crate::id::{KeyspaceNumber, LeaseId, Sequence, SessionId};
use crate::key::{Key, Value};
use crate::limits::Limit;
use crate::row::Rows;
use minicbor::{Decode, Encode};
use selvedge_types::Revision;
use std::sync::Arc;

/// What an entry did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// For whoever asked.
    pub answer: Result<Answer, Refusal>,
    /// The revision after it.
    pub revision: Revision,
    /// The keyspace that it removed.
    pub removed: Option<KeyspaceNumber>,
    /// What it changed of the tables: to be written together, with the entry's place in the log.
    pub rows: Rows,
    /// The keys it changed, in order: for [`crate::Watchers::applied`].
    pub changes: Vec<Arc<Change>>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// It is done.
    #[n(0)]
    Done {
        /// The present revision.
        #[n(0)]
        revision: Revision,
    },
    /// A keyspace as it is now.
    #[n(1)]
    Keyspace {
        /// The present revision.
        #[n(0)]
        revision: Revision,
        /// Its number.
        #[n(1)]
        keyspace: KeyspaceNumber,
    },
    /// What a transaction did.
    #[n(2)]
    Txn(#[n(0)] TxnAnswer),
    /// A lease as it is now.
    #[n(3)]
    Lease {
        /// The present revision.
        #[n(0)]
        revision: Revision,
        /// Its name.
        #[n(1)]
        lease: LeaseId,
        /// How long it lives from now, in milliseconds.
        #[n(2)]
        ttl_ms: u64,
    },
    /// A session was begun.
    #[n(4)]
    Session {
        /// Its name.
        #[n(0)]
        session: SessionId,
    },
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TxnAnswer {
    /// Its own revision if it changed anything, else the one that it saw.
    #[n(0)]
    pub revision: Revision,
    /// Whether all comparisons held.
    #[n(1)]
    pub succeeded: bool,
    /// The answers of the operations done, in their order.
    #[n(2)]
    pub ops: Vec<OpAnswer>,
}

/// The answer of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum OpAnswer {
    /// What was read.
    #[n(0)]
    Range(#[n(0)] RangeAnswer),
    /// The key was put.
    #[n(1)]
    Put {
        /// What was there, if that was asked for.
        #[n(0)]
        previous: Option<KeyValue>,
    },
    /// The keys are gone.
    #[n(2)]
    Delete {
        /// How many there were.
        #[n(0)]
        deleted: u64,
        /// What was there, if that was asked for.
        #[n(1)]
        previous: Vec<KeyValue>,
    },
}

/// What a range held.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RangeAnswer {
    /// The revision as of which it did.
    #[n(0)]
    pub revision: Revision,
    /// The keys, in their order; none if only their count was asked for.
    #[n(1)]
    pub records: Vec<KeyValue>,
    /// How many keys this answer is about.
    #[n(2)]
    pub count: u64,
    /// Where to go on, at the same revision, if this is not all.
    #[n(3)]
    pub next: Option<Key>,
}

/// A key and all there is about it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyValue {
    /// The key.
    #[n(0)]
    pub key: Key,
    /// What it holds.
    #[n(1)]
    pub value: Value,
    /// The revision that made it.
    #[n(2)]
    pub created: Revision,
    /// The revision of its last change.
    #[n(3)]
    pub modified: Revision,
    /// How often it was put since it was made, from 1.
    #[n(4)]
    pub version: u64,
    /// The lease with which it ends.
    #[n(5)]
    pub lease: Option<LeaseId>,
}

impl KeyValue {
    /// Its bytes as answers count them.
    pub(crate) fn bytes(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }
}

/// Why a command changed nothing, or a read says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum Refusal {
    /// There is no such keyspace.
    #[error("keyspace number {keyspace} does not exist; it may have been removed: look its name up again")]
    #[n(0)]
    NoKeyspace {
        /// Which.
        #[n(0)]
        keyspace: KeyspaceNumber,
    },
    /// Something is larger than it may be, or there are as many as there may be.
    #[error("{found} {limit}, and no more than {max} are allowed; ask for less, or remove some first")]
    #[n(1)]
    Limit {
        /// Of what.
        #[n(0)]
        limit: Limit,
        /// How many it would be.
        #[n(1)]
        found: u64,
        /// How many it may be.
        #[n(2)]
        max: u64,
    },
    /// The keyspace has no room.
    #[error(
        "the keyspace would hold {bytes} bytes with its history, more than its quota of {quota_bytes}; \
         delete keys and compact it, or raise the quota"
    )]
    #[n(2)]
    NoSpace {
        /// What it would hold.
        #[n(0)]
        bytes: u64,
        /// What it may.
        #[n(1)]
        quota_bytes: u64,
    },
    /// A key without a byte.
    #[error("a key is empty; it needs at least one byte")]
    #[n(3)]
    EmptyKey,
    /// The key is not there, and the put would have kept a part of it.
    #[error("key \"{key}\" does not exist, so that its value or lease cannot be kept; put both")]
    #[n(4)]
    NoKey {
        /// Which.
        #[n(0)]
        key: Key,
    },
    /// A transaction changes a key twice.
    #[error("key \"{key}\" is changed twice in one transaction; change it once")]
    #[n(5)]
    Twice {
        /// Which.
        #[n(0)]
        key: Key,
    },
    /// The revision is no longer kept.
    #[error("revision {revision} was compacted, the oldest kept is {compacted}; read again without one")]
    #[n(6)]
    Compacted {
        /// Which.
        #[n(0)]
        revision: Revision,
        /// The oldest that is kept.
        #[n(1)]
        compacted: Revision,
    },
    /// The revision is not yet there.
    #[error("revision {revision} is not yet there, the present one is {current}; ask for that or none")]
    #[n(7)]
    Future {
        /// Which.
        #[n(0)]
        revision: Revision,
        /// The present one.
        #[n(1)]
        current: Revision,
    },
    /// There is no such lease.
    #[error("lease {lease} does not exist; it may have ended: grant a new one")]
    #[n(8)]
    NoLease {
        /// Which.
        #[n(0)]
        lease: LeaseId,
    },
    /// There is such a lease already.
    #[error("lease {lease} exists already; choose another name, or none")]
    #[n(9)]
    LeaseExists {
        /// Which.
        #[n(0)]
        lease: LeaseId,
    },
    /// A lease cannot live so short or long.
    #[error("a lease cannot live {ttl_ms} ms; choose from {min} to {max}")]
    #[n(10)]
    Ttl {
        /// How long it would.
        #[n(0)]
        ttl_ms: u64,
        /// The shortest time.
        #[n(1)]
        min: u64,
        /// The longest time.
        #[n(2)]
        max: u64,
    },
    /// There is no such session: whether an earlier try of this command was done is unknown.
    #[error(
        "session {session} has ended, and with it what was known of its commands: whether an earlier try was \
         done is unknown; look, and open a new session"
    )]
    #[n(11)]
    SessionEnded {
        /// Which.
        #[n(0)]
        session: SessionId,
    },
    /// The command is older than those whose answers are kept: whether it was done is unknown.
    #[error(
        "command {sequence} of session {session} is older than those whose answers are kept: whether it was \
         done is unknown; look before trying anew"
    )]
    #[n(12)]
    TooOld {
        /// Which session.
        #[n(0)]
        session: SessionId,
        /// Which command of it.
        #[n(1)]
        sequence: Sequence,
    },
    /// The command was done, but its answer was too large to be kept.
    #[error("the command was done at revision {revision}, but its answer was too large to keep; read again")]
    #[n(13)]
    AnswerGone {
        /// The present revision after it.
        #[n(0)]
        revision: Revision,
    },
}

impl Refusal {
    /// Whether an earlier try of the command may have been carried out although this one was refused.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Refusal::SessionEnded { .. } | Refusal::TooOld { .. })
    }
}
