//! A group's log: in memory as a whole, and in the node's write-ahead log for the next start.
//!
//! ```text
//!   append, vote, truncate, purge --> memory (readable at once)
//!                                \--> queue --> writer --> write-ahead log --> flushed: said to whoever waits
//! ```
//! One flush is under way at a time, everything that arrives meanwhile joins the next. All writes are in one
//! order. How far entries are committed is noted with the next flush, and causes none.

mod memory;
mod record;
mod storage;
mod writer;

pub(super) use memory::Memory;
pub use record::decode_record;
pub(super) use record::{Head, Identity};
pub(super) use storage::LogStore;

use super::error::OpenError;
use super::id::VoterId;
use super::options::Options;
use record::Record;
use selvedge_rt::{Disk, Tasks};
use selvedge_store::wal::{self, Log as DiskLog, Recovered, Wal};
use std::sync::{Arc, Mutex};

/// A log that was opened.
pub(super) struct Opened {
    pub(super) store: LogStore,
    pub(super) wal: Wal,
    /// The last batch was cut and is not made up for.
    pub(super) torn: bool,
}

/// What the disk's log holds of the group.
pub(super) struct Found {
    log: DiskLog,
    pub(super) memory: Memory,
    recovered: Recovered,
}

/// Reads the log in `disk`, or begins one as `fresh`. Blocking.
pub(super) fn read(disk: Disk, options: &Options, fresh: Identity) -> Result<Found, OpenError> {
    let mut memory = Memory::new(fresh);
    let (mut headed, mut failure, mut count) = (false, None, 0u64);
    let (mut log, recovered) = DiskLog::open(disk, options.wal, |found| {
        if found.group != options.group || failure.is_some() {
            return;
        }
        count += 1;
        match Record::decode(found.payload) {
            Ok(record) => {
                headed |= matches!(record, Record::Head(_));
                memory.replay(record, found.sequence);
            }
            Err(error) => failure = Some(error),
        }
    })?;
    if let Some(source) = failure {
        return Err(OpenError::Record { source });
    }
    if count > 0 && (!headed || !memory.is_whole()) {
        return Err(OpenError::Gap);
    }
    if count == 0 {
        let head = Record::Head(memory.head()).encode();
        log.append_in(wal::Room::Reserve, [(options.group, &head[..])])?;
    }
    Ok(Found { log, memory, recovered })
}

impl Found {
    /// Whose log it is.
    pub(super) fn identity(&self) -> Identity {
        self.memory.head().identity
    }

    /// Whether nothing was ever in it.
    pub(super) fn is_blank(&self) -> bool {
        self.memory.last().is_none() && self.memory.head().vote.is_none()
    }

    /// Begins to write to it.
    pub(super) fn start(self, options: &Options, tasks: &Tasks, metrics: wal::Metrics) -> Opened {
        let wal = Wal::start(self.log, tasks, metrics);
        let memory = Arc::new(Mutex::new(self.memory));
        let store = LogStore::start(memory, wal.clone(), options, tasks);
        Opened { store, wal, torn: self.recovered.torn }
    }
}

/// Begins a log where there is none, as one of which all was cut off that `head` says. Blocking.
pub(super) fn begin_with(disk: Disk, options: &Options, head: Head) -> Result<(), OpenError> {
    let (mut log, _) = DiskLog::open(disk, options.wal, |_| {})?;
    let head = Record::Head(head).encode();
    log.append_in(wal::Room::Reserve, [(options.group, &head[..])])?;
    Ok(())
}

/// Takes a damaged log away, so that the node can begin anew under another number. What it promised is
/// forgotten: only a node whose old number will never vote again may do this. Blocking.
pub(super) fn give_up(disk: &Disk) -> std::io::Result<()> {
    for name in disk.list()? {
        disk.remove(&name)?;
    }
    disk.sync()
}

/// A number for a log that begins.
pub(super) fn fresh_voter(rng: &mut selvedge_rt::Rng) -> VoterId {
    VoterId(rng.next_u64().max(1))
}
