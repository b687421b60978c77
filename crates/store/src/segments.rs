//! The cache's disk tier: objects appended to large files, the oldest file given up for the next.
//!
//! ```text
//!   put -> queue -> [ newest file ] ... [ file ] [ oldest file ] -> reclaimed: what is hot is written anew
//!            ^             ^
//!      hot enough?  get -> index: key -> place and heat, 20 bytes an object
//! ```
//! Nothing is synced and nothing is promised to be there: whatever is read is checked against its
//! checksums and its full key, and what does not pass is a miss. An object that is removed from the index
//! may come back after a restart; the caller compares its fetch's time with purges, as it does anyway. What it
//! compares with and has nowhere else it may leave here, as stamps among the objects.

mod file;
mod index;
mod location;
mod read;
mod record;
mod set;
mod stamps;
mod tier;
mod worth;
mod write;

pub use file::scan;
pub use index::{DiskIndex, Indexed};
pub use location::{Location, SEGMENT_BYTES_MAX};
pub use read::Located;
pub use record::{Found, Head, Key, Kind, META_BYTES_MAX, NewRecord};
pub use set::{Opened, Segments};
pub use stamps::DiskStamp;
pub use tier::{DiskTier, Metrics, Offer};
pub use write::Tally;

use std::io;
use std::time::Duration;

/// The limits of the disk tier.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of all files together, at most.
    pub bytes_max: u64,
    /// Bytes of one file, at most [`SEGMENT_BYTES_MAX`], and at most a quarter of all; less where there would be
    /// few files.
    pub segment_bytes: u32,
    /// Objects, at most: bounds the index's memory.
    pub entries_max: usize,
    /// Bytes to leave free on the disk for others.
    pub reserve_bytes: u64,
    /// Bytes that may wait to be written; what comes on top is not stored.
    pub queue_bytes_max: usize,
    /// Objects that may wait to be written.
    pub queue_max: usize,
    /// Reads that wait for the device at once; more wait for these.
    pub reads_max: usize,
    /// Stamps, at most, and as many as half a file holds. One more, and all that was fetched before it is given
    /// up instead.
    pub stamps_max: usize,
    /// How long nothing is written after the first failure; doubled by each that follows.
    pub retry_after: Duration,
    /// How long nothing is written after a failure, at most.
    pub retry_after_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bytes_max: 10 << 30,
            segment_bytes: location::SEGMENT_BYTES_MAX,
            entries_max: 50_000_000,
            reserve_bytes: 256 << 20,
            queue_bytes_max: 64 << 20,
            queue_max: 16_384,
            reads_max: 128,
            stamps_max: 65_536,
            retry_after: Duration::from_secs(1),
            retry_after_max: Duration::from_secs(60),
        }
    }
}

const MIB: u64 = 1 << 20;

/// Why objects could not be written. The cache goes on in RAM alone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk took no more.
    #[error("the cache's disk at {path} is full; it is used again when there is space")]
    Full {
        /// Where the files are.
        path: String,
    },
    /// No space for another file beside what is to be left free.
    #[error(
        "the cache's disk at {path} has {} MiB free, and the cache leaves {} MiB to others; \
         it is used again when there is space", .free / MIB, .reserved / MIB
    )]
    Reserved {
        /// Where the files are.
        path: String,
        /// What is free, in bytes.
        free: u64,
        /// What is to be left free ([`Options::reserve_bytes`]).
        reserved: u64,
    },
    /// Nothing is written any more: the files may be another's by now.
    #[error("the cache's disk at {path} was let go of")]
    Closed {
        /// Where the files are.
        path: String,
    },
    /// The disk failed.
    #[error("using the cache's disk at {path} failed")]
    Failed {
        /// Where the files are.
        path: String,
        /// What it said.
        source: io::Error,
    },
}
