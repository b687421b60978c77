//! Watches: every change of a range of keys, once and in order, from any revision that is kept.
//!
//! ```text
//!   pending --poll reaches the present--> quiet --a change that it wants--> pending
//!      \--its next revision is compacted--> Compacted        \--keyspace removed--> Removed
//! ```
//! A watch has no buffer of its own: it is a place in the keyspace's history, which all share and whose
//! length is bounded ([`crate::Limits::history_max`]). Who polls too slowly finds that place compacted and is
//! told so; nothing is skipped. What is kept here is a node's own and not replicated.
//!
//! A change costs a look-up among the single keys watched and one comparison for each different span of keys
//! that begins before it.

use crate::answer::{KeyValue, Outcome};
use crate::change::{Change, Position};
use crate::id::KeyspaceNumber;
use crate::key::{Key, KeyRange};
use crate::keyspace::Keyspace;
use crate::store::Store;
use selvedge_types::Revision;
use selvedge_types::planted::{Bug, is_planted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The limits of a node's watches.
#[derive(Clone, Copy, Debug)]
pub struct WatchLimits {
    /// Watches.
    pub watches_max: usize,
    /// Events in one batch; one revision's are never parted.
    pub events_max: usize,
    /// Bytes of keys and values in one batch, likewise.
    pub bytes_max: u64,
    /// Changes looked at for one batch, likewise.
    pub scan_max: usize,
}

impl Default for WatchLimits {
    fn default() -> Self {
        WatchLimits { watches_max: 100_000, events_max: 1_000, bytes_max: 1 << 20, scan_max: 10_000 }
    }
}

/// A watch's name on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// In which keyspace.
    pub keyspace: KeyspaceNumber,
    /// Which keys.
    pub keys: KeyRange,
    /// The first revision wanted; none for what comes after the present one.
    pub from: Option<Revision>,
    /// Whether puts are wanted.
    pub puts: bool,
    /// Whether deletions are wanted.
    pub deletions: bool,
    /// Whether events tell what was there before, as far as it is not compacted.
    pub previous: bool,
}

impl Watch {
    /// All changes of these keys, from a revision on.
    pub fn new(keyspace: KeyspaceNumber, keys: KeyRange, from: Option<Revision>) -> Self {
        Watch { keyspace, keys, from, puts: true, deletions: true, previous: false }
    }

    fn wants(&self, change: &Change) -> bool {
        let kind = if change.record.is_some() { self.puts } else { self.deletions };
        kind && self.keys.contains(&change.key)
    }
}

/// A change that a watch wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The change.
    pub change: Arc<Change>,
    /// What was there before, if that was asked for and is kept.
    pub previous: Option<KeyValue>,
}

/// Some of a watch's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// All events of whole revisions, in order.
    pub events: Vec<Event>,
    /// Every event up to this revision has now been given.
    pub through: Revision,
    /// Whether there may be more at once.
    pub more: bool,
}

/// Why a watch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// What comes next was compacted.
    #[error(
        "changes up to revision {compacted} were compacted; read the keys, then watch from what that says"
    )]
    Compacted {
        /// Reads at this revision or later are possible, and watches from the one after it.
        compacted: Revision,
    },
    /// The keyspace is gone.
    #[error("keyspace number {keyspace} does not exist; it may have been removed: look its name up again")]
    Removed {
        /// Which.
        keyspace: KeyspaceNumber,
    },
    /// There is no such watch.
    #[error("the watch does not exist; open it anew")]
    Unknown,
}

/// There are as many watches as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node has {max} watches already, as many as it may; close some, or watch at another node")]
pub struct TooManyWatches {
    /// How many there may be.
    pub max: usize,
}

/// A node's watches.
#[derive(Debug)]
pub struct Watchers {
    limits: WatchLimits,
    last_id: u64,
    /// Every change up to here was shown to [`Watchers::applied`].
    seen: Revision,
    places: BTreeMap<WatchId, Place>,
    interests: BTreeMap<(KeyspaceNumber, KeyRange), BTreeSet<WatchId>>,
}

#[derive(Debug)]
struct Place {
    watch: Watch,
    /// The first revision not yet looked at.
    next: Revision,
    /// Whether there may be something from there on; else there is nothing up to what was seen.
    pending: bool,
}

impl Watchers {
    /// No watches of this store.
    pub fn new(store: &Store, limits: WatchLimits) -> Self {
        Watchers {
            limits,
            last_id: 0,
            seen: store.revision(),
            places: BTreeMap::new(),
            interests: BTreeMap::new(),
        }
    }

    /// Begins a watch. Whether its first revision is still kept is said by the first poll.
    pub fn open(&mut self, watch: Watch) -> Result<WatchId, TooManyWatches> {
        if self.places.len() >= self.limits.watches_max {
            return Err(TooManyWatches { max: self.limits.watches_max });
        }
        self.last_id += 1;
        let id = WatchId(self.last_id);
        let next = watch.from.unwrap_or(Revision(self.seen.0 + 1));
        self.interests.entry((watch.keyspace, watch.keys.clone())).or_default().insert(id);
        self.places.insert(id, Place { watch, next, pending: next <= self.seen });
        Ok(id)
    }

