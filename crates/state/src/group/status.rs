//! How a member stands.

use super::core::{Core, LEADER_SILENT};
use super::id::{Member, VoterId};
use openraft::async_runtime::WatchReceiver;
use openraft::{Instant, ServerState};
use selvedge_types::Revision;
use std::collections::{BTreeMap, BTreeSet};

/// What a member does in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It puts commands into the log.
    Leader,
    /// It stands for election.
    Candidate,
    /// It votes, and follows a leader.
    Follower,
    /// It follows without a vote, or is no member yet.
    Learner,
    /// Its store has stopped.
    Stopped,
}

/// How a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub id: VoterId,
    /// What it does.
    pub role: Role,
    /// The term it knows.
    pub term: u64,
    /// Who leads, as far as it knows; nobody if none was heard of lately.
    pub leader: Option<VoterId>,
    /// Who votes; while one set of voters takes over from another, those of both.
    pub voters: BTreeSet<VoterId>,
    /// Whether one set of voters takes over from another.
    pub changing: bool,
    /// All members.
    pub members: BTreeMap<VoterId, Member>,
    /// The place after the log's last entry.
    pub log_next: u64,
    /// The place of the first entry that the log still has.
    pub log_first: u64,
    /// The place after the last entry applied.
    pub applied_next: u64,
    /// The store's revision.
    pub revision: Revision,
    /// Whether its log was torn and it is not caught up yet: it does not vote.
    pub catching_up: bool,
    /// Whether writes wait for room on its disk.
    pub disk_full: bool,
    /// Why its store has stopped.
    pub stopped: Option<String>,
}

impl Core {
    pub(super) fn status(&self) -> Status {
        let stopped = self.check_running().err().map(|error| error.to_string());
        let (log_next, log_first) = {
            let memory = self.log.memory();
            let place = |log: Option<super::raft::Log>| log.map_or(0, |log| log.index + 1);
            (place(memory.last()), place(memory.head().purged))
        };
        let progress = *self.shared.progress().borrow();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = &metrics.membership_config;
        let role = match metrics.state {
            _ if stopped.is_some() => Role::Stopped,
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Stopped,
        };
        // Who is known to have led may be gone, and a leader may be alone without knowing it yet.
        let leads = match role {
            Role::Leader if self.is_alone() => true,
            Role::Leader => metrics
                .last_quorum_acked
                .as_ref()
                .is_none_or(|acked| acked.elapsed() < self.caller.options.election_max * LEADER_SILENT),
            _ => self.hears_leader(),
        };
        Status {
            id: self.me(),
            role,
            term: metrics.current_term,
            leader: metrics.current_leader.filter(|_| leads),
            voters: members.voter_ids().collect(),
            changing: members.get_joint_config().len() > 1,
            members: members.nodes().map(|(id, member)| (*id, member.clone())).collect(),
            log_next,
            log_first,
            applied_next: progress.next,
            revision: progress.revision,
            catching_up: !self.is_trusted(),
            disk_full: self.log.health().is_full(),
            stopped,
        }
    }
}
