//! An HTTP/1.1 connection (RFC 9112): requests in, in order, and responses out.
//!
//! The fast path runs in one poll on buffers that the thread's connections share: it reads, parses, asks the
//! handler, and writes what is there at once. Whatever has to wait becomes an [`Exchange`], which is
//! allocated for the time it takes. An idle connection so holds no buffer.

use super::connection::Link;
use super::counters::Cause;
use super::date::with_date;
use super::http1_exchange::{End, Exchange, Meta, Stage};
use super::http2;
use super::linger::{close, linger};
use super::output::Output;
use super::refused::Refused;
use super::rewind::{Io, Rewind};
use super::scratch::Scratch;
use super::tunnel;
use super::upload::Upload;
use bytes::Bytes;
use selvedge_exchange::{Body, Reply, Request, Response, Sent};
use selvedge_http1::{BodyFraming, Persistence, Progress, RequestHead, ResponseWriter, parse_request};
use selvedge_types::{Method, Status, Version, name};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::time::Instant;

/// How long a front that stops waits for the next request of an idle connection, since it stops or since the last
/// response. Closed at once, one that is on its way would be lost, and its client could not know whether it was acted on
/// (RFC 9112 section 9.3.1).
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that speaks HTTP/1.1, or, in cleartext, has not said yet that it speaks HTTP/2.
pub(crate) struct Http1<S> {
    pub(crate) io: S,
    pub(crate) link: Link,
    /// Read, and not consumed. Empty, without memory, while idle.
    pub(crate) carry: Vec<u8>,
    progress: Progress,
    may_be_http2: bool,
    waiting: Waiting,
    waiting_since: Option<Instant>,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Its first request.
    First,
    /// The rest of a head.
    Head,
    /// Another request.
    Next,
}

/// What comes after the requests that could be answered at once.
enum Next {
    /// Close: the client is done.
    Close,
    /// Close, but let the client read what it was sent.
    Linger,
    /// It is HTTP/2.
    Http2,
    /// Something to wait for.
    Wait(Box<Exchange>),
}

/// What became of one request.
enum Step {
    /// Its response is in the output.
    Answered,
    /// Its response is in the output, and the last.
    Last(End),
    /// It has to wait.
    Wait(Box<Exchange>),
}

/// Serves a connection to its end.
pub(crate) fn serve<S: Io>(io: S, link: Link, may_be_http2: bool) -> impl Future<Output = ()> + Send {
    // Boxed before the future takes it: a future keeps room for what it was given and for what it moved.
    run(Box::new(Http1 {
        io,
        link,
        carry: Vec::new(),
        progress: Progress::default(),
        may_be_http2,
        waiting: Waiting::First,
        waiting_since: None,
    }))
}

async fn run<S: Io>(mut connection: Box<Http1<S>>) {
    loop {
        let end = match poll_fn(|cx| connection.poll_next(cx)).await {
            Next::Close => End::Close,
            Next::Linger => End::Linger,
            Next::Http2 => {
                let Http1 { io, link, carry, .. } = *connection;
                return Box::pin(http2::serve(Rewind::new(carry, io), link)).await;
            }
            Next::Wait(exchange) => Box::pin(exchange.run(&mut *connection)).await,
        };
        match end {
            End::Keep => {}
            End::Cut => return,
            End::Close => {
                let Http1 { io, link, .. } = *connection;
                return Box::pin(close(io, link)).await;
            }
            End::Linger => {
                let Http1 { io, link, .. } = *connection;
                return Box::pin(linger(io, link)).await;
            }
            End::Tunnel(other) => {
                let Http1 { io, link, carry, .. } = *connection;
                return Box::pin(tunnel::run(Rewind::new(carry, io), other, link)).await;
            }
        }
    }
}

