//! One exchange of an HTTP/2 connection.

use super::connection::{Front, Link};
use super::counters::Cause;
use super::http1::error_response;
use super::http2_delivery::{Delivery, Piece, Shared};
use super::http2_message::{Consent, write_head, write_interim, write_trailers};
use super::timer::Timer;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use selvedge_exchange::{Body, Frame, Later, Response, Sent};
use selvedge_rt::OnEnd;
use selvedge_types::{Fields, Status};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The name of a stream's task.
pub(crate) const STREAM: &str = "HTTP/2 stream";

/// A reply that needs a task of its own.
pub(crate) enum StreamReply {
    /// Its content streams.
    Now(Response),
    /// It is still to come.
    Later(Later),
}

/// What a stream's task knows of its connection.
pub(crate) struct StreamContext {
    is_head: bool,
    /// What the client waits for, until it is given or too late.
    consent: Option<Arc<Consent>>,
    front: Arc<Front>,
    write_timeout: Duration,
    shared: Arc<Shared>,
    timer: Timer,
    ends: Instant,
}

impl StreamContext {
    pub(crate) fn new(
        is_head: bool,
        consent: Option<Arc<Consent>>,
        shared: Arc<Shared>,
        link: &Link,
    ) -> Self {
        let ends = Instant::now() + link.options.timeouts.exchange;
        let (front, write_timeout) = (link.front.clone(), link.options.timeouts.write);
        StreamContext { is_head, consent, front, write_timeout, shared, timer: Timer::new(ends), ends }
    }
}

/// The stream cannot be completed.
enum Broken {
    /// The client cancelled it.
    Cancelled,
    /// The response's content ended early, or was longer than promised.
    Content,
    /// It took too long.
    TimedOut(Cause),
    /// The connection is gone.
    Gone,
}

/// Answers without waiting, if the client has room for all of the content: it is given back, and waits in the
/// connection for its turn. Otherwise a task sends it as room comes, which watches the time that takes.
pub(crate) fn answer_now(
    mut respond: SendResponse<Piece>,
    mut response: Response,
    is_head: bool,
    shared: &Arc<Shared>,
    link: &Link,
) -> Option<Arc<Delivery>> {
    let content = match std::mem::take(&mut response.body) {
        Body::Full(content) => content,
        _ => Bytes::new(),
    };
    let has_content = !is_head && !response.status.has_no_content();
    let head = write_head(&response, has_content.then_some(content.len() as u64), link.front.as_ref());
    let is_last = !has_content || content.is_empty();
    let Ok(mut stream) = respond.send_response(head, is_last) else {
        // The client cancelled it before it was looked at.
        shared.resets.fetch_add(1, Relaxed);
        finish(&mut response, false);
        return None;
    };
    if is_last {
        finish(&mut response, true);
        return None;
    }
    stream.reserve_capacity(content.len());
    let has_room = stream.capacity() >= content.len();
    let delivery = Delivery::new(shared.clone(), response.finish.take(), !has_room);
    if has_room {
        let piece = delivery.piece(content);
        delivery.end();
        // Fails only on a stream that is gone: the piece is dropped, which says so.
        let _ = stream.send_data(piece, true);
        return Some(delivery);
    }
    let context = StreamContext::new(is_head, None, shared.clone(), link);
    link.tasks.spawn(STREAM, OnEnd::Forget, run_content(Body::Full(content), stream, delivery, context));
    None
}

/// Carries one exchange to its end.
pub(crate) async fn run_stream(
    reply: StreamReply,
    mut respond: SendResponse<Piece>,
    mut context: StreamContext,
) {
    let response = match reply {
        StreamReply::Now(response) => Ok(response),
        StreamReply::Later(later) => wait(later, &mut respond, &mut context).await,
    };
    let mut response = match response {
        Ok(response) if response.status.code() == 101 => {
            // There is no Upgrade in HTTP/2 (RFC 9113 section 8.6).
            let mut refusal = error_response(Status::BAD_GATEWAY, "the origin switched protocols");
            refusal.finish = response.finish;
            refusal
        }
        Ok(response) => response,
        Err(broken) => {
            let reason = give_up(broken, &context);
            return respond.send_reset(reason);
        }
    };
    let body = std::mem::take(&mut response.body);
    let has_content = !context.is_head && !response.status.has_no_content();
    let length = body.length();
    let head = write_head(&response, length.filter(|_| has_content), &context.front);
    let is_last = !has_content || length == Some(0);
    let Ok(stream) = respond.send_response(head, is_last) else {
        return finish(&mut response, false);
    };
    if is_last {
        return finish(&mut response, true);
    }
    let delivery = Delivery::new(context.shared.clone(), response.finish.take(), true);
    run_content(body, stream, delivery, context).await;
}

