//! Running other programs, and saying what was run.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Outcome;

/// Makes the repository's root the working directory, wherever the task was started.
pub(crate) fn enter_repository() -> Outcome {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    env::set_current_dir(&root).map_err(|e| format!("cannot enter {}: {e}", root.display()))
}

/// The cargo that started this task.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The cargo profile for checks and tests: `ci` (no debug information) where `CI` is set, else `dev`.
pub(crate) fn profile() -> &'static str {
    if env::var_os("CI").is_some() { "ci" } else { "dev" }
}

/// Runs a command to its end, printing it before and its duration after.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = describe(command);
    eprintln!("xtask: {line}");
    let begun = Instant::now();
    let status = command.status().map_err(|e| format!("cannot start `{line}`: {e}"))?;
    eprintln!("xtask: took {:.1} s", begun.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(format!("failed ({status}): {line}")) }
}

/// Whether a command exits with 0; its output is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What a command prints on standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let line = describe(command);
    let out = command.stderr(Stdio::inherit()).output().map_err(|e| format!("cannot start `{line}`: {e}"))?;
    if !out.status.success() {
        return Err(format!("failed ({}): {line}", out.status));
    }
    String::from_utf8(out.stdout).map_err(|e| format!("`{line}` printed what is not UTF-8: {e}"))
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
