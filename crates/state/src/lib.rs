//! The control state: what is declared, who may use the API, what was purged; and the replicated group that keeps it.
//!
//! ```text
//!   command --plan (from what is seen here)--> transaction --group--> store --> view --> observer, watches
//!      ^                                            |                             \--> snapshots, and their file
//!      \---- plan again: something came between -----/
//! ```
//! It lives in a keyspace of the group like any other: a [`Command`] becomes a transaction that names what must not
//! have changed meanwhile. So the rules are applied where a command comes in, and the group only compares.
//!
//! The data plane gets [`selvedge_types::Snapshot`]s and nothing else. The last one is kept in a file of
//! its own, so that a node can serve from it when the state cannot be opened, or others cannot be reached.

mod backup;
mod codec;
mod command;
mod frames;
pub mod group;
mod history;
mod metrics;
pub mod mirror;
mod node;
mod object;
mod plan;
mod publish;
mod snapshots;
mod state;
mod view;

pub use backup::{Backup, BackupContents, BackupError, BackupHead, BackupParts};
pub use codec::decode_object;
pub use command::Command;
pub use history::{Watch, WatchError};
pub use metrics::Metrics;
pub use node::{ADDRESSES_MAX, ClusterRecord, NodeRecord, Serves};
pub use object::{Change, Kind, ObjectName, Stamp, Value, Version};
pub use plan::Rejection;
pub use snapshots::{SnapshotFile, SnapshotFileError};
pub use state::{Declared, Observer, Opened, Setup, State};

use selvedge_types::{Revision, SnapshotError};

/// The limits of the control state.
#[derive(Clone, Debug)]
pub struct Options {
    /// Those of the group that keeps it.
    pub group: group::Options,
    /// Changes that a watch can catch up with.
    pub history_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        let mut group = group::Options::default();
        // A manifest is one transaction, whatever it changes.
        group.limits.ops_max = group.limits.changes_max;
        Options { group, history_max: 10_000 }
    }
}

/// Why the control state cannot be opened, or did not make a change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command breaks a rule, or comes too late. Nothing was changed.
    #[error("the change was refused")]
    Rejected(#[from] Rejection),
    /// What is on disk cannot be used.
    #[error("the control state cannot be opened")]
    Open(#[from] group::OpenError),
    /// The group did not take the change, or whether it did is unknown: see [`group::Error::is_unknown`].
    #[error(transparent)]
    Group(#[from] group::Error),
    /// An object cannot be written.
    #[error("an object of the control state cannot be written: {what}")]
    Unreadable {
        /// Which, and why.
        what: String,
    },
    /// Others changed the same again and again. Nothing was changed.
    #[error("others changed the same {tries} times meanwhile; nothing was changed: try again")]
    Contended {
        /// How often it was tried.
        tries: usize,
    },
    /// The change was made, but this node has not seen it in time.
    #[error("the change was made as revision {revision}, but this node has not seen it yet")]
    NotSeen {
        /// As which revision.
        revision: Revision,
    },
    /// The directory is one of a version that kept the state otherwise.
    #[error(
        "the data directory is of a version before clusters, whose state this one does not read; apply the manifest to \
         a node with a new data directory"
    )]
    Former,
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
    /// A snapshot is not one of this version.
    #[error("the snapshot is not one for this version")]
    Snapshot(#[from] SnapshotError),
    /// It has stopped, and took no change.
    #[error("the control state has stopped; nothing was changed")]
    Closed,
    /// It stopped while a change was pending: whether it was made is unknown.
    #[error("the control state stopped before it said whether the change was made")]
    Stopped,
}

impl Error {
    /// Whether the change is known not to have been made.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::Rejected(_) | Error::Closed | Error::Contended { .. } => true,
            Error::Group(error) => !error.is_unknown(),
            _ => false,
        }
    }
}
