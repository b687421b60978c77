//! A server in the race: how it is configured, started and reached.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::place::Place;
use super::process::Server;
use crate::load::HOST;

/// How long a server may take until it answers.
const START_TIME_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// What clients speak to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 in cleartext.
    Http1,
    /// HTTP/2 in cleartext, by prior knowledge.
    H2c,
    /// HTTP/1.1 over TLS.
    Tls1,
    /// HTTP/2 over TLS.
    Tls2,
}

/// Where a started server listens, for each protocol it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    /// HTTP/1.1 in cleartext.
    pub http1: SocketAddr,
    /// HTTP/2 in cleartext.
    pub h2c: Option<SocketAddr>,
    /// HTTP/1.1 over TLS.
    pub tls1: Option<SocketAddr>,
    /// HTTP/2 over TLS.
    pub tls2: Option<SocketAddr>,
}

impl Endpoints {
    /// The address for a protocol, if the server speaks it.
    #[must_use]
    pub fn get(&self, protocol: Protocol) -> Option<SocketAddr> {
        match protocol {
            Protocol::Http1 => Some(self.http1),
            Protocol::H2c => self.h2c,
            Protocol::Tls1 => self.tls1,
            Protocol::Tls2 => self.tls2,
        }
    }
}

/// How much a cache may hold.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Bytes in memory (nginx keeps only its index there).
    pub ram_bytes: u64,
    /// Bytes on disk (Varnish's default storage has none).
    pub disk_bytes: u64,
}

/// A server that can be started for the race.
pub trait Contender {
    /// Its short name: `selvedge`, `nginx`, `varnish`.
    fn name(&self) -> &'static str;

    /// Its version, as it states it.
    ///
    /// # Errors
    /// When the program cannot be run.
    fn version(&self) -> io::Result<String>;

    /// Its configuration for a start in `directory`, as it is written there; printed with the results.
    fn configuration(&self, start: &Start<'_>) -> String;

    /// Writes the configuration and starts the server.
    ///
    /// # Errors
    /// When a file cannot be written or the program does not start.
    fn start(&self, start: &Start<'_>) -> io::Result<Server>;
}

/// What a contender is started with.
pub struct Start<'a> {
    /// Cores, certificate.
    pub place: &'a Place,
    /// The server's own directory.
    pub directory: &'a Path,
    /// The origin that it caches.
    pub origin: SocketAddr,
    /// Where it shall listen. A contender ignores what it does not speak.
    pub endpoints: Endpoints,
    /// How much it may hold.
    pub capacity: Capacity,
}

impl Start<'_> {
    /// A file in the server's own directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts a program on the servers' core, its output in `NAME.log`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(&self, name: &str, program: &Path, args: &[String]) -> io::Result<Server> {
        Server::start(program, args, self.place.server_core, &self.file(&format!("{name}.log")), &[])
    }
}

/// A contender that is serving.
pub struct Running {
    /// Its processes.
    pub server: Server,
    /// Where it listens.
    pub endpoints: Endpoints,
    // Removed after the server has ended: fields are dropped in this order.
    _directory: TempDir,
}

/// Starts a contender and waits until it answers.
///
/// # Errors
/// When it ends at once or does not answer in time; the error carries the end of its log.
pub fn start(
    contender: &dyn Contender,
    place: &Place,
    origin: SocketAddr,
    endpoints: Endpoints,
    capacity: Capacity,
) -> io::Result<Running> {
    let directory = place.new_directory(contender.name())?;
    let start = Start { place, directory: directory.path(), origin, endpoints, capacity };
    let mut server = contender.start(&start)?;
    wait_until_it_answers(&mut server, endpoints.http1).map_err(|e| {
        let log = std::fs::read_to_string(start.file(&format!("{}.log", contender.name())));
        io::Error::other(format!("{}: {e}\n{}", contender.name(), tail(&log.unwrap_or_default())))
    })?;
    Ok(Running { server, endpoints, _directory: directory })
}

fn wait_until_it_answers(server: &mut Server, address: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + START_TIME_MAX;
    loop {
        match first_line(address) {
            Ok(line) if line.starts_with("HTTP/1.1 200") => return Ok(()),
            answer if Instant::now() > deadline => {
                return Err(io::Error::other(format!("no good answer in time, last: {answer:?}")));
            }
            _ if server.has_ended() => return Err(io::Error::other("ended at once")),
            _ => thread::sleep(POLL),
        }
    }
}

fn first_line(address: SocketAddr) -> io::Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, POLL)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(socket, "GET /1/0 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")?;
    let mut buffer = [0; 64];
    let count = socket.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).lines().next().unwrap_or_default().to_owned())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The first line that a program prints when it is asked for its version, on either output.
///
/// # Errors
/// When it cannot be run.
pub fn version_line(program: &Path, flag: &str) -> io::Result<String> {
    let out = Command::new(program)
        .arg(flag)
        .output()
        .map_err(|e| io::Error::other(format!("cannot run {}: {e}", program.display())))?;
    let text = [out.stdout, out.stderr].concat();
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
}
