//! `fuzz`: runs one fuzz target for a while.

use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::shell::{run as run_command, succeeds};

/// Runs `fuzz/fuzz_targets/TARGET.rs`. Fails when it finds a crash, or when a tool is missing.
pub(crate) fn run(target: &str, seconds: u64) -> Outcome {
    let source = format!("fuzz/fuzz_targets/{target}.rs");
    if !Path::new(&source).exists() {
        return Err(format!("no fuzz target `{target}`: there is no {source}"));
    }
    // `cargo` of rustup's, so that `+nightly` is understood.
    if !succeeds(Command::new("cargo").args(["+nightly", "fuzz", "--version"])) {
        return Err("needs a nightly compiler and cargo-fuzz: \
             rustup toolchain install nightly && cargo install --locked cargo-fuzz"
            .into());
    }
    let limit = format!("-max_total_time={seconds}");
    run_command(Command::new("cargo").args(["+nightly", "fuzz", "run", target, "--", &limit]))
}
