//! What the parts of an open group share, and what it does itself or asks of the leader.

mod change;
mod chores;
mod propose;
mod read;
mod trust;

pub use read::{Level, Reading};

use super::caller::{CallError, Caller};
use super::error::Error;
use super::id::{Member, VoterId};
use super::incoming::{Arriving, Streams};
use super::links::LinkError;
use super::log::LogStore;
use super::machine::{Shared, StateMachine};
use super::raft::{Runtime, Types};
use super::wire::{Fault, Hint, Reply, Request};
use openraft::async_runtime::WatchReceiver;
use openraft::{EntryPayload, Raft, ServerState};
use selvedge_kv::{Command, Entry};
use selvedge_rt::{Rng, Tasks};
use selvedge_store::wal::Wal;
use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long nobody is asked again after nobody led.
const LEADERLESS_PAUSE: Duration = Duration::from_millis(30);

/// For how many election times a leader may be silent and yet be taken for one.
pub(super) const LEADER_SILENT: u32 = 3;

pub(super) struct Core {
    pub(super) raft: Raft<Types, StateMachine>,
    pub(super) caller: Arc<Caller>,
    pub(super) log: LogStore,
    pub(super) wal: Wal,
    pub(super) shared: Arc<Shared>,
    pub(super) streams: Streams,
    pub(super) arriving: Mutex<Option<Arriving>>,
    pub(super) tasks: Tasks,
    trusted: AtomicBool,
    permits: Semaphore,
    foreign_permits: Semaphore,
    fresh: Mutex<Option<read::Fresh>>,
    /// When a leader was last heard of.
    heard: Mutex<Option<Instant>>,
    rng: Mutex<Rng>,
}

/// What a core is made of.
pub(super) struct Parts {
    pub(super) raft: Raft<Types, StateMachine>,
    pub(super) caller: Arc<Caller>,
    pub(super) log: LogStore,
    pub(super) wal: Wal,
    pub(super) shared: Arc<Shared>,
    pub(super) trusted: bool,
    pub(super) rng: Rng,
    pub(super) tasks: Tasks,
}

