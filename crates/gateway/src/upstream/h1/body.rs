//! An answer's content over HTTP/1.1. It owns the connection and gives it back at the proper end.

use super::conn::Conn;
use super::exchange::{Answer, LIMITS};
use super::send::{SendError, Sending};
use crate::upstream::lease::Lease;
use crate::upstream::outgoing::earlier;
use bytes::{Buf, Bytes};
use selvedge_exchange::{Body, BodyError, BodyStream, Frame};
use selvedge_http1::{BodyDecoder, BodyError as DecodeError, BodyFraming, BodyStep};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// Whole content up to this size is copied out of the connection's buffer, which is then used again.
const COPIED_BYTES_MAX: usize = 4 * 1024;
/// Unread content that is there already, up to this size, is read away when a response is dropped.
const DRAINED_BYTES_MAX: usize = 64 * 1024;

/// How long content may take.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct BodyTimes {
    pub(in crate::upstream) idle: Duration,
    pub(in crate::upstream) due: Instant,
}

/// The content of `answer`: at once if all of it has come, else as a stream.
pub(in crate::upstream) fn content_of(answer: Answer, lease: Lease, times: BodyTimes) -> Body {
    let Answer { head, mut conn, sending } = answer;
    let whole = match head.framing {
        BodyFraming::Empty => Some(Bytes::new()),
        BodyFraming::Length(length) => take_whole(&mut conn, length),
        BodyFraming::Chunked | BodyFraming::UntilClose => None,
    };
    if let Some(whole) = whole {
        end(conn, &sending, lease, head.keep_alive);
        return Body::from(whole);
    }
    let length = match head.framing {
        BodyFraming::Length(length) => Some(length),
        _ => None,
    };
    let decoder = BodyDecoder::new(head.framing, &LIMITS);
    let live = Live { conn, sending, lease, decoder, keep_alive: head.keep_alive, is_armed: false };
    Body::Stream(Box::new(Content { live: Some(live), length, times }))
}

fn take_whole(conn: &mut Conn, length: u64) -> Option<Bytes> {
    let length = usize::try_from(length).ok().filter(|length| *length <= conn.read.len())?;
    if length > COPIED_BYTES_MAX {
        return Some(conn.read.split_to(length).freeze());
    }
    let whole = conn.read.get(..length).map(Bytes::copy_from_slice);
    conn.read.advance(length);
    whole
}

/// The exchange is over. The connection is used again only if nothing is left of it in either direction.
fn end(mut conn: Box<Conn>, sending: &Sending, lease: Lease, keep_alive: bool) {
    if keep_alive && sending.is_over(&conn) && conn.read.is_empty() {
        conn.served = conn.served.saturating_add(1);
        conn.rest();
        lease.give_back(conn);
    }
}

struct Content {
    /// Gone after the end or an error.
    live: Option<Live>,
    length: Option<u64>,
    times: BodyTimes,
}

struct Live {
    conn: Box<Conn>,
    sending: Sending,
    lease: Lease,
    decoder: BodyDecoder,
    keep_alive: bool,
    /// Whether the deadline was set since the last bytes came.
    is_armed: bool,
}

impl BodyStream for Content {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let Some(live) = &mut self.live else { return Poll::Ready(None) };
        match live.poll_frame(cx, self.times) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Got::Data(data))) => {
                if live.decoder.remaining() == Some(0) {
                    self.finish();
                }
                Poll::Ready(Some(Ok(Frame::Data(data))))
            }
            Poll::Ready(Ok(Got::End(trailers))) => {
                self.finish();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::Trailers(trailers))))
            }
            Poll::Ready(Err(error)) => {
                if let Some(live) = self.live.take() {
                    live.lease.handle_broken_content();
                }
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Content {
    fn finish(&mut self) {
        if let Some(live) = self.live.take() {
            end(live.conn, &live.sending, live.lease, live.keep_alive);
        }
    }
}

impl Drop for Content {
    /// Reads away a small rest that is there already, so that the connection can be used again.
    fn drop(&mut self) {
        let is_small = |live: &Live| {
            let rest_is_small = live.decoder.remaining().is_none_or(|rest| rest <= DRAINED_BYTES_MAX as u64);
            live.keep_alive && live.sending.is_over(&live.conn) && rest_is_small
        };
        if !self.live.as_ref().is_some_and(is_small) {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let mut drained = 0;
        while drained < DRAINED_BYTES_MAX {
            match self.poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => drained += data.len(),
                _ => return,
            }
        }
    }
}

enum Got {
    Data(Bytes),
    End(Option<selvedge_types::Fields>),
}

impl Live {
    fn poll_frame(&mut self, cx: &mut Context<'_>, times: BodyTimes) -> Poll<Result<Got, BodyError>> {
        self.send_on(cx);
        loop {
            match self.decoder.step(&self.conn.read).map_err(malformed)? {
                BodyStep::Data { start, len } => {
                    self.conn.read.advance(start);
                    self.is_armed = false;
                    return Poll::Ready(Ok(Got::Data(self.conn.read.split_to(len).freeze())));
                }
                BodyStep::End { consumed, trailers } => {
                    self.conn.read.advance(consumed);
                    return Poll::Ready(Ok(Got::End(trailers)));
                }
                BodyStep::NeedMore { consumed } => self.conn.read.advance(consumed),
            }
            let expected = self.decoder.remaining().unwrap_or(u64::MAX);
            match self.conn.poll_read(cx, expected) {
                Poll::Ready(Ok(0)) => self.decoder.handle_close().map_err(malformed)?,
                Poll::Ready(Ok(_)) => self.is_armed = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(BodyError::Incomplete)),
                Poll::Pending => return self.poll_deadline(cx, times),
            }
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, times: BodyTimes) -> Poll<Result<Got, BodyError>> {
        if !self.is_armed {
            self.is_armed = true;
            self.conn.deadline.set(earlier(Instant::now(), times.idle, times.due));
        }
        self.conn.deadline.poll_passed(cx).map(|()| Err(BodyError::TimedOut))
    }

    /// An answer that came early: the request's content is sent on beside it, as far as it goes.
    fn send_on(&mut self, cx: &mut Context<'_>) {
        if self.sending.is_over(&self.conn) {
            return;
        }
        match self.sending.poll_send(&mut self.conn, cx) {
            Ok(_) => {}
            Err(SendError::Content(_) | SendError::Io(_)) => {
                self.sending.abandon(&mut self.conn);
                self.keep_alive = false;
            }
        }
    }
}

fn malformed(error: DecodeError) -> BodyError {
    match error {
        DecodeError::Truncated => BodyError::Incomplete,
        DecodeError::ChunkSize => BodyError::Malformed("chunk size is malformed"),
        DecodeError::ChunkExtension => BodyError::Malformed("chunk extension is malformed"),
        DecodeError::ChunkExtensionTooLong => BodyError::Malformed("chunk extensions are too long"),
        DecodeError::ChunkEnd => BodyError::Malformed("chunk does not end in CRLF"),
        DecodeError::Trailer(_) => BodyError::Malformed("trailer is malformed"),
        DecodeError::TrailerTooLarge => BodyError::Malformed("trailer section is too large"),
    }
}
