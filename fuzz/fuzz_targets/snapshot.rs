//! Snapshots: no panic, and what is taken is the same after another round.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_types::Snapshot;

fuzz_target!(|bytes: &[u8]| {
    // The head is given, so that the search is about what follows it.
    let mut framed = b"SLVS\0\x01".to_vec();
    framed.extend_from_slice(bytes);
    if let Ok(snapshot) = Snapshot::decode(&framed) {
        let again = snapshot.encode().expect("every snapshot can be encoded");
        assert_eq!(Snapshot::decode(&again).expect("what was encoded can be decoded"), snapshot);
    }
});
