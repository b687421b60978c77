//! Response heads: no panic, and what is taken reads the same in httparse.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_http1::{Limits, Progress, parse_response};
use selvedge_types::Method;

fuzz_target!(|wire: &[u8]| {
    let read = parse_response(wire, &mut Progress::default(), &Method::Get, &Limits::DEFAULT);
    let Ok(Some((head, used))) = read else {
        return;
    };
    let mut lines = [httparse::EMPTY_HEADER; 128];
    let mut other = httparse::Response::new(&mut lines);
    assert_eq!(other.parse(wire), Ok(httparse::Status::Complete(used)));
    assert_eq!(other.code, Some(head.status.code()));
    assert_eq!(other.headers.len(), head.fields.len());
});
