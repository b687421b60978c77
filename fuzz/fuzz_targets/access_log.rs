//! Access logs: no panic on any line or cut, and what is read can be replayed.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use selvedge_cache::estimate::log::Lines;
use selvedge_cache::estimate::{Estimate, Options};

fuzz_target!(|bytes: &[u8]| {
    let mut estimate = Estimate::new(&Options {
        capacities: vec![0, 10_000],
        freshness: Duration::from_secs(60),
        overhead_bytes: 1,
        bucket: Duration::from_secs(1),
    });
    let (mut lines, mut seen) = (Lines::default(), 0u64);
    for piece in bytes.chunks(17) {
        lines.push(piece, |line| {
            seen += 1;
            estimate.line(line);
        });
    }
    lines.finish(|line| {
        seen += 1;
        estimate.line(line);
    });
    let report = estimate.report();
    assert_eq!(report.total.requests + report.skipped, seen);
    for size in &report.sizes {
        assert_eq!(size.hits.requests + size.origin.requests, report.total.requests);
    }
});
