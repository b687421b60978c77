//! One keyspace: every key's versions since the last compaction, its leases, and what it all takes.
//!
//! ```text
//!   created ........ swept ........ compacted ........ present
//!            gone            to go              kept
//! ```
//! Up to `compacted` only the newest version of each key counts. What compaction made superfluous goes bit
//! by bit, with the entries that follow: [`Keyspace::sweep`] looks at each change once, in order, and drops
//! what is older of the same key.

use crate::change::{Change, Position};
use crate::id::LeaseId;
use crate::key::{Key, KeyRange};
use crate::lease::Lease;
use minicbor::{Decode, Encode};
use selvedge_types::Revision;
use selvedge_types::resource::KeyspaceId;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// A keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keyspace {
    pub(crate) about: About,
    pub(crate) leases: BTreeMap<LeaseId, Lease>,
    /// Each key's versions, the newest last.
    keys: BTreeMap<Key, VecDeque<Arc<Change>>>,
    changes: BTreeMap<Position, Arc<Change>>,
    /// What all changes cost.
    bytes: u64,
    /// Changes after `compacted`.
    history: u64,
}

/// What is kept of a keyspace in one row.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct About {
    #[cbor(n(0), with = "crate::codec::text")]
    pub(crate) name: KeyspaceId,
    #[n(1)]
    pub(crate) quota_bytes: u64,
    #[n(2)]
    pub(crate) created: Revision,
    /// The oldest revision that can be read.
    #[n(3)]
    pub(crate) compacted: Revision,
    /// Up to here, what compaction made superfluous is gone.
    #[n(4)]
    pub(crate) swept: Position,
    /// Whether nothing of it counts any more, and it only waits to be swept.
    #[n(5)]
    pub(crate) removed: bool,
}

impl Keyspace {
    pub(crate) fn new(name: KeyspaceId, quota_bytes: u64, created: Revision) -> Self {
        let (compacted, swept) = (created, Position::start(created));
        Self::from_about(About { name, quota_bytes, created, compacted, swept, removed: false })
    }

    pub(crate) fn from_about(about: About) -> Self {
        Keyspace {
            about,
            leases: BTreeMap::new(),
            keys: BTreeMap::new(),
            changes: BTreeMap::new(),
            bytes: 0,
            history: 0,
        }
    }

    /// What keys, values and history take, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The newest version of a key, if it is there.
    pub(crate) fn latest(&self, key: &[u8]) -> Option<&Change> {
        self.keys.get(key)?.back().map(|c| &**c).filter(|c| c.record.is_some())
    }

    /// The version that a change replaced, if it is kept.
    pub(crate) fn before(&self, change: &Change) -> Option<&Change> {
        version_at(self.keys.get(&change.key)?, |p| p < change.position)
    }

    /// The keys of a range, each with what it was at a revision, or is now.
    pub(crate) fn scan<'a>(
        &'a self,
        keys: &KeyRange,
        at: Option<Revision>,
    ) -> impl Iterator<Item = (&'a Key, Option<&'a Change>)> + use<'a> {
        let entries = keys.bounds().map(|bounds| self.keys.range::<[u8], _>(bounds));
        entries
            .into_iter()
            .flatten()
            .map(move |(key, versions)| (key, version_at(versions, |p| at.is_none_or(|at| p.revision <= at))))
    }

    /// All changes that are kept, from a position on.
    pub(crate) fn changes_from(&self, from: Position) -> impl Iterator<Item = &Arc<Change>> {
        self.changes.range(from..).map(|(_, change)| change)
    }

    /// Adds a change, newer than all there are.
    pub(crate) fn add(&mut self, change: Arc<Change>) {
        let old = self.latest(&change.key).and_then(|c| c.record.as_ref()?.lease);
        let new = change.record.as_ref().and_then(|r| r.lease);
        if old != new {
            if let Some(lease) = old.and_then(|id| self.leases.get_mut(&id)) {
                lease.keys.remove(&change.key);
            }
            if let Some(lease) = new.and_then(|id| self.leases.get_mut(&id)) {
                lease.keys.insert(change.key.clone());
            }
        }
        self.bytes += change.cost();
        self.history += u64::from(change.position.revision > self.about.compacted);
        self.keys.entry(change.key.clone()).or_default().push_back(change.clone());
        self.changes.insert(change.position, change);
    }

    /// Makes a revision the oldest that can be read.
    pub(crate) fn compact(&mut self, revision: Revision) {
        let from = Position::start(Revision(self.about.compacted.0 + 1));
        let passed = self.changes_from(from).take_while(|c| c.position.revision <= revision).count();
        self.history -= passed as u64;
        self.about.compacted = revision;
    }

    /// Compacts the oldest revisions while there are more changes than may be kept; returns whether it did.
    pub(crate) fn trim(&mut self, history_max: u64) -> bool {
        let before = self.about.compacted;
        while self.history > history_max {
            let from = Position::start(Revision(self.about.compacted.0 + 1));
            let Some(oldest) = self.changes_from(from).next().map(|c| c.position.revision) else { break };
            self.compact(oldest);
        }
        self.about.compacted != before
    }

    /// The next change that [`Keyspace::sweep`] would look at.
    fn to_sweep(&self) -> Option<&Arc<Change>> {
        let after = (Bound::Excluded(self.about.swept), Bound::Unbounded);
        let mut rest = self.changes.range(after).map(|(_, change)| change);
        rest.next().filter(|c| self.about.removed || c.position.revision <= self.about.compacted)
    }

    /// Whether there may be something to sweep.
    pub(crate) fn is_unswept(&self) -> bool {
        self.about.removed || self.to_sweep().is_some()
    }

    /// Looks at the next compacted changes, at most so many; returns the places of those that are gone.
    pub(crate) fn sweep(&mut self, max: u64) -> Vec<Position> {
        let mut gone = Vec::new();
        for _ in 0..max {
            let Some(change) = self.to_sweep().cloned() else { break };
            self.about.swept = change.position;
            let goes = self.about.removed || change.record.is_none();
            let Some(versions) = self.keys.get_mut(&change.key) else { continue };
            let stays = |p: Position| p > change.position || (p == change.position && !goes);
            while versions.front().is_some_and(|oldest| !stays(oldest.position)) {
                gone.extend(versions.pop_front().map(|c| (c.position, c.cost())));
            }
            if versions.is_empty() {
                self.keys.remove(&change.key);
            }
        }
        for (position, cost) in &gone {
            self.changes.remove(position);
            self.bytes -= cost;
            self.history -= u64::from(position.revision > self.about.compacted);
        }
        gone.into_iter().map(|(position, _)| position).collect()
    }

    /// Whether it holds nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.leases.is_empty()
    }
}

/// The newest of the versions whose place is meant, unless it is a deletion.
fn version_at(versions: &VecDeque<Arc<Change>>, meant: impl Fn(Position) -> bool) -> Option<&Change> {
    // Nearly always the newest is meant.
    let newest = versions.back().filter(|c| meant(c.position));
    let found = match newest {
        Some(newest) => newest,
        None => versions.get(versions.partition_point(|c| meant(c.position)).checked_sub(1)?)?,
    };
    Some(&**found).filter(|c| c.record.is_some())
}
