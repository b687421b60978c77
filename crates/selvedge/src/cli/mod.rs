//! The command line: arguments in, one command run, an exit code out.
//!
//! Data goes to standard output, everything else to standard error. A command returns an [`Exit`] or a
//! [`Failure`]; only [`main`] turns them into a process's exit code.

mod args;
mod client;
mod commands;
mod context;
mod failure;
mod http;
mod lines;
mod logfile;
mod print;
mod progress;
mod units;
mod yaml;

pub use args::{Args, Command};
pub use client::ApiArgs;
pub use context::{Context, SYSTEM_DATA, user_directory};
pub use failure::{Exit, Failure};
pub use print::{Format, Output, Table};

use clap::{CommandFactory, FromArgMatches};
use std::process::ExitCode;

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let command = without_empty_variables(Args::command());
    let args = command.try_get_matches().and_then(|matches| Args::from_arg_matches(&matches));
    let args = match args {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to standard output and are no failure; there is nowhere to report a
            // failing print to.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    match commands::run(args) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

/// A variable of the environment that is set to nothing counts as one that is not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| {
        arg.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()))
    };
    let command =
        command.mut_args(|arg| if is_empty(&arg) { arg.env(clap::builder::Resettable::Reset) } else { arg });
    command.mut_subcommands(without_empty_variables)
}
