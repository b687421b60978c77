//! Plays one seed: `selvedge-sim --seed N`.

use clap::Parser;
use rand::SeedableRng;
use selvedge_sim::run::{Failure, Run};
use selvedge_sim::scenario;
#[cfg(feature = "planted")]
use selvedge_types::planted::Bug;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Plays the simulation of one seed and says what it exercised.
#[derive(Parser)]
#[command(name = "selvedge-sim", version)]
struct Args {
    /// Decides everything that happens.
    #[arg(long)]
    seed: u64,
    /// Plays one scenario alone.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(scenario::ALL.iter().map(|s| s.name)))]
    scenario: Option<String>,
    /// Writes what happened to a file.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Puts a bug back.
    #[cfg(feature = "planted")]
    #[arg(long, value_parser = planted)]
    bug: Option<Bug>,
    /// Prints no summary.
    #[arg(long, short)]
    quiet: bool,
}

#[cfg(feature = "planted")]
fn planted(name: &str) -> Result<Bug, String> {
    let found = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    found.ok_or_else(|| format!("one of {:?}", Bug::ALL))
}

/// A panic of a task that nobody waits for counts too.
static PANICKED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let args = Args::parse();
    note_panics();
    #[cfg(feature = "planted")]
    args.bug.into_iter().for_each(selvedge_types::planted::plant);
    mad_turmoil::rand::set_rng(rand::rngs::StdRng::seed_from_u64(args.seed));
    let run = Run::new(args.seed);
    let played = {
        let _clocks = mad_turmoil::time::SimClocksGuard::init();
        scenario::play(&run, args.scenario.as_deref())
    };
    let finished = played.and_then(|()| finish(&run, &args));
    if let Some(path) = &args.trace
        && let Err(error) = std::fs::write(path, run.trace.text())
    {
        eprintln!("the trace could not be written to {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    match finished {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("seed {} failed: {failure}", args.seed);
            let only = args.scenario.map(|s| format!(" --scenario {s}")).unwrap_or_default();
            eprintln!("replay: cargo run -p selvedge-sim -- --seed {}{only} --trace trace.txt", args.seed);
            ExitCode::FAILURE
        }
    }
}

fn finish(run: &Run, args: &Args) -> Result<(), Failure> {
    if PANICKED.load(Ordering::Relaxed) {
        return Err(Failure::new("a task panicked"));
    }
    let summary = run.summary()?;
    if !args.quiet {
        print!("{summary}");
        println!("seed {} passed: {} events, digest {}", run.seed, run.trace.count(), run.trace.digest());
    }
    Ok(())
}

fn note_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::Relaxed);
        print(info);
    }));
}
