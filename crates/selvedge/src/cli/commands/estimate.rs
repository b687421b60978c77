//! `selvedge estimate`: what would this cache have saved?

use crate::cli::units::{bytes, percent};
use crate::cli::{Exit, Failure, Output, Table};
use clap::Args;
use selvedge_cache::estimate::{ASSUMPTIONS, Bucket, Estimate, Options, Report, SIZES_MAX};
use selvedge_types::resource::{ByteSize, Period, Text};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The longest line that is read; a longer one is skipped.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes that an object takes beside its content, as the race's memory case measures them.
const OVERHEAD_BYTES: u32 = 300;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What `estimate` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads access logs in the combined format or as JSON lines, also .gz, .xz and .zst; `-` is \
    standard input. Logs say nothing of Cache-Control: how long responses are fresh is stated with --ttl. JSON and \
    YAML also tell what the origin would have sent over time."
)]
pub struct EstimateArgs {
    /// The access logs, in the order of time
    #[arg(required = true)]
    pub logs: Vec<PathBuf>,
    /// Sizes of the cache to estimate
    #[arg(long, value_delimiter = ',', default_value = "64MiB,256MiB,1GiB,4GiB", value_parser = size)]
    pub sizes: Vec<u64>,
    /// How long every cacheable response is taken for fresh
    #[arg(long, default_value = "1h", value_parser = period)]
    pub ttl: Duration,
    /// How much time a line of the report over time covers at least
    #[arg(long, default_value = "1h", value_parser = period)]
    pub bucket: Duration,
}

fn size(text: &str) -> Result<u64, String> {
    ByteSize::parse_text(text).map(|size| size.get()).map_err(|e| format!("{}; {}", e.message, e.help))
}

fn period(text: &str) -> Result<Duration, String> {
    Period::parse_text(text).map(|period| period.get()).map_err(|e| format!("{}; {}", e.message, e.help))
}

/// Estimates and prints.
pub(super) fn run(output: Output, args: &EstimateArgs) -> Result<Exit, Failure> {
    if args.sizes.len() > SIZES_MAX {
        return Err(Failure::usage(format!("more than {SIZES_MAX} sizes")).next("ask for fewer with --sizes"));
    }
    let mut estimate = Estimate::new(&Options {
        capacities: args.sizes.clone(),
        freshness: args.ttl,
        overhead_bytes: OVERHEAD_BYTES,
        bucket: args.bucket,
    });
    let mut progress = Progress::new();
    for log in &args.logs {
        let failed = |e: io::Error| {
            Failure::failed(format!("cannot read {}", log.display()))
                .because(e)
                .next("name a log in the combined format or as JSON lines, plain or as .gz, .xz or .zst")
        };
        let mut reader = BufReader::with_capacity(1 << 20, open(log).map_err(failed)?);
        lines(&mut reader, &mut estimate, &mut progress).map_err(failed)?;
    }
    progress.end();
    let report = estimate.report();
    if report.total.requests == 0 {
        return Err(Failure::failed(format!("no request in {} lines", report.skipped))
            .next("name a log in the combined format or as JSON lines"));
    }
    let text = summary(&report);
    eprint!("{text}");
    output.print(&to_json(&report), |_| table(&report))
}

/// A log's content, decompressed by what its name ends in.
fn open(path: &std::path::Path) -> io::Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path)?;
    Ok(match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some("xz") => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(file)?),
        _ => Box::new(file),
    })
}

/// Reads lines without ever holding more than the longest allowed.
fn lines(reader: &mut impl BufRead, estimate: &mut Estimate, progress: &mut Progress) -> io::Result<()> {
    let mut line = Vec::with_capacity(1024);
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && read == LINE_BYTES_MAX {
            reader.skip_until(b'\n')?;
            estimate.skip(1);
        } else {
            estimate.line(line.trim_ascii_end());
        }
        progress.count();
    }
}

/// Tells how far it is, on a terminal.
struct Progress {
    lines: u64,
    told: Instant,
    shown: bool,
}

impl Progress {
    #[allow(clippy::disallowed_methods)] // for people's eyes
    fn new() -> Self {
        Progress { lines: 0, told: Instant::now(), shown: false }
    }

    #[allow(clippy::disallowed_methods)]
    fn count(&mut self) {
        self.lines += 1;
        if self.lines.is_multiple_of(65_536)
            && self.told.elapsed() > PROGRESS_EVERY
            && io::stderr().is_terminal()
        {
            self.told = Instant::now();
            self.shown = true;
            eprint!("\r{} lines read", self.lines);
        }
    }

    fn end(&self) {
        if self.shown {
            eprintln!();
        }
    }
}

fn summary(report: &Report) -> String {
    let mut text = format!(
        "{} requests for {} objects, {} sent; {} not for the cache, {} lines skipped\n\nAssumed:\n",
        report.total.requests,
        report.objects,
        bytes(report.total.bytes),
        report.passed,
        report.skipped
    );
    ASSUMPTIONS.iter().for_each(|assumption| text.push_str(&format!("- {assumption}\n")));
    text.push('\n');
    text
}

fn table(report: &Report) -> Table {
    let mut table = Table::new()
        .column("SIZE")
        .number("HITS")
        .number("HIT RATIO")
        .number("BYTE HIT RATIO")
        .number("TO ORIGIN")
        .number("FROM ORIGIN")
        .number("EVICTED");
    for size in &report.sizes {
        table.row([
            bytes(size.capacity),
            size.hits.requests.to_string(),
            percent(size.hits.requests, report.total.requests),
            percent(size.hits.bytes, report.total.bytes),
            size.origin.requests.to_string(),
            bytes(size.origin.bytes),
            size.evictions.to_string(),
        ]);
    }
    table
}

fn to_json(report: &Report) -> Value {
    let traffic = |t: &selvedge_cache::estimate::Traffic| json!({ "requests": t.requests, "bytes": t.bytes });
    let bucket = |b: &Bucket| {
        json!({
            "start_ms": b.start.0,
            "clients": traffic(&b.clients),
            "origin": b.origin.iter().map(traffic).collect::<Vec<_>>(),
        })
    };
    json!({
        "total": traffic(&report.total),
        "objects": report.objects,
        "passed": report.passed,
        "skipped": report.skipped,
        "assumptions": ASSUMPTIONS,
        "sizes": report.sizes.iter().map(|s| json!({
            "capacity": s.capacity,
            "hits": traffic(&s.hits),
            "origin": traffic(&s.origin),
            "stale": s.stale,
            "evictions": s.evictions,
        })).collect::<Vec<_>>(),
        "over_time": report.buckets.iter().map(bucket).collect::<Vec<_>>(),
    })
}
