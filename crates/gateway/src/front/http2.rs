//! An HTTP/2 connection (RFC 9113): framing and flow control by `h2`, strictness and limits here.
//!
//! What one poll answers goes out together ([`Gather`]).

use super::connection::{Link, within};
use super::counters::Cause;
use super::gather::Gather;
use super::http2_message::read_request;
use super::http2_stream::{StreamContext, StreamReply, answer_now, run_stream};
use super::linger::linger;
use super::rewind::Io;
use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use selvedge_exchange::{Body, Reply};
use selvedge_rt::OnEnd;
use selvedge_types::Method;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The time in which [`Http2Limits::resets_max`](super::Http2Limits::resets_max) counts.
const RESETS_WINDOW: Duration = Duration::from_secs(10);

/// What a connection and the tasks of its streams share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Streams that the client cancelled.
    pub(crate) resets: AtomicU32,
    /// Streams that have tasks.
    pub(crate) tasks: AtomicUsize,
}

/// Serves a connection to its end.
pub(crate) async fn serve<S: Io>(io: S, mut link: Link) {
    let gather = Gather::new(io);
    let builder = builder(&link);
    let limit = link.front.options.timeouts.handshake;
    let handshake = Box::pin(within(limit, builder.handshake::<_, Bytes>(gather.clone()))).await;
    let mut connection = match handshake {
        Some(Ok(connection)) => connection,
        Some(Err(_)) => return link.count(Cause::Http2),
        None => return link.count(Cause::HandshakeTimeout),
    };
    let cause = run(&mut connection, Watch::new(gather.clone()), &mut link).await;
    if let Some(cause) = cause {
        link.count(cause);
    }
    if cause == Some(Cause::Resets) {
        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        // What was said must go out; the client's part is over.
        let _ = within(limit, poll_fn(|cx| connection.poll_closed(cx))).await;
    }
    // The stream outlives `h2`'s connection, so that its end is not a reset that takes the last frames with it.
    drop(connection);
    if let Some(io) = gather.into_inner() {
        Box::pin(linger(io, link)).await;
    }
}

/// Takes streams until the connection is to end; why, unless the client wished it.
async fn run<S: Io>(
    connection: &mut Connection<Gather<S>, Bytes>,
    mut watch: Watch<S>,
    link: &mut Link,
) -> Option<Cause> {
    let shared = Arc::new(Shared::default());
    loop {
        match poll_fn(|cx| poll_event(connection, &mut watch, &shared, link, cx)).await {
            Event::Stream(request, respond) => begin_stream(*request, respond, &shared, link),
            Event::End(cause) => return cause,
        }
    }
}

fn builder(link: &Link) -> Builder {
    let options = &link.front.options;
    let limits = &options.http2;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(options.heads.head_bytes_max).unwrap_or(u32::MAX))
        .initial_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_send_buffer_size(limits.send_buffer_bytes);
    builder
}

/// What happens on a connection.
enum Event {
    Stream(Box<http::Request<RecvStream>>, SendResponse<Bytes>),
    End(Option<Cause>),
}

/// What a connection's deadlines depend on.
struct Watch<S> {
    gather: Gather<S>,
    seen: u64,
    active: Instant,
    is_ending: bool,
    resets_before: u32,
    resets_since: Instant,
}

impl<S> Watch<S> {
    fn new(gather: Gather<S>) -> Self {
        let now = Instant::now();
        Watch { gather, seen: 0, active: now, is_ending: false, resets_before: 0, resets_since: now }
    }

    /// Whether more streams were cancelled lately than is allowed.
    fn is_cancelling(&mut self, shared: &Shared, limit: u32) -> bool {
        let resets = shared.resets.load(Relaxed);
        if resets == self.resets_before {
            return false;
        }
        if self.resets_since.elapsed() > RESETS_WINDOW {
            self.resets_since = Instant::now();
            self.resets_before = resets.saturating_sub(1);
        }
        resets - self.resets_before > limit
    }

    /// Notes whether bytes passed since the last call.
    fn note_activity(&mut self) {
        let bytes = self.gather.passed();
        if bytes != self.seen {
            self.seen = bytes;
            self.active = Instant::now();
        }
    }
}

