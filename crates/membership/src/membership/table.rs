//! The tables: what members say of themselves, and the PoPs. Read by the rest of the node.

use super::Membership;
use crate::coordinate::Coordinate;
use crate::digest::Digest;
use crate::health::Probes;
use crate::identity::Identity;
use crate::limits::STRAY_PERIOD;
use crate::pool::{Pool, Standing};
use crate::record::{Load, Phase, Record};
use crate::view::{MemberView, PopView, State, Why};
use crate::wire::{Reach, Word};
use selvedge_types::NodeKey;
use selvedge_types::resource::PopName;
use std::time::Duration;

/// Coordinates that are more wrong than that tell nothing.
const ERROR_USABLE: f32 = 0.8;

/// What a member of the PoP says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Described {
    pub(super) record: Option<Record>,
    pub(super) load: Load,
    pub(super) coordinate: Option<Coordinate>,
    /// Its last round trips: the median of three counts, so that one slow answer moves nobody.
    pub(super) round_trips: [Option<Duration>; 3],
}

/// What is known of a PoP.
#[derive(Clone, Debug)]
pub(super) struct Pop {
    pub(super) digest: Digest,
    pub(super) reach: Option<Reach>,
    /// Since when it is known.
    pub(super) since: Duration,
}

impl Pop {
    /// A PoP that something was heard of counts as reachable until its delegates are missed.
    pub(super) fn is_reachable(&self) -> bool {
        self.reach.is_none_or(|reach| reach.reachable)
    }
}

/// The round trip to expect, if both know where they are.
pub(super) fn round_trip(own: &Coordinate, other: &Coordinate) -> Option<Duration> {
    let usable = own.error() < ERROR_USABLE && other.error() < ERROR_USABLE;
    usable.then(|| own.round_trip(other))
}

impl Membership {
    /// This node, as others know it.
    pub fn identity(&self) -> Identity {
        self.own.identity
    }

    /// What this node says of itself.
    pub fn own_record(&self) -> &Record {
        &self.own
    }

    /// How far this node's own trouble stretches its probes: 0 when it is well, 8 at most.
    pub fn health_score(&self) -> u8 {
        self.health.score()
    }

    /// What became of this node's probes.
    pub fn probes(&self) -> Probes {
        self.health.probes
    }

    /// Where this node is on the network.
    pub fn coordinate(&self) -> &Coordinate {
        &self.coordinate
    }

    /// The other nodes of this PoP, in the order of their keys; also those that are gone, while remembered.
    pub fn members(&self) -> impl Iterator<Item = MemberView<'_>> {
        self.pop.standings().values().map(|standing| self.view(standing))
    }

    /// A node of this PoP.
    pub fn member(&self, node: &NodeKey) -> Option<MemberView<'_>> {
        self.pop.standing(node).map(|standing| self.view(standing))
    }

    /// All PoPs that are known, this node's own as well.
    pub fn pops(&self) -> impl Iterator<Item = PopView<'_>> {
        self.pops.values().map(|pop| self.pop_view(pop))
    }

    /// One of them.
    pub fn pop(&self, name: &PopName) -> Option<PopView<'_>> {
        self.pops.get(name).map(|pop| self.pop_view(pop))
    }

    /// How a node of any PoP stands; nothing if neither it nor its PoP was heard of.
    pub fn state_of(&self, node: &NodeKey, pop: &PopName) -> Option<State> {
        if self.removed.contains(node) {
            return Some(State::Gone(Why::Removed));
        }
        if *pop == self.options.pop {
            return self.member(node).map(|member| member.state);
        }
        self.pop(pop).map(|view| view.state_of(node))
    }

    /// Whether this node speaks for its PoP.
    pub fn is_delegate(&self) -> bool {
        self.world.is_some()
    }

    /// Timers that wait, as a measure of what a node holds.
    pub fn waiting(&self) -> usize {
        self.timers.len() + self.pop.waiting() + self.world.as_ref().map_or(0, Pool::waiting)
    }

    /// What a node says of itself may come before it is known as a member, but not long before.
    pub(super) fn drop_strays(&mut self, now: Duration) {
        let (former, looked) = &mut self.strays;
        if now < *looked + STRAY_PERIOD {
            return;
        }
        *looked = now;
        let pop = &self.pop;
        self.described.retain(|node, _| pop.standing(node).is_some() || !former.contains(node));
        *former = self.described.keys().filter(|node| pop.standing(node).is_none()).copied().collect();
    }

    pub(super) fn phase_of(&self, identity: Identity) -> Phase {
        let record = self.described.get(&identity.node).and_then(|d| d.record.as_ref());
        record.filter(|record| record.identity == identity).map_or(Phase::Joining, |record| record.phase)
    }

    pub(super) fn why_gone(&self, identity: Identity) -> Why {
        if self.removed.contains(&identity.node) {
            return Why::Removed;
        }
        if self.phase_of(identity) == Phase::Left { Why::Left } else { Why::Failed }
    }

    fn view(&self, standing: &Standing) -> MemberView<'_> {
        let described = self.described.get(&standing.identity.node);
        let record = described.and_then(|d| d.record.as_ref());
        let state = match standing.word {
            Word::Alive => State::Alive,
            Word::Suspect => State::Suspect,
            Word::Down => State::Gone(self.why_gone(standing.identity)),
        };
        let coordinate = described.and_then(|d| d.coordinate.as_ref());
        MemberView {
            identity: standing.identity,
            state,
            since: standing.since,
            phase: self.phase_of(standing.identity),
            load: described.map(|d| d.load).unwrap_or_default(),
            version: record.map_or("", |r| r.version.as_str()),
            addresses: record.map_or(&[], |r| r.addresses.as_slice()),
            round_trip: coordinate.and_then(|other| round_trip(&self.coordinate, other)),
        }
    }

    fn pop_view<'a>(&self, pop: &'a Pop) -> PopView<'a> {
        let own = pop.digest.pop == self.options.pop;
        PopView {
            digest: &pop.digest,
            reachable: own || pop.is_reachable(),
            round_trip: round_trip(&self.coordinate, &pop.digest.coordinate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Now, Options};
    use selvedge_types::resource::{RegionName, Text};
    use selvedge_types::{ClusterId, HlcClock, UnixMillis};

    fn key(n: u8) -> NodeKey {
        NodeKey::from_bytes([n; 32])
    }

    #[test]
    fn who_is_described_and_never_comes_is_forgotten() {
        let mut clock = HlcClock::default();
        let mut now = Now { elapsed: Duration::ZERO, wall: UnixMillis(1_800_000_000_000), clock: &mut clock };
        let options = Options {
            cluster: ClusterId::from_bytes([1; 16]),
            identity: Identity::new(key(1), 1),
            pop: PopName::parse_text("ams").unwrap(),
            region: RegionName::parse_text("eu").unwrap(),
            version: String::new(),
            addresses: Vec::new(),
            seed: 1,
        };
        let mut core = Membership::new(options, &now);
        for n in 2..200 {
            let record = Record { identity: Identity::new(key(n), 1), ..core.own_record().clone() };
            assert!(core.take_record(&record));
        }
        let ends = STRAY_PERIOD * 2 + Duration::from_secs(3);
        while core.wake_at() < ends {
            now.elapsed = core.wake_at();
            if now.elapsed < STRAY_PERIOD {
                assert_eq!(core.described.len(), 198, "they may still come");
            }
            core.handle_wake(&mut now);
        }
        assert!(core.described.is_empty());
        assert!(core.strays.0.is_empty());
    }
}
