//! `estimate --live`: the log's requests sent for real, one after another, and what came of them beside what was
//! estimated.

use super::estimate::{each_piece, options};
use crate::cli::client::runtime;
use crate::cli::http::{ClientError, Connection, Endpoint};
use crate::cli::units::percent;
use crate::cli::{Exit, Failure, Table};
use crate::files::{Facts, Plan, Representation, plan};
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use selvedge_cache::estimate::log::{self, Lines, Record};
use selvedge_cache::estimate::{Estimate, Options};
use selvedge_exchange as exchange;
use selvedge_exchange::{Body, BodyError, BodyStream, Frame, Handler, Reply, Request};
use selvedge_gateway::front::{Endpoint as Listening, Front, FrontOptions};
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Net, OnEnd, Tasks};
use selvedge_types::resource::{ByteSize, Period};
use selvedge_types::{Method, Status, name};
use serde::Serialize;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// Content of the stand-in origin is sent in pieces of this size, in bytes.
const PIECE: &[u8] = &[b'x'; 64 << 10];
/// How long an answer may take in all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

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
    /// The size of the gateway's cache, to estimate for the comparison
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = super::estimate::size)]
    pub live_size: ByteSize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Live {
    url: String,
    sent: u64,
    /// Answered from cache, as Cache-Status or Age say.
    hits: u64,
    misses: u64,
    /// What was estimated for the same requests at the time they were sent.
    estimated_hits: u64,
    estimated_misses: u64,
    /// Answers with another status than the log's; conditional and partial requests are sent as plain ones.
    other_status: u64,
    /// Requests that cannot be sent as they were logged.
    not_sent: u64,
}

impl Live {
    /// The comparison.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new().column("").number("HITS").number("MISSES").number("HIT RATIO");
        let mut row = |name: &str, hits: u64, misses: u64| {
            table.row([name.to_owned(), hits.to_string(), misses.to_string(), percent(hits, hits + misses)]);
        };
        row("live", self.hits, self.misses);
        row("estimated", self.estimated_hits, self.estimated_misses);
        table
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
    let estimate = Estimate::new(&Options { ..options(vec![args.live_size.get()], ttl) });
    let runtime = runtime()?;
    let (tasks, answer) = (Tasks::real(), Arc::new(Mutex::new(Logged::default())));
    if let Some(listen) = args.origin {
        runtime.block_on(start_origin(listen, answer.clone(), ttl, &tasks))?;
    }
    let mut sender = Sender {
        endpoint,
        connection: None,
        answer,
        estimate,
        clock: Clock::real(),
        tasks,
        live: Live {
            url: url.clone(),
            sent: 0,
            hits: 0,
            misses: 0,
            estimated_hits: 0,
            estimated_misses: 0,
            other_status: 0,
            not_sent: 0,
        },
    };
    let mut lines = Lines::default();
    let mut failed = None;
    each_piece(log, |piece| {
        lines.push(piece, |line| sender.line(&runtime, line, &mut failed));
        failed.take().map_or(Ok(()), Err)
    })?;
    lines.finish(|line| sender.line(&runtime, line, &mut failed));
    match failed {
        Some(failure) => Err(failure),
        None => Ok(Some(sender.finish())),
    }
}

/// What the log says of the request that is under way.
#[derive(Debug, Clone, Copy, Default)]
struct Logged {
    status: u16,
    bytes: u64,
}

struct Sender {
    endpoint: Endpoint,
    connection: Option<Connection>,
    answer: Arc<Mutex<Logged>>,
    estimate: Estimate,
    clock: Clock,
    tasks: Tasks,
    live: Live,
}

impl Sender {
    fn line(&mut self, runtime: &tokio::runtime::Runtime, line: &[u8], failed: &mut Option<Failure>) {
        let Ok(record) = log::parse(line) else { return };
        if failed.is_some() {
            return;
        }
        if let Err(failure) = runtime.block_on(self.send(&record)) {
            *failed = Some(failure);
        }
    }

    async fn send(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        let (Ok(method), Some((host, target))) = (std::str::from_utf8(&record.method), destination(record))
        else {
            self.live.not_sent += 1;
            return Ok(());
        };
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) =
            Logged { status: record.status, bytes: record.bytes };
        // Estimated for the time of sending: what the log says of time is past, and freshness is stated.
        self.estimate.request(&Record { time: self.clock.wall(), ..record.clone() });
        let response = match self.ask(method, host.as_deref(), &target).await {
            Err(ClientError::Invalid(_)) => {
                self.live.not_sent += 1;
                return Ok(());
            }
            other => other.map_err(|e| self.lost(method, &target, e))?,
        };
        self.live.sent += 1;
        self.live.other_status += u64::from(response.status().as_u16() != record.status);
        if is_hit(&response) {
            self.live.hits += 1;
        } else {
            self.live.misses += 1;
        }
        let whole = tokio::time::timeout(ANSWER_TIMEOUT, drain(response.into_body())).await;
        match whole {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(self.lost(method, &target, ClientError::Lost(e))),
            Err(_) => {
                Err(Failure::new(Exit::Unreachable, format!("{} does not finish an answer", self.live.url)))
            }
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
        Failure::new(Exit::Unreachable, format!("{} does not answer {method} {target}", self.live.url))
            .because(e)
            .next("is the gateway running, and does a site answer to this host?")
    }

