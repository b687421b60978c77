//! `cargo xtask bench edge`: see `selvedge_bench::edge`.

use std::process::ExitCode;

use clap::Parser;
use selvedge_bench::edge::{Options, run};

/// The race against nginx and Varnish
#[derive(Parser)]
#[command(name = "edge")]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match run(Arguments::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge: {error}");
            ExitCode::FAILURE
        }
    }
}
