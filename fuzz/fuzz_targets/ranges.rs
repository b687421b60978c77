//! Range and Content-Range: no panic, what is selected lies inside and apart, what is written is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_cache::semantics::range::{COALESCE_GAP_BYTES, RANGES_MAX};
use selvedge_cache::semantics::{ContentRange, RangeRequest, Selected};

fuzz_target!(|input: (&[u8], u64)| {
    let (value, length) = input;
    if let Some(range) = ContentRange::parse(value) {
        assert_eq!(ContentRange::parse(&range.to_value()), Some(range));
    }
    let Some(ranges) = RangeRequest::parse(value) else { return };
    assert!((1..=RANGES_MAX).contains(&ranges.specs().len()));
    let spans = match ranges.select(length) {
        Selected::Whole | Selected::Unsatisfiable => Vec::new(),
        Selected::One(span) => vec![span],
        Selected::Many(spans) => spans,
    };
    for (i, a) in spans.iter().enumerate() {
        assert!(a.end() <= length);
        assert!(spans[i + 1..].iter().all(|b| a.gap_to(*b) >= COALESCE_GAP_BYTES));
    }
});
