//! `cargo xtask bench store`: a keyspace of ours beside etcd, three voters each.

use std::process::ExitCode;

use clap::Parser;
use selvedge_bench::store::{Args, run};

/// Races a keyspace of ours with etcd: three voters each on this machine, flushing, through their public interfaces
#[derive(Parser)]
#[command(name = "store")]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    match run(&Cli::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store: {error}");
            ExitCode::FAILURE
        }
    }
}
