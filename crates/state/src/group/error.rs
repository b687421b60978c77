//! What goes wrong, and whether anything was done.

use super::codec::CodecError;
use super::id::VoterId;
use selvedge_kv::{LoadError, Refusal};
use selvedge_store::{engine, wal};
use selvedge_types::ClusterId;
use std::time::Duration;

/// Why a group's store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log cannot be used; damage of it is repaired from peers: see [`super::repair`].
    #[error("the group's log cannot be used")]
    Log(#[from] wal::Error),
    /// The tables cannot be used.
    #[error("the group's tables cannot be used")]
    Tables(#[from] engine::Error),
    /// The tables' rows are not a store.
    #[error("the group's tables do not hold a store")]
    Rows(#[from] LoadError),
    /// A record or row cannot be read.
    #[error("what the group wrote cannot be read")]
    Record {
        /// Why not.
        #[from]
        source: CodecError,
    },
    /// Records are missing in the log, or between tables and log.
    #[error("entries are missing between the group's tables and its log; repair it from peers")]
    Gap,
    /// It is of another cluster.
    #[error("the data is of cluster {found}, not {expected}; start with the right directory")]
    Cluster {
        /// Whose it is.
        found: ClusterId,
        /// Whose it should be.
        expected: ClusterId,
    },
    /// The directory cannot be used.
    #[error("the group's directory cannot be used")]
    Disk(#[from] std::io::Error),
    /// Options that contradict each other.
    #[error("the group's options cannot be: {0}")]
    Options(String),
    /// The consensus did not start.
    #[error("the group did not start: {0}")]
    Consensus(String),
}

impl OpenError {
    /// Whether what was there is damaged, so that the node must not go on as who it was: it can come back
    /// as another, with what its peers have.
    pub fn is_damage(&self) -> bool {
        match self {
            OpenError::Log(error) => matches!(error, wal::Error::Damaged { .. }),
            OpenError::Tables(error) => matches!(error, engine::Error::Damaged { .. }),
            OpenError::Rows(_) | OpenError::Gap => true,
            OpenError::Record { source } => matches!(source, CodecError::Form(_)),
            OpenError::Cluster { .. }
            | OpenError::Disk(_)
            | OpenError::Options(_)
            | OpenError::Consensus(_) => false,
        }
    }
}

/// Why something asked of a group was not done, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody leads, or the leader cannot be reached. Nothing was changed.
    #[error(
        "no leader was reached within {:.1} s; nothing was changed: try again when more voters are up",
        waited.as_secs_f64()
    )]
    NoLeader {
        /// How long it was tried.
        waited: Duration,
    },
    /// Too much is under way. Nothing was changed.
    #[error("this node has {max} proposals under way, as many as it takes; nothing was changed: slow down")]
    Busy {
        /// How many it takes.
        max: usize,
    },
    /// The leader's disk is full. Nothing was changed.
    #[error("the leader's disk is full; nothing was changed: free some space there")]
    Full,
    /// The outcome is not known: it may have been done, or be done yet.
    #[error("whether it was done is unknown: {why}; look, or repeat it in its session")]
    Unknown {
        /// Why.
        why: &'static str,
    },
    /// The node's store has stopped. Nothing was changed by this node.
    #[error("this node's store has stopped: {why}; restart it on a sound disk")]
    Stopped {
        /// Why.
        why: String,
    },
    /// The store cannot be copied. Nothing was changed.
    #[error("the store cannot be copied: {why}")]
    NoImage {
        /// Why.
        why: String,
    },
    /// The read could not be made as fresh as it was wanted.
    #[error(
        "revision {wanted} was not reached within {:.1} s; this node may be cut off: read elsewhere",
        waited.as_secs_f64()
    )]
    Behind {
        /// The revision wanted.
        wanted: selvedge_types::Revision,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A member that should vote is too far behind.
    #[error("member {member} is not caught up; wait until it is, or look why it lags")]
    NotCaughtUp {
        /// Who.
        member: VoterId,
    },
    /// No such member.
    #[error("member {member} is not in the group; add it as a learner first")]
    NoMember {
        /// Who.
        member: VoterId,
    },
    /// Another change of the members is under way.
    #[error("another change of the members is under way; try again when it is done")]
    ChangeInProgress,
    /// The change of the members cannot be.
    #[error("the members cannot be changed so: {0}")]
    Membership(String),
    /// The command is larger than an entry may be. Nothing was changed.
    #[error("the command has {bytes} bytes, more than the {max} of an entry; nothing was changed: split it")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// The message is not for this node, or from a node of another cluster or version.
    #[error("a message was refused: {0}")]
    Message(String),
}

impl Error {
    /// Whether it may have been done all the same.
    pub fn is_unknown(&self) -> bool {
        match self {
            Error::Unknown { .. } => true,
            Error::Refused(refusal) => refusal.is_unknown(),
            _ => false,
        }
    }
}
