//! A group's log as it is in memory: all entries that are kept, flushed or not yet, and what the records
//! on disk add up to.

use super::record::{Head, Identity, Record};
use crate::group::raft::{Entry, Log, Vote};
use selvedge_store::wal::Sequence;
use std::collections::VecDeque;

/// What a log holds beside its bytes, in bytes: about what memory an entry takes.
const ENTRY_OVERHEAD_BYTES: u64 = 128;

/// An entry and where it is on disk; none until it is flushed.
#[derive(Clone, Debug)]
struct Kept {
    entry: Entry,
    sequence: Option<Sequence>,
}

/// The log.
#[derive(Debug)]
pub(in crate::group) struct Memory {
    identity: Identity,
    vote: Option<Vote>,
    committed: Option<Log>,
    purged: Option<Log>,
    /// Next to each other, the first right after what was purged.
    entries: VecDeque<Kept>,
    bytes: u64,
}

impl Memory {
    /// A log without anything.
    pub(super) fn new(identity: Identity) -> Self {
        Memory { identity, vote: None, committed: None, purged: None, entries: VecDeque::new(), bytes: 0 }
    }

    /// What is known beside the entries.
    pub(in crate::group) fn head(&self) -> Head {
        Head { identity: self.identity, vote: self.vote, committed: self.committed, purged: self.purged }
    }

    /// The last entry; the last purged one if none is kept.
    pub(in crate::group) fn last(&self) -> Option<Log> {
        self.entries.back().map(|kept| kept.entry.log_id).or(self.purged)
    }

    /// Bytes that the entries take in memory, about.
    pub(in crate::group) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The newest place up to which all may be purged so that about so many bytes are left.
    pub(in crate::group) fn place_keeping(&self, bytes_max: u64) -> Option<Log> {
        let mut bytes = 0;
        let older = self.entries.iter().rev().skip_while(|kept| {
            bytes += cost(&kept.entry);
            bytes <= bytes_max
        });
        older.map(|kept| kept.entry.log_id).next()
    }

    /// The entries from one place up to before another, as far as they are kept.
    pub(super) fn read(&self, from: u64, end: u64, bytes_max: u64) -> Vec<Entry> {
        let first = self.first_index();
        let from = from.max(first);
        let skipped = usize::try_from(from - first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let wanted = self.entries.iter().skip(skipped).map(|kept| &kept.entry);
        let wanted = wanted.take_while(|entry| entry.log_id.index < end);
        // One that is larger goes alone.
        let room = wanted.take_while(|entry| {
            let first = bytes == 0;
            bytes += cost(entry);
            first || bytes <= bytes_max
        });
        room.cloned().collect()
    }

    pub(super) fn set_vote(&mut self, vote: Vote) {
        self.vote = Some(vote);
    }

    pub(super) fn set_committed(&mut self, committed: Option<Log>) {
        self.committed = committed;
    }

    /// Takes an entry; those at its place and after it are gone.
    pub(super) fn append(&mut self, entry: Entry) {
        let index = entry.log_id.index;
        self.drop_from(index);
        self.bytes += cost(&entry);
        self.entries.push_back(Kept { entry, sequence: None });
    }

    /// Drops what is after a place.
    pub(super) fn truncate(&mut self, after: Option<Log>) {
        self.drop_from(after.map_or(0, |log| log.index + 1));
    }

    /// Drops what is up to a place. Beyond the end of the log nothing is left of it.
    pub(super) fn purge(&mut self, upto: Log) {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        while self.entries.front().is_some_and(|kept| kept.entry.log_id.index <= upto.index) {
            let Some(gone) = self.entries.pop_front() else { break };
            self.bytes -= cost(&gone.entry);
        }
        self.purged = Some(upto);
    }

    /// Notes where an entry is on disk, if it is still the one at its place.
    pub(super) fn flushed(&mut self, log: Log, sequence: Sequence) {
        let Some(at) = log.index.checked_sub(self.first_index()) else { return };
        let kept = usize::try_from(at).ok().and_then(|at| self.entries.get_mut(at));
        if let Some(kept) = kept.filter(|kept| kept.entry.log_id == log) {
            kept.sequence = Some(sequence);
        }
    }

    /// The record from which on the disk's log is needed, if a head was just written as `head`.
    pub(super) fn needed_from(&self, head: Sequence) -> Sequence {
        // What is not flushed yet comes after the head.
        let first = self.entries.front().and_then(|kept| kept.sequence);
        first.map_or(head, |first| first.min(head))
    }

    /// Does what a record on disk says.
    pub(super) fn replay(&mut self, record: Record, sequence: Sequence) {
        match record {
            Record::Head(head) => {
                self.identity = head.identity;
                self.vote = head.vote.or(self.vote);
                self.committed = head.committed.max(self.committed);
                if let Some(purged) = head.purged {
                    self.purge(purged);
                }
            }
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Entry(entry) => self.replay_entry(entry, sequence),
            Record::Truncated(after) => self.truncate(after),
            Record::Committed(log) => self.committed = self.committed.max(Some(log)),
        }
    }

    /// An entry from before the last purge is there as long as its file is; it counts no more. The first one
    /// may follow anything: a head that comes later says up to where the log was purged.
    fn replay_entry(&mut self, entry: Entry, sequence: Sequence) {
        let log = entry.log_id;
        if self.purged.is_some_and(|purged| log.index <= purged.index) {
            return;
        }
        self.append(entry);
        self.flushed(log, sequence);
    }

    fn first_index(&self) -> u64 {
        match self.entries.front() {
            Some(kept) => kept.entry.log_id.index,
            None => self.purged.map_or(0, |purged| purged.index + 1),
        }
    }

    fn drop_from(&mut self, index: u64) {
        while self.entries.back().is_some_and(|kept| kept.entry.log_id.index >= index) {
            let Some(gone) = self.entries.pop_back() else { break };
            self.bytes -= cost(&gone.entry);
        }
    }

    /// Whether the entries follow each other, and the purged ones: else records are missing.
    pub(super) fn is_whole(&self) -> bool {
        let next = self.purged.map_or(0, |purged| purged.index + 1);
        self.entries.iter().zip(next..).all(|(kept, index)| kept.entry.log_id.index == index)
    }
}

fn cost(entry: &Entry) -> u64 {
    let payload = match &entry.payload {
        openraft::EntryPayload::Normal(proposal) => proposal.0.len() as u64,
        openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => 0,
    };
    payload + ENTRY_OVERHEAD_BYTES
}
