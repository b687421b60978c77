//! The write-ahead log: one for a node, whatever the number of groups that write to it.
//!
//! Files `NUMBER.wal` in one directory, NUMBER being the sequence of the first record, hold records back
//! to back. A batch of records is written and flushed at once, one at a time, and never spans files: so
//! only the last batch can be in doubt after a crash.
//!
//! ```text
//!   open --append--> open        flushed: acknowledged
//!    |  \--disk full--> open     the batch is refused and taken back; reads and later batches go on
//!    \--any other failure--> failed   for good: what a failed sync left behind is unknown, and asking
//!                                     again proves nothing; a new process recovers from what is there
//! ```
//! Recovery cuts a torn last batch and reports it. Damage anywhere else is an error: the log is never
//! silently shortened. A record damaged on the medium within the last batch looks like a torn one; it is
//! reported as such, which is why a node whose log was torn has to treat its last records as unknown: that is
//! on disk, too, until someone who can tell says that they are made up for ([`Log::trust`]).

mod file;
mod log;
mod record;
mod service;

pub use file::check_format;
pub use log::{Log, Recovered, Room};
pub use record::{GroupId, PAYLOAD_BYTES_MAX, Record, Sequence, decode};
pub use service::{Metrics, Wal};

use std::io;
use std::sync::Arc;

/// The limits of a log.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A new file is begun when the present one has this many bytes.
    pub file_bytes: u64,
    /// Appends are refused when less than this would be free afterwards, so that a full disk still has room
    /// to tidy up.
    pub reserve_bytes: u64,
    /// Appends that may wait for a flush.
    pub queue_max: usize,
    /// Payload bytes flushed at once, at most; a single append may have more.
    pub batch_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { file_bytes: 16 << 20, reserve_bytes: 16 << 20, queue_max: 1024, batch_bytes_max: 4 << 20 }
    }
}

/// Why the log could not do what was asked. Cheap to clone: one failure concerns every waiting append.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No space; nothing was written. May pass.
    #[error("the disk at {path} is full: the write was refused; free some space and try again")]
    Full {
        /// Where the log is.
        path: String,
    },
    /// The disk failed. This log takes nothing more; whether the append lasted is unknown.
    #[error("writing the log at {path} failed; it is stopped until the node is restarted on a sound disk")]
    Failed {
        /// Where the log is.
        path: String,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The log cannot be read.
    #[error("reading the log at {path} failed")]
    Read {
        /// Where the log is.
        path: String,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// Records that were there are damaged or missing.
    #[error("the log file {path} is damaged at byte {at}: {what}; restore it from a backup or a peer")]
    Damaged {
        /// Which file.
        path: String,
        /// Where in it.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The file is of a format that this version does not know.
    #[error("the log file {path} has format version {version}; this version reads {known}: use a newer one")]
    Version {
        /// Which file.
        path: String,
        /// The version it states.
        version: u16,
        /// The version that is known.
        known: u16,
    },
    /// A payload is longer than a record may be.
    #[error("a record of {bytes} bytes is longer than the {limit} that fit the log")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it might have been.
        limit: usize,
    },
    /// Records before the first one kept.
    #[error("the log begins at record {first}; {asked} is gone")]
    Truncated {
        /// The record asked for.
        asked: Sequence,
        /// The first one there.
        first: Sequence,
    },
    /// The service has stopped; whether a pending append lasted is unknown.
    #[error("the log's service has stopped")]
    Stopped,
}

impl Error {
    /// Whether the append is known not to have happened, so that it may be tried again.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Full { .. } | Error::TooLong { .. })
    }
}
