//! What arrives may be anything: it is refused with a reason and changes nothing, or it is a frame.

use proptest::prelude::*;
use selvedge_membership::limits::DATAGRAM_BYTES_MAX;
use selvedge_membership::{Contact, Event, FrameError, Identity, Membership, Now, Options, Transmit};
use selvedge_types::resource::{PopName, RegionName, Text};
use selvedge_types::{ClusterId, Hlc, HlcClock, NodeKey, UnixMillis};
use std::time::Duration;

const WALL: u64 = 1_800_000_000_000;

struct Node {
    core: Membership,
    clock: HlcClock,
    elapsed: Duration,
}

fn key(number: u8) -> NodeKey {
    NodeKey::from_bytes([number; 32])
}

fn pop(name: &str) -> PopName {
    PopName::parse_text(name).expect("a name")
}

impl Node {
    fn new(number: u8, cluster: u8, pop_name: &str) -> Self {
        let mut clock = HlcClock::default();
        let now = Now { elapsed: Duration::ZERO, wall: UnixMillis(WALL), clock: &mut clock };
        let options = Options {
            cluster: ClusterId::from_bytes([cluster; 16]),
            identity: Identity::new(key(number), 1),
            pop: pop(pop_name),
            region: RegionName::parse_text("eu").expect("a name"),
            version: "0.1.0".into(),
            addresses: vec![([192, 0, 2, number], 7071).into()],
            seed: number.into(),
        };
        let mut core = Membership::new(options, &now);
        for other in [1, 2].into_iter().filter(|other| *other != number) {
            core.introduce(Contact { node: key(other), pop: pop("ams") });
        }
        Node { core, clock, elapsed: Duration::ZERO }
    }

    fn hears(&mut self, from: u8, bytes: &[u8]) -> Result<(), FrameError> {
        let mut now = Now { elapsed: self.elapsed, wall: UnixMillis(WALL), clock: &mut self.clock };
        self.core.handle_datagram(&mut now, key(from), bytes)
    }

    fn wakes(&mut self) {
        self.elapsed = self.core.wake_at().max(self.elapsed);
        let mut now = Now { elapsed: self.elapsed, wall: UnixMillis(WALL), clock: &mut self.clock };
        self.core.handle_wake(&mut now);
    }

    fn sends(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.core.poll_transmit()).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.core.poll_event()).collect()
    }

    /// Everything that others can see of its state.
    fn shows(&self) -> String {
        let members: Vec<_> = self.core.members().collect();
        let pops: Vec<_> = self.core.pops().collect();
        let rest =
            (self.core.wake_at(), self.core.waiting(), self.core.health_score(), self.core.coordinate());
        format!("{members:?} {pops:?} {rest:?} {:?}", self.clock)
    }
}

/// Two nodes that know each other, and what they said on the way.
fn acquainted() -> (Node, Node, Vec<(u8, Vec<u8>)>) {
    let (mut a, mut b) = (Node::new(1, 7, "ams"), Node::new(2, 7, "ams"));
    let mut said = Vec::new();
    for _ in 0..200 {
        let first = if a.core.wake_at() <= b.core.wake_at() { &mut a } else { &mut b };
        first.wakes();
        let at = first.elapsed;
        (a.elapsed, b.elapsed) = (at, at);
        loop {
            let (from_a, from_b) = (a.sends(), b.sends());
            if from_a.is_empty() && from_b.is_empty() {
                break;
            }
            for transmit in &from_a {
                b.hears(1, &transmit.bytes).expect("a frame of the other");
            }
            for transmit in &from_b {
                a.hears(2, &transmit.bytes).expect("a frame of the other");
            }
            said.extend(from_a.into_iter().map(|t| (1, t.bytes)));
            said.extend(from_b.into_iter().map(|t| (2, t.bytes)));
        }
    }
    assert_eq!((a.core.members().count(), b.core.members().count()), (1, 1));
    a.events();
    (a, b, said)
}

