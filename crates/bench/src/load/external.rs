//! Load generators of others: `h2load` for HTTP/2, `wrk` to check our own.

use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::targets::path;
use super::{HOST, LoadError, Moment, Outcome};
use crate::edge::process;

/// Concurrent streams on each connection of `h2load`.
pub const STREAMS: usize = 10;

/// Share of the measured time by which observing ends before the generator does.
const MARGIN: f64 = 0.1;

/// What an external generator is asked to do: the same path again and again, closed loop, one thread.
pub struct External {
    /// The server.
    pub address: SocketAddr,
    /// Whether over TLS.
    pub tls: bool,
    /// Body size in bytes.
    pub size: usize,
    /// Connections kept open.
    pub connections: usize,
    /// Time before measuring begins.
    pub warm_up: Duration,
    /// How long is measured.
    pub measured: Duration,
    /// The core it is pinned to.
    pub core: usize,
}

/// HTTP/2 with [`STREAMS`] streams on each connection, by prior knowledge in cleartext and ALPN over TLS.
///
/// # Errors
/// When it cannot run, or any request failed.
pub fn h2load(load: &External, at: &mut dyn FnMut(Moment)) -> Result<Outcome, LoadError> {
    let mut command = pinned(load.core, "h2load");
    command
        .args(["-t1", &format!("-c{}", load.connections), &format!("-m{STREAMS}")])
        .arg(format!("--duration={}", whole_seconds(load.measured)))
        .arg(format!("--warm-up-time={}", whole_seconds(load.warm_up)))
        .args([&format!("--connect-to={}", load.address), &url(load)]);
    let observed = observe("h2load", &mut command, load, at)?;
    let parsed = parse_h2load(&observed.text);
    observed.outcome(parsed.map_err(|what| LoadError::External { program: "h2load", what })?)
}

/// HTTP/1.1 keep-alive.
///
/// # Errors
/// When it cannot run, or any request failed.
pub fn wrk(load: &External, at: &mut dyn FnMut(Moment)) -> Result<Outcome, LoadError> {
    let mut command = pinned(load.core, "wrk");
    let duration = whole_seconds(load.measured + load.warm_up);
    command.args(["-t1", &format!("-c{}", load.connections), &format!("-d{duration}s")]);
    command.args(["-H", &format!("Host: {HOST}"), &format!("http://{}{}", load.address, path(load.size, 0))]);
    let observed = observe("wrk", &mut command, load, at)?;
    let parsed = parse_wrk(&observed.text);
    observed.outcome(parsed.map_err(|what| LoadError::External { program: "wrk", what })?)
}

struct Observed {
    text: String,
    elapsed: Duration,
    own_cpu: Duration,
}

impl Observed {
    /// The generator tells a rate; the requests within the observed time follow from it.
    fn outcome(self, per_second: f64) -> Result<Outcome, LoadError> {
        let unknown = Histogram::new(3)
            .map_err(|e| LoadError::External { program: "histogram", what: e.to_string() })?;
        let requests = (per_second * self.elapsed.as_secs_f64()) as u64;
        Ok(Outcome {
            requests,
            elapsed: self.elapsed,
            latency: unknown.clone(),
            late: unknown,
            own_cpu: self.own_cpu,
            reconnects: 0,
        })
    }
}

fn observe(
    program: &'static str,
    command: &mut Command,
    load: &External,
    at: &mut dyn FnMut(Moment),
) -> Result<Observed, LoadError> {
    let failed = |e: io::Error| LoadError::External { program, what: e.to_string() };
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(failed)?;
    thread::sleep(load.warm_up);
    at(Moment::Begin);
    let (begun, cpu_begun) = (Instant::now(), cpu_of(&child));
    thread::sleep(load.measured.mul_f64(1.0 - MARGIN));
    let (elapsed, own_cpu) = (begun.elapsed(), cpu_of(&child).saturating_sub(cpu_begun));
    at(Moment::End);
    let out = child.wait_with_output().map_err(failed)?;
    if !out.status.success() {
        let what = format!("{}: {}", out.status, String::from_utf8_lossy(&out.stderr));
        return Err(LoadError::External { program, what });
    }
    Ok(Observed { text: String::from_utf8_lossy(&out.stdout).into_owned(), elapsed, own_cpu })
}

fn cpu_of(child: &Child) -> Duration {
    process::cpu_time(child.id())
}

/// `taskset` becomes the program itself, so the child's id is the generator's.
fn pinned(core: usize, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

fn url(load: &External) -> String {
    let scheme = if load.tls { "https" } else { "http" };
    format!("{scheme}://{HOST}:{}{}", load.address.port(), path(load.size, 0))
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().ceil().max(1.0) as u64
}

fn parse_h2load(text: &str) -> Result<f64, String> {
    let requests = text.lines().find(|line| line.starts_with("requests:")).unwrap_or_default();
    let codes = text.lines().find(|line| line.starts_with("status codes:")).unwrap_or_default();
    let none = |part: &str| requests.contains(&format!(" 0 {part}"));
    let only_2xx = ["3xx", "4xx", "5xx"].iter().all(|class| codes.contains(&format!(" 0 {class}")));
    if !(none("failed") && none("errored") && only_2xx) {
        return Err(format!("not every request succeeded: {requests}; {codes}"));
    }
    let rate = text.lines().find_map(|line| line.strip_prefix("finished in ")?.split(", ").nth(1));
    rate.and_then(|rate| rate.strip_suffix(" req/s")?.parse().ok())
        .ok_or_else(|| format!("no rate in: {text}"))
}

fn parse_wrk(text: &str) -> Result<f64, String> {
    if let Some(line) = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors")) {
        return Err(format!("not every request succeeded: {}", line.trim()));
    }
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    rate.ok_or_else(|| format!("no rate in: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const H2LOAD: &str = "finished in 2.00s, 41234.50 req/s, 43.21MB/s\n\
        requests: 82469 total, 82479 started, 82469 done, 82469 succeeded, 0 failed, 0 errored, 0 timeout\n\
        status codes: 82469 2xx, 0 3xx, 0 4xx, 0 5xx\n";

    #[test]
    fn the_rate_is_read() {
        assert_eq!(parse_h2load(H2LOAD), Ok(41234.5));
        assert_eq!(parse_wrk("Requests/sec:  1234.56\nTransfer/sec: 1MB\n"), Ok(1234.56));
    }

    #[test]
    fn failed_requests_are_an_error() {
        assert!(parse_h2load(&H2LOAD.replace("0 4xx", "7 4xx")).is_err());
        assert!(parse_h2load(&H2LOAD.replace("0 failed", "1 failed")).is_err());
        assert!(parse_h2load("").is_err());
        assert!(parse_wrk("  Non-2xx or 3xx responses: 5\nRequests/sec: 1.0\n").is_err());
    }
}
