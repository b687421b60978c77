//! `selvedge completions SHELL`

use crate::cli::{Args, Exit, Failure, Output};
use clap::CommandFactory;
use clap_complete::Shell;

/// Prints the completion script.
pub(super) fn run(output: Output, shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "selvedge", &mut script);
    output.text(&String::from_utf8_lossy(&script))
}
