//! `estimate --live`: the log's requests sent for real, one after another, and what the cache did with each beside
//! what the estimate says of it.

use super::estimate::{each_piece, options};
use super::stand_in::{Answer, StandIn};
use crate::cli::client::runtime;
use crate::cli::http::{ClientError, Connection, Endpoint};
use crate::cli::units::percent;
use crate::cli::{Exit, Failure, Table};
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use selvedge_cache::estimate::log::{self, Lines, Record};
use selvedge_cache::estimate::{Estimate, OBJECTS_MAX, Request};
use selvedge_rt::{Clock, Tasks};
use selvedge_types::resource::{ByteSize, Period};
use selvedge_types::{Method, Status};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How long an answer may take to begin, and then to end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How many requests that went otherwise than estimated are shown.
const SHOWN_MAX: usize = 10;

/// How the log is sent for real.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sending it for real")]
pub struct LiveArgs {
    /// Also send the log's requests to this gateway, in order over one connection, and count its hits
    #[arg(long, value_name = "URL")]
    pub live: Option<String>,
    /// Be the gateway's origin meanwhile, at this address: answers are as the log says, fresh for --ttl
    #[arg(long, value_name = "ADDR", requires = "live")]
    pub origin: Option<SocketAddr>,
    /// How much the gateway's cache holds, in memory and on disk, to estimate for the comparison
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = super::estimate::size)]
    pub live_size: ByteSize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Live {
    url: String,
    /// Whether every request went as estimated.
    same: bool,
    sent: u64,
    /// What the gateway did, as its Cache-Status or Age says.
    live: Counts,
    /// What was estimated for the same requests and answers at the time they were sent.
    estimated: Counts,
    /// How many requests went otherwise than estimated.
    different: u64,
    /// The first of these.
    differences: Vec<Difference>,
    /// How many objects had to go in the estimate: which ones is a matter of chance.
    evictions: u64,
    /// Answers with another status than the log's; conditional and partial requests are sent as plain ones.
    other_status: u64,
    /// Requests that cannot be sent as they were logged.
    not_sent: u64,
}

/// Requests and bytes, by where they were answered.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Counts {
    hits: u64,
    misses: u64,
    hit_bytes: u64,
    miss_bytes: u64,
}

/// One request that went otherwise than estimated.
#[derive(Debug, Serialize)]
struct Difference {
    /// Which of the requests sent it was, from 1.
    number: u64,
    request: String,
    estimated: &'static str,
    /// Cache-Status of the answer, or what stands in for it.
    live: String,
}

impl Counts {
    fn add(&mut self, hit: bool, bytes: u64) {
        let (requests, total) = match hit {
            true => (&mut self.hits, &mut self.hit_bytes),
            false => (&mut self.misses, &mut self.miss_bytes),
        };
        *requests += 1;
        *total += bytes;
    }
}

impl Live {
    /// The comparison.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new().column("").number("HITS").number("MISSES").number("HIT RATIO");
        table = table.number("BYTES FROM CACHE").number("BYTES FROM ORIGIN");
        for (name, counts) in [("live", self.live), ("estimated", self.estimated)] {
            let Counts { hits, misses, hit_bytes, miss_bytes } = counts;
            let ratio = percent(hits, hits + misses);
            let cells = [hits.to_string(), misses.to_string(), ratio];
            let bytes = [hit_bytes.to_string(), miss_bytes.to_string()];
            table.row([name.to_owned()].into_iter().chain(cells).chain(bytes));
        }
        table
    }

    /// Whether the two are the same; if not, where they part and what may be the reason.
    pub(super) fn verdict(&self) -> String {
        let mut text = match self.same {
            true => format!("the same: each of the {} requests went as estimated\n", self.sent),
            false => {
                format!(
                    "different: {} of {} requests went otherwise than estimated\n",
                    self.different, self.sent
                )
            }
        };
        for Difference { number, request, estimated, live } in &self.differences {
            text.push_str(&format!("  request {number}, {request}: estimated {estimated}, live {live}\n"));
        }
        if !self.same {
            let reason = match self.evictions {
                0 => {
                    "was the gateway's cache empty, does it hold --live-size, and do answers state the freshness of --ttl?"
                }
                _ => {
                    "the log's objects do not all fit into --live-size: which of them have to go differs from cache \
                     to cache"
                }
            };
            text.push_str(&format!("  {reason}\n"));
        }
        if self.not_sent > 0 {
            text.push_str(&format!("  {} requests cannot be sent as they were logged\n", self.not_sent));
        }
        text
    }
}

