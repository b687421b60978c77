//! Changes of who takes part, and of who leads.

use super::Core;
use crate::group::error::Error;
use crate::group::id::VoterId;
use crate::group::raft::Types;
use crate::group::wire::{Change, Reply, Request};
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a member may take to catch up before it is refused as a voter.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const CATCH_UP_LOOK: Duration = Duration::from_millis(50);

impl Core {
    /// Has a change made, wherever the leader is. All changes can be repeated.
    pub(in crate::group) async fn change(&self, change: Change, deadline: Duration) -> Result<(), Error> {
        let request = Request::Change(change.clone());
        let take = |reply| (reply == Reply::Done).then_some(Ok(()));
        self.by_leader(&request, true, deadline, || self.change_here(change.clone()), take).await
    }

    /// Makes a change if this node leads.
    pub(in crate::group) async fn change_here(&self, change: Change) -> Result<(), Error> {
        self.check_running()?;
        if !self.is_leader() {
            return Err(Error::NoLeader { waited: Duration::ZERO });
        }
        match change {
            Change::AddLearner { id, member } => {
                done(self.raft.add_learner(id, member, false).await.map(drop))
            }
            Change::SetVoters(voters) => self.set_voters(voters).await,
            Change::Remove(id) => {
                let gone = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
                done(self.raft.change_membership(gone, true).await.map(drop))
            }
            Change::TransferLeader(to) => self.transfer(to).await,
        }
    }

    async fn set_voters(&self, voters: BTreeSet<VoterId>) -> Result<(), Error> {
        for voter in &voters {
            self.wait_until_caught_up(*voter).await?;
        }
        done(self.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), true).await.map(drop))
    }

    async fn transfer(&self, to: VoterId) -> Result<(), Error> {
        if to == self.me() {
            return Ok(());
        }
        let is_voter = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.voter_ids().any(|voter| voter == to)
        };
        if !is_voter {
            return Err(Error::NoMember { member: to });
        }
        self.wait_until_caught_up(to).await?;
        let asked = self.raft.trigger().transfer_leader(to).await;
        asked.map_err(|error| Error::Stopped { why: error.to_string() })
    }

    async fn wait_until_caught_up(&self, member: VoterId) -> Result<(), Error> {
        let end = tokio::time::Instant::now() + CATCH_UP_MAX;
        loop {
            match self.lag(member)? {
                Some(lag) if lag <= self.caller.options.promotion_lag_max => return Ok(()),
                _ if tokio::time::Instant::now() >= end => return Err(Error::NotCaughtUp { member }),
                _ => tokio::time::sleep(CATCH_UP_LOOK).await,
            }
        }
    }

    /// How many entries a member lacks; none if nothing is known of it yet.
    fn lag(&self, member: VoterId) -> Result<Option<u64>, Error> {
        if member == self.me() {
            return Ok(Some(0));
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = &metrics.replication else {
            return Err(Error::NoLeader { waited: Duration::ZERO });
        };
        let Some(matched) = replication.get(&member) else {
            let known = metrics.membership_config.get_node(&member).is_some();
            return if known { Ok(None) } else { Err(Error::NoMember { member }) };
        };
        let last = metrics.last_log_index.unwrap_or(0);
        Ok(matched.as_ref().map(|log| last.saturating_sub(log.index)))
    }
}

fn done(result: Result<(), RaftError<Types, ClientWriteError<Types>>>) -> Result<(), Error> {
    let error = match result {
        Ok(()) => return Ok(()),
        Err(RaftError::Fatal(_)) => return Err(Error::Unknown { why: "the store stopped" }),
        Err(RaftError::APIError(error)) => error,
    };
    Err(match error {
        ClientWriteError::ForwardToLeader(_) => Error::NoLeader { waited: Duration::ZERO },
        ClientWriteError::LogEntryDiscarded(_) => Error::Unknown { why: "the leader changed" },
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
            Error::ChangeInProgress
        }
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::LearnerNotFound(e)) => {
            Error::NoMember { member: e.node_id }
        }
        ClientWriteError::ChangeMembershipError(error) => Error::Membership(error.to_string()),
        ClientWriteError::PreconditionFailed(error) => Error::Membership(error.to_string()),
    })
}
