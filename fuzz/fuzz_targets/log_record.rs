//! Log records: no panic, and no length beyond the bytes there are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_store::wal::decode;

fuzz_target!(|bytes: &[u8]| {
    if let Some((record, length)) = decode(bytes) {
        assert!(length <= bytes.len() && record.payload.len() < length);
        assert!(record.batch <= record.sequence);
    }
});
