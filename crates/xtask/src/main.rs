//! `cargo xtask`: what is done to this repository, each with one command.
//!
//! Architecture invariant: `check` never writes to the tree, `fix` does.

mod bans;
mod bench;
mod check;
mod fuzz;
mod layers;
mod metadata;
mod packages;
mod shell;
mod sim;
mod soak;
mod test;
mod words;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A task's outcome: an error is one printable text that says what to do next.
type Outcome = Result<(), String>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, tests and races of this repository")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need, then run every test
    Test {
        /// Arguments for the test runner, for example a filter
        #[arg(last = true)]
        runner: Vec<String>,
    },
    /// Format, clippy, layers, words, docs, licences: checks everything, writes nothing
    Check,
    /// Repair what can be repaired: format and clippy's own fixes
    Fix,
    /// Fail on an upward or sideways import between crates
    Layers,
    /// Fail on words that must not be in the tree
    Words,
    /// Install the Debian packages that tests (and with --bench, races) need
    Prepare {
        /// Also what the races need: nginx, Varnish, load generators
        #[arg(long)]
        bench: bool,
    },
    /// Run the simulation once for each seed, each in its own process
    Sim {
        /// How many seeds
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Instead, put bugs back, one after the other, and demand that each is found
        #[arg(long)]
        planted: bool,
    },
    /// Everything at once against a real node, for a long time
    Soak {
        /// How long
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Run a race of the bench crate, for example `edge` or `hit-ratio`
    Bench {
        /// The race: the name of a program in crates/bench/src/bin
        race: String,
        /// Arguments for the race
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Fuzz one target for a while (needs cargo-fuzz and a nightly compiler)
    Fuzz {
        /// The target: a file name in fuzz/fuzz_targets
        target: String,
        /// How long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Outcome {
    shell::enter_repository()?;
    match task {
        Task::Test { runner } => test::run_all(&runner),
        Task::Check => check::check(),
        Task::Fix => check::fix(),
        Task::Layers => layers::check().and_then(|()| bans::check()),
        Task::Words => words::check(),
        Task::Prepare { bench } => packages::prepare(bench),
        Task::Sim { planted: true, .. } => sim::find_planted(),
        Task::Sim { seeds, from, .. } => sim::run(from, seeds),
        Task::Soak { minutes } => soak::run(minutes),
        Task::Bench { race, args } => bench::run(&race, &args),
        Task::Fuzz { target, seconds } => fuzz::run(&target, seconds),
    }
}
