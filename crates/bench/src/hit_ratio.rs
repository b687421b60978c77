//! Which share of requests a cache answers, by our policy and by others, over traces and cache sizes.
//!
//! Two races: in RAM all policies replay the same requests for whole objects, and the share of requests
//! counts; for the disk objects are cut into slices as the store does, and the share of bytes counts.

mod bound;
mod ours;
pub mod reference;
mod report;
pub mod trace;

use std::path::PathBuf;

use bound::upper_bound;
use ours::{OurDisk, OurRam};
use reference::{Cache, Gdsf, Lru, S3Fifo, Sieve, WTinyLfu};
pub use report::{Cell, Ratios, Report, Tier, Verdict};
use trace::Trace;

/// Cache sizes, as shares of a trace's footprint.
pub const SHARES: [f64; 3] = [0.001, 0.01, 0.1];

/// The policies of a race; ours comes first.
pub const POLICIES: [&str; 6] = ["Selvedge", "LRU", "S3-FIFO", "SIEVE", "W-TinyLFU", "GDSF"];

/// Bytes of a slice, into which objects are cut on disk.
const SLICE_BYTES: u64 = 1 << 20;

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where the traces of real servers are (`apache_logs.xz`, `web12.trace.xz`); they are left out if not there
    #[arg(long, default_value = "../shared/data/traces")]
    pub traces: PathBuf,
    /// How many objects generated traces have
    #[arg(long, default_value_t = 20_000)]
    pub objects: usize,
    /// How many requests generated traces have
    #[arg(long, default_value_t = 300_000)]
    pub requests: usize,
    /// What generated traces are drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A trace is there and cannot be read.
    #[error("cannot read the traces in {folder}: {source}; name another folder with --traces")]
    Traces {
        /// Where they were looked for.
        folder: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// There is nothing to ask for.
    #[error(
        "generated traces need at least one object and one request: --objects and --requests are too low"
    )]
    Empty,
}

/// Replays all traces at all sizes by all policies; the same arguments give the same result.
pub fn run(args: &Args) -> Result<Report, Error> {
    if args.objects == 0 || args.requests == 0 {
        return Err(Error::Empty);
    }
    let read = trace::shared(&args.traces);
    let real = read.map_err(|source| Error::Traces { folder: args.traces.clone(), source })?;
    let recipes = trace::recipes(args.objects, args.requests);
    let generated = recipes.iter().zip(args.seed..).map(|(recipe, seed)| recipe.generate(seed));
    let mut report = Report::new(real.iter().map(|trace| trace.name.clone()).collect());
    for trace in real.into_iter().chain(generated) {
        report.ram.extend(SHARES.map(|share| ram_cell(&trace, share)));
        let sliced = trace.sliced(SLICE_BYTES);
        report.disk.extend(SHARES.map(|share| disk_cell(&sliced, share)));
    }
    Ok(report)
}

fn ram_cell(trace: &Trace, share: f64) -> Cell {
    let capacity = capacity(trace, share);
    let ours = OurRam::new(capacity, trace.sizes.len());
    Cell { bound: Some(upper_bound(trace, capacity)), ..cell(trace, share, Box::new(ours)) }
}

fn disk_cell(trace: &Trace, share: f64) -> Cell {
    let mut ours = OurDisk::new(capacity(trace, share), trace.sizes.len());
    let first = replay(trace, &mut ours);
    let mut cell = cell(trace, share, Box::new(OurDisk::new(capacity(trace, share), trace.sizes.len())));
    debug_assert_eq!(cell.ratios[0], first);
    cell.write_amplification = Some(ours.write_amplification());
    cell
}

fn cell(trace: &Trace, share: f64, ours: Box<dyn Cache>) -> Cell {
    let (capacity, objects) = (capacity(trace, share), trace.sizes.len());
    let caches: [Box<dyn Cache>; 6] = [
        ours,
        Box::new(Lru::new(capacity, objects)),
        Box::new(S3Fifo::new(capacity, objects)),
        Box::new(Sieve::new(capacity, objects)),
        Box::new(WTinyLfu::new(capacity, objects, capacity / trace.mean_size())),
        Box::new(Gdsf::new(capacity, objects)),
    ];
    let ratios = caches.map(|mut cache| replay(trace, cache.as_mut()));
    Cell { trace: trace.name.clone(), share, ratios, bound: None, write_amplification: None }
}

fn capacity(trace: &Trace, share: f64) -> u64 {
    ((trace.footprint() as f64 * share) as u64).max(1)
}

/// The percentages of requests and bytes that are hits.
fn replay(trace: &Trace, cache: &mut dyn Cache) -> Ratios {
    let (mut hits, mut hit_bytes, mut bytes) = (0u64, 0u64, 0u64);
    for &object in &trace.requests {
        let size = trace.sizes[object];
        bytes += size;
        if cache.request(object, size) {
            hits += 1;
            hit_bytes += size;
        }
    }
    let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    Ratios { objects: percent(hits, trace.requests.len() as u64), bytes: percent(hit_bytes, bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args { traces: PathBuf::from("nowhere"), objects: 400, requests: 6_000, seed: 7, json: false }
    }

    #[test]
    fn the_same_arguments_give_the_same_report_ours_wins_and_nobody_beats_the_bound() {
        let report = run(&args()).unwrap();
        assert_eq!(report, run(&args()).unwrap());
        // With a cache of one object the share of 0.1% says little: only the means are looked at.
        let [ram_mean, _, disk_mean] = report.verdicts().try_into().unwrap();
        assert!(ram_mean.passed && disk_mean.passed, "{report}");
        for cell in &report.ram {
            let bound = cell.bound.unwrap();
            assert!(cell.ratios.iter().all(|r| r.objects <= bound + 1e-9), "{cell:?}");
        }
    }

    #[test]
    fn nothing_to_replay_is_an_error() {
        assert!(matches!(run(&Args { requests: 0, ..args() }), Err(Error::Empty)));
    }
}
