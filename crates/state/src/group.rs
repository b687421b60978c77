//! A replicated group: a [`selvedge_kv::Store`] that its members agree on, by Raft (Ongaro and Ousterhout,
//! *In Search of an Understandable Consensus Algorithm*, 2014).
//!
//! ```text
//!   propose --leader: time--> log --flushed at a majority--> store --> answer, watches, observer
//!      \--others: ask the leader                               \--> tables (checkpoints)
//!   read --leader: still leading? up to where?--> applied so far here --> look
//!   MeshLinks --a call, by its urgency--> Receiver of another node --> Group::answer
//! ```
//! | promise | how |
//! |---|---|
//! | acknowledged is flushed at a majority | the log says so only after its flush; one is under way, the rest joins the next |
//! | a repeated command is done once | sessions of the store: a call keeps its number over all tries |
//! | a torn log neither votes nor leads until caught up | `core::trust` |
//! | a damaged log is given up, never shortened | [`repair`]: the node comes back as another member |
//! | a failed sync stops the store, and reads of it go on | the log's writer |
//! | a full disk refuses writes | the same; what was accepted waits for room |
//! | a voter was caught up before it voted | [`Change::SetVoters`] |
//!
//! The consensus library stays inside: its types are not seen outside of this module. Deliberately absent:
//! several groups on one log, and members who follow through another member.

mod caller;
mod calls;
mod codec;
mod core;
mod error;
mod id;
mod image;
mod incoming;
mod links;
mod log;
mod machine;
mod network;
mod open;
mod options;
mod proposal;
mod raft;
mod status;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
#[cfg(test)]
mod tests;
mod wire;

pub use calls::{Admission, MeshLinks, Receiver, SERVICE};
pub use codec::CodecError;
pub use core::{Level, Reading};
pub use error::{Error, OpenError};
pub use id::{Member, VoterId};
pub use image::{Image, Row, begin_with};
pub use links::{Calling, LinkError, Links};
pub use log::decode_record;
pub use machine::{Observer, Progress, Seen};
pub use open::{Opened, Setup, check_format, repair};
pub use options::Options;
pub use selvedge_types::ClusterId;
pub use status::{Role, Status};
pub use wire::{Change, decode_message};

/// Where the log is.
const LOG: &str = "log";

/// Where the tables are.
const TABLES: &str = "tables";

use bytes::Bytes;
use core::Core;
use machine::WatchSlot;
use openraft::async_runtime::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use selvedge_kv::{Answer, Batch, Call, Command, KeyspaceInfo, Store, TooManyWatches, Watch, WatchEnd};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A handle to this node's member of a group. Cheap to clone.
#[derive(Clone)]
pub struct Group(Arc<Core>);

impl Group {
    /// Who this node is in the group.
    pub fn id(&self) -> VoterId {
        self.0.me()
    }

    /// Makes the group, with these voters: once in its life, on one of them, when none has any data.
    /// Repeating it changes nothing.
    pub async fn form(&self, voters: BTreeMap<VoterId, Member>) -> Result<(), Error> {
        self.0.scoped(self.0.form(voters)).await
    }

    /// Has a command done, wherever the leader is; waits for the answer for `deadline` at most.
    ///
    /// [`Error::is_unknown`] says of an error that it may have been done all the same. With a `call`, it is
    /// tried again until then, and done once.
    ///
    /// Not cancel-safe: when the future is dropped, it may be done all the same.
    pub async fn propose(
        &self,
        command: Command,
        call: Option<Call>,
        deadline: Duration,
    ) -> Result<Answer, Error> {
        self.0.scoped(self.0.propose(command, call, deadline)).await
    }

    /// Looks at the store of this node once it is as fresh as `level` says. `look` must be short: nothing is
    /// applied meanwhile.
    pub async fn read<T>(
        &self,
        level: Level,
        deadline: Duration,
        look: impl FnOnce(&Store) -> T,
    ) -> Result<Reading<T>, Error> {
        self.0.scoped(self.0.read(level, deadline, look)).await
    }

    /// The store as it is once it has what `level` promises. It stays so while the group goes on; as long as it is held,
    /// the tables keep what it needs.
    pub async fn image(&self, level: Level, deadline: Duration) -> Result<Image, Error> {
        self.0.scoped(self.0.image(level, deadline)).await
    }

    /// Begins to watch keys at this node.
    pub fn watch(&self, watch: Watch) -> Result<Subscription, TooManyWatches> {
        Ok(Subscription { core: self.0.clone(), slot: self.0.shared.open_watch(watch)? })
    }

    /// How many watches there are at this node.
    pub fn watches(&self) -> usize {
        self.0.shared.watches()
    }

    /// The keyspaces as this node has them now. Does not wait.
    pub fn keyspaces(&self) -> Vec<KeyspaceInfo> {
        self.0.shared.look(|store| store.keyspaces().collect())
    }

    /// Whether this node is the only voter, as far as it knows.
    pub fn is_alone(&self) -> bool {
        self.0.is_alone()
    }

    /// The commands in this node's log that it has not applied: whether they are decided is not known here.
    pub fn pending(&self) -> Vec<Command> {
        self.0.pending()
    }

    /// Changes who takes part, or who leads.
    pub async fn change(&self, change: Change, deadline: Duration) -> Result<(), Error> {
        self.0.scoped(self.0.change(change, deadline)).await
    }

    /// Answers a message that came over the links from `node`, as [`Member::node`] has it. A member's message
    /// that another node sends is refused.
    pub async fn answer(&self, node: &str, message: &[u8]) -> Bytes {
        self.0.scoped(self.0.answer(node, message)).await
    }

    /// Resolves when something that was accepted waits for room on this node's disk. Cancel-safe.
    pub async fn waits_for_room(&self) {
        self.0.log.health().waits_for_room().await;
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Waits for changes of who leads or votes, as this node knows them.
    pub fn turns(&self) -> Turns {
        Turns(self.0.raft.server_metrics())
    }

    /// How far this node's state is, as it goes on.
    pub fn progress(&self) -> tokio::sync::watch::Receiver<Progress> {
        self.0.shared.progress()
    }
}

/// Waits for changes of who leads or votes.
pub struct Turns(WatchReceiverOf<raft::Types, RaftServerMetrics<raft::Types>>);

impl Turns {
    /// The next one; never once the group has ended. Cancel-safe.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await
        }
    }
}

/// A watch that was begun. It ends when this is dropped.
pub struct Subscription {
    core: Arc<Core>,
    slot: WatchSlot,
}

impl Subscription {
    /// Waits for the next events. After an error there are none. Cancel-safe.
    pub async fn next(&mut self) -> Result<Batch, WatchEnd> {
        loop {
            let batch = self.poll()?;
            if !batch.events.is_empty() || batch.more {
                return Ok(batch);
            }
            self.slot.wake.notified().await;
        }
    }

    /// The events that are there; also says up to which revision that is all.
    pub fn poll(&mut self) -> Result<Batch, WatchEnd> {
        self.core.shared.poll_watch(self.slot.id)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.core.shared.close_watch(self.slot.id);
    }
}
