//! What clients of a keyspace asked and were answered, and whether a store that keeps its word could have
//! answered so.
//!
//! A run records each operation (when it began, when it was answered, what), each watch's batches, and what
//! every node applied. [`History::check`] then decides:
//! - **No divergence**: nodes that applied a revision applied the same.
//! - **Nothing lost, nothing invented**: every acknowledged write is there, exactly as it was answered; every
//!   revision is the work of one operation, done once, or of a lease that ended.
//! - **Linearizability** of writes, and of reads that asked for it (Herlihy and Wing, 1990): the revisions
//!   that answers name are a witness of the order, so that the check is a pass over it: each answer must be
//!   right at its place, and no operation may stand after one that began only when it was over.
//! - **Session, bounded and local reads**: right at some revision that is late enough for what was promised.
//! - **Watches**: every change that was wanted, once, in order, none before it can have happened.
//!
//! The witness cannot be fooled into taking a wrong history for a right one: it demands one certain order
//! where linearizability demands any. [`search`] looks for any order at all, without the revisions (Wing and
//! Gong, 1993; Lowe, 2017), which only small histories allow: the two check one another.
//!
//! Not checked here: that a lease lives as long as it was promised, and that anything is answered at all.

mod check;
mod model;
pub mod search;
#[cfg(test)]
mod tests;
mod watches;

use selvedge_kv::{Change, Key, KeyRange, KeyValue, Txn, TxnAnswer};
use selvedge_types::Revision;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(usize);

/// Which watch of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchingId(usize);

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(pub u32);

/// What a client asked for. Ranges as of a revision of their own are not provided for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A transaction through the log.
    Txn(Txn),
    /// A transaction that only reads.
    Read(Txn, Level),
}

impl Request {
    fn txn(&self) -> &Txn {
        match self {
            Request::Txn(txn) | Request::Read(txn, _) => txn,
        }
    }
}

/// What a read was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All that was acknowledged to anyone before it began.
    Linearizable,
    /// All that this client was answered before.
    Session,
    /// All that was acknowledged to anyone that long before it began.
    Bounded(Duration),
    /// Something that was true once.
    Local,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was answered at that time.
    Answered(Duration, TxnAnswer),
    /// It is known not to have been done.
    Refused,
    /// Nobody knows; it may yet be done.
    Unknown,
}

/// One operation of one client. Times are since the start of the run, by one clock.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Whose.
    pub client: Client,
    /// When it began.
    pub invoked: Duration,
    /// What was asked.
    pub request: Request,
    /// What became of it.
    pub fate: Fate,
}

/// A change as a watch gave it, or as a node applied it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its revision.
    pub revision: Revision,
    /// The key.
    pub key: Key,
    /// What it became; none if it was deleted.
    pub now: Option<KeyValue>,
}

impl From<&Change> for Seen {
    fn from(change: &Change) -> Self {
        Seen { revision: change.position.revision, key: change.key.clone(), now: change.key_value() }
    }
}

/// What a watch gave at once.
#[derive(Clone, Debug)]
pub struct SeenBatch {
    /// When.
    pub at: Duration,
    /// The changes.
    pub events: Vec<Seen>,
    /// Up to which revision that was all.
    pub through: Revision,
}

/// A watch of a client, over all its connections.
#[derive(Clone, Debug)]
pub struct Watching {
    /// Whose.
    pub client: Client,
    /// Which keys.
    pub keys: KeyRange,
    /// The first revision wanted.
    pub from: Revision,
    /// What it gave.
    pub batches: Vec<SeenBatch>,
    /// How far it had to come, if it had the time to.
    pub due: Revision,
}

/// What was asked, answered, seen and applied in one keyspace, from its beginning.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    watches: Vec<Watching>,
    /// What nodes applied: the changes of each revision by their places.
    applied: BTreeMap<Revision, BTreeMap<u32, Seen>>,
    divergence: Option<Violation>,
}

