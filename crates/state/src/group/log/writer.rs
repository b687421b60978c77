//! The one task that writes a group's records, in the order in which they come.

use super::memory::Memory;
use super::record::Record;
use crate::group::raft::{Log, Types};
use bytes::Bytes;
use openraft::storage::IOFlushed;
use selvedge_rt::Tasks;
use selvedge_store::wal::{Error, GroupId, Room, Sequence, Wal};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Bytes of records that are flushed together, about.
const BATCH_BYTES: usize = 4 << 20;

/// How long a full disk is left alone.
const FULL_RETRY: Duration = Duration::from_millis(200);

/// How the log's disk is.
#[derive(Debug, Default)]
pub(in crate::group) struct Health {
    full: AtomicBool,
    /// Whether something was accepted that waits for room.
    waiting: watch::Sender<bool>,
    failed: Mutex<Option<Error>>,
}

impl Health {
    /// Whether there is no room on the disk.
    pub(in crate::group) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Resolves when something that was accepted waits for room on the disk. Cancel-safe.
    pub(in crate::group) async fn waits_for_room(&self) {
        // It fails only without a sender, which this has.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting).await;
    }

    /// Takes note of whether there is room on the disk. As long as something waits for it, there is none for more.
    pub(in crate::group) fn note_full(&self, full: bool) {
        let full = full || *self.waiting.borrow();
        self.full.store(full, Ordering::Relaxed);
    }

    fn note_waiting(&self, waiting: bool) {
        self.waiting.send_if_modified(|former| std::mem::replace(former, waiting) != waiting);
        self.note_full(waiting);
    }

    /// Why nothing more is written, if so.
    pub(in crate::group) fn failed(&self) -> Option<Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is to be written.
pub(super) enum Item {
    /// Entries, and who wants to know that they are flushed.
    Entries { entries: Vec<(Log, Bytes)>, flushed: IOFlushed<Types> },
    /// A vote.
    Vote { record: Bytes, done: oneshot::Sender<io::Result<()>> },
    /// That entries are gone.
    Truncated { record: Bytes },
    /// That entries are purged: older files are then cut off.
    Head { record: Bytes },
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Item::Entries { entries, .. } => entries.iter().map(|(_, bytes)| bytes.len()).sum(),
            Item::Vote { record, .. } | Item::Truncated { record } | Item::Head { record } => record.len(),
        }
    }

    /// Entries wait for room; without the rest, which is small, nothing goes on.
    fn room(&self) -> Room {
        match self {
            Item::Entries { .. } => Room::Free,
            Item::Vote { .. } | Item::Truncated { .. } | Item::Head { .. } => Room::Reserve,
        }
    }

    fn records(&self) -> Vec<Bytes> {
        match self {
            Item::Entries { entries, .. } => entries.iter().map(|(_, bytes)| bytes.clone()).collect(),
            Item::Vote { record, .. } | Item::Truncated { record } | Item::Head { record } => {
                vec![record.clone()]
            }
        }
    }

    fn done(self, result: io::Result<()>) {
        match self {
            Item::Entries { flushed, .. } => flushed.io_completed(result),
            // Who no longer waits does not want to know.
            Item::Vote { done, .. } => drop(done.send(result)),
            Item::Truncated { .. } | Item::Head { .. } => {}
        }
    }
}

pub(super) struct Writer {
    pub(super) group: GroupId,
    pub(super) wal: Wal,
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) health: Arc<Health>,
    pub(super) items: mpsc::Receiver<Item>,
    pub(super) tasks: Tasks,
}

impl Writer {
    pub(super) async fn run(mut self) {
        let tasks = self.tasks.clone();
        let (mut next, mut committed) = (None, None);
        loop {
            let first = match next.take() {
                Some(item) => item,
                None => {
                    let item = tokio::select! {
                        biased;
                        item = self.items.recv() => item,
                        () = tasks.stopped() => None,
                    };
                    let Some(item) = item else { break };
                    item
                }
            };
            let batch = self.gather(first, &mut next);
            let result = self.write(&batch, &mut committed).await;
            let failure = result.err().map(|error| io::Error::other(error.to_string()));
            for item in batch {
                item.done(failure.as_ref().map_or(Ok(()), |e| Err(io::Error::other(e.to_string()))));
            }
        }
    }

    /// What waits, as far as it may be written together.
    fn gather(&mut self, first: Item, next: &mut Option<Item>) -> Vec<Item> {
        let (mut bytes, room) = (first.bytes(), first.room());
        let mut batch = vec![first];
        while bytes < BATCH_BYTES
            && let Ok(item) = self.items.try_recv()
        {
            if item.room() != room {
                *next = Some(item);
                break;
            }
            bytes += item.bytes();
            batch.push(item);
        }
        batch
    }

    async fn write(&self, batch: &[Item], committed: &mut Option<Log>) -> Result<(), Error> {
        let mut records: Vec<Bytes> = batch.iter().flat_map(Item::records).collect();
        let now = self.memory().head().committed;
        if let Some(log) = now.filter(|_| now != *committed) {
            records.push(Record::Committed(log).encode());
        }
        let room = batch.first().map_or(Room::Free, Item::room);
        let mut first = self.append(room, records).await?;
        *committed = now;
        let mut head = None;
        for item in batch {
            match item {
                Item::Entries { entries, .. } => {
                    let mut memory = self.memory();
                    for ((log, _), at) in entries.iter().zip(0..) {
                        memory.flushed(*log, first.plus(at));
                    }
                    first = first.plus(entries.len() as u64);
                    continue;
                }
                // The last batch of a log may be lost to damage without anyone being able to tell; so a vote
                // stands in two.
                Item::Vote { record, .. } => drop(self.append(room, vec![record.clone()]).await?),
                Item::Head { .. } => head = Some(first),
                Item::Truncated { .. } => {}
            }
            first = first.plus(1);
        }
        if let Some(head) = head {
            let needed = self.memory().needed_from(head);
            self.wal.truncate_before(needed).await.map_err(|error| self.note(error))?;
        }
        Ok(())
    }

    /// Appends, once there is room. What was refused was not written, so that it can be tried again; what
    /// failed cannot.
    async fn append(&self, room: Room, records: Vec<Bytes>) -> Result<Sequence, Error> {
        loop {
            match self.wal.append_in(room, self.group, records.clone()).await {
                Ok(first) => {
                    self.health.note_waiting(false);
                    return Ok(first);
                }
                Err(Error::Full { .. }) if !self.tasks.is_stopping() => {
                    self.health.note_waiting(true);
                    tokio::time::sleep(FULL_RETRY).await;
                }
                Err(error) => return Err(self.note(error)),
            }
        }
    }

    fn note(&self, error: Error) -> Error {
        let mut failed = self.health.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(error.clone());
        error
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
