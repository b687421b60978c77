//! What a node knows of the cluster at one moment, for all who ask.

use selvedge_membership::{Digest, Identity, Load, MemberView, Membership, Phase, PopView, State, Why};
use selvedge_types::NodeKey;
use selvedge_types::resource::PopName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The cluster as this node sees it: its own PoP's nodes one by one, all PoPs by their digests. Immutable.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// This node, as others know it.
    pub own: Identity,
    /// What it is up to.
    pub phase: Phase,
    /// Its PoP.
    pub own_pop: PopName,
    /// The other nodes of its PoP; also those that are gone, while they are remembered.
    pub members: BTreeMap<NodeKey, Member>,
    /// All PoPs, its own among them.
    pub pops: BTreeMap<PopName, Pop>,
    /// Whether this node speaks for its PoP.
    pub delegate: bool,
    /// How far its own trouble stretches its probes: 0 when it is well, 8 at most.
    pub health: u8,
    /// Nodes that were removed from the cluster.
    pub(super) removed: Arc<BTreeSet<NodeKey>>,
}

/// Another node of the PoP.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Which of its lives: higher with each start.
    pub generation: u64,
    /// How it stands.
    pub state: State,
    /// Since when, by this node's monotonic clock.
    pub since: Duration,
    /// What it is up to.
    pub phase: Phase,
    /// How busy it is.
    pub load: Load,
    /// Which version of the program it runs; empty while unknown.
    pub version: String,
    /// Where it says that it can be reached.
    pub addresses: Vec<SocketAddr>,
    /// The round trip to expect, by network coordinates; nothing before both know where they are.
    pub round_trip: Option<Duration>,
}

impl Member {
    /// Whether it is there and takes new work.
    pub fn takes_work(&self) -> bool {
        self.state == State::Alive && self.phase == Phase::Serving
    }
}

/// A PoP.
#[derive(Clone, Debug, PartialEq)]
pub struct Pop {
    /// What it says of itself.
    pub digest: Digest,
    /// Whether its delegates can be reached from here.
    pub reachable: bool,
    /// The round trip to expect, by network coordinates; nothing before both know where they are.
    pub round_trip: Option<Duration>,
}

impl View {
    pub(super) fn of(core: &Membership, own_pop: &PopName, removed: &Arc<BTreeSet<NodeKey>>) -> Self {
        View {
            own: core.identity(),
            phase: core.own_record().phase,
            own_pop: own_pop.clone(),
            members: core.members().map(|member| (member.identity.node, Member::of(&member))).collect(),
            pops: core.pops().map(|pop| (pop.digest.pop.clone(), Pop::of(&pop))).collect(),
            delegate: core.is_delegate(),
            health: core.health_score(),
            removed: removed.clone(),
        }
    }

    /// How a node stands that the cluster let in and that belongs to `pop`; nothing if neither it nor its PoP was
    /// heard of.
    pub fn state_of(&self, node: &NodeKey, pop: &PopName) -> Option<State> {
        if self.removed.contains(node) {
            Some(State::Gone(Why::Removed))
        } else if *node == self.own.node {
            Some(State::Alive)
        } else if *pop == self.own_pop {
            self.members.get(node).map(|member| member.state)
        } else {
            self.pops.get(pop).map(|pop| pop.as_seen().state_of(node))
        }
    }

    /// Whether such a node finishes what it has and takes nothing new, as far as others are told.
    pub fn is_draining(&self, node: &NodeKey, pop: &PopName) -> bool {
        if *node == self.own.node {
            return self.phase == Phase::Draining;
        }
        if *pop == self.own_pop {
            return self.members.get(node).is_some_and(|member| member.phase == Phase::Draining);
        }
        self.pops.get(pop).is_some_and(|pop| pop.as_seen().is_draining(node))
    }
}

impl Member {
    fn of(member: &MemberView<'_>) -> Self {
        Member {
            generation: member.identity.generation,
            state: member.state,
            since: member.since,
            phase: member.phase,
            load: member.load,
            version: member.version.to_owned(),
            addresses: member.addresses.to_vec(),
            round_trip: member.round_trip,
        }
    }
}

impl Pop {
    fn of(pop: &PopView<'_>) -> Self {
        Pop { digest: pop.digest.clone(), reachable: pop.reachable, round_trip: pop.round_trip }
    }

    fn as_seen(&self) -> PopView<'_> {
        PopView { digest: &self.digest, reachable: self.reachable, round_trip: self.round_trip }
    }
}
