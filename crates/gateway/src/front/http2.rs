//! An HTTP/2 connection (RFC 9113): framing and flow control by `h2`, strictness and limits here.
//!
//! What one poll answers goes out together ([`Gather`]).

use super::connection::{Link, within};
use super::counters::Cause;
use super::gather::Gather;
use super::http2_delivery::{Piece, Shared};
use super::http2_message::read_request;
use super::http2_stream::{STREAM, StreamContext, StreamReply, answer_now, run_stream};
use super::http2_watch::{Due, Watch};
use super::linger::linger;
use super::refused::Refused;
use super::rewind::Io;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use selvedge_exchange::{Body, Reply};
use selvedge_rt::OnEnd;
use selvedge_types::Method;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Serves a connection to its end.
pub(crate) async fn serve<S: Io>(io: S, mut link: Link) {
    let gather = Gather::new(io);
    let builder = builder(&link);
    let limit = link.options.timeouts.handshake;
    let handshake = Box::pin(within(limit, builder.handshake::<_, Piece>(gather.clone()))).await;
    let mut connection = match handshake {
        Some(Ok(connection)) => connection,
        Some(Err(_)) => return link.count(Cause::Http2),
        None => return link.count(Cause::HandshakeTimeout),
    };
    let cause = run(&mut connection, gather.clone(), &mut link).await;
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
    connection: &mut Connection<Gather<S>, Piece>,
    gather: Gather<S>,
    link: &mut Link,
) -> Option<Cause> {
    let shared = Arc::new(Shared::default());
    let mut watch = Watch::new(shared.clone(), link.options.http2.streams_max);
    loop {
        match poll_fn(|cx| poll_event(connection, &gather, &mut watch, link, cx)).await {
            Event::Stream(request, respond) => {
                watch.note_request(Instant::now());
                begin_stream(*request, respond, &mut watch, &shared, link);
            }
            Event::End(cause) => return cause,
        }
    }
}

fn builder(link: &Link) -> Builder {
    let options = &link.options;
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
    Stream(Box<http::Request<RecvStream>>, SendResponse<Piece>),
    End(Option<Cause>),
}

fn poll_event<S: Io>(
    connection: &mut Connection<Gather<S>, Piece>,
    gather: &Gather<S>,
    watch: &mut Watch,
    link: &mut Link,
    cx: &mut Context<'_>,
) -> Poll<Event> {
    if watch.is_cancelling(link.options.http2.resets_max) {
        return Poll::Ready(Event::End(Some(Cause::Resets)));
    }
    gather.begin();
    let accepted = connection.poll_accept(cx);
    gather.end();
    match accepted {
        Poll::Ready(Some(Ok((request, respond)))) => {
            return Poll::Ready(Event::Stream(Box::new(request), respond));
        }
        Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::End(cause_of(&error))),
        Poll::Ready(None) => return Poll::Ready(Event::End(None)),
        Poll::Pending => {}
    }
    // All that could be answered is: it goes out together.
    if let Poll::Ready(Err(_)) = gather.poll_send(cx) {
        return Poll::Ready(Event::End(None));
    }
    if link.poll_stopping(cx).is_some() && watch.begin_end(Instant::now()) {
        return poll_goodbye(connection, cx);
    }
    watch.note(Instant::now(), connection.has_streams(), gather.blocked_at());
    poll_deadline(connection, watch, link, cx)
}

/// Takes no more streams. The GOAWAY goes out when the connection is polled next.
fn poll_goodbye<S: Io>(connection: &mut Connection<Gather<S>, Piece>, cx: &mut Context<'_>) -> Poll<Event> {
    connection.graceful_shutdown();
    cx.waker().wake_by_ref();
    Poll::Pending
}

fn poll_deadline<S: Io>(
    connection: &mut Connection<Gather<S>, Piece>,
    watch: &mut Watch,
    link: &mut Link,
    cx: &mut Context<'_>,
) -> Poll<Event> {
    let timeouts = link.options.timeouts;
    let drain = link.poll_stopping(cx).map(|since| (since + timeouts.drain, Due::Cut(Cause::Drain)));
    let deadlines = [watch.deadline(&timeouts), drain.into_iter().next()];
    let Some((deadline, due)) = deadlines.into_iter().flatten().min_by_key(|(at, _)| *at) else {
        return Poll::Pending;
    };
    link.timer.set(deadline);
    if link.timer.poll(cx).is_pending() {
        return Poll::Pending;
    }
    match due {
        Due::Idle if watch.begin_end(Instant::now()) => poll_goodbye(connection, cx),
        Due::Idle => Poll::Ready(Event::End(None)),
        Due::Cut(cause) => Poll::Ready(Event::End(Some(cause))),
    }
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
    respond: SendResponse<Piece>,
    watch: &mut Watch,
    shared: &Arc<Shared>,
    link: &Link,
) {
    let is_head = request.method() == http::Method::HEAD;
    let (parts, content) = request.into_parts();
    let (request, consent) = match read_request(&parts, content, link) {
        Ok(read) => read,
        Err(refusal) => {
            link.count(refusal.cause());
            let mut response = refusal.response();
            let refused = Refused::of_parts(&parts).into_request(link);
            link.front.handler.refused(refused, &mut response);
            return watch.note_answer(answer_now(respond, response, is_head, shared, link));
        }
    };
    debug_assert_eq!(is_head, request.method == Method::Head);
    let reply = match link.front.handler.handle(request) {
        Reply::Now(response) if !matches!(response.body, Body::Stream(_)) => {
            return watch.note_answer(answer_now(respond, response, is_head, shared, link));
        }
        Reply::Now(response) => StreamReply::Now(response),
        Reply::Later(later) => StreamReply::Later(later),
    };
    let context = StreamContext::new(is_head, consent, shared.clone(), link);
    link.tasks.spawn(STREAM, OnEnd::Forget, run_stream(reply, respond, context));
}