impl Core {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { raft, caller, log, wal, shared, trusted, rng, tasks } = parts;
        let max = caller.options.proposals_max;
        Core {
            raft,
            caller,
            log,
            wal,
            shared,
            streams: Streams::default(),
            arriving: Mutex::default(),
            tasks,
            trusted: AtomicBool::new(trusted),
            permits: Semaphore::new(max),
            foreign_permits: Semaphore::new(max),
            fresh: Mutex::default(),
            heard: Mutex::default(),
            rng: Mutex::new(rng),
        }
    }

    pub(super) fn me(&self) -> VoterId {
        self.caller.me
    }

    /// Whether its log holds all that it ever acknowledged, so that it may vote.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Acquire)
    }

    /// Work that may use the consensus library: it gets its randomness from here.
    pub(super) fn scoped<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        let seed = self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        scope(seed, work)
    }

    /// Who leads, as far as this node knows.
    pub(super) fn leader(&self) -> Option<(VoterId, Member)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        Some((leader, metrics.membership_config.get_node(&leader)?.clone()))
    }

    /// The same, but not one that is only known from before a restart: asked in vain, nobody could tell whether it had
    /// been.
    fn leader_heard(&self) -> Option<(VoterId, Member)> {
        let was_heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        self.leader().filter(|(id, _)| *id == self.me() || was_heard)
    }

    /// Takes note that a leader has sent something that it may.
    pub(super) fn note_leader(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a leader was heard of so lately that it should lead still.
    pub(super) fn hears_leader(&self) -> bool {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| heard.elapsed() < self.caller.options.election_max * LEADER_SILENT)
    }

    pub(super) fn is_leader(&self) -> bool {
        self.raft.metrics().borrow_watched().state == ServerState::Leader
    }

    /// The commands in the log after the last one applied.
    pub(super) fn pending(&self) -> Vec<Command> {
        let from = self.shared.progress().borrow().next;
        let entries = self.log.memory().read(from, u64::MAX, u64::MAX);
        let commands = entries.into_iter().filter_map(|entry| match entry.payload {
            EntryPayload::Normal(proposal) => Entry::decode(&proposal.0).ok(),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        });
        commands.map(|entry| entry.command).collect()
    }

    /// Why the store has stopped, if it has.
    pub(super) fn check_running(&self) -> Result<(), Error> {
        if let Some(failed) = self.log.health().failed() {
            return Err(Error::Stopped { why: failed.to_string() });
        }
        let metrics = self.raft.metrics();
        let running = metrics.borrow_watched().running_state.clone();
        running.map_err(|error| Error::Stopped { why: error.to_string() })
    }

    /// Has something done by whoever leads: by `here` if that is this node, else by asking. Tries until it is
    /// known who leads; what may have been done and must not be done twice is not tried again.
    async fn by_leader<T, F: Future<Output = Result<T, Error>>>(
        &self,
        request: &Request,
        repeatable: bool,
        deadline: Duration,
        here: impl Fn() -> F,
        take: impl Fn(Reply) -> Option<Result<T, Error>>,
    ) -> Result<T, Error> {
        let end = Instant::now() + deadline;
        let (mut hint, mut unknown) = (None, None);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(unknown.unwrap_or(Error::NoLeader { waited: deadline }));
            }
            let tried = match hint.take().or_else(|| self.leader_heard()) {
                Some((id, member)) if id != self.me() => {
                    self.ask(id, &member, request.clone(), left, &take, &mut hint).await
                }
                _ => match tokio::time::timeout(left, here()).await {
                    Ok(done) => done,
                    Err(_) => Err(Error::Unknown { why: "it took too long" }),
                },
            };
            match tried {
                Err(Error::NoLeader { .. }) => {}
                Err(error @ Error::Unknown { .. }) if repeatable => unknown = Some(error),
                // What an earlier try did is still not known.
                Err(error) if !matches!(error, Error::Refused(_)) => return Err(unknown.unwrap_or(error)),
                done => return done,
            }
            if hint.is_none() {
                tokio::time::sleep(LEADERLESS_PAUSE.min(left)).await;
            }
        }
    }

    /// Waits until another than that member is taken for the leader, or nobody, and then for longer than an answer of
    /// it is on its way.
    async fn is_replaced(&self, leader: VoterId) {
        let mut metrics = self.raft.metrics();
        let before = metrics.borrow_watched().current_leader;
        loop {
            let now = metrics.borrow_watched().current_leader;
            if now != before && now != Some(leader) {
                return tokio::time::sleep(self.caller.options.heartbeat).await;
            }
            if metrics.changed().await.is_err() {
                // It has stopped: the call ends by itself.
                return std::future::pending().await;
            }
        }
    }

    async fn ask<T>(
        &self,
        id: VoterId,
        member: &Member,
        request: Request,
        deadline: Duration,
        take: impl Fn(Reply) -> Option<Result<T, Error>>,
        hint: &mut Option<(VoterId, Member)>,
    ) -> Result<T, Error> {
        let nobody = Error::NoLeader { waited: deadline };
        let deadline = deadline.min(self.caller.options.ask_timeout);
        let asked = tokio::select! {
            asked = self.caller.call(id, member, request, deadline) => asked,
            // Who is dead does not say so: the others do, by following another. Who only handed over answers yet.
            () = self.is_replaced(id) => Err(CallError::Link(LinkError::Lost)),
        };
        match asked {
            Ok(reply) => take(reply).unwrap_or(Err(Error::Unknown { why: "the leader answered strangely" })),
            Err(CallError::Fault(Fault::NotLeader(leader))) => {
                *hint = leader.filter(|leader| leader.id != id).map(|Hint { id, member }| (id, member));
                Err(nobody)
            }
            Err(CallError::Fault(Fault::Refused(_)) | CallError::Link(LinkError::Unreachable)) => Err(nobody),
            Err(CallError::Fault(fault)) => Err(fault.into()),
            Err(CallError::Link(LinkError::Lost) | CallError::Form) => {
                Err(Error::Unknown { why: "the leader did not answer" })
            }
        }
    }
}

/// Work with the consensus library's randomness from a seed.
pub(super) fn scope<F: Future>(seed: u64, work: F) -> impl Future<Output = F::Output> + use<F> {
    Runtime::scope(seed, work) as openraft_rt::task_local::TaskLocalFuture<Cell<u64>, F>
}