/// Sends the log, if that is asked for.
pub(super) fn run(args: &LiveArgs, log: &str, ttl: Period) -> Result<Option<Live>, Failure> {
    let Some(url) = &args.live else { return Ok(None) };
    if log == "-" {
        return Err(Failure::usage("--live reads the log twice: give a file, not standard input"));
    }
    let endpoint = Endpoint::parse(url)
        .ok_or_else(|| Failure::usage(format!("{url:?} is not a URL such as http://127.0.0.1:8080")))?;
    let (runtime, tasks) = (runtime()?, Tasks::real());
    let origin = match args.origin {
        None => None,
        Some(listen) => {
            let stand_in = StandIn::new(ttl);
            runtime.block_on(stand_in.start(listen, &tasks))?;
            Some((stand_in, sizes(log)?))
        }
    };
    let mut sender = Sender {
        endpoint,
        connection: None,
        origin,
        estimate: Estimate::new(&options(vec![args.live_size.get()], ttl)),
        clock: Clock::real(),
        tasks,
        live: Live {
            url: url.clone(),
            same: false,
            sent: 0,
            live: Counts::default(),
            estimated: Counts::default(),
            different: 0,
            differences: Vec::new(),
            evictions: 0,
            other_status: 0,
            not_sent: 0,
        },
    };
    each_record(log, |record| runtime.block_on(sender.send(record)))?;
    Ok(Some(sender.finish()))
}