/// A refused datagram leaves no trace; one that is taken makes no panic.
fn check(node: &mut Node, from: u8, bytes: &[u8]) {
    let before = node.shows();
    if node.hears(from, bytes).is_err() {
        assert_eq!(node.shows(), before);
        assert!(node.sends().is_empty() && node.events().is_empty());
    } else {
        let largest = node.sends().iter().map(|t| t.bytes.len()).max().unwrap_or(0);
        assert!(largest <= DATAGRAM_BYTES_MAX);
        node.events();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn noise_is_refused_and_changes_nothing(noise in proptest::collection::vec(any::<Vec<u8>>(), 1..20)) {
        let (mut a, ..) = acquainted();
        noise.iter().for_each(|bytes| check(&mut a, 2, bytes));
    }

    #[test]
    fn damaged_frames_are_refused_whole_or_taken(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..20),
    ) {
        let (mut a, _, said) = acquainted();
        for (which, at, value) in damage {
            let (_, mut bytes) = which.get(&said).clone();
            let at = at.index(bytes.len());
            bytes[at] = value;
            check(&mut a, 2, &bytes);
        }
        for (which, at) in cuts {
            let (_, bytes) = which.get(&said);
            check(&mut a, 2, &bytes[..at.index(bytes.len())]);
        }
    }
}

#[test]
fn a_frame_of_another_cluster_is_refused_by_name() {
    let (mut a, ..) = acquainted();
    let mut stranger = Node::new(3, 8, "ams");
    stranger.wakes();
    let frame = stranger.sends().remove(0);
    let error = a.hears(3, &frame.bytes).unwrap_err();
    assert!(matches!(error, FrameError::Cluster { .. }), "{error}");
    assert!(error.to_string().contains("0808080808") && error.to_string().contains("ticket"), "{error}");
}

#[test]
fn a_frame_for_another_pop_is_refused_by_name() {
    let (mut a, ..) = acquainted();
    let mut lost = Node::new(3, 7, "fra");
    lost.core.introduce(Contact { node: key(1), pop: pop("fra") });
    let refused: Vec<FrameError> = (0..40)
        .flat_map(|_| {
            lost.wakes();
            lost.sends()
        })
        .filter(|transmit| transmit.to == key(1))
        .filter_map(|transmit| a.hears(3, &transmit.bytes).err())
        .collect();
    assert!(refused.contains(&FrameError::Pop(pop("ams"))), "{refused:?}");
}

#[test]
fn a_later_format_an_oversized_datagram_and_a_stolen_key_are_refused_by_name() {
    let (mut a, _, said) = acquainted();
    let mut later = said[0].1.clone();
    // The format is the first field, a small integer behind the array's head.
    later[1] = 9;
    assert_eq!(a.hears(2, &later), Err(FrameError::Format(9)));
    assert_eq!(a.hears(2, &[0; DATAGRAM_BYTES_MAX + 1]), Err(FrameError::Size(DATAGRAM_BYTES_MAX + 1)));
    assert_eq!(a.hears(1, &said[0].1), Err(FrameError::OwnKey));
}

#[test]
fn a_clock_far_ahead_is_reported_and_its_message_is_taken() {
    let (mut a, mut b, _) = acquainted();
    b.clock = HlcClock::resume(Hlc::from_bits((WALL + 3_600_000) << 16));
    let before = a.clock.tick(UnixMillis(WALL));
    let mut answered = false;
    for _ in 0..40 {
        b.wakes();
        a.elapsed = b.elapsed;
        for transmit in b.sends() {
            a.hears(2, &transmit.bytes).expect("its message is not refused");
        }
        answered |= !a.sends().is_empty();
    }
    let events = a.events();
    let ahead = |e: &&Event| matches!(e, Event::ClockAhead { node, ahead_ms } if *node == key(2) && *ahead_ms > 3_000_000);
    assert_eq!(events.iter().filter(ahead).count(), 1, "once, not with each message: {events:?}");
    assert!(answered);
    let after = a.clock.tick(UnixMillis(WALL));
    assert!(after > before && after.millis().0 < WALL + 60_000, "the clock did not follow");
}
