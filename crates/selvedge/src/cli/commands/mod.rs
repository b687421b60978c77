//! The commands: one file each.

mod completions;
pub(super) mod serve;

use super::{Args, Command, Exit, Failure, Output};

/// Runs the command.
pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let output = Output::new(args.output);
    match args.command {
        Command::Serve(args) => serve::run(&args),
        Command::Completions { shell } => completions::run(output, shell),
    }
}
