//! `cargo xtask bench mesh`: who learns of a death how soon, at what cost, and who is wrongly taken for dead.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use selvedge_bench::mesh::{Args, run};

/// Simulates clusters of several sizes and measures their membership
#[derive(Parser)]
#[command(name = "mesh")]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    match run(&Cli::parse().args, &mut out).and_then(|passed| out.flush().map(|()| passed)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mesh: cannot write the report: {error}");
            ExitCode::FAILURE
        }
    }
}
