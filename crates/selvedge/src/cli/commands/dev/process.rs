//! A node of the world: a process of this program, which ends when this one does, however it does.

use crate::cli::Failure;
use crate::cli::commands::node::{Addresses, DISTANCES_VARIABLE};
use rustix::process::{Pid, Signal, kill_process};
use selvedge_rt::Tasks;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The file in a node's directory that says how far others are.
pub(super) const DISTANCES: &str = "distances";
/// The file in a node's directory that has what it logs.
const LOG: &str = "log";
/// How long a node may take until it says where it answers.
const START_MAX: Duration = Duration::from_secs(60);
/// How much of a log is shown when a node does not start, in bytes.
const SHOWN_BYTES_MAX: u64 = 2000;

/// How a node is started.
#[derive(Debug, Clone)]
pub(super) struct Start {
    /// Its name, for reports.
    pub(super) name: String,
    /// Its data directory.
    pub(super) data: PathBuf,
    /// What stands on its command line behind `up`.
    pub(super) words: Vec<OsString>,
}

/// What comes of starting a node: its process, and where it answers.
pub(super) type Started = Result<(Process, Addresses), Failure>;

/// A node that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Kept open for as long as it may print something.
    stdout: Option<ChildStdout>,
}

impl Process {
    /// Starts a node, and waits until it says where it answers.
    pub(super) async fn start(start: Start, tasks: &Tasks) -> Started {
        let failed = |e: io::Error| Failure::failed(format!("cannot start node {}", start.name)).because(e);
        let log = start.data.join(LOG);
        let (mut process, logged) = Self::spawn(&start, &log).map_err(failed)?;
        let stdout = process.stdout.take();
        let read = tasks.blocking("wait for a node", move || {
            let mut stdout = stdout?;
            let said = serde_json::Deserializer::from_reader(&mut stdout).into_iter().next()?.ok()?;
            Some((stdout, said))
        });
        let why = match tokio::time::timeout(START_MAX, read).await {
            Ok(said) => match said.map_err(failed)? {
                Some((stdout, addresses)) => {
                    process.stdout = Some(stdout);
                    return Ok((process, addresses));
                }
                None => process.why_it_ended(),
            },
            Err(_) => format!("it does not say where it answers within {START_MAX:?}"),
        };
        let said = tail(&log, logged).unwrap_or_default();
        let why = if said.trim().is_empty() { why } else { said.trim().to_owned() };
        Err(Failure::failed(format!("node {} did not start", start.name)).because(why))
    }

    /// How it ended, once it prints nothing any more.
    fn why_it_ended(&mut self) -> String {
        // One that goes on without its output is of no use.
        let _ = self.child.kill();
        self.child.wait().map_or_else(|e| e.to_string(), |status| format!("it ended: {status}"))
    }

    /// The process, and how long its log was before.
    fn spawn(start: &Start, log: &Path) -> io::Result<(Self, u64)> {
        let log = OpenOptions::new().append(true).create(true).open(log)?;
        let logged = log.metadata()?.len();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["up", "--until-stdin-ends", "--output", "json"]).args(&start.words);
        command.arg("--data").arg(&start.data).env(DISTANCES_VARIABLE, start.data.join(DISTANCES));
        if std::env::var_os("SELVEDGE_LOG").is_none_or(|level| level.is_empty()) {
            command.env("SELVEDGE_LOG", "warn");
        }
        // Ctrl-C is for the world, which ends its nodes in their turn.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        Ok((Process { child, stdout }, logged))
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        ended_with(&mut self.child)
    }

    /// Asks it to end.
    pub(super) fn interrupt(&self) {
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended, if it has.
pub(super) fn ended_with(child: &mut Child) -> Option<ExitStatus> {
    // A process that cannot be asked for is none of ours any more.
    child.try_wait().unwrap_or(Some(ExitStatus::default()))
}

/// The end of what was logged since then.
fn tail(log: &Path, since: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let begin = file.metadata()?.len().saturating_sub(SHOWN_BYTES_MAX).max(since);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(SHOWN_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
