//! `selvedge estimate LOG`: what would this cache save me?

use super::live::{self, Live, LiveArgs};
use crate::cli::logfile::LogFile;
use crate::cli::print::Format;
use crate::cli::progress::Progress;
use crate::cli::units::{bytes, date, percent, seconds};
use crate::cli::{Exit, Failure, Output, Table};
use clap::Args;
use selvedge_cache::estimate::log::Lines;
use selvedge_cache::estimate::{ASSUMPTIONS, Bucket, Estimate, Options, Report, SIZES_MAX, Traffic};
use selvedge_rt::Clock;
use selvedge_types::resource::{ByteSize, Period, Text};
use serde::Serialize;
use std::io::Read;
use std::time::Duration;

/// How much of a log is taken at a time, in bytes.
const PIECE: usize = 1 << 20;
/// What an object takes beside its content: stored header, index entry, rounding.
pub(super) const OVERHEAD_BYTES: u32 = 600;
/// The finest step of traffic over time.
const BUCKET: Duration = Duration::from_secs(60);
/// How many rows traffic over time takes in a table.
const ROWS: usize = 24;

/// What `estimate` takes.
#[derive(Debug, Args)]
pub struct EstimateArgs {
    /// An access log, combined or JSON lines; plain, .gz, .xz or .zst; `-` for standard input
    pub log: String,
    /// Cache sizes to estimate
    #[arg(long, value_name = "SIZES", value_delimiter = ',', default_value = "64MiB,256MiB,1GiB,4GiB", value_parser = size)]
    pub sizes: Vec<ByteSize>,
    /// For how long a stored response is fresh
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = period)]
    pub ttl: Period,
    /// Sending it for real.
    #[command(flatten)]
    pub live: LiveArgs,
}

pub(super) fn size(text: &str) -> Result<ByteSize, String> {
    ByteSize::parse_text(text).map_err(|e| format!("{}: {}", e.message, e.help))
}

pub(super) fn period(text: &str) -> Result<Period, String> {
    Period::parse_text(text).map_err(|e| format!("{}: {}", e.message, e.help))
}

/// Replays the log, and sends it for real if asked to.
pub(super) fn run(output: Output, args: &EstimateArgs) -> Result<Exit, Failure> {
    if args.sizes.len() > SIZES_MAX {
        return Err(Failure::usage(format!("more than {SIZES_MAX} sizes")));
    }
    let mut estimate = Estimate::new(&options(args.sizes.iter().map(|s| s.get()).collect(), args.ttl));
    let mut lines = Lines::default();
    each_piece(&args.log, |piece| {
        lines.push(piece, |line| estimate.line(line));
        Ok(())
    })?;
    lines.finish(|line| estimate.line(line));
    estimate.skip(lines.too_long());
    let report = estimate.report();
    if report.total.requests == 0 {
        return Err(Failure::failed(format!("{} has no request that could be read", args.log))
            .because(format!("{} lines were skipped", report.skipped))
            .next("give a log in common or combined format, or with one JSON object a line"));
    }
    let live = live::run(&args.live, &args.log, args.ttl)?;
    let printed = Printed::of(&report, args.ttl, live);
    match output.format {
        Format::Json | Format::Yaml => output.print(&printed, |_| Table::new()),
        Format::Table | Format::Wide => output.text(&tables(&printed, output)),
    }
}

/// How to estimate.
pub(super) fn options(capacities: Vec<u64>, ttl: Period) -> Options {
    Options { capacities, freshness: ttl.get(), overhead_bytes: OVERHEAD_BYTES, bucket: BUCKET }
}

/// Reads a log piece by piece, with a line of progress.
pub(super) fn each_piece(
    path: &str,
    mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failure = |e| Failure::failed(format!("cannot read the log {path}")).because(e);
    let mut log = LogFile::open(path).map_err(failure)?;
    let clock = Clock::real();
    let mut progress = Progress::start(clock.monotonic());
    let (mut piece, mut taken) = (vec![0; PIECE], 0);
    loop {
        let n = log.read(&mut piece).map_err(failure)?;
        if n == 0 {
            progress.finish();
            return Ok(());
        }
        each(piece.get(..n).unwrap_or_default())?;
        taken += n as u64;
        progress.update(clock.monotonic(), || match log.progress() {
            Some(part) => format!("{:.0}% of {path}", 100.0 * part),
            None => format!("{} of {path}", bytes(taken)),
        });
    }
}