impl<S: Io> Http1<S> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let head_bytes_max = self.link.options.heads.head_bytes_max;
        let mut scratch = Scratch::take(&mut self.carry, head_bytes_max);
        let next = self.poll_requests(&mut scratch, cx);
        scratch.give_back(&mut self.carry);
        next
    }

    /// Answers what can be answered at once, until there is nothing to read.
    fn poll_requests(&mut self, scratch: &mut Scratch, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            if self.may_be_http2 && !scratch.unread().is_empty() {
                match is_preface(scratch.unread()) {
                    Some(true) => return Poll::Ready(Next::Http2),
                    Some(false) => self.may_be_http2 = false,
                    None => {}
                }
            }
            while let Some(step) = self.serve_one(scratch) {
                match step {
                    Step::Answered if scratch.output.is_full() => {
                        if let Some(next) = self.flush(&mut scratch.output, End::Keep, cx) {
                            return Poll::Ready(next);
                        }
                    }
                    Step::Answered => {}
                    Step::Last(end) => {
                        let is_linger = matches!(end, End::Linger);
                        let last = if is_linger { Next::Linger } else { Next::Close };
                        return Poll::Ready(self.flush(&mut scratch.output, end, cx).unwrap_or(last));
                    }
                    Step::Wait(mut exchange) => {
                        exchange.take_output(&mut scratch.output);
                        return Poll::Ready(Next::Wait(exchange));
                    }
                }
            }
            if let Some(next) = self.flush(&mut scratch.output, End::Keep, cx) {
                return Poll::Ready(next);
            }
            let mut room = ReadBuf::new(scratch.room());
            match Pin::new(&mut self.io).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                    let count = room.filled().len();
                    scratch.end += count;
                }
                Poll::Ready(_) => return Poll::Ready(Next::Close),
                Poll::Pending => return self.poll_waiting(scratch, cx),
            }
        }
    }

    /// Writes what there is. What then remains is an exchange of its own, after which `end` comes.
    fn flush(&mut self, output: &mut Output, end: End, cx: &mut Context<'_>) -> Option<Next> {
        match output.poll_flush(&mut self.io, cx) {
            Poll::Ready(Ok(())) => None,
            Poll::Ready(Err(_)) => {
                drop(std::mem::take(output));
                Some(Next::Close)
            }
            Poll::Pending => {
                let mut exchange = Exchange::new(Meta::default(), Stage::Flush(end), None);
                exchange.take_output(output);
                Some(Next::Wait(exchange))
            }
        }
    }

    /// Nothing to read: waits, each state with its own deadline.
    fn poll_waiting(&mut self, scratch: &mut Scratch, cx: &mut Context<'_>) -> Poll<Next> {
        let waiting = match (scratch.unread().is_empty(), self.waiting) {
            (false, _) => Waiting::Head,
            (true, Waiting::First) => Waiting::First,
            (true, _) => Waiting::Next,
        };
        if waiting != self.waiting {
            self.waiting = waiting;
            self.waiting_since = None;
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let timeouts = &self.link.options.timeouts;
        let limit = if waiting == Waiting::Next { timeouts.keep_alive } else { timeouts.header_read };
        // A client that has not heard yet may be sending at this moment: its request is answered, with `close`.
        let stopping = self.link.poll_stopping(cx).filter(|_| waiting != Waiting::Head);
        let last = stopping.map(|stopped| since.max(stopped) + LAST_REQUEST);
        self.link.timer.set(last.map_or(since + limit, |last| last.min(since + limit)));
        if self.link.timer.poll_passed(cx).is_ready() {
            if waiting != Waiting::Head {
                return Poll::Ready(Next::Close);
            }
            self.link.count(Cause::HeaderTimeout);
            let refused = Refused::of_head(scratch.unread());
            self.refuse(&mut scratch.output, refused, Status::new(408), "the request head took too long");
            return Poll::Ready(self.flush(&mut scratch.output, End::Linger, cx).unwrap_or(Next::Linger));
        }
        Poll::Pending
    }

    /// Takes one request from what was read; None if there is no whole one.
    fn serve_one(&mut self, scratch: &mut Scratch) -> Option<Step> {
        if self.may_be_http2 || scratch.start == scratch.end {
            return None;
        }
        let limits = self.link.options.heads;
        match parse_request(scratch.unread(), &mut self.progress, &limits) {
            Ok(None) => None,
            Ok(Some((head, used))) => {
                scratch.start += used;
                self.progress = Progress::default();
                self.waiting = Waiting::Next;
                self.waiting_since = None;
                Some(self.handle(head, scratch))
            }
            Err(error) => {
                tracing::debug!(client = %self.link.client.addr, %error, "request refused");
                self.link.count(Cause::of_refused_head(error.status()));
                let refused = Refused::of_head(scratch.unread());
                self.refuse(&mut scratch.output, refused, Some(error.status()), &error.to_string());
                Some(Step::Last(End::Linger))
            }
        }
    }

    fn handle(&mut self, head: RequestHead, scratch: &mut Scratch) -> Step {
        let meta = Meta {
            to_head: head.method == Method::Head,
            http11: head.version == Version::Http11,
            keep_alive: head.keep_alive,
            upgrade: head.upgrade,
        };
        let limit = self.link.options.connections.request_content_bytes_max;
        let refusal = match head.framing {
            _ if head.method == Method::Connect => Some((405, "this is no forward proxy")),
            BodyFraming::Length(bytes) if bytes > limit => {
                Some((413, "the content is larger than is allowed"))
            }
            _ => None,
        };
        if let Some((code, text)) = refusal {
            self.link.count(if code == 413 { Cause::ContentTooLarge } else { Cause::BadRequest });
            let refused = Refused {
                method: Some(head.method),
                authority: head.authority.map_or_else(String::new, |a| a.into_string()),
                target: head.target.path_and_query.into(),
                version: head.version,
            };
            self.refuse(&mut scratch.output, refused, Status::new(code), text);
            return Step::Last(End::Linger);
        }
        let (body, upload) = self.body_of(&head, scratch, limit);
        match (self.link.front.handler.handle(self.request(head, body)), upload) {
            (Reply::Now(response), None) if is_here(&response) => {
                if write_whole(response, &meta, &mut scratch.output, &self.link) {
                    Step::Answered
                } else {
                    Step::Last(if meta.keep_alive { End::Linger } else { End::Close })
                }
            }
            (Reply::Now(response), upload) => {
                Step::Wait(Exchange::new(meta, Stage::Respond(response), upload))
            }
            (Reply::Later(later), upload) => Step::Wait(Exchange::new(meta, Stage::Later(later), upload)),
        }
    }

    /// The request's content: what is all here at once, else as it comes.
    fn body_of(&self, head: &RequestHead, scratch: &mut Scratch, limit: u64) -> (Body, Option<Upload>) {
        let unread = scratch.unread();
        let whole = match head.framing {
            BodyFraming::Empty => return (Body::Empty, None),
            BodyFraming::Length(bytes) => usize::try_from(bytes).ok().and_then(|bytes| unread.get(..bytes)),
            BodyFraming::Chunked | BodyFraming::UntilClose => None,
        };
        if let Some(whole) = whole {
            let body = Body::Full(Bytes::copy_from_slice(whole));
            scratch.start += whole.len();
            return (body, None);
        }
        let limits = &self.link.options.heads;
        let (upload, body) = Upload::new(head.framing, unread, head.expects_continue, limit, limits);
        scratch.start = scratch.end;
        (Body::Stream(Box::new(body)), Some(upload))
    }

    fn request(&self, head: RequestHead, body: Body) -> Request {
        let mut fields = head.fields;
        fields.remove(name::HOST);
        if head.framing == BodyFraming::Chunked {
            fields.remove(name::TRANSFER_ENCODING);
            if let Some(inner) = &head.inner_codings {
                // The codings passed the parser's check, so the line is valid.
                let _ = fields.add(name::TRANSFER_ENCODING, inner.as_bytes());
            }
        }
        Request {
            method: head.method,
            scheme: self.link.scheme,
            authority: head.authority.map_or_else(String::new, |a| a.into_string()),
            target: head.target.path_and_query.into(),
            version: head.version,
            fields,
            body,
            client: self.link.client,
            received: self.link.front.clock.wall(),
        }
    }

    /// Puts an error of the front's own making into the output (RFC 9209 says whose it is).
    fn refuse(&self, output: &mut Output, refused: Refused, status: Option<Status>, text: &str) {
        let mut response = error_response(status.unwrap_or(Status::BAD_REQUEST), text);
        self.link.front.handler.refused(refused.into_request(&self.link), &mut response);
        let meta = Meta { http11: true, ..Meta::default() };
        write_whole(response, &meta, output, &self.link);
    }
}