/// How a history shows that the store did not keep its word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Nodes disagree.
    #[error("two nodes applied different changes as revision {revision}: {one} and {other}")]
    Divergence {
        /// The revision.
        revision: Revision,
        /// What one applied.
        one: String,
        /// What another did.
        other: String,
    },
    /// An acknowledged write is not there.
    #[error("acknowledged and lost: {operation}")]
    Lost {
        /// The write.
        operation: String,
    },
    /// Two acknowledged writes claim one revision.
    #[error("revision {revision} was given to two writes: {one}; {other}")]
    Shared {
        /// The revision.
        revision: Revision,
        /// One of them.
        one: String,
        /// The other.
        other: String,
    },
    /// A revision that nobody asked for, or that was done once already.
    #[error("nobody asked for revision {revision}, or not once more: {changes}")]
    Unasked {
        /// The revision.
        revision: Revision,
        /// What it changed.
        changes: String,
    },
    /// The answer is not what the operation gives at its revision.
    #[error("wrong answer ({why}): {operation}")]
    Wrong {
        /// What is wrong.
        why: String,
        /// The operation.
        operation: String,
    },
    /// The order of revisions contradicts time.
    #[error("over before the other began, and yet ordered after it: {over}; the other: {began}")]
    Order {
        /// What was over.
        over: String,
        /// What began later.
        began: String,
    },
    /// A read shows less than it was promised.
    #[error("too old, revision {least} was promised: {operation}")]
    Stale {
        /// The least revision it had to show.
        least: Revision,
        /// The read.
        operation: String,
    },
    /// Something was seen before anyone began to write it.
    #[error("revision {revision} was seen before anyone began to write it: {what}")]
    Future {
        /// The revision.
        revision: Revision,
        /// What saw it.
        what: String,
    },
    /// A watch gave something else than the changes there were.
    #[error("a watch by {client:?} of {keys} from revision {from}: {what}")]
    Watch {
        /// Whose.
        client: Client,
        /// Which keys.
        keys: String,
        /// From where.
        from: Revision,
        /// What is wrong.
        what: String,
    },
    /// The check does not provide for it.
    #[error("not provided for: {0}")]
    Unsupported(String),
}

/// How much a history proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Acknowledged operations that changed something.
    pub writes: u64,
    /// Answered operations that changed nothing.
    pub reads: u64,
    /// Operations whose outcome nobody knew and which were done.
    pub unknown_done: u64,
    /// Revisions made by leases that ended.
    pub leases_ended: u64,
    /// Events that watches gave.
    pub events: u64,
}

impl History {
    /// Notes that a client begins an operation. Until more is noted, what becomes of it is unknown.
    pub fn invoked(&mut self, client: Client, now: Duration, request: Request) -> OperationId {
        self.operations.push(Operation { client, invoked: now, request, fate: Fate::Unknown });
        OperationId(self.operations.len() - 1)
    }

    /// Notes an answer.
    pub fn answered(&mut self, id: OperationId, now: Duration, answer: TxnAnswer) {
        self.operations[id.0].fate = Fate::Answered(now, answer);
    }

    /// Notes that an operation certainly was not done.
    pub fn refused(&mut self, id: OperationId) {
        self.operations[id.0].fate = Fate::Refused;
    }

    /// Notes that a client begins to watch.
    pub fn watches(&mut self, client: Client, keys: KeyRange, from: Revision) -> WatchingId {
        self.watches.push(Watching { client, keys, from, batches: Vec::new(), due: Revision(0) });
        WatchingId(self.watches.len() - 1)
    }

    /// Notes what a watch gave.
    pub fn watched(&mut self, id: WatchingId, batch: SeenBatch) {
        self.watches[id.0].batches.push(batch);
    }

    /// Notes that a watch had the time to come that far.
    pub fn must_have_watched(&mut self, id: WatchingId, due: Revision) {
        self.watches[id.0].due = due;
    }

    /// Notes a change that a node applied; of every node, also what it applies again after a restart.
    pub fn applied(&mut self, change: &Change) {
        let seen = Seen::from(change);
        let revision = seen.revision;
        let places = self.applied.entry(revision).or_default();
        let first = places.entry(change.position.index).or_insert_with(|| seen.clone());
        if *first != seen && self.divergence.is_none() {
            let (one, other) = (format!("{first:?}"), format!("{seen:?}"));
            self.divergence = Some(Violation::Divergence { revision, one, other });
        }
    }

    /// The operations, in the order in which they began to be noted.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Decides whether the store kept its word; says how much that proves.
    pub fn check(&self) -> Result<Report, Violation> {
        if let Some(divergence) = &self.divergence {
            return Err(divergence.clone());
        }
        let revisions = self.applied.iter().map(|(r, places)| (*r, places.values().cloned().collect()));
        check::check(&self.operations, &self.watches, &revisions.collect())
    }
}
