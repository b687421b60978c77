//! `soak`: the mixture of `crates/selvedge/tests/soak.rs`, for longer than tests take.

use crate::Outcome;
use crate::shell::{cargo, run as run_command};

/// Runs it against a release build.
pub(crate) fn run(minutes: u64) -> Outcome {
    let seconds = minutes.saturating_mul(60).to_string();
    let test = ["test", "--release", "--package", "selvedge", "--test", "soak", "--", "--nocapture"];
    run_command(cargo().env("SELVEDGE_SOAK_SECONDS", seconds).args(test))
}