/// Whether `bytes` are HTTP/2's preface; None while that is open.
fn is_preface(bytes: &[u8]) -> Option<bool> {
    let len = bytes.len().min(HTTP2_PREFACE.len());
    if bytes.get(..len) != HTTP2_PREFACE.get(..len) {
        return Some(false);
    }
    (len == HTTP2_PREFACE.len()).then_some(true)
}

/// An error that the front itself answers with.
pub(crate) fn error_response(status: Status, text: &str) -> Response {
    let mut response = Response::text(status, format!("{status} {}: {text}\n", status.reason()));
    // A constant value is always valid.
    let _ = response.fields.add(name::PROXY_STATUS, "selvedge; error=http_request_error");
    response.close = true;
    response
}

/// Whether a response can be written without waiting for its content.
fn is_here(response: &Response) -> bool {
    let is_stream = matches!(response.body, Body::Stream(_));
    !is_stream && response.tunnel.is_none() && response.status.code() != 101
}

/// Puts a response whose content is here into the output; whether the connection can be kept after it.
pub(crate) fn write_whole(mut response: Response, meta: &Meta, output: &mut Output, link: &Link) -> bool {
    let content = match std::mem::take(&mut response.body) {
        Body::Full(bytes) if !meta.to_head && !response.status.has_no_content() => bytes,
        _ => Bytes::new(),
    };
    let framing = BodyFraming::of_length(content.len() as u64);
    let keep = meta.keep_alive && !response.close && !link.is_stopping();
    let head_bytes = write_head(&response, framing, keep, meta, output.buf(), link);
    let sent = Sent { head_bytes, body_bytes: content.len() as u64, complete: false };
    output.push(content);
    output.on_written(response.finish.take(), sent);
    keep
}

/// Appends a final response's head; how long it is.
pub(crate) fn write_head(
    response: &Response,
    framing: BodyFraming,
    keep: bool,
    meta: &Meta,
    out: &mut Vec<u8>,
    link: &Link,
) -> u64 {
    let persistence = match (keep, meta.http11) {
        (true, true) => Persistence::Keep,
        (true, false) => Persistence::KeepHttp10,
        (false, _) => Persistence::Close,
    };
    let (status, fields, to_head) = (response.status, &response.fields, meta.to_head);
    let before = out.len();
    with_date(link.front.clock.wall(), |date| {
        ResponseWriter { status, fields, date, framing, to_head, persistence }.write(out);
    });
    (out.len() - before) as u64
}