/// What is printed in JSON.
#[derive(Debug, Serialize)]
struct Printed {
    requests: u64,
    bytes: u64,
    passed: u64,
    skipped_lines: u64,
    objects: usize,
    footprint_bytes: u64,
    from: Option<String>,
    to: Option<String>,
    fresh_for_seconds: u64,
    sizes: Vec<PrintedSize>,
    step_seconds: u64,
    over_time: Vec<PrintedStep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Live>,
    assumptions: &'static [&'static str],
}

#[derive(Debug, Serialize)]
struct PrintedSize {
    size_bytes: u64,
    hits: u64,
    hit_ratio: f64,
    byte_hit_ratio: f64,
    origin_requests: u64,
    origin_bytes: u64,
    stale: u64,
    evictions: u64,
}

#[derive(Debug, Serialize)]
struct PrintedStep {
    time: String,
    client_requests: u64,
    client_bytes: u64,
    /// By size, as in `sizes`.
    origin_requests: Vec<u64>,
    origin_bytes: Vec<u64>,
}

impl Printed {
    fn of(report: &Report, ttl: Period, live: Option<Live>) -> Self {
        let sizes = report.sizes.iter().map(|size| PrintedSize {
            size_bytes: size.capacity,
            hits: size.hits.requests,
            hit_ratio: size.hit_ratio(),
            byte_hit_ratio: size.byte_hit_ratio(),
            origin_requests: size.origin.requests,
            origin_bytes: size.origin.bytes,
            stale: size.stale,
            evictions: size.evictions,
        });
        let (step, steps) = steps(report);
        Printed {
            requests: report.total.requests,
            bytes: report.total.bytes,
            passed: report.passed,
            skipped_lines: report.skipped,
            objects: report.objects,
            footprint_bytes: report.footprint_bytes,
            from: report.span.map(|(from, _)| date(from.0)),
            to: report.span.map(|(_, to)| date(to.0)),
            fresh_for_seconds: ttl.as_secs(),
            sizes: sizes.collect(),
            step_seconds: step.as_secs(),
            over_time: steps.into_iter().map(PrintedStep::of).collect(),
            live,
            assumptions: ASSUMPTIONS,
        }
    }
}

impl PrintedStep {
    fn of(bucket: Bucket) -> Self {
        PrintedStep {
            time: date(bucket.start.0),
            client_requests: bucket.clients.requests,
            client_bytes: bucket.clients.bytes,
            origin_requests: bucket.origin.iter().map(|t| t.requests).collect(),
            origin_bytes: bucket.origin.iter().map(|t| t.bytes).collect(),
        }
    }
}

/// The report's buckets, joined so that there are at most [`ROWS`], and what each covers.
fn steps(report: &Report) -> (Duration, Vec<Bucket>) {
    let (Some(first), Some(last)) = (report.buckets.first(), report.buckets.last()) else {
        return (report.bucket, Vec::new());
    };
    let width = u64::try_from(report.bucket.as_millis()).unwrap_or(u64::MAX).max(1);
    let count = last.start.0.saturating_sub(first.start.0) / width + 1;
    let step = width.saturating_mul(count.div_ceil(ROWS as u64));
    let mut steps: Vec<Bucket> = Vec::new();
    for bucket in &report.buckets {
        let start = first.start.0 + (bucket.start.0 - first.start.0) / step * step;
        match steps.last_mut().filter(|s| s.start.0 == start) {
            Some(step) => {
                add(&mut step.clients, bucket.clients);
                step.origin.iter_mut().zip(&bucket.origin).for_each(|(to, from)| add(to, *from));
            }
            None => {
                let mut bucket = bucket.clone();
                bucket.start.0 = start;
                steps.push(bucket);
            }
        }
    }
    (Duration::from_millis(step), steps)
}

