//! What `dev` shows without being asked: a request that hits, and a page that stays when its origin is gone.

use super::dev::World;
use crate::cli::Failure;
use crate::cli::http::{ClientError, Endpoint};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use selvedge_rt::{Clock, Tasks};
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// How often it is looked whether the program ends while waiting for a key.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// An origin that serves this program's documentation, in a process of its own so that it can be killed.
#[derive(Debug)]
pub(super) struct Origin {
    child: Child,
    url: String,
}

impl Origin {
    /// Starts it on a free port; it ends with this process at the latest.
    pub(super) async fn start() -> Result<Self, Failure> {
        Self::start_at("127.0.0.1:0").await
    }

    async fn start_at(listen: &str) -> Result<Self, Failure> {
        let failure = |e: io::Error| Failure::failed("cannot start the origin").because(e);
        let program = std::env::current_exe().map_err(failure)?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", listen, "--until-stdin-ends", "--output", "table"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failure)?;
        let Some(stdout) = child.stdout.take() else {
            return Err(Failure::failed("the origin has no output"));
        };
        let tasks = Tasks::real();
        let line = tasks.blocking("wait for the origin", move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let url =
            line.await.and_then(|inner| inner).map_err(failure)?.trim().trim_end_matches('/').to_owned();
        if url.is_empty() {
            return Err(Failure::failed("the origin ended at once"));
        }
        Ok(Origin { child, url })
    }

    /// Where it answers.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    async fn revive(&mut self) -> Result<(), Failure> {
        let listen = self.url.trim_start_matches("http://").to_owned();
        *self = Self::start_at(&listen).await?;
        Ok(())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What is shown.
pub(super) struct Demo {
    front: SocketAddr,
    host: String,
    origin: Option<Origin>,
    clock: Clock,
}

impl Demo {
    /// Shows the node that answers at `front` for `host`, and its origin if it may be killed.
    pub(super) fn new(front: SocketAddr, host: &str, origin: Option<Origin>) -> Self {
        Demo { front, host: host.to_owned(), origin, clock: Clock::real() }
    }

    /// Shows a miss and a hit, then kills and revives the origin whenever a key is pressed.
    pub(super) async fn show(mut self, world: Arc<World>) -> Result<(), Failure> {
        eprintln!();
        self.request("the first request", &world.tasks).await;
        self.request("the same again", &world.tasks).await;
        // With the host that was asked for above: another one has a key of its own.
        let curl = match self.front.to_string() == self.host {
            true => format!("curl -i http://{}/", self.front),
            false => format!("curl -i -H 'Host: {}' http://{}/", self.host, self.front),
        };
        let Some(origin) = &self.origin else {
            eprintln!("\nTry: {curl}\nCtrl-C ends this.");
            return Ok(());
        };
        let kill = format!("kill {} && {curl}", origin.child.id());
        if !io::stdin().is_terminal() {
            eprintln!("\nThe page stays when its origin is gone: {kill}\nCtrl-C ends this.");
            // The origin lives as long as this does.
            world.tasks.stopped().await;
            return Ok(());
        }
        eprintln!(
            "\nThe page stays when its origin is gone. Press Enter to kill it, or: {kill}\nCtrl-C ends this."
        );
        while key(&world.tasks).await? {
            self.kill_origin(&world).await?;
            eprintln!("Press Enter to bring the origin back.");
            if !key(&world.tasks).await? {
                break;
            }
            self.revive_origin(&world).await?;
            eprintln!("Press Enter to kill it again.");
        }
        world.tasks.stopped().await;
        Ok(())
    }

    async fn kill_origin(&mut self, world: &World) -> Result<(), Failure> {
        if let Some(origin) = &mut self.origin {
            origin.kill();
            eprintln!("killed the origin");
        }
        self.request("still fresh: nobody needs the origin", &world.tasks).await;
        world.make_stale().await?;
        self.request("stale (purged softly): served all the same, as stale_if_error allows", &world.tasks)
            .await;
        Ok(())
    }

    async fn revive_origin(&mut self, world: &World) -> Result<(), Failure> {
        if let Some(origin) = &mut self.origin {
            origin.revive().await?;
            eprintln!("the origin is back");
        }
        self.request("served at once, while the origin is asked again", &world.tasks).await;
        Ok(())
    }

    /// Makes a request and prints what came of it.
    async fn request(&self, what: &str, tasks: &Tasks) {
        let started = self.clock.monotonic();
        let answered = self.ask(tasks).await;
        let took = (self.clock.monotonic() - started).as_secs_f64() * 1000.0;
        match answered {
            Ok((status, cache)) => {
                eprintln!("GET /  {status}  {took:.1} ms  {what}\n       {cache}");
            }
            Err(e) => eprintln!("GET /  no answer: {e}"),
        }
    }

    async fn ask(&self, tasks: &Tasks) -> Result<(u16, String), ClientError> {
        let Some(endpoint) = Endpoint::parse(&format!("http://{}", self.front)) else {
            return Ok((0, String::new()));
        };
        let mut connection = endpoint.connect(tasks).await?;
        let response = connection.send("GET", "/", &[("host", &self.host)], Bytes::new()).await?;
        let status = response.status().as_u16();
        let field = response
            .headers()
            .get("cache-status")
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        response.into_body().collect().await.map_err(ClientError::Lost)?;
        Ok((status, field.map_or("(no Cache-Status)".to_owned(), |value| format!("Cache-Status: {value}"))))
    }
}

/// Waits for a line from the terminal; false when there will be none.
async fn key(tasks: &Tasks) -> Result<bool, Failure> {
    let stopping = tasks.clone();
    let pressed = tasks.blocking("wait for a key", move || {
        let stdin = io::stdin();
        while !stopping.is_stopping() {
            let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
            if poll(&mut ready, Some(&LOOK_EVERY)).is_ok_and(|n| n > 0) {
                let mut line = String::new();
                return stdin.read_line(&mut line).is_ok_and(|n| n > 0);
            }
        }
        false
    });
    pressed.await.map_err(|e| Failure::failed("cannot read from the terminal").because(e))
}
