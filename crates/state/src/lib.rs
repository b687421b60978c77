//! The control state: what is declared, who may use the API, what was purged.
//!
//! ```text
//!   command --queue--> log (flushed) --> machine --> observer, watches, snapshot --> acknowledged
//!                                           \--> tables (checkpoints, so that the log can be cut)
//! ```
//! Everything that changes does so by a [`Command`] in the log; what a command does depends on the log's
//! entry and the state alone, the time included. One local writer appends to the log today; a replicated
//! log can take its place without any change to what is here.
//!
//! The data plane gets [`selvedge_types::Snapshot`]s and nothing else. The last one is kept in a file of
//! its own, so that a node can serve from it when the state cannot be opened.

mod codec;
mod command;
pub mod group;
mod history;
mod machine;
mod recovery;
mod service;
mod snapshots;
mod state;

pub use codec::decode_entry;
pub use command::{Command, Entry};
pub use history::{Watch, WatchError};
pub use machine::{Change, Kind, Machine, ObjectName, Rejection, Stamp, Value, Version};
pub use service::Metrics;
pub use snapshots::{SnapshotFile, SnapshotFileError};
pub use state::{Declared, Observer, Opened, Setup, State};

use selvedge_store::{engine, wal};
use selvedge_types::{Revision, SnapshotError};

/// The limits of the control state.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The log's limits.
    pub wal: wal::Options,
    /// The tables' limits.
    pub engine: engine::Options,
    /// Commands that may wait.
    pub queue_max: usize,
    /// Changes that a watch can catch up with.
    pub history_max: usize,
    /// Log records after which the tables are made to last and the log is cut.
    pub checkpoint_records: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            wal: wal::Options::default(),
            engine: engine::Options::default(),
            queue_max: 1024,
            history_max: 10_000,
            checkpoint_records: 1000,
        }
    }
}

/// Why the control state cannot be opened, or did not make a change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command breaks a rule, or comes too late. Nothing was changed.
    #[error("the change was refused")]
    Rejected(#[from] Rejection),
    /// The log took nothing, or whether it did is unknown: see [`wal::Error::is_refusal`].
    #[error("the log of the control state did not take the change")]
    Log(#[from] wal::Error),
    /// The tables cannot be used.
    #[error("the tables of the control state cannot be used")]
    Tables(#[from] engine::Error),
    /// What is on disk was not written by this version, or is damaged.
    #[error("the control state holds what this version cannot read: {what}; use a newer version or a backup")]
    Unreadable {
        /// What it is.
        what: String,
    },
    /// Log and tables do not belong together.
    #[error("the log ends at record {log}, but the tables hold {tables}; restore both from one backup")]
    LogBehind {
        /// Where the log ends.
        log: wal::Sequence,
        /// Up to where the tables go.
        tables: wal::Sequence,
    },
    /// The log begins after the tables end.
    #[error("the log begins at record {log}, but the tables end at {tables}; restore both from one backup")]
    LogAhead {
        /// Where the log begins.
        log: wal::Sequence,
        /// Up to where the tables go.
        tables: wal::Sequence,
    },
    /// The last snapshot is newer than the state: something that was acknowledged is gone.
    #[error(
        "the state is at revision {state}, but had reached {snapshot}: it has lost changes; restore it, or \
         remove the file `snapshot` to go on without them"
    )]
    Lost {
        /// Where the state is.
        state: Revision,
        /// Where it had been.
        snapshot: Revision,
    },
    /// The directory cannot be used.
    #[error("the directory of the control state cannot be used")]
    Disk(#[from] std::io::Error),
    /// A snapshot could not be encoded.
    #[error("a snapshot could not be made")]
    Snapshot(#[from] SnapshotError),
    /// The service has stopped, and took no change.
    #[error("the control state has stopped; nothing was changed")]
    Closed,
    /// The service stopped while a change was pending: whether it was made is unknown.
    #[error("the control state stopped before it said whether the change was made")]
    Stopped,
}

impl Error {
    /// Whether the change is known not to have been made.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::Rejected(_) | Error::Closed => true,
            Error::Log(error) => error.is_refusal(),
            _ => false,
        }
    }
}