    fn finish(mut self) -> Live {
        let report = self.estimate.report();
        let (sent, size) = (self.live.sent, report.sizes.first().copied().unwrap_or_default());
        self.live.estimated_hits = size.hits.requests;
        self.live.estimated_misses = sent.saturating_sub(size.hits.requests);
        self.tasks.stop();
        self.live
    }
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

/// Whether the nearest cache answered: by Cache-Status (RFC 9211), else by Age.
fn is_hit(response: &Response<Incoming>) -> bool {
    let field =
        |name: &str| response.headers().get_all(name).iter().next_back().and_then(|v| v.to_str().ok());
    match field("cache-status") {
        Some(value) => {
            let nearest = value.rsplit(',').next().unwrap_or_default();
            nearest.split(';').skip(1).any(|parameter| parameter.trim() == "hit")
        }
        None => field("age").is_some_and(|age| age.trim() != "0"),
    }
}

async fn drain(mut body: Incoming) -> Result<(), hyper::Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// Answers as the log says.
struct StandIn {
    answer: Arc<Mutex<Logged>>,
    ttl: Period,
    clock: Clock,
}

async fn start_origin(
    listen: SocketAddr,
    answer: Arc<Mutex<Logged>>,
    ttl: Period,
    tasks: &Tasks,
) -> Result<(), Failure> {
    let clock = Clock::real();
    let handler = StandIn { answer, ttl, clock: clock.clone() };
    let front = Front::new(Arc::new(handler), FrontOptions::default(), clock, &Registry::default());
    let bound = Net::Real.bind(listen).await;
    let listener = bound.map_err(|e| Failure::failed(format!("cannot listen on {listen}")).because(e))?;
    tasks.spawn("origin", OnEnd::Forget, front.serve(listener, Listening::default(), tasks.clone()));
    Ok(())
}

impl Handler for StandIn {
    fn handle(&self, request: Request) -> Reply {
        let logged = *self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        Reply::Now(self.answer(&request, logged))
    }
}

impl StandIn {
    fn answer(&self, request: &Request, logged: Logged) -> exchange::Response {
        // 304 and 206 are answers to what is not asked here: to conditions and ranges.
        let status = match logged.status {
            206 | 304 | 416 => 200,
            other => other,
        };
        let status = Status::new(status).unwrap_or(Status::OK);
        let etag = format!("\"{:x}\"", logged.bytes);
        let there = Representation {
            media_type: "application/octet-stream",
            len: logged.bytes,
            etag: &etag,
            modified: None,
        };
        let facts = Facts { method: &request.method, fields: &request.fields, now: self.clock.wall() };
        let planned = plan(&facts, &there);
        let is_read = matches!(request.method, Method::Get | Method::Head);
        let Plan { status, fields, part } = match status == Status::OK && is_read {
            true => planned,
            false => Plan { status, part: Some(0..logged.bytes), ..planned },
        };
        let mut response = exchange::Response::new(status);
        response.fields = fields;
        let control = match is_cacheable(logged.status) {
            true => format!("max-age={}", self.ttl.as_secs()),
            false => "no-store".to_owned(),
        };
        // What is put here is made of visible characters.
        let _ = response.fields.add(name::CACHE_CONTROL, control);
        if let Some(part) = part.filter(|_| request.method != Method::Head && !status.has_no_content()) {
            response.body = Body::Stream(Box::new(Filler { left: part.end - part.start }));
        }
        response
    }
}

/// What an estimate takes for cacheable.
fn is_cacheable(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 304 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// So many bytes of no meaning.
struct Filler {
    left: u64,
}

impl BodyStream for Filler {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE.len());
        self.left -= len as u64;
        let piece = PIECE.get(..len).filter(|piece| !piece.is_empty());
        Poll::Ready(piece.map(|piece| Ok(Frame::Data(Bytes::from_static(piece)))))
    }

    fn length(&self) -> Option<u64> {
        Some(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::UnixMillis;

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

    #[test]
    fn the_stand_in_answers_as_the_log_says() {
        let stand_in = StandIn { answer: Arc::default(), ttl: Period::from_secs(60), clock: Clock::real() };
        let address = "127.0.0.1:1".parse().unwrap();
        let ask = |status, bytes| {
            let request = Request {
                method: Method::Get,
                scheme: selvedge_types::Scheme::Http,
                authority: "a".into(),
                target: "/".into(),
                version: selvedge_types::Version::Http11,
                fields: Default::default(),
                body: Body::Empty,
                client: exchange::Client { addr: address, local: address },
                received: UnixMillis(0),
            };
            let response = stand_in.answer(&request, Logged { status, bytes });
            let control = response.fields.get_str(name::CACHE_CONTROL).unwrap().to_owned();
            (response.status.code(), response.body.length(), control)
        };
        assert_eq!(ask(200, 10), (200, Some(10), "max-age=60".into()));
        assert_eq!(ask(304, 0), (200, Some(0), "max-age=60".into()));
        assert_eq!(ask(404, 5), (404, Some(5), "max-age=60".into()));
        assert_eq!(ask(500, 5), (500, Some(5), "no-store".into()));
    }
}
