//! Files of the cache's disk tier: no panic, and objects that lie within the file and do not overlap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_store::segments::scan;

fuzz_target!(|bytes: &[u8]| {
    let mut end = 0;
    scan(bytes, 0, |at, length, _| {
        assert!(at >= end && length > 0);
        end = at + length;
        assert!(end <= bytes.len());
    });
});
