//! `sim`: one process of the simulation for each seed.
//!
//! The program is `selvedge-sim --seed N`; it exits with 0 when every invariant held.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use crate::shell::{cargo, profile, run as run_command};
use crate::{Outcome, metadata};

/// Lines of a failed seed's output that are shown.
const TAIL_LINES_MAX: usize = 40;

/// Runs `count` seeds from `first` on, as many at a time as there are cores.
pub(crate) fn run(first: u64, count: u64) -> Outcome {
    let program = build()?;
    let last = first.saturating_add(count);
    let (next, failed) = (Mutex::new(first..last), Mutex::new(Vec::new()));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(seed) = take(&next) {
                    if let Err(tail) = run_seed(&program, seed) {
                        eprintln!("seed {seed} failed:\n{tail}");
                        failed.lock().unwrap_or_else(|e| e.into_inner()).push(seed);
                    }
                }
            });
        }
    });
    report(count, failed.into_inner().unwrap_or_else(|e| e.into_inner()))
}

/// Demands that bugs put back on purpose are found.
pub(crate) fn find_planted() -> Outcome {
    let test = ["test", "--package", "selvedge-sim", "--profile", profile()];
    run_command(cargo().args(test).args(["--features", "planted", "--test", "planted", "--", "--nocapture"]))
}

fn build() -> Result<PathBuf, String> {
    run_command(cargo().args(["build", "--package", "selvedge-sim", "--profile", profile()]))?;
    let directory = if profile() == "dev" { "debug" } else { profile() };
    Ok(metadata::load()?.target_directory.join(directory).join("selvedge-sim"))
}

fn take(seeds: &Mutex<std::ops::Range<u64>>) -> Option<u64> {
    seeds.lock().unwrap_or_else(|e| e.into_inner()).next()
}

fn run_seed(program: &Path, seed: u64) -> Result<(), String> {
    let mut command = Command::new(program);
    let out = command
        .args(["--seed", &seed.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot start {}: {e}", program.display()))?;
    if out.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    let lines: Vec<&str> = text.lines().collect();
    Err(lines[lines.len().saturating_sub(TAIL_LINES_MAX)..].join("\n"))
}

fn report(count: u64, mut failed: Vec<u64>) -> Outcome {
    failed.sort_unstable();
    println!("sim: {} passed, {} failed", count - failed.len() as u64, failed.len());
    match failed.first() {
        None => Ok(()),
        Some(seed) => {
            Err(format!("seeds {failed:?} failed; replay one with: cargo xtask sim --seeds 1 --from {seed}"))
        }
    }
}
