//! Accept-Encoding: no panic, and what is sent to the origin in its place accepts the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_cache::semantics::AcceptEncoding;
use selvedge_cache::semantics::accept_encoding::CODINGS;
use selvedge_types::{Fields, name};

fuzz_target!(|value: &[u8]| {
    let mut fields = Fields::new();
    if fields.add(name::ACCEPT_ENCODING, value).is_err() {
        return;
    }
    let client = AcceptEncoding::of(&fields);
    let forwarded = client.normalized().map_or(AcceptEncoding::PLAIN, |text| {
        fields.set(name::ACCEPT_ENCODING, text).expect("a valid value");
        AcceptEncoding::of(&fields)
    });
    assert_eq!(client.set(), forwarded.set());
    assert!(client.best(&CODINGS).is_none_or(|best| client.accepts(best)));
});
