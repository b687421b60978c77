//! The last changes, for those who watch.

use crate::object::Change;
use selvedge_types::Revision;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The last changes, in order; bounded.
pub(crate) struct History {
    changes: Mutex<Changes>,
    latest: watch::Sender<Revision>,
    changes_max: usize,
}

struct Changes {
    /// Every change after this revision is there.
    after: Revision,
    latest: Revision,
    list: VecDeque<Change>,
    closed: bool,
}

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The changes asked for are no longer kept.
    #[error("changes up to revision {after} are no longer kept; list everything, then watch from there")]
    Compacted {
        /// The last revision whose changes are gone.
        after: Revision,
    },
    /// The state has stopped.
    #[error("the control state has stopped")]
    Stopped,
}

impl History {
    /// No change since `revision`.
    pub(crate) fn new(revision: Revision, changes_max: usize) -> Self {
        let changes = Changes { after: revision, latest: revision, list: VecDeque::new(), closed: false };
        History { changes: Mutex::new(changes), latest: watch::Sender::new(revision), changes_max }
    }

    /// Adds the changes of the revisions up to `revision`.
    pub(crate) fn add(&self, revision: Revision, new: impl IntoIterator<Item = Change>) {
        {
            let mut changes = self.lock();
            changes.list.extend(new);
            changes.latest = revision;
            changes.compact(self.changes_max);
        }
        self.latest.send_replace(revision);
    }

    /// Goes on at `revision` without what led to it: watches of older revisions end.
    pub(crate) fn restart(&self, revision: Revision) {
        {
            let mut changes = self.lock();
            changes.list.clear();
            changes.latest = revision;
            changes.after = revision;
        }
        self.latest.send_replace(revision);
    }

    /// Ends every watch that has seen all.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.latest.send_modify(|_| {});
    }

    /// All changes of revisions after `after`.
    pub(crate) fn watch(self: &Arc<Self>, after: Revision) -> Watch {
        Watch { history: self.clone(), seen: after, latest: self.latest.subscribe() }
    }

    /// Whether all changes after that revision are kept; never of one that is yet to come.
    pub(crate) fn has(&self, after: Revision) -> bool {
        let changes = self.lock();
        changes.after <= after && after <= changes.latest
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    /// Drops the oldest changes, by whole revisions.
    fn compact(&mut self, changes_max: usize) {
        while self.list.len() > changes_max {
            let Some(oldest) = self.list.front().map(|c| c.revision) else { return };
            while self.list.front().is_some_and(|c| c.revision == oldest) {
                self.list.pop_front();
            }
            self.after = oldest;
        }
    }
}

/// Follows the changes after a revision, without gaps.
pub struct Watch {
    history: Arc<History>,
    seen: Revision,
    latest: watch::Receiver<Revision>,
}

impl Watch {
    /// The changes since the last call, all of whole revisions; waits for some. Cancel-safe.
    pub async fn next(&mut self) -> Result<Vec<Change>, WatchError> {
        loop {
            // Marked as seen before looking, so that no change falls between.
            self.latest.borrow_and_update();
            let found = self.take()?;
            if !found.is_empty() {
                return Ok(found);
            }
            self.latest.changed().await.map_err(|_| WatchError::Stopped)?;
        }
    }

    /// The revision up to which changes were handed out.
    pub fn seen(&self) -> Revision {
        self.seen
    }

    fn take(&mut self) -> Result<Vec<Change>, WatchError> {
        let changes = self.history.lock();
        if self.seen < changes.after {
            return Err(WatchError::Compacted { after: changes.after });
        }
        let from = changes.list.partition_point(|c| c.revision <= self.seen);
        let found: Vec<Change> = changes.list.range(from..).cloned().collect();
        if found.is_empty() && changes.closed {
            return Err(WatchError::Stopped);
        }
        self.seen = self.seen.max(changes.latest);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, ObjectName};

    fn change(revision: u64) -> Change {
        let object = ObjectName { kind: Kind::Site, name: revision.to_string() };
        Change { revision: Revision(revision), object, value: None }
    }

    fn revisions(changes: &[Change]) -> Vec<u64> {
        changes.iter().map(|c| c.revision.0).collect()
    }

    #[tokio::test]
    async fn a_watch_sees_every_change_once_and_in_order() {
        let history = Arc::new(History::new(Revision(5), 100));
        let mut watch = history.watch(Revision(5));
        history.add(Revision(6), [change(6), change(6)]);
        history.add(Revision(7), [change(7)]);
        assert_eq!(revisions(&watch.next().await.unwrap()), [6, 6, 7]);
        let later = tokio::join!(watch.next(), async { history.add(Revision(8), [change(8)]) });
        assert_eq!(revisions(&later.0.unwrap()), [8]);
        assert_eq!(watch.seen(), Revision(8));
        let ended = tokio::join!(watch.next(), async { history.close() });
        assert_eq!(ended.0, Err(WatchError::Stopped));
    }

    #[tokio::test]
    async fn a_jump_ends_the_watches_that_would_not_see_it() {
        let history = Arc::new(History::new(Revision(1), 10));
        let (mut early, mut late) = (history.watch(Revision(1)), history.watch(Revision(9)));
        history.restart(Revision(9));
        assert_eq!(early.next().await, Err(WatchError::Compacted { after: Revision(9) }));
        history.add(Revision(10), [change(10)]);
        assert_eq!(revisions(&late.next().await.unwrap()), [10]);
    }

    #[tokio::test]
    async fn what_is_no_longer_kept_is_reported_never_skipped() {
        let history = Arc::new(History::new(Revision(0), 3));
        let (mut early, mut late) = (history.watch(Revision(0)), history.watch(Revision(4)));
        for revision in 1..=5 {
            history.add(Revision(revision), [change(revision), change(revision)]);
        }
        assert_eq!(early.next().await, Err(WatchError::Compacted { after: Revision(4) }));
        assert_eq!(revisions(&late.next().await.unwrap()), [5, 5]);
    }
}
