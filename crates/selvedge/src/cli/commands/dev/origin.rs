//! The origin of the documentation: a process of its own, so that it can be killed.

use super::process::ended_with;
use crate::cli::Failure;
use selvedge_rt::Tasks;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// An origin that serves this program's documentation.
#[derive(Debug)]
pub(super) struct Origin {
    child: Child,
    url: String,
}

impl Origin {
    /// Starts it where it says; on a free port where that is none. It ends with this process at the latest.
    pub(super) async fn start(former: Option<&str>) -> Result<Self, Failure> {
        let listen = former.map_or("127.0.0.1:0", |url| url.trim_start_matches("http://"));
        let failure = |e: io::Error| Failure::failed("cannot start the origin").because(e);
        let program = std::env::current_exe().map_err(failure)?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", listen, "--until-stdin-ends", "--output", "table"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the world, which ends this in its turn.
            .process_group(0)
            .spawn()
            .map_err(failure)?;
        let stdout = child.stdout.take();
        let mut origin = Origin { child, url: String::new() };
        let Some(stdout) = stdout else { return Err(Failure::failed("the origin has no output")) };
        let tasks = Tasks::real();
        let line = tasks.blocking("wait for the origin", move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = line.await.and_then(|inner| inner).map_err(failure)?;
        if line.is_empty() {
            return Err(Failure::failed("the origin ended at once"));
        }
        origin.url = line.trim().trim_end_matches('/').to_owned();
        Ok(origin)
    }

    /// Where it answers.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether somebody else has ended it.
    pub(super) fn has_ended(&mut self) -> bool {
        ended_with(&mut self.child).is_some()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
