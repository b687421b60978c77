//! `cargo xtask bench estimate-speed`: how many log lines `estimate` reads, and how many requests it replays at four
//! sizes, for each second of one core's time. It reads on one thread and replays on another, so that the slower of
//! the two decides.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use selvedge_bench::hit_ratio::trace;
use selvedge_cache::estimate::log::{self, Lines};
use selvedge_cache::estimate::{Estimate, Options, Request};

const REQUESTS: usize = 2_000_000;

fn main() {
    let recipe = trace::recipes(100_000, REQUESTS).swap_remove(2);
    let trace = recipe.generate(1);
    let footprint = trace.footprint();
    for (format, log) in [("combined", combined(&trace)), ("json", json(&trace))] {
        let mut estimate = Estimate::new(&Options {
            capacities: [1000, 100, 10, 2].map(|part| footprint / part).to_vec(),
            freshness: Duration::from_secs(3600),
            overhead_bytes: 300,
            bucket: Duration::from_secs(60),
        });
        let (mut lines, mut requests) = (Lines::default(), Vec::new());
        let (mut reading, mut replaying) = (0.0, 0.0);
        for piece in log.as_bytes().chunks(64 * 1024) {
            let start = cpu_seconds();
            lines.push(piece, |line| requests.extend(log::parse(line).map(|record| Request::from(&record))));
            let read = cpu_seconds();
            requests.drain(..).for_each(|request| estimate.request(&request));
            reading += read - start;
            replaying += cpu_seconds() - read;
        }
        let report = estimate.report();
        let requests = report.total.requests as f64;
        let ratios: Vec<String> =
            report.sizes.iter().map(|size| format!("{:.3}", size.hit_ratio())).collect();
        println!(
            "{format:9} for each CPU second {:>9.0} lines read, {:>9.0} requests replayed; hit ratios {}",
            requests / reading,
            requests / replaying,
            ratios.join(" ")
        );
    }
}

/// What this process has computed so far; unlike time, it does not depend on what else runs.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

fn combined(trace: &trace::Trace) -> String {
    let line = |(at, &object): (usize, &usize)| {
        let (minute, second, size) = (at / 60_000 % 60, at / 1000 % 60, trace.sizes[object]);
        format!(
            "192.0.2.7 - - [17/May/2015:10:{minute:02}:{second:02} +0000] \"GET /some/path/of/object-{object}.html?v=1 \
             HTTP/1.1\" 200 {size} \"https://www.example.com/from/here\" \"Mozilla/5.0 (X11; Linux x86_64)\"\n"
        )
    };
    trace.requests.iter().enumerate().map(line).collect()
}

fn json(trace: &trace::Trace) -> String {
    let line = |(at, &object): (usize, &usize)| {
        let (minute, second, size) = (at / 60_000 % 60, at / 1000 % 60, trace.sizes[object]);
        format!(
            "{{\"time\":\"2015-05-17T10:{minute:02}:{second:02}.123Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\
             \"host\":\"www.example.com\",\"target\":\"/some/path/of/object-{object}.html?v=1\",\"status\":200,\
             \"bytes\":{size},\"duration_ms\":1.25,\"cache\":\"hit\",\"user_agent\":\"Mozilla/5.0\"}}\n"
        )
    };
    trace.requests.iter().enumerate().map(line).collect()
}
