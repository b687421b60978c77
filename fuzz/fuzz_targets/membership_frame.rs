//! Datagrams for membership: no panic, what is refused changes nothing that can be seen, what is answered fits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_membership::limits::DATAGRAM_BYTES_MAX;
use selvedge_membership::{Identity, Membership, Now, Options};
use selvedge_types::resource::{PopName, RegionName, Text};
use selvedge_types::{ClusterId, HlcClock, NodeKey, UnixMillis};
use std::time::Duration;

/// Datagrams of one input.
const DATAGRAMS_MAX: usize = 50;

fuzz_target!(|bytes: &[u8]| {
    let mut clock = HlcClock::default();
    let mut now = Now { elapsed: Duration::ZERO, wall: UnixMillis(1_800_000_000_000), clock: &mut clock };
    let mut core = Membership::new(options(), &now);
    // A datagram has its sender and its length before it, so that one input can be several.
    let mut rest = bytes;
    for _ in 0..DATAGRAMS_MAX {
        let Some(([sender, high, low], after)) = rest.split_first_chunk() else { break };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (datagram, after) = after.split_at(length.min(after.len()));
        rest = after;
        let before = (core.members().count(), core.pops().count(), core.wake_at(), core.waiting());
        let refused = core.handle_datagram(&mut now, NodeKey::from_bytes([*sender; 32]), datagram).is_err();
        if refused {
            assert_eq!(before, (core.members().count(), core.pops().count(), core.wake_at(), core.waiting()));
        } else {
            now.elapsed = core.wake_at();
            core.handle_wake(&mut now);
        }
        while let Some(transmit) = core.poll_transmit() {
            assert!(!refused && transmit.bytes.len() <= DATAGRAM_BYTES_MAX);
        }
    }
});

fn options() -> Options {
    Options {
        cluster: ClusterId::from_bytes([7; 16]),
        identity: Identity::new(NodeKey::from_bytes([1; 32]), 1),
        pop: PopName::parse_text("ams").expect("a name"),
        region: RegionName::parse_text("eu").expect("a name"),
        version: "0.1.0".into(),
        addresses: Vec::new(),
        seed: 1,
    }
}
