//! What has to be done from time to time.
//!
//! A leader ends leases and sessions that are over, drops what compaction left behind, and finishes a change
//! of the voters that its predecessor began. Every node cuts its log.

use super::Core;
use crate::group::raft::Membership;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use selvedge_kv::{Command, Due};
use std::time::Duration;
use tokio::time::Instant;

/// How long one chore may take.
const CHORE_MAX: Duration = Duration::from_secs(2);

/// How often it is looked whether there is room on the disk.
const ROOM_LOOK: Duration = Duration::from_secs(1);

/// What was done for which leadership.
#[derive(Default)]
struct Done {
    /// The term in which all leases were renewed.
    renewed: Option<u64>,
    /// The place of the last snapshot asked for.
    snapshot_asked: u64,
    /// When it was last looked whether there is room on the disk.
    looked: Option<Instant>,
}

impl Core {
    /// Does the chores until the group ends.
    pub(in crate::group) async fn do_chores(&self) {
        let mut done = Done::default();
        while !self.tasks.is_stopping() && self.check_running().is_ok() {
            tokio::select! {
                () = tokio::time::sleep(self.caller.options.chores_interval) => {}
                () = self.tasks.stopped() => return,
            }
            self.look_for_room(&mut done).await;
            self.compact(&mut done).await;
            if self.is_leader() {
                let chores = async {
                    self.renew_leases(&mut done).await;
                    self.expire().await;
                    self.finish_change().await;
                };
                // What was not done in time is due again.
                let _ = tokio::time::timeout(CHORE_MAX, chores).await;
            }
        }
    }

    /// So that what comes is refused before it is accepted and waits.
    async fn look_for_room(&self, done: &mut Done) {
        if done.looked.is_some_and(|looked| looked.elapsed() < ROOM_LOOK) {
            return;
        }
        done.looked = Some(Instant::now());
        // A log that cannot tell says so to those who write.
        if let Ok(Ok(has_room)) = tokio::time::timeout(CHORE_MAX, self.wal.has_room()).await {
            self.log.health().note_full(!has_room);
        }
    }

    /// Nobody could renew a lease while nobody led.
    async fn renew_leases(&self, done: &mut Done) {
        let term = self.raft.metrics().borrow_watched().current_term;
        if done.renewed != Some(term) && self.propose_here(Command::RenewAllLeases, None).await.is_ok() {
            done.renewed = Some(term);
        }
    }

    async fn expire(&self) {
        let now = self.caller.time.tick().millis();
        let due = self.shared.look(|store| {
            let due = store.due(now);
            (due != Due::default() || store.is_sweeping()).then_some(due)
        });
        if let Some(due) = due {
            // What failed is due again.
            let _ = self.propose_here(Command::Expire(due), None).await;
        }
    }

    /// Ends a change of the voters that was left half done.
    async fn finish_change(&self) {
        let target = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let committed = metrics.committed_membership_config.clone();
            (committed.log_id() == metrics.membership_config.log_id())
                .then(|| half_done(committed.membership()))
                .flatten()
        };
        if let Some(voters) = target {
            // If another change is under way, it does this.
            let _ = self.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), true).await;
        }
    }

    /// Makes the state last when the log is long, and cuts the log up to there.
    async fn compact(&self, done: &mut Done) {
        let (snapshot, purged) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let next = |log: &Option<crate::group::raft::Log>| log.as_ref().map_or(0, |log| log.index + 1);
            (next(&metrics.snapshot), next(&metrics.purged))
        };
        let (applied, options) = (self.shared.progress().borrow().next, &self.caller.options);
        let keeping = self.log.memory().place_keeping(options.kept_bytes).map(|log| log.index + 1);
        let cut = keeping.unwrap_or(0).min(snapshot);
        if cut > purged
            && let Some(upto) = cut.checked_sub(1)
        {
            // A store that has stopped cuts nothing any more.
            let _ = self.raft.trigger().purge_log(upto).await;
        }
        let since = applied.saturating_sub(snapshot.max(done.snapshot_asked));
        let bytes = self.log.memory().bytes();
        let long = since >= options.compaction_entries
            || (bytes >= options.compaction_bytes + options.kept_bytes && since > 0);
        if long && self.raft.trigger().snapshot().await.is_ok() {
            done.snapshot_asked = applied;
        }
    }
}

/// The voters to come, if those before them vote still.
fn half_done(membership: &Membership) -> Option<std::collections::BTreeSet<crate::group::id::VoterId>> {
    let configs = membership.get_joint_config();
    (configs.len() > 1).then(|| configs.last().cloned()).flatten()
}
