//! The keyspace state machine: what a replicated store holds and does, without any I/O.
//!
//! ```text
//!   log entry --> Store::apply --> answer (for whoever asked)
//!                             \--> rows   (for the tables, with the entry's place in the log)
//!                             \--> changes --> Watchers (whom to wake; each reads the history at its pace)
//!   a leader: Store::due(now) --> Command::Expire, as an entry of its own
//!   a copy:   Store::rows --> Loader
//! ```
//! It follows etcd's data model (etcd API v3: `KV`, `Watch` and `Lease` services): a key has a value, the
//! revision that made it, the revision of its last change, a version and maybe a lease; a transaction makes
//! one revision whatever it changes; revisions can be read until they are compacted. All keyspaces share one
//! count of revisions, so that they are totally ordered together. Different from etcd:
//! - compaction is by keyspace, bounded by [`Limits::history_max`] by itself, and what it left behind goes
//!   bit by bit;
//! - a range is paged: it says where to go on instead of counting what it leaves out;
//! - a lease's end is an entry, found due by the leader's clock ([`Store::due`]) and checked against the
//!   entry's time;
//! - a repeated command of a client session is answered, not done again.
//!
//! Deliberately absent: transactions within transactions, orders other than the keys', keyspaces that merge
//! without consensus. No clock, randomness, socket, file or lock; what an entry does follows from it and the
//! state before.

mod answer;
mod change;
mod codec;
mod command;
mod copy;
mod id;
mod key;
mod keyspace;
mod lease;
mod limits;
mod row;
mod session;
mod store;
mod txn;
mod watch;

pub use answer::{Answer, KeyValue, OpAnswer, Outcome, RangeAnswer, Refusal, TxnAnswer};
pub use change::{CHANGE_OVERHEAD_BYTES, Change, Position, Record};
pub use codec::{CodecError, FORMAT, decode_answer, encode_answer};
pub use command::{
    Call, Command, Compare, Delete, Due, Entry, Op, Put, PutLease, Range, Relation, Target, Txn, Want,
};
pub use copy::{Cursor, LoadError, Loader};
pub use id::{KeyspaceNumber, LeaseId, Sequence, SessionId};
pub use key::{Key, KeyRange, Value};
pub use lease::LeaseInfo;
pub use limits::{Limit, Limits};
pub use row::{Rows, Table};
pub use store::{KeyspaceInfo, Store};
pub use watch::{Batch, Event, TooManyWatches, Watch, WatchEnd, WatchId, WatchLimits, Watchers};
