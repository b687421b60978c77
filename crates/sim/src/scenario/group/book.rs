//! What is written down while a group is played: the history, and what the operator has to know.

use crate::history::{Client, History, OperationId, Request, SeenBatch, WatchingId};
use selvedge_kv::{Change, KeyRange, KeyspaceNumber, TxnAnswer};
use selvedge_state::group::VoterId;
use selvedge_types::Revision;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The book. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Book(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    history: History,
    keyspace: Option<KeyspaceNumber>,
    /// Members that will never be again.
    lost: BTreeSet<VoterId>,
    /// Clients begin nothing new.
    closing: bool,
    /// Clients who still do something.
    working: u32,
    /// Watchers who have not seen all yet.
    watching: u32,
    revision: Revision,
    /// The last revision that a client was told.
    told: Revision,
}

/// Time since the simulation began.
pub(super) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl Book {
    pub(super) fn invoked(&self, client: Client, request: Request) -> OperationId {
        self.pages().history.invoked(client, now(), request)
    }

    pub(super) fn answered(&self, id: OperationId, answer: TxnAnswer) {
        let mut pages = self.pages();
        pages.told = pages.told.max(answer.revision);
        pages.history.answered(id, now(), answer);
    }

    pub(super) fn refused(&self, id: OperationId) {
        self.pages().history.refused(id);
    }

    pub(super) fn watches(&self, client: Client, keys: KeyRange, from: Revision) -> WatchingId {
        self.pages().history.watches(client, keys, from)
    }

    pub(super) fn watched(&self, id: WatchingId, batch: SeenBatch) {
        self.pages().history.watched(id, batch);
    }

    pub(super) fn must_have_watched(&self, id: WatchingId, due: Revision) {
        self.pages().history.must_have_watched(id, due);
    }

    /// Notes what a node applied.
    pub(super) fn applied(&self, changes: &[Arc<Change>]) {
        let mut pages = self.pages();
        for change in changes {
            pages.history.applied(change);
            pages.revision = pages.revision.max(change.position.revision);
        }
    }

    /// The last revision that any node applied.
    pub(super) fn revision(&self) -> Revision {
        self.pages().revision
    }

    /// The last revision that a client was told.
    pub(super) fn told(&self) -> Revision {
        self.pages().told
    }

    pub(super) fn keyspace(&self) -> Option<KeyspaceNumber> {
        self.pages().keyspace
    }

    pub(super) fn set_keyspace(&self, keyspace: KeyspaceNumber) {
        self.pages().keyspace = Some(keyspace);
    }

    /// Notes that a member's log was given up.
    pub(super) fn lost(&self, id: Option<VoterId>) {
        self.pages().lost.extend(id);
    }

    pub(super) fn is_lost(&self, id: VoterId) -> bool {
        self.pages().lost.contains(&id)
    }

    /// Notes that a client begins, or a watcher.
    pub(super) fn begins(&self, watches: bool) {
        let mut pages = self.pages();
        *(if watches { &mut pages.watching } else { &mut pages.working }) += 1;
    }

    /// Notes that a client is done, or a watcher.
    pub(super) fn ends(&self, watches: bool) {
        let mut pages = self.pages();
        *(if watches { &mut pages.watching } else { &mut pages.working }) -= 1;
    }

    /// Clients who still do something, and watchers.
    pub(super) fn busy(&self) -> (u32, u32) {
        let pages = self.pages();
        (pages.working, pages.watching)
    }

    pub(super) fn close(&self) {
        self.pages().closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.pages().closing
    }

    pub(super) fn history<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.pages().history)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