/// Sends the content of a response whose head is on its way.
async fn run_content(
    mut body: Body,
    mut stream: SendStream<Piece>,
    delivery: Arc<Delivery>,
    mut context: StreamContext,
) {
    match send_content(&mut body, &mut stream, &delivery, &mut context).await {
        Ok(()) => delivery.end(),
        Err(broken) => stream.send_reset(give_up(broken, &context)),
    }
}

/// Tells who waits for the end of a response without content.
fn finish(response: &mut Response, complete: bool) {
    if let Some(finish) = response.finish.take() {
        finish.finish(Sent { complete, ..Sent::default() });
    }
}

/// Counts what broke; with which reason to reset the stream.
fn give_up(broken: Broken, context: &StreamContext) -> Reason {
    match broken {
        Broken::Cancelled => {
            context.shared.resets.fetch_add(1, Relaxed);
            Reason::CANCEL
        }
        Broken::TimedOut(cause) => {
            context.front.counters.cut(cause);
            Reason::CANCEL
        }
        Broken::Content | Broken::Gone => Reason::INTERNAL_ERROR,
    }
}

/// Waits for the response, and passes interim ones on.
async fn wait(
    mut later: Later,
    respond: &mut SendResponse<Piece>,
    context: &mut StreamContext,
) -> Result<Response, Broken> {
    context.timer.set(context.ends);
    poll_fn(|cx| {
        let response = later.response.as_mut().poll(cx);
        // Those that came with the final one go first.
        while let Some(interim) = &mut later.interim {
            match interim.poll_recv(cx) {
                Poll::Ready(Some(interim)) if interim.status.code() != 101 => {
                    let _ = respond.send_informational(write_interim(interim.status, &interim.fields));
                }
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => later.interim = None,
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(response) = response {
            return Poll::Ready(Ok(response));
        }
        if context.consent.as_ref().is_some_and(|consent| consent.poll_wanted(cx).is_ready()) {
            context.consent = None;
            // A failure means that the stream is gone, which is noticed below.
            let proceed = write_interim(Status::new(100).unwrap_or(Status::OK), &Fields::new());
            let _ = respond.send_informational(proceed);
        }
        match respond.poll_reset(cx) {
            Poll::Ready(Ok(_)) => return Poll::Ready(Err(Broken::Cancelled)),
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Gone)),
            Poll::Pending => {}
        }
        context.timer.poll(cx).map(|()| Err(Broken::TimedOut(Cause::ExchangeTimeout)))
    })
    .await
}

async fn send_content(
    body: &mut Body,
    stream: &mut SendStream<Piece>,
    delivery: &Arc<Delivery>,
    context: &mut StreamContext,
) -> Result<(), Broken> {
    let mut left = body.length();
    loop {
        context.timer.set(context.ends);
        let frame = poll_fn(|cx| match body.poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => poll_end(stream, context, Cause::ExchangeTimeout, cx),
        });
        match frame.await? {
            Some(Ok(Frame::Data(data))) => {
                left = match left {
                    Some(left) => Some(left.checked_sub(data.len() as u64).ok_or(Broken::Content)?),
                    None => None,
                };
                send_data(data, stream, delivery, context).await?;
            }
            _ if left.is_some_and(|left| left > 0) => return Err(Broken::Content),
            Some(Ok(Frame::Trailers(trailers))) => {
                return stream.send_trailers(write_trailers(&trailers)).map_err(|_| Broken::Gone);
            }
            Some(Err(_)) => return Err(Broken::Content),
            None => return stream.send_data(Piece::end(), true).map_err(|_| Broken::Gone),
        }
    }
}

/// Sends `data` as the client's window allows.
async fn send_data(
    mut data: Bytes,
    stream: &mut SendStream<Piece>,
    delivery: &Arc<Delivery>,
    context: &mut StreamContext,
) -> Result<(), Broken> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let patience = Instant::now() + context.write_timeout;
        context.timer.set(patience.min(context.ends));
        let capacity = poll_fn(|cx| match stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(capacity))) => Poll::Ready(Ok(capacity)),
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Err(Broken::Cancelled)),
            Poll::Pending => poll_end(stream, context, Cause::WriteTimeout, cx),
        });
        let part = data.split_to(capacity.await?.min(data.len()));
        if !part.is_empty() {
            stream.send_data(delivery.piece(part), false).map_err(|_| Broken::Gone)?;
        }
    }
    Ok(())
}

/// Ready only when the stream has to end: the client cancelled it, or the time is over.
fn poll_end<T>(
    stream: &mut SendStream<Piece>,
    context: &mut StreamContext,
    cause: Cause,
    cx: &mut Context<'_>,
) -> Poll<Result<T, Broken>> {
    match stream.poll_reset(cx) {
        Poll::Ready(Ok(_)) => return Poll::Ready(Err(Broken::Cancelled)),
        Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Gone)),
        Poll::Pending => {}
    }
    context.timer.poll(cx).map(|()| Err(Broken::TimedOut(cause)))
}