fn add(to: &mut Traffic, from: Traffic) {
    to.requests += from.requests;
    to.bytes = to.bytes.saturating_add(from.bytes);
}

fn tables(printed: &Printed, output: Output) -> String {
    let wide = output.format == Format::Wide;
    let mut text = format!(
        "{} requests for {} objects, {} sent, {} to {}\nfootprint {}, fresh for {}\n\n",
        printed.requests,
        printed.objects,
        bytes(printed.bytes),
        printed.from.as_deref().unwrap_or("-"),
        printed.to.as_deref().unwrap_or("-"),
        bytes(printed.footprint_bytes),
        seconds(printed.fresh_for_seconds as f64),
    );
    text.push_str(&sizes_table(printed).render(wide, output.colour));
    let step = seconds(printed.step_seconds as f64);
    text.push_str(&format!("\nfrom the origin, in steps of {step}\n"));
    text.push_str(&time_table(printed).render(wide, output.colour));
    if let Some(live) = &printed.live {
        text.push_str(&format!("\n{}{}", live.table().render(wide, output.colour), live.verdict()));
    }
    text.push_str("\nassumed:\n");
    printed.assumptions.iter().for_each(|line| text.push_str(&format!("  - {line}\n")));
    if printed.skipped_lines > 0 {
        text.push_str(&format!("  - {} lines that are no requests were skipped\n", printed.skipped_lines));
    }
    text
}

fn sizes_table(printed: &Printed) -> Table {
    let mut table = Table::new()
        .number("SIZE")
        .number("HITS")
        .number("HIT RATIO")
        .number("BYTE HIT RATIO")
        .number("TO ORIGIN")
        .number("FROM ORIGIN")
        .wide("STALE")
        .wide("EVICTIONS");
    for size in &printed.sizes {
        table.row([
            bytes(size.size_bytes),
            size.hits.to_string(),
            percent(size.hits, printed.requests),
            format!("{:.1}%", 100.0 * size.byte_hit_ratio),
            size.origin_requests.to_string(),
            bytes(size.origin_bytes),
            size.stale.to_string(),
            size.evictions.to_string(),
        ]);
    }
    table
}

fn time_table(printed: &Printed) -> Table {
    let mut table = Table::new().column("TIME").number("REQUESTS").number("NO CACHE");
    for size in &printed.sizes {
        table = table.number(bytes(size.size_bytes));
    }
    for step in &printed.over_time {
        let origin = step.origin_bytes.iter().map(|n| bytes(*n));
        let head = [step.time.clone(), step.client_requests.to_string(), bytes(step.client_bytes)];
        table.row(head.into_iter().chain(origin));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(minute: u32, path: &str, size: u32) -> String {
        let (hour, minute) = (minute / 60, minute % 60);
        format!(
            "192.0.2.1 - - [01/Jan/2026:{hour:02}:{minute:02}:00 +0000] \"GET {path} HTTP/1.1\" 200 {size}\n"
        )
    }

    #[test]
    fn buckets_are_joined_to_a_table_that_fits() {
        let mut estimate = Estimate::new(&options(vec![1 << 20], Period::from_secs(3600)));
        for minute in 0..600 {
            estimate.line(line(minute, "/a", 1000).trim_end().as_bytes());
        }
        let report = estimate.report();
        let (step, steps) = steps(&report);
        assert!(steps.len() <= ROWS && steps.len() > ROWS / 2, "{}", steps.len());
        assert_eq!(steps.iter().map(|s| s.clients.requests).sum::<u64>(), 600);
        assert!(step.as_secs() >= 600 * 60 / ROWS as u64);
        let origin: u64 = steps.iter().map(|s| s.origin[0].requests).sum();
        assert_eq!(origin, report.sizes[0].origin.requests);
        assert_eq!(origin, 10, "once an hour");
    }
}
