//! What can be asked of a store.

use crate::id::{KeyspaceNumber, LeaseId, Sequence, SessionId};
use crate::key::{Key, KeyRange, Value};
use minicbor::{Decode, Encode};
use selvedge_types::resource::KeyspaceId;
use selvedge_types::{Hlc, Revision};

/// An entry of the log. What it does follows from it and from the state before it, the time included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The leader's time.
    pub time: Hlc,
    /// Which command of which client this is; none if nobody would repeat it.
    pub call: Option<Call>,
    /// What is to be done.
    pub command: Command,
}

/// A command's place in a client's session. A repeated call has the same one, and gets the same answer.
///
/// A client counts its commands up, and has no more under way at once than
/// [`crate::Limits::session_answers`]; what it has done is remembered for that many further commands
/// (Ongaro, *Consensus: Bridging Theory and Practice*, 2014, §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Call {
    /// The session.
    #[n(0)]
    pub session: SessionId,
    /// The command's number in it.
    #[n(1)]
    pub sequence: Sequence,
}

/// A change to the store.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Makes a keyspace, or gives it another quota. Answers [`crate::Answer::Keyspace`].
    #[n(0)]
    DeclareKeyspace {
        /// Its name.
        #[cbor(n(0), with = "crate::codec::text")]
        name: KeyspaceId,
        /// What its keys, values and history may take, in bytes.
        #[n(1)]
        quota_bytes: u64,
    },
    /// Removes a keyspace with all that is in it. Answers [`crate::Answer::Done`].
    #[n(1)]
    RemoveKeyspace {
        /// Which.
        #[n(0)]
        keyspace: KeyspaceNumber,
    },
    /// Reads and changes keys. Answers [`crate::Answer::Txn`].
    #[n(2)]
    Txn {
        /// Where.
        #[n(0)]
        keyspace: KeyspaceNumber,
        /// What.
        #[n(1)]
        txn: Txn,
    },
    /// Gives up what was before a revision. Answers [`crate::Answer::Done`].
    #[n(3)]
    Compact {
        /// Where.
        #[n(0)]
        keyspace: KeyspaceNumber,
        /// The oldest revision that can still be read; not before the last compaction, not after the
        /// present revision.
        #[n(1)]
        revision: Revision,
    },
    /// Makes a lease. Answers [`crate::Answer::Lease`].
    #[n(4)]
    GrantLease {
        /// Where.
        #[n(0)]
        keyspace: KeyspaceNumber,
        /// Its name; none for the store to choose one.
        #[n(1)]
        lease: Option<LeaseId>,
        /// How long it lives after its grant and each renewal, in milliseconds.
        #[n(2)]
        ttl_ms: u64,
    },
    /// Lets a lease live for its whole time again. Answers [`crate::Answer::Lease`].
    #[n(5)]
    RenewLease {
        /// Where.
        #[n(0)]
        keyspace: KeyspaceNumber,
        /// Which.
        #[n(1)]
        lease: LeaseId,
    },
    /// Ends a lease and deletes its keys. Answers [`crate::Answer::Done`].
    #[n(6)]
    RevokeLease {
        /// Where.
        #[n(0)]
        keyspace: KeyspaceNumber,
        /// Which.
        #[n(1)]
        lease: LeaseId,
    },
    /// Renews every lease: a new leader's, since nobody could renew any while there was none. Answers
    /// [`crate::Answer::Done`].
    #[n(7)]
    RenewAllLeases,
    /// Begins a client's session. Answers [`crate::Answer::Session`].
    #[n(8)]
    OpenSession,
    /// Ends those of the leases and sessions named whose time is over by the entry's time. Answers
    /// [`crate::Answer::Done`].
    #[n(9)]
    Expire(#[n(0)] Due),
}

/// What [`crate::Store::due`] found to be over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Due {
    /// Leases whose time has passed.
    #[n(0)]
    pub leases: Vec<(KeyspaceNumber, LeaseId)>,
    /// Sessions that were not used for long.
    #[n(1)]
    pub sessions: Vec<SessionId>,
}

/// A transaction: if all comparisons hold, one list of operations is done, else the other, in order and as
/// one revision. Transactions in transactions are not provided for.
///
/// Each operation sees what those before it did. No key may be changed twice, as in etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Txn {
    /// What must hold.
    #[n(0)]
    pub compare: Vec<Compare>,
    /// What is done if it does.
    #[n(1)]
    pub then: Vec<Op>,
    /// What is done if it does not.
    #[n(2)]
    pub otherwise: Vec<Op>,
}

