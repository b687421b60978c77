//! The log as the consensus library uses it.

use super::memory::Memory;
use super::record::Record;
use super::writer::{Health, Item, Writer};
use crate::group::options::Options;
use crate::group::raft::{Entry, Log, Types, Vote};
use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use selvedge_rt::{OnEnd, Tasks};
use selvedge_store::wal::Wal;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Writes that may wait for the disk.
const QUEUE_MAX: usize = 1024;

/// Bytes of entries read at once to be sent.
const READ_BYTES_MAX: u64 = 1 << 20;

/// A handle to the log.
#[derive(Clone)]
pub(in crate::group) struct LogStore {
    memory: Arc<Mutex<Memory>>,
    health: Arc<Health>,
    writes: mpsc::Sender<Item>,
}

impl LogStore {
    pub(super) fn start(memory: Arc<Mutex<Memory>>, wal: Wal, options: &Options, tasks: &Tasks) -> Self {
        let (writes, items) = mpsc::channel(QUEUE_MAX);
        let health = Arc::<Health>::default();
        let writer = Writer {
            group: options.group,
            wal,
            memory: memory.clone(),
            health: health.clone(),
            items,
            tasks: tasks.clone(),
        };
        tasks.spawn("group log", OnEnd::Forget, writer.run());
        LogStore { memory, health, writes }
    }

    /// The log as it is in memory.
    pub(in crate::group) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How its disk is.
    pub(in crate::group) fn health(&self) -> &Health {
        &self.health
    }

    async fn write(&self, item: Item) -> io::Result<()> {
        self.writes.send(item).await.map_err(|_| stopped())
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log's writer has stopped")
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, end) = bounds(&range);
        Ok(self.memory().read(from, end, u64::MAX))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        Ok(self.memory().read(start, end, READ_BYTES_MAX))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.memory().head().vote)
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (from, end)
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let memory = self.memory();
        Ok(LogState { last_purged_log_id: memory.head().purged, last_log_id: memory.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.memory().set_vote(*vote);
        let (done, flushed) = oneshot::channel();
        self.write(Item::Vote { record: Record::Vote(*vote).encode(), done }).await?;
        flushed.await.map_err(|_| stopped())?
    }

    async fn save_committed(&mut self, committed: Option<Log>) -> io::Result<()> {
        self.memory().set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<Log>> {
        Ok(self.memory().head().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let records = entries.iter().cloned().map(|entry| (entry.log_id, Record::Entry(entry).encode()));
        let records: Vec<(Log, Bytes)> = records.collect();
        {
            let mut memory = self.memory();
            entries.into_iter().for_each(|entry| memory.append(entry));
        }
        self.write(Item::Entries { entries: records, flushed: callback }).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<Log>) -> io::Result<()> {
        self.memory().truncate(last_log_id);
        self.write(Item::Truncated { record: Record::Truncated(last_log_id).encode() }).await
    }

    async fn purge(&mut self, log_id: Log) -> io::Result<()> {
        let head = {
            let mut memory = self.memory();
            memory.purge(log_id);
            memory.head()
        };
        self.write(Item::Head { record: Record::Head(head).encode() }).await
    }
}
