//! What a node does whose log lost its last batch.
//!
//! What was cut may have been acknowledged: on a medium that damages what it was told to keep, a torn batch
//! and a damaged one look the same. A vote stands in two batches and cannot be lost so; entries can. So the
//! node votes for nobody and does not stand for election until its log has all that it may have promised:
//! - it has applied all that a leader, asked after the restart and confirmed by a majority, says to be
//!   committed; or
//! - its log is no older than that of any other voter, all of which were asked after the restart. That lets a
//!   group whose members all lost their power go on, and a group of one.
//!
//! What it is sent meanwhile it acknowledges when it has it, as ever; what it had acknowledged before and
//! lost, the leader finds missing and sends again.

use super::Core;
use crate::group::codec::LogForm;
use crate::group::id::{Member, VoterId};
use crate::group::wire::{Reply, Request};
use openraft::async_runtime::WatchReceiver;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long is waited between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// How long another voter may take to answer.
const ANSWER_MAX: Duration = Duration::from_millis(500);

impl Core {
    /// Ends when the log can be trusted again.
    pub(in crate::group) async fn regain_trust(&self) {
        self.raft.runtime_config().elect(false);
        while !self.is_caught_up_with_leader().await && !self.is_caught_up_with_all().await {
            tokio::time::sleep(PAUSE).await;
        }
        if let Err(error) = self.wal.trust().await {
            tracing::warn!(%error, "that the log is whole again could not be noted");
        }
        self.trusted.store(true, Ordering::Release);
        self.raft.runtime_config().elect(true);
    }

    async fn is_caught_up_with_leader(&self) -> bool {
        let Some((id, member)) = self.leader().filter(|(id, _)| *id != self.me()) else { return false };
        let asked = self.caller.call(id, &member, Request::ReadIndex { lease: false }, ANSWER_MAX).await;
        let Ok(Reply::ReadAt(next)) = asked else { return false };
        let mut progress = self.shared.progress();
        let reached = progress.wait_for(|progress| progress.next >= next);
        tokio::time::timeout(ANSWER_MAX, reached).await.is_ok_and(|reached| reached.is_ok())
    }

    async fn is_caught_up_with_all(&self) -> bool {
        let mut last = None;
        for (id, member) in self.other_voters() {
            match self.caller.call(id, &member, Request::Last, ANSWER_MAX).await {
                Ok(Reply::Last(log)) => last = last.max(log),
                _ => return false,
            }
        }
        self.log.memory().last().as_ref().map(LogForm::from) >= last
    }

    fn other_voters(&self) -> Vec<(VoterId, Member)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = &metrics.membership_config;
        let others = members.voter_ids().filter(|id| *id != self.me());
        others.filter_map(|id| Some((id, members.get_node(&id)?.clone()))).collect()
    }
}