impl Txn {
    /// A transaction that does these operations unconditionally.
    pub fn of(ops: impl IntoIterator<Item = Op>) -> Self {
        Txn { then: ops.into_iter().collect(), ..Txn::default() }
    }

    /// Whether it changes nothing whatever the state is: then it need not go through the log.
    pub fn is_read_only(&self) -> bool {
        self.then.iter().chain(&self.otherwise).all(|op| matches!(op, Op::Range(_)))
    }
}

/// A comparison of a transaction.
///
/// An absent key has version, revisions and lease 0; no comparison with its value holds. Of several keys,
/// each that is there must compare so.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Compare {
    /// Which keys.
    #[n(0)]
    pub keys: KeyRange,
    /// How what is there must relate to the target.
    #[n(1)]
    pub relation: Relation,
    /// What is compared, and with what.
    #[n(2)]
    pub target: Target,
}

/// How two things relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Relation {
    /// They are the same.
    #[n(0)]
    Equal,
    /// They are not.
    #[n(1)]
    NotEqual,
    /// What is there is less.
    #[n(2)]
    Less,
    /// What is there is greater.
    #[n(3)]
    Greater,
}

/// What a comparison compares with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Target {
    /// How often the key was put since it was made.
    #[n(0)]
    Version(#[n(0)] u64),
    /// The revision that made it.
    #[n(1)]
    Created(#[n(0)] Revision),
    /// The revision of its last change.
    #[n(2)]
    Modified(#[n(0)] Revision),
    /// Its lease; 0 for none.
    #[n(3)]
    Lease(#[n(0)] LeaseId),
    /// What it holds, as bytes are ordered.
    #[n(4)]
    Value(#[n(0)] Value),
}

/// An operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Op {
    /// Reads keys.
    #[n(0)]
    Range(#[n(0)] Range),
    /// Makes or changes a key.
    #[n(1)]
    Put(#[n(0)] Put),
    /// Deletes keys.
    #[n(2)]
    Delete(#[n(0)] Delete),
}

/// A read of keys, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Range {
    /// Which keys.
    #[n(0)]
    pub keys: KeyRange,
    /// As of which revision; none for now.
    #[n(1)]
    pub revision: Option<Revision>,
    /// How many at most; none for as many as an answer may hold.
    #[n(2)]
    pub limit: Option<u64>,
    /// What is wanted of them.
    #[n(3)]
    pub want: Want,
}

impl Range {
    /// All there is about these keys, now.
    pub fn of(keys: KeyRange) -> Self {
        Range { keys, revision: None, limit: None, want: Want::All }
    }
}

/// What is wanted of the keys in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Want {
    /// Keys, values and all.
    #[n(0)]
    All,
    /// All but the values.
    #[n(1)]
    Keys,
    /// Only how many there are.
    #[n(2)]
    Count,
}

/// Makes or changes a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Put {
    /// The key.
    #[n(0)]
    pub key: Key,
    /// What it shall hold; none for what it holds now.
    #[n(1)]
    pub value: Option<Value>,
    /// What becomes of its lease.
    #[n(2)]
    pub lease: PutLease,
    /// Whether the answer tells what was there.
    #[n(3)]
    pub previous: bool,
}

impl Put {
    /// Puts a value under a key, without a lease.
    pub fn new(key: impl Into<Key>, value: impl Into<Value>) -> Self {
        Put { key: key.into(), value: Some(value.into()), lease: PutLease::Detach, previous: false }
    }

    /// The same, attached to a lease.
    pub fn with_lease(self, lease: LeaseId) -> Self {
        Put { lease: PutLease::Attach(lease), ..self }
    }
}

/// What becomes of a key's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PutLease {
    /// The key has none any more.
    #[n(0)]
    Detach,
    /// The key keeps the one it has.
    #[n(1)]
    Keep,
    /// The key has this one.
    #[n(2)]
    Attach(#[n(0)] LeaseId),
}

/// Deletes keys.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Delete {
    /// Which.
    #[n(0)]
    pub keys: KeyRange,
    /// Whether the answer tells what was there.
    #[n(1)]
    pub previous: bool,
}