/// Every record of a log, in order, until one fails.
fn each_record(log: &str, mut each: impl FnMut(&Record<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut lines = Lines::default();
    let mut outcome = Ok(());
    let mut line = |line: &[u8], outcome: &mut Result<(), Failure>| {
        if let (Ok(record), true) = (log::parse(line), outcome.is_ok()) {
            *outcome = each(&record);
        }
    };
    each_piece(log, |piece| {
        lines.push(piece, |bytes| line(bytes, &mut outcome));
        std::mem::replace(&mut outcome, Ok(()))
    })?;
    lines.finish(|bytes| line(bytes, &mut outcome));
    outcome
}

/// By object: the largest answer in the log.
fn sizes(log: &str) -> Result<HashMap<u64, u64>, Failure> {
    let mut sizes: HashMap<u64, u64> = HashMap::new();
    each_record(log, |record| {
        let key = record.key_hash();
        if record.method.as_ref() == b"GET" && (sizes.len() < OBJECTS_MAX || sizes.contains_key(&key)) {
            let size = sizes.entry(key).or_default();
            *size = record.bytes.max(*size);
        }
        Ok(())
    })?;
    Ok(sizes)
}

struct Sender {
    endpoint: Endpoint,
    connection: Option<Connection>,
    /// The origin, and how large its objects are.
    origin: Option<(StandIn, HashMap<u64, u64>)>,
    estimate: Estimate,
    clock: Clock,
    tasks: Tasks,
    live: Live,
}

/// What came back.
struct Answered {
    status: u16,
    bytes: u64,
    hit: bool,
    /// What it says of the cache.
    said: String,
}

impl Sender {
    async fn send(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        let (Ok(method), Some((host, target))) = (std::str::from_utf8(&record.method), destination(record))
        else {
            self.live.not_sent += 1;
            return Ok(());
        };
        if let Some((stand_in, sizes)) = &self.origin {
            stand_in.expect(answer_to(record, sizes));
        }
        let time = self.clock.wall();
        let begun = tokio::time::timeout(ANSWER_TIMEOUT, self.ask(method, host.as_deref(), &target)).await;
        let Ok(begun) = begun else {
            let message = format!("{} does not answer {method} {target}", self.live.url);
            return Err(Failure::new(Exit::Unreachable, message).next("is it the gateway's address?"));
        };
        let response = match begun {
            Err(ClientError::Invalid(_)) => {
                self.live.not_sent += 1;
                return Ok(());
            }
            other => other.map_err(|e| self.lost(method, &target, e))?,
        };
        let whole = tokio::time::timeout(ANSWER_TIMEOUT, receive(response)).await;
        let answered = match whole {
            Ok(received) => received.map_err(|e| self.lost(method, &target, ClientError::Lost(e)))?,
            Err(_) => {
                let message = format!("{} does not finish its answer to {method} {target}", self.live.url);
                return Err(Failure::new(Exit::Unreachable, message));
            }
        };
        let sent = Record {
            // What the log says of time is past: freshness is stated, and counts from now.
            time,
            method: record.method.clone(),
            host: host.map(|host| host.into_bytes().into()),
            target: Cow::Borrowed(target.as_bytes()),
            status: answered.status,
            bytes: answered.bytes,
        };
        self.compare(&sent, &answered);
        self.live.other_status += u64::from(answered.status != record.status);
        Ok(())
    }

    /// Counts an answer, and what is estimated for it.
    fn compare(&mut self, sent: &Record<'_>, answered: &Answered) {
        let before = self.estimate.hits(0).requests;
        self.estimate.request(&Request::from(sent));
        let estimated = self.estimate.hits(0).requests > before;
        let live = &mut self.live;
        live.sent += 1;
        live.live.add(answered.hit, answered.bytes);
        live.estimated.add(estimated, answered.bytes);
        if estimated == answered.hit {
            return;
        }
        live.different += 1;
        if live.differences.len() < SHOWN_MAX {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            live.differences.push(Difference {
                number: live.sent,
                request: format!("{} {}", text(&sent.method), text(&sent.target)),
                estimated: if estimated { "hit" } else { "miss" },
                live: answered.said.clone(),
            });
        }
    }

    /// Sends a request, over a new connection if the old one is closed, or proves to be.
    async fn ask(
        &mut self,
        method: &str,
        host: Option<&str>,
        target: &str,
    ) -> Result<Response<Incoming>, ClientError> {
        let fields: Vec<(&str, &str)> = host.map(|host| ("host", host)).into_iter().collect();
        // One that changes something must not be sent twice: over an old connection nobody could tell whether it was.
        let is_repeatable = Method::parse(method.as_bytes()).is_some_and(|method| method.is_idempotent());
        if !is_repeatable {
            self.connection = None;
        }
        if let Some(mut connection) = self.connection.take().filter(Connection::is_open) {
            match connection.send(method, target, &fields, Bytes::new()).await {
                Err(ClientError::Lost(_)) => {}
                sent => {
                    self.connection = Some(connection);
                    return sent;
                }
            }
        }
        let mut connection = self.endpoint.connect(&self.tasks).await?;
        let sent = connection.send(method, target, &fields, Bytes::new()).await;
        self.connection = Some(connection);
        sent
    }

    fn lost(&self, method: &str, target: &str, e: ClientError) -> Failure {
        let url = &self.live.url;
        let (message, next) = match &e {
            ClientError::Connect { .. } => {
                (format!("{url} does not answer {method} {target}"), "is the gateway running?")
            }
            ClientError::Lost(_) | ClientError::Invalid(_) => (
                format!("{url} broke off its answer to {method} {target}"),
                "the gateway's log says why: run it with SELVEDGE_LOG=debug",
            ),
        };
        Failure::new(Exit::Unreachable, message).because(e).next(next)
    }

    fn finish(mut self) -> Live {
        let report = self.estimate.report();
        self.live.evictions = report.sizes.first().map_or(0, |size| size.evictions);
        self.live.same = self.live.different == 0;
        self.tasks.stop();
        self.live
    }
}

/// How the origin answers a request: an object has one size. 304, 206 and 416 are answers to what is not asked here,
/// to conditions and ranges.
fn answer_to(record: &Record<'_>, sizes: &HashMap<u64, u64>) -> Answer {
    let status = match record.status {
        206 | 304 | 416 => Status::OK,
        other => Status::new(other).unwrap_or(Status::OK),
    };
    let is_read = matches!(record.method.as_ref(), b"GET" | b"HEAD");
    let known = sizes.get(&record.key_hash()).filter(|_| is_read).copied();
    Answer { status, bytes: known.unwrap_or(record.bytes) }
}

/// Host, if the log has it, and target of a request as it can be sent.
fn destination(record: &Record<'_>) -> Option<(Option<String>, String)> {
    let target = std::str::from_utf8(&record.target).ok()?;
    let (host, path) = match target.split_once("://") {
        Some((_, rest)) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", target),
    };
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    let logged = record.host.as_deref().and_then(|host| std::str::from_utf8(host).ok());
    let host = if host.is_empty() { logged.map(str::to_owned) } else { Some(host.to_owned()) };
    path.starts_with('/').then(|| (host, sendable(path).into_owned()))
}

/// Percent-encodes what may not stand in a target (RFC 3986 section 3.3).
fn sendable(path: &str) -> Cow<'_, str> {
    let may_stand = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
    if path.bytes().all(may_stand) {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len() + 16);
    for b in path.bytes() {
        if may_stand(b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    Cow::Owned(out)
}

/// Reads an answer to its end.
async fn receive(response: Response<Incoming>) -> Result<Answered, hyper::Error> {
    let (hit, said) = cache_said(&response);
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(Answered { status, bytes, hit, said })
}

/// Whether the nearest cache answered, and by what that is known: Cache-Status (RFC 9211), else Age.
fn cache_said(response: &Response<Incoming>) -> (bool, String) {
    let field =
        |name: &str| response.headers().get_all(name).iter().next_back().and_then(|v| v.to_str().ok());
    if let Some(value) = field("cache-status") {
        let nearest = value.rsplit(',').next().unwrap_or_default().trim();
        let hit = nearest.split(';').skip(1).any(|parameter| parameter.trim() == "hit");
        return (hit, nearest.to_owned());
    }
    match field("age") {
        Some(age) => (age.trim() != "0", format!("Age: {age}")),
        None => (false, "without Cache-Status".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_target_is_sent_as_it_can_be() {
        for (line, host, target) in [
            ("GET /a?b HTTP/1.1", None, "/a?b"),
            ("GET http://x.y/a#b HTTP/1.1", Some("x.y"), "/a"),
            ("GET http://x.y HTTP/1.1", Some("x.y"), "/"),
            ("GET /a<b> HTTP/1.1", None, "/a%3Cb%3E"),
        ] {
            let line = format!("h - - [01/Jan/2026:00:00:00 +0000] \"{line}\" 200 5");
            let record = log::parse(line.as_bytes()).unwrap();
            assert_eq!(destination(&record), Some((host.map(str::to_owned), target.to_owned())), "{line}");
        }
        let star = log::parse(b"h - - [01/Jan/2026:00:00:00 +0000] \"OPTIONS * HTTP/1.0\" 200 5").unwrap();
        assert_eq!(destination(&star), None);
    }
}
