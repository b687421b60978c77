//! `test`: prepares what the tests need, then runs all of them.

use crate::shell::{cargo, profile, run, succeeds};
use crate::{Outcome, packages};

/// Runs the workspace's tests and its documentation's examples.
///
/// With arguments for the runner (a filter, say) only the tests run.
pub(crate) fn run_all(runner: &[String]) -> Outcome {
    packages::prepare(false)?;
    if runner.is_empty() {
        run(cargo().args(["test", "--doc", "--workspace", "--profile", profile()]))?;
    }
    // Last, so that the output ends with the summary of the many.
    tests(runner)
}

fn tests(runner: &[String]) -> Outcome {
    if succeeds(cargo().args(["nextest", "--version"])) {
        let nextest = ["nextest", "run", "--workspace", "--no-fail-fast", "--cargo-profile", profile()];
        return run(cargo().args(nextest).args(runner));
    }
    let targets = ["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"];
    run(cargo().args(targets).args(["--profile", profile()]).args(runner))
}
