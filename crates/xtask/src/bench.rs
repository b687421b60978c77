//! `bench`: starts a race of the bench crate, built as the product is.

use std::path::Path;

use crate::shell::{cargo, run as run_command};
use crate::{Outcome, packages};

/// Races that run other servers beside ours.
const NEEDS_SERVERS: &[&str] = &["edge", "store"];

/// Builds and runs the race; `edge` also gets the release build of the product to race with.
pub(crate) fn run(race: &str, args: &[String]) -> Outcome {
    let source = format!("crates/bench/src/bin/{race}.rs");
    if !Path::new(&source).exists() {
        return Err(format!("no race `{race}`: there is no {source}"));
    }
    if NEEDS_SERVERS.contains(&race) {
        packages::prepare(true)?;
        if Path::new("crates/selvedge").is_dir() {
            run_command(cargo().args(["build", "--release", "--package", "selvedge"]))?;
        }
    }
    let command = ["run", "--release", "--package", "selvedge-bench", "--bin", race, "--"];
    run_command(cargo().args(command).args(args))
}
