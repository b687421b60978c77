//! `selvedge upgrade`

use super::up::{PID_FILE, default_data};
use crate::cli::{Exit, Failure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the new process may take to be there.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What `upgrade` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "The node runs the binary that lies at its own path now, with the same arguments. Requests under \
    way end in the old process; new connections wait for the new one, and none is dropped. If the new binary does not \
    run, the old process goes on."
)]
pub struct UpgradeArgs {
    /// The node's data directory [default: /var/lib/selvedge, or below the home]
    #[arg(long, env = "SELVEDGE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Tells the node to hand over, and waits until its successor runs.
pub(super) fn run(args: &UpgradeArgs) -> Result<Exit, Failure> {
    let data = args.data.clone().unwrap_or_else(default_data);
    let old = running(&data).ok_or_else(|| {
        Failure::new(Exit::Unreachable, format!("no node runs in {}", data.display()))
            .next("name its data directory with --data")
    })?;
    kill_process(old, Signal::USR2).map_err(|e| {
        Failure::failed(format!("cannot signal process {}", old.as_raw_nonzero()))
            .because(e)
            .next("run this as the user of the node")
    })?;
    match wait(&data, old) {
        Some(new) => {
            eprintln!("process {} took over from {}", new.as_raw_nonzero(), old.as_raw_nonzero());
            Ok(Exit::Done)
        }
        None => {
            Err(Failure::failed("no new process took over")
                .next("the node's log says why; the old one goes on"))
        }
    }
}

fn running(data: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data.join(PID_FILE)).ok()?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw)?;
    test_kill_process(pid).ok().map(|()| pid)
}

#[allow(clippy::disallowed_methods)] // a command that waits for another process
fn wait(data: &Path, old: Pid) -> Option<Pid> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(new) = running(data).filter(|pid| *pid != old) {
            return Some(new);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    None
}
