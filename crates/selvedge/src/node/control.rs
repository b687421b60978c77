//! The control state as a node begins with it: opened, or else the snapshot that it left last.

use super::build::Ground;
use super::cluster::Linked;
use super::error::{NodeError, chain};
use super::events::Recorder;
use super::{purges, restoring};
use selvedge_control::Secret;
use selvedge_gateway::cache::Cache;
use selvedge_observe::Events;
use selvedge_state::group::{Member, MeshLinks};
use selvedge_state::{Backup, Change, Command, Opened, Setup, SnapshotFile, State};
use selvedge_store::wal;
use selvedge_types::planted::{Bug, is_planted};
use selvedge_types::{ClusterId, Role, Snapshot, Token};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, OnceLock};

/// The control state, or why there is none.
pub(super) struct Control {
    pub(super) state: Option<State>,
    /// What was found when it was opened.
    opened: Option<Opened>,
    pub(super) problem: Option<String>,
    /// That is because the disk is full.
    pub(super) waits_for_space: bool,
    /// What to begin to serve by.
    pub(super) snapshot: Arc<Snapshot>,
    begins_with_backup: bool,
    /// The cache, once there is one: purges reach it from then on, and nobody can purge before.
    purged: Arc<OnceLock<Cache>>,
}

impl Control {
    /// Opens it, with what is to be restored if something is.
    pub(super) async fn open(
        ground: &Ground,
        cluster: ClusterId,
        linked: &Linked,
        events: &Events,
        restore: Option<Backup>,
    ) -> Result<Self, NodeError> {
        let begins_with_backup = restore.is_some();
        let purged: Arc<OnceLock<Cache>> = Arc::default();
        let setup = setup(ground, cluster, linked, events, restore, purged.clone())?;
        let disk = &ground.seams.disk;
        let (state, opened, problem, waits_for_space) = match Box::pin(State::open(setup)).await {
            Ok((state, opened)) => {
                if begins_with_backup {
                    restoring::done(disk)?;
                }
                if let Some(problem) = &opened.problem {
                    tracing::error!(%problem, "no changes can be made until this is over; serving by the last snapshot");
                }
                (Some(state), Some(opened), None, false)
            }
            Err(error) => (None, None, Some(chain(&error)), is_for_lack_of_space(&error)),
        };
        let snapshot = match (&state, &problem) {
            (Some(state), _) => state.snapshots().borrow().clone(),
            (None, problem) => {
                // The file may be behind what was acknowledged: it is for a start without the state.
                let directory = disk.subdir("state").map_err(|source| NodeError::data(disk, source))?;
                let problem = problem.clone().unwrap_or_default();
                let last = last_snapshot(&SnapshotFile::new(directory))
                    .ok_or_else(|| NodeError::State(problem.clone()))?;
                tracing::error!(%problem, "the control state cannot be opened; serving from the last snapshot");
                Arc::new(last)
            }
        };
        Ok(Control { state, opened, problem, waits_for_space, snapshot, begins_with_backup, purged })
    }

    /// Has purges reach the cache from now on: those that are in force, and those that come.
    pub(super) async fn purge_into(&self, cache: &Cache) {
        drop(self.purged.set(cache.clone()));
        let Some(state) = &self.state else {
            if !is_planted(Bug::DiskWithoutState) {
                // Which purges there were is not known.
                cache.distrust();
            }
            return;
        };
        let pending = self.opened.iter().flat_map(|opened| opened.pending.clone());
        for stamp in state.stamps().into_iter().chain(pending).filter(|_| !is_planted(Bug::PurgesForgotten)) {
            purges::purge_both(cache, &stamp);
        }
        if self.opened.as_ref().is_some_and(|opened| opened.fresh)
            && let Err(error) = cache.distrust_for_good().await
        {
            // A state that was made anew knows no purges of what an older one left on disk.
            tracing::warn!(error = chain(&error), "what is on disk may be found again after a restart");
        }
    }

