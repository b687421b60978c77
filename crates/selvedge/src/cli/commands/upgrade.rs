//! `selvedge upgrade`

use super::takeover::FAILED_FILE;
use super::up::default_data;
use crate::cli::{Exit, Failure};
use crate::node::{LOCK, PID};
use clap::Args;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use selvedge_rt::Disk;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for a word of the node, which itself waits as long as its `--upgrade-timeout` says.
const PATIENCE: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What `upgrade` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "The node runs the binary that lies at its own path now, with the same arguments. Requests under \
    way end in the old process, which answers new ones too until the new one does: none is dropped. If the new binary \
    does not run, or does not serve in time (see `up --upgrade-timeout`), the old process goes on."
)]
pub struct UpgradeArgs {
    /// The node's data directory [default: /var/lib/selvedge, or below the home]
    #[arg(long, env = "SELVEDGE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Tells the node to hand over, and waits until its successor runs.
pub(super) fn run(args: &UpgradeArgs) -> Result<Exit, Failure> {
    let data = args.data.clone().unwrap_or_else(default_data);
    let old = find(&data)?;
    match std::fs::remove_file(data.join(FAILED_FILE)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(Failure::failed(format!("cannot change {}", data.display()))
                .because(e)
                .next("run this as the user of the node"));
        }
        _ => {}
    }
    kill_process(old, Signal::USR2).map_err(|e| {
        Failure::failed(format!("cannot signal process {}", old.as_raw_nonzero()))
            .because(e)
            .next("run this as the user of the node")
    })?;
    match wait(&data, old) {
        Ended::By(new) => {
            eprintln!("process {} took over from {}", new.as_raw_nonzero(), old.as_raw_nonzero());
            Ok(Exit::Done)
        }
        Ended::Failed(why) => Err(Failure::failed(format!(
            "no new process took over; process {} goes on",
            old.as_raw_nonzero()
        ))
        .because(why)
        .next("the node's log has what the new program said")),
        Ended::Gone => Err(Failure::failed(format!("process {} ended meanwhile", old.as_raw_nonzero()))
            .next("start the node again; its log says why it ended")),
        Ended::Unknown => {
            Err(Failure::new(Exit::Unknown, "the node does not say whether a new process took over")
                .next("the node's log says what it does"))
        }
    }
}

/// How an upgrade ended.
enum Ended {
    /// That process serves now.
    By(Pid),
    /// The old one goes on, for that reason.
    Failed(String),
    /// The old one ended, and no other is there.
    Gone,
    /// Nobody says.
    Unknown,
}

/// The node's process, if there is one for certain: its number alone may be that of another program by now.
fn find(data: &Path) -> Result<Pid, Failure> {
    let is_free = || match data.join(LOCK).try_exists()? {
        true => Disk::real(data)?.lock(LOCK).map(drop),
        false => Ok(()),
    };
    match is_free() {
        Ok(()) => Err(Failure::new(Exit::Unreachable, format!("no node runs in {}", data.display()))
            .next("name its data directory with --data")),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => running(data).ok_or_else(|| {
            Failure::failed(format!("a node runs in {}, but not which process it is", data.display()))
                .next("wait until it has started, or send its process SIGUSR2")
        }),
        Err(e) => Err(Failure::failed(format!("cannot look into {}", data.display()))
            .because(e)
            .next("run this as the user of the node")),
    }
}

fn running(data: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data.join(PID)).ok()?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw)?;
    is_there(pid).then_some(pid)
}

/// Whether there is such a process, of whichever user.
fn is_there(pid: Pid) -> bool {
    !matches!(test_kill_process(pid), Err(Errno::SRCH))
}

#[allow(clippy::disallowed_methods)] // a command that waits for another process
fn wait(data: &Path, old: Pid) -> Ended {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        // In this order: the old one writes the new one's number before it ends.
        let stays = is_there(old);
        if let Some(new) = running(data).filter(|pid| *pid != old) {
            return Ended::By(new);
        }
        if let Ok(why) = std::fs::read_to_string(data.join(FAILED_FILE)) {
            return Ended::Failed(why.trim().to_owned());
        }
        if !stays {
            return Ended::Gone;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ended::Unknown
}
