//! What may be written on the command line.

use super::commands::serve::ServeArgs;
use super::print::Format;
use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// Your own edge: a caching gateway in one binary.
#[derive(Debug, Parser)]
#[command(name = "selvedge", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 outcome unknown, 4 unreachable.\n\
                        Start with: selvedge dev")]
pub struct Args {
    /// How data is printed.
    #[arg(short, long, value_enum, global = true, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a directory's files over HTTP
    Serve(ServeArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: Shell,
    },
}