    /// Makes the first token where there is none; after that there is none to be told.
    pub(super) async fn first_token(&self, ground: &Ground) -> Result<Option<Secret>, NodeError> {
        let Some(state) = &self.state else { return Ok(None) };
        let taken: BTreeSet<String> = state.tokens().into_iter().map(|token| token.name).collect();
        if !taken.is_empty() && !self.begins_with_backup {
            return Ok(None);
        }
        // The tokens of a backup are good still; whoever restores it may have none of them.
        let names = ["admin".to_owned()].into_iter().chain((2..).map(|n| format!("admin-{n}")));
        let free = names.take(taken.len() + 1).find(|name| !taken.contains(name));
        let secret = Secret::generate(&ground.seams.secrets)?;
        let token = Token {
            name: free.unwrap_or_else(|| "admin".into()),
            role: Role::Admin,
            namespace: None,
            hash: secret.hash(),
            created: ground.seams.clock.wall(),
        };
        state.apply(Command::CreateToken(token)).await.map_err(|e| NodeError::FirstToken(chain(&e)))?;
        Ok(Some(secret))
    }
}

fn setup(
    ground: &Ground,
    cluster: ClusterId,
    linked: &Linked,
    events: &Events,
    restore: Option<Backup>,
    purged: Arc<OnceLock<Cache>>,
) -> Result<Setup, NodeError> {
    let (seams, hybrid) = (&ground.seams, ground.hybrid.clone());
    let (directory, mut recorder) = (linked.directory.clone(), Recorder::new(events.clone()));
    Ok(Setup {
        disk: seams.disk.subdir("state").map_err(|source| NodeError::data(&seams.disk, source))?,
        options: ground.config.storage.state.clone(),
        cluster,
        member: Member { node: linked.key.to_string() },
        restore,
        // An edge node keeps what it is sent in a group of its own.
        founds: !linked.was_let_in || linked.is_edge(),
        clock: seams.clock.clone(),
        hlc: ground.hlc.clone(),
        rng: seams.rng.branch("state"),
        tasks: ground.owners.data.clone(),
        links: Arc::new(MeshLinks::new(linked.mesh.clone())),
        metrics: selvedge_state::Metrics::register(&seams.registry),
        wal_metrics: wal::Metrics::register(&seams.registry),
        observer: Box::new(move |changes: &[Change], time| {
            directory.observe(changes);
            recorder.observe(changes, time);
            if let Some(cache) = purged.get() {
                purges::stamp(cache, changes, hybrid.now());
            }
        }),
    })
}

/// Whether an error comes from a full disk.
pub(super) fn is_for_lack_of_space(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let io = error.downcast_ref::<io::Error>();
        matches!(error.downcast_ref(), Some(selvedge_store::engine::Error::Full { .. }))
            || matches!(error.downcast_ref(), Some(wal::Error::Full { .. }))
            || io.is_some_and(|io| matches!(io.kind(), StorageFull | QuotaExceeded))
    })
}

/// The snapshot that was kept last; none if there is none to be read.
fn last_snapshot(file: &SnapshotFile) -> Option<Snapshot> {
    file.load().unwrap_or_else(|error| {
        tracing::warn!(%error, "the last snapshot cannot be read");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_state::group::OpenError;
    use selvedge_store::engine;

    #[test]
    fn a_state_that_lacks_space_is_told_from_one_that_is_damaged() {
        let (path, what) = (String::new(), String::new());
        let of = |error: OpenError| is_for_lack_of_space(&selvedge_state::Error::from(error));
        assert!(of(engine::Error::Full { path: path.clone() }.into()));
        assert!(of(wal::Error::Full { path: path.clone() }.into()));
        assert!(of(io::Error::from(io::ErrorKind::StorageFull).into()));
        assert!(!of(engine::Error::Damaged { path, what }.into()));
        assert!(!of(io::Error::from(io::ErrorKind::PermissionDenied).into()));
    }
}
