//! What a node knows of the cluster: the members of its PoP one by one, the other PoPs by their digests.

use crate::digest::{Digest, Exception, ShortKey};
use crate::identity::Identity;
use crate::record::{Load, Phase};
use selvedge_types::NodeKey;
use selvedge_types::resource::PopName;
use std::net::SocketAddr;
use std::time::Duration;

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there.
    Alive,
    /// It does not answer somebody. Traffic that can go elsewhere should.
    Suspect,
    /// It is not there.
    Gone(Why),
}

/// Why a node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It failed, or cannot be reached.
    Failed,
    /// It left of its own accord.
    Left,
    /// It was removed from the cluster by command.
    Removed,
    /// Its whole PoP cannot be reached.
    PopUnreachable,
}

/// A node of this node's PoP.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberView<'a> {
    /// Which life of which node.
    pub identity: Identity,
    /// How it stands.
    pub state: State,
    /// Since when, in the time of the calls.
    pub since: Duration,
    /// What it is up to.
    pub phase: Phase,
    /// How busy it is, as it last told this node: with its answers to probes, and with pages of the table.
    pub load: Load,
    /// Which version of the program it runs; empty while unknown.
    pub version: &'a str,
    /// Where it can be reached.
    pub addresses: &'a [SocketAddr],
    /// The round trip to expect, once both know where they are.
    pub round_trip: Option<Duration>,
}

impl MemberView<'_> {
    /// Whether it is there and takes new work.
    pub fn takes_work(&self) -> bool {
        self.state == State::Alive && self.phase == Phase::Serving
    }
}

/// Another PoP, or this node's own, as the others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct PopView<'a> {
    /// What it says of itself.
    pub digest: &'a Digest,
    /// Whether its delegates can be reached from here.
    pub reachable: bool,
    /// The round trip to expect, once both know where they are.
    pub round_trip: Option<Duration>,
}

impl PopView<'_> {
    /// How a node of it stands, as far as others are told: who is not named there is there.
    pub fn state_of(&self, node: &NodeKey) -> State {
        if !self.reachable {
            return State::Gone(Why::PopUnreachable);
        }
        match self.exception(node) {
            Some(Exception::Failed) => State::Gone(Why::Failed),
            Some(Exception::Left) => State::Gone(Why::Left),
            Some(Exception::Draining) | None => State::Alive,
        }
    }

    /// Whether a node of it takes no new work, as far as others are told.
    pub fn is_draining(&self, node: &NodeKey) -> bool {
        self.exception(node) == Some(Exception::Draining)
    }

    fn exception(&self, node: &NodeKey) -> Option<Exception> {
        let short = ShortKey::from(node);
        self.digest.exceptions.iter().find(|(named, _)| *named == short).map(|(_, exception)| *exception)
    }
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node of the PoP is there: new, restarted, or back.
    Joined(Identity),
    /// A node of the PoP is under suspicion.
    Suspected(Identity),
    /// It has shown that it is there.
    Refuted(Identity),
    /// A node of the PoP is gone.
    Gone(Identity, Why),
    /// A node of the PoP has changed what it says of itself.
    Described(Identity),
    /// A PoP's digest is new or has changed.
    PopChanged(PopName),
    /// A PoP cannot be reached any more.
    PopLost(PopName),
    /// A PoP can be reached (again).
    PopFound(PopName),
    /// This node became one of its PoP's delegates, or ceased to be one.
    Delegate(bool),
    /// Others took this node for gone; it goes on under a new generation.
    Renewed(Identity),
    /// A node's clock is too far ahead; its timestamp was refused, its message was not.
    ClockAhead {
        /// Whose.
        node: NodeKey,
        /// How far.
        ahead_ms: u64,
    },
    /// This node slept that long, and gives everybody that much more time.
    Stalled(Duration),
}
