//! From the group's store to all who follow the control state on this node.

use crate::codec::CodecError;
use crate::group::{self, Seen};
use crate::history::History;
use crate::metrics::Metrics;
use crate::object::{Change, Kind};
use crate::snapshots::SnapshotFile;
use crate::state::Observer;
use crate::view::View;
use selvedge_kv::{KeyspaceNumber, Store};
use selvedge_rt::Tasks;
use selvedge_types::resource::{KeyspaceId, Text};
use selvedge_types::{Hlc, Snapshot};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The keyspace that holds the control state. Its namespace is no tenant's.
const CONTROL: &str = "selvedge/control";

/// The name of the keyspace that holds the control state.
pub(crate) fn control_name() -> KeyspaceId {
    KeyspaceId::parse_text(CONTROL).expect("it is a name")
}

/// The keyspace that holds the control state, if it was made.
pub(crate) fn control_keyspace(store: &Store) -> Option<KeyspaceNumber> {
    store.keyspace(&control_name())
}

/// What all who look at the control state share.
pub(crate) struct Shared {
    view: Mutex<View>,
    /// What cannot be read of it.
    unreadable: Mutex<Option<String>>,
    pub(crate) history: Arc<History>,
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Shared {
    pub(crate) fn new(last: Snapshot, history_max: usize) -> Self {
        Shared {
            view: Mutex::default(),
            unreadable: Mutex::default(),
            history: Arc::new(History::new(last.revision, history_max)),
            snapshots: watch::Sender::new(Arc::new(last)),
        }
    }

    /// The state as of now. What holds it must be short, and ask nothing of the group.
    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unreadable(&self) -> Option<String> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps each snapshot in a file, for a start without the state, until the tasks end.
    pub(crate) async fn keep_snapshots(self: Arc<Self>, file: SnapshotFile, tasks: Tasks, metrics: Metrics) {
        let mut snapshots = self.snapshots.subscribe();
        snapshots.mark_changed();
        loop {
            tokio::select! {
                biased;
                changed = snapshots.changed() => if changed.is_err() { break },
                () = tasks.stopped() => break,
            }
            let (snapshot, file) = (snapshots.borrow_and_update().clone(), file.clone());
            match tasks.blocking("snapshot", move || file.save(&snapshot)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    metrics.snapshot_failures.inc();
                    tracing::warn!(%error, "the snapshot for a start without the control state was not kept");
                }
                Err(error) => tracing::warn!(%error, "the snapshot was not kept"),
            }
        }
        self.history.close();
    }
}

/// Follows the group's store, in its order.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    metrics: Metrics,
    observer: Observer,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>, metrics: Metrics, observer: Observer) -> Self {
        Publisher { shared, metrics, observer }
    }

    /// As the group takes it.
    pub(crate) fn observer(mut self) -> group::Observer {
        Box::new(move |store, seen| match seen {
            Seen::Changes(changes) => self.follow(store, changes),
            Seen::Replaced => self.replace(store),
        })
    }

    fn follow(&mut self, store: &Store, changes: &[Arc<selvedge_kv::Change>]) {
        let control = control_keyspace(store);
        let ours: Vec<_> = changes.iter().filter(|change| Some(change.keyspace) == control).collect();
        if ours.is_empty() {
            return;
        }
        let mut seen = Vec::new();
        {
            let mut view = self.shared.view();
            for change in ours {
                match view.take(&change.key, change.position.revision, change.record.as_ref()) {
                    Ok(change) => seen.extend(change),
                    Err(error) => self.note(&error),
                }
            }
        }
        self.publish(&seen, store.time());
    }

    fn replace(&mut self, store: &Store) {
        let (view, unreadable) = View::read(store, control_keyspace(store));
        unreadable.iter().for_each(|error| self.note(error));
        let (changes, revision) = {
            let mut now = self.shared.view();
            let changes = view.changes_since(&now);
            *now = view;
            (changes, now.revision())
        };
        self.publish(&changes, store.time());
        // Who watches is not shown all that led here.
        self.shared.history.restart(revision);
    }

    /// Shows changes to all who follow them.
    fn publish(&mut self, changes: &[Change], time: Hlc) {
        if !changes.is_empty() {
            (self.observer)(changes, time);
        }
        let (revision, stamps, next) = {
            let view = self.shared.view();
            let next = concerns_snapshot(changes).then(|| view.snapshot());
            (view.revision(), view.stamps().len(), next)
        };
        // After a restart the state may come back to where the kept snapshot was.
        if let Some(next) = next.filter(|next| next.revision >= self.shared.snapshots.borrow().revision) {
            self.shared.snapshots.send_replace(Arc::new(next));
        }
        self.shared.history.add(revision, changes.iter().cloned());
        self.metrics.revision.set(i64::try_from(revision.0).unwrap_or(i64::MAX));
        self.metrics.stamps.set(i64::try_from(stamps).unwrap_or(i64::MAX));
    }

    fn note(&self, error: &CodecError) {
        self.metrics.unreadable.inc();
        tracing::error!(%error, "part of the control state cannot be read; upgrade this node");
        let problem = format!("part of the control state cannot be read by this version: {error}");
        *self.shared.unreadable.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }
}

fn concerns_snapshot(changes: &[Change]) -> bool {
    changes.iter().any(|c| matches!(c.object.kind, Kind::Site | Kind::Settings | Kind::Keyspace))
}
