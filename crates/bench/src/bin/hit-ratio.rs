//! `cargo xtask bench hit-ratio`: whose cache answers most, over traces and cache sizes.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use selvedge_bench::hit_ratio::{self, Args};

/// Replays traces against our eviction and others', and says who answers most
#[derive(Parser)]
#[command(name = "hit-ratio")]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    let args = Cli::parse().args;
    match race(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hit-ratio: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether ours passed everything.
fn race(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    let report = hit_ratio::run(args)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report.with_verdicts())?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    if report.traces.is_empty() {
        eprintln!("no traces of real servers in {}: generated ones only", args.traces.display());
    }
    Ok(report.verdicts().iter().all(|verdict| verdict.passed))
}
