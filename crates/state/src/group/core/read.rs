//! Reads, each as fresh as it asks for.

use super::Core;
use crate::group::error::Error;
use crate::group::wire::{Reply, Request};
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use selvedge_kv::Store;
use selvedge_types::Revision;
use selvedge_types::planted::{Bug, is_planted};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// What a read is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All that was acknowledged to anyone before it began: the leader asks a majority whether it still leads.
    Linearizable,
    /// The same, as long as no clock runs faster than another by more than an election takes: the leader
    /// relies on those who heard of it not to follow another yet. A voter that restarts forgets that it heard
    /// of it: then this may be older.
    Lease,
    /// All up to that revision, such as the one of the session's last answer.
    Session(Revision),
    /// All that was acknowledged to anyone that long before it began.
    Bounded(Duration),
    /// Something that was true once.
    Local,
}

/// What a read saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading<T> {
    /// What was looked for.
    pub value: T,
    /// The store's revision then.
    pub revision: Revision,
    /// What was given: at least what was asked for.
    pub level: Level,
}

/// Up to where all was seen that was acknowledged before a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    asked: Instant,
    next: u64,
}

impl Core {
    /// Looks at the store once it is as fresh as `level` says. `look` must be short.
    pub(in crate::group) async fn read<T>(
        &self,
        level: Level,
        deadline: Duration,
        look: impl FnOnce(&Store) -> T,
    ) -> Result<Reading<T>, Error> {
        let end = Instant::now() + deadline;
        let given = match level {
            Level::Local => level,
            Level::Session(revision) => {
                self.wait_for(end, deadline, revision, |progress| progress.revision >= revision).await?;
                level
            }
            Level::Bounded(age) => self.bound(age, end, deadline).await?,
            Level::Linearizable | Level::Lease => {
                self.catch_up(level == Level::Lease, end, deadline).await?;
                level
            }
        };
        let (value, revision) = self.shared.look(|store| (look(store), store.revision()));
        Ok(Reading { value, revision, level: given })
    }

    /// Sees to it that what was acknowledged up to `age` ago is here; says what it took.
    async fn bound(&self, age: Duration, end: Instant, deadline: Duration) -> Result<Level, Error> {
        let fresh = *self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let applied = self.shared.progress().borrow().next;
        match fresh.filter(|fresh| fresh.asked.elapsed() <= age && applied >= fresh.next) {
            Some(fresh) => Ok(Level::Bounded(fresh.asked.elapsed())),
            None => {
                self.catch_up(false, end, deadline).await?;
                Ok(Level::Linearizable)
            }
        }
    }

    /// Waits until all is here that was acknowledged before now.
    async fn catch_up(&self, lease: bool, end: Instant, deadline: Duration) -> Result<(), Error> {
        let asked = Instant::now();
        let left = end.saturating_duration_since(asked);
        let take = |reply| match reply {
            Reply::ReadAt(next) => Some(Ok(next)),
            _ => None,
        };
        let here = || self.read_index_here(lease);
        // Nothing is changed by asking again.
        let next = self.by_leader(&Request::ReadIndex { lease }, true, left, here, take).await;
        let next = next.map_err(|error| match error {
            Error::Unknown { .. } => Error::NoLeader { waited: deadline },
            error => error,
        })?;
        self.wait_for(end, deadline, Revision(0), |progress| progress.next >= next).await?;
        if !lease {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh.is_none_or(|fresh| fresh.asked < asked) {
                *fresh = Some(Fresh { asked, next });
            }
        }
        Ok(())
    }

    /// The place up to which a read must see, if this node leads.
    pub(in crate::group) async fn read_index_here(&self, lease: bool) -> Result<u64, Error> {
        self.check_running()?;
        if is_planted(Bug::ReadUnconfirmed) && self.is_leader() {
            return Ok(self.raft.metrics().borrow_watched().last_applied.map_or(0, |log| log.index + 1));
        }
        let policy = if lease { ReadPolicy::LeaseRead } else { ReadPolicy::ReadIndex };
        match self.raft.get_read_linearizer(policy).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index() + 1),
            Err(RaftError::Fatal(error)) => Err(Error::Stopped { why: error.to_string() }),
            Err(RaftError::APIError(
                LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_),
            )) => Err(Error::NoLeader { waited: Duration::ZERO }),
        }
    }

    async fn wait_for(
        &self,
        end: Instant,
        waited: Duration,
        wanted: Revision,
        reached: impl Fn(&crate::group::machine::Progress) -> bool,
    ) -> Result<(), Error> {
        let mut progress = self.shared.progress();
        let wait = progress.wait_for(|progress| reached(progress));
        match tokio::time::timeout_at(end, wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Behind { wanted, waited }),
        }
    }
}