    /// Ends a watch.
    pub fn close(&mut self, id: WatchId) {
        let Some(place) = self.places.remove(&id) else { return };
        let interest = (place.watch.keyspace, place.watch.keys);
        if let Some(ids) = self.interests.get_mut(&interest) {
            ids.remove(&id);
            if ids.is_empty() {
                self.interests.remove(&interest);
            }
        }
    }

    /// How many watches there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Takes note of what an entry did; returns the watches that have something to poll now and had not
    /// before. To be called with every outcome, in order.
    pub fn applied(&mut self, outcome: &Outcome) -> BTreeSet<WatchId> {
        let mut woken = BTreeSet::new();
        for change in &outcome.changes {
            for id in interested(&self.interests, change) {
                let Some(place) = self.places.get_mut(&id) else { continue };
                let revision = change.position.revision;
                if !place.pending && revision >= place.next && place.watch.wants(change) {
                    place.next = revision;
                    place.pending = true;
                    woken.insert(id);
                }
            }
        }
        if let Some(removed) = outcome.removed {
            woken.extend(self.watches_of(removed));
        }
        self.seen = self.seen.max(outcome.revision);
        woken
    }

    /// Takes note that the store was replaced by another state of it; every watch is then to be polled.
    pub fn replaced(&mut self, store: &Store) {
        for place in self.places.values_mut() {
            if !place.pending {
                place.next = place.next.max(Revision(self.seen.0 + 1));
                place.pending = place.next <= store.revision();
            }
        }
        self.seen = self.seen.max(store.revision());
    }

    /// The next events of a watch. Once it has ended it is no more.
    pub fn poll(&mut self, store: &Store, id: WatchId) -> Result<Batch, WatchEnd> {
        let result = self.read(store, id);
        if result.is_err() {
            self.close(id);
        }
        result
    }

    fn read(&mut self, store: &Store, id: WatchId) -> Result<Batch, WatchEnd> {
        let (seen, limits) = (self.seen, self.limits);
        let place = self.places.get_mut(&id).ok_or(WatchEnd::Unknown)?;
        let number = place.watch.keyspace;
        let keyspace = store.find(number).map_err(|_| WatchEnd::Removed { keyspace: number })?;
        if !place.pending {
            place.next = place.next.max(Revision(seen.0 + 1));
            return Ok(Batch { events: Vec::new(), through: seen, more: false });
        }
        let compacted = keyspace.about.compacted;
        if place.next <= compacted {
            return Err(WatchEnd::Compacted { compacted });
        }
        let (events, stopped) = place.collect(keyspace, seen, limits);
        let stopped = stopped.filter(|_| !is_planted(Bug::WatchSkips));
        place.next = stopped.unwrap_or(Revision(seen.0 + 1));
        place.pending = stopped.is_some();
        Ok(Batch { events, through: Revision(place.next.0 - 1), more: place.pending })
    }

    fn watches_of(&self, keyspace: KeyspaceNumber) -> impl Iterator<Item = WatchId> {
        let first = (keyspace, KeyRange::One(Key::default()));
        let interests = self.interests.range(first..).take_while(move |((number, _), _)| *number == keyspace);
        interests.flat_map(|(_, ids)| ids.iter().copied())
    }
}

impl Place {
    /// Events up to a revision, and the revision before which it had to stop.
    fn collect(
        &self,
        keyspace: &Keyspace,
        seen: Revision,
        limits: WatchLimits,
    ) -> (Vec<Event>, Option<Revision>) {
        let (mut events, mut bytes, mut scanned, mut at) = (Vec::new(), 0, 0, self.next);
        for change in keyspace.changes_from(Position::start(self.next)) {
            let revision = change.position.revision;
            if revision > seen {
                break;
            }
            let full = events.len() >= limits.events_max || bytes >= limits.bytes_max;
            if revision != at && (full || scanned >= limits.scan_max) {
                return (events, Some(revision));
            }
            at = revision;
            scanned += 1;
            if self.watch.wants(change) {
                bytes += change.bytes();
                let previous = if self.watch.previous { keyspace.before(change) } else { None };
                events.push(Event { change: change.clone(), previous: previous.and_then(Change::key_value) });
            }
        }
        (events, None)
    }
}

/// The watches among whose keys the changed one is.
fn interested(
    interests: &BTreeMap<(KeyspaceNumber, KeyRange), BTreeSet<WatchId>>,
    change: &Change,
) -> Vec<WatchId> {
    let number = change.keyspace;
    let one = interests.get(&(number, KeyRange::One(change.key.clone())));
    let first_span = (number, KeyRange::all());
    let spans = interests
        .range(first_span..)
        .take_while(|((keyspace, keys), _)| *keyspace == number && keys.start() <= &change.key);
    let spans = spans.filter(|((_, keys), _)| keys.contains(&change.key)).map(|(_, ids)| ids);
    one.into_iter().chain(spans).flatten().copied().collect()
}
