//! Request heads: no panic, and what is taken reads the same in httparse.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_http1::{Limits, Progress, parse_request};

fuzz_target!(|wire: &[u8]| {
    let Ok(Some((head, used))) = parse_request(wire, &mut Progress::default(), &Limits::DEFAULT) else {
        return;
    };
    let mut lines = [httparse::EMPTY_HEADER; 128];
    let mut other = httparse::Request::new(&mut lines);
    assert_eq!(other.parse(wire), Ok(httparse::Status::Complete(used)));
    assert_eq!(other.method, Some(head.method.as_str()));
    assert_eq!(other.headers.len(), head.fields.len());
    for (theirs, (name, value)) in other.headers.iter().zip(head.fields.iter()) {
        assert_eq!(theirs.name.as_bytes(), name);
        assert_eq!(selvedge_types::fields::trim(theirs.value), value);
    }
});