fn poll_event<S: Io>(
    connection: &mut Connection<Gather<S>, Bytes>,
    watch: &mut Watch<S>,
    shared: &Shared,
    link: &mut Link,
    cx: &mut Context<'_>,
) -> Poll<Event> {
    if watch.is_cancelling(shared, link.front.options.http2.resets_max) {
        return Poll::Ready(Event::End(Some(Cause::Resets)));
    }
    watch.gather.begin();
    let accepted = connection.poll_accept(cx);
    watch.gather.end();
    match accepted {
        Poll::Ready(Some(Ok((request, respond)))) => {
            return Poll::Ready(Event::Stream(Box::new(request), respond));
        }
        Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::End(cause_of(&error))),
        Poll::Ready(None) => return Poll::Ready(Event::End(None)),
        Poll::Pending => {}
    }
    // All that could be answered is: it goes out together.
    if let Poll::Ready(Err(_)) = watch.gather.poll_send(cx) {
        return Poll::Ready(Event::End(None));
    }
    if !watch.is_ending && link.poll_stopping(cx).is_some() {
        watch.is_ending = true;
        connection.graceful_shutdown();
        // The GOAWAY goes out when the connection is polled next.
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    poll_deadline(connection, watch, shared, link, cx)
}

fn poll_deadline<S: Io>(
    connection: &mut Connection<Gather<S>, Bytes>,
    watch: &mut Watch<S>,
    shared: &Shared,
    link: &mut Link,
    cx: &mut Context<'_>,
) -> Poll<Event> {
    watch.note_activity();
    let timeouts = link.front.options.timeouts;
    let is_idle = !connection.has_streams();
    let is_tended = shared.tasks.load(Relaxed) > 0 && !watch.gather.is_blocked();
    let quiet = match (is_idle, is_tended) {
        (true, _) => timeouts.keep_alive,
        // The streams' tasks watch their own time.
        (false, true) => timeouts.exchange,
        // Only the client can move things on, by taking what is ready for it.
        (false, false) => timeouts.write,
    };
    let drain = link.poll_stopping(cx).map(|since| since + timeouts.drain);
    let deadline = drain.map_or(watch.active + quiet, |drain| drain.min(watch.active + quiet));
    link.timer.set(deadline);
    if link.timer.poll(cx).is_pending() {
        return Poll::Pending;
    }
    let cause = match (is_idle, drain.is_some_and(|drain| drain <= deadline)) {
        (true, _) => None,
        (false, true) => Some(Cause::Drain),
        (false, false) if is_tended => Some(Cause::ExchangeTimeout),
        (false, false) => Some(Cause::WriteTimeout),
    };
    if is_idle && !watch.is_ending {
        watch.is_ending = true;
        watch.active = Instant::now();
        connection.graceful_shutdown();
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(Event::End(cause))
}

fn cause_of(error: &h2::Error) -> Option<Cause> {
    if error.is_io() || error.reason() == Some(Reason::NO_ERROR) {
        return None;
    }
    let is_calm = error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
    Some(if is_calm { Cause::Resets } else { Cause::Http2 })
}

fn begin_stream(
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    shared: &Arc<Shared>,
    link: &Link,
) {
    let is_head = request.method() == http::Method::HEAD;
    let (request, consent) = match read_request(request, link) {
        Ok(read) => read,
        Err(refusal) => {
            link.count(refusal.cause());
            return answer_now(respond, refusal.response(), is_head, link);
        }
    };
    debug_assert_eq!(is_head, request.method == Method::Head);
    let reply = match link.front.handler.handle(request) {
        Reply::Now(response) if !matches!(response.body, Body::Stream(_)) => {
            return answer_now(respond, response, is_head, link);
        }
        Reply::Now(response) => StreamReply::Now(response),
        Reply::Later(later) => StreamReply::Later(later),
    };
    let context = StreamContext::new(is_head, consent, shared.clone(), link);
    link.tasks.spawn("HTTP/2 stream", OnEnd::Forget, run_stream(reply, respond, context));
}
