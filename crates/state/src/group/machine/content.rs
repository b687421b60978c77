//! The store in memory, and everybody who looks at it.

use super::{Observer, Seen};
use crate::group::raft::{Log, StoredMembership};
use selvedge_kv::{
    Entry, Limits, Outcome, Store, TooManyWatches, Watch, WatchEnd, WatchId, WatchLimits, Watchers,
};
use selvedge_types::Revision;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// How far a node's state is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The place after the last entry applied: 0 if there was none.
    pub next: u64,
    /// The store's revision.
    pub revision: Revision,
}

/// The state of a group on one node.
pub(in crate::group) struct Shared {
    content: Mutex<Content>,
    progress: watch::Sender<Progress>,
}

struct Content {
    store: Store,
    watchers: Watchers,
    wake: BTreeMap<WatchId, Arc<Notify>>,
    applied: Option<Log>,
    membership: StoredMembership,
}

/// A watch's place, and how it is woken.
pub(in crate::group) struct WatchSlot {
    pub(in crate::group) id: WatchId,
    pub(in crate::group) wake: Arc<Notify>,
}

impl Shared {
    pub(super) fn new(
        store: Store,
        limits: WatchLimits,
        applied: Option<Log>,
        membership: StoredMembership,
    ) -> Self {
        let watchers = Watchers::new(&store, limits);
        let progress = watch::Sender::new(progress(&store, applied));
        let content = Content { store, watchers, wake: BTreeMap::new(), applied, membership };
        Shared { content: Mutex::new(content), progress }
    }

    /// Looks at the store. `look` must be short: nothing is applied meanwhile.
    pub(in crate::group) fn look<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.content().store)
    }

    /// How far it is, as it goes on.
    pub(in crate::group) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The last entry applied, and the members as of it.
    pub(in crate::group) fn applied(&self) -> (Option<Log>, StoredMembership) {
        let content = self.content();
        (content.applied, content.membership.clone())
    }

    pub(super) fn limits(&self) -> Limits {
        self.content().store.limits().clone()
    }

    /// Does what an entry says.
    pub(super) fn apply(&self, at: Log, entry: &Entry, observer: &mut Observer) -> Outcome {
        let mut content = self.content();
        let content = &mut *content;
        let outcome = content.store.apply(entry);
        if !outcome.changes.is_empty() {
            observer(&content.store, Seen::Changes(&outcome.changes));
        }
        for id in content.watchers.applied(&outcome) {
            if let Some(wake) = content.wake.get(&id) {
                wake.notify_one();
            }
        }
        content.applied = Some(at);
        self.progress.send_replace(progress(&content.store, Some(at)));
        outcome
    }

    /// Takes note of an entry that does nothing.
    pub(super) fn skip(&self, at: Log) {
        let mut content = self.content();
        content.applied = Some(at);
        self.progress.send_replace(progress(&content.store, Some(at)));
    }

    /// Takes over the members that an entry names.
    pub(super) fn reconfigure(&self, at: Log, membership: StoredMembership) {
        self.content().membership = membership;
        self.skip(at);
    }

    /// Takes over the state of a snapshot.
    pub(super) fn replace(
        &self,
        store: Store,
        applied: Option<Log>,
        membership: StoredMembership,
        observer: &mut Observer,
    ) {
        let mut content = self.content();
        let content = &mut *content;
        content.store = store;
        observer(&content.store, Seen::Replaced);
        content.watchers.replaced(&content.store);
        content.wake.values().for_each(|wake| wake.notify_one());
        content.applied = applied;
        content.membership = membership;
        self.progress.send_replace(progress(&content.store, applied));
    }

    pub(in crate::group) fn open_watch(&self, watch: Watch) -> Result<WatchSlot, TooManyWatches> {
        let mut content = self.content();
        let id = content.watchers.open(watch)?;
        let wake = Arc::<Notify>::default();
        content.wake.insert(id, wake.clone());
        Ok(WatchSlot { id, wake })
    }

    pub(in crate::group) fn watches(&self) -> usize {
        self.content().watchers.len()
    }

    pub(in crate::group) fn poll_watch(&self, id: WatchId) -> Result<selvedge_kv::Batch, WatchEnd> {
        let mut content = self.content();
        let content = &mut *content;
        content.watchers.poll(&content.store, id)
    }

    pub(in crate::group) fn close_watch(&self, id: WatchId) {
        let mut content = self.content();
        content.watchers.close(id);
        content.wake.remove(&id);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn progress(store: &Store, applied: Option<Log>) -> Progress {
    Progress { next: applied.map_or(0, |log| log.index + 1), revision: store.revision() }
}
