//! Cache-Control: no panic, and nothing appended makes a restriction go away or a lifetime longer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_cache::semantics::cache_control::{RequestDirectives, ResponseDirectives};

fuzz_target!(|value: &[u8]| {
    let found = ResponseDirectives::parse([value].into_iter());
    let more = ResponseDirectives::parse([value, b"max-age=1, no-store, private"].into_iter());
    assert!(more.no_store && more.private.is_response());
    assert!(more.max_age <= found.max_age || found.max_age.is_none());
    let mut request = RequestDirectives::default();
    request.extend(value);
    request.extend(b"no-cache");
    assert!(request.no_cache);
});
