//! One request of an HTTP/1.1 connection whose answer has to wait: for the handler, for content in either
//! direction, or for the client to take it.

use super::connection::{Link, within};
use super::counters::Cause;
use super::http1::{Http1, error_response, write_head, write_whole};
use super::output::Output;
use super::rewind::Io;
use super::upload::{Broken, Upload};
use bytes::Bytes;
use selvedge_exchange::{Body, Frame, Interim, Later, Response, Sent, Tunnel};
use selvedge_http1::{BodyFraming, ChunkHead, Persistence, ResponseWriter, write_last_chunk};
use selvedge_types::Status;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::time::Instant;

/// Bytes of following requests that are read ahead while one waits; then the client is slowed down.
const READ_AHEAD_BYTES_MAX: usize = 16 * 1024;

/// After so many bytes of content the connection lets others go first, however fast its client takes them.
const TURN_BYTES: u64 = 512 * 1024;

/// What a response's form depends on in its request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meta {
    pub(crate) to_head: bool,
    pub(crate) http11: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

/// What becomes of the connection after an exchange.
pub(crate) enum End {
    /// The next request.
    Keep,
    /// Close: the client expects it.
    Close,
    /// Close, but let the client read what it was sent.
    Linger,
    /// Close at once: the response is not whole.
    Cut,
    /// It is the other stream's from now on.
    Tunnel(Box<dyn Tunnel>),
}

/// Where an exchange begins.
pub(crate) enum Stage {
    /// The handler is still to answer.
    Later(Later),
    /// There is a response.
    Respond(Response),
    /// Only what is in the output is to be written.
    Flush(End),
}

/// An exchange under way.
pub(crate) struct Exchange {
    meta: Meta,
    stage: Option<Stage>,
    upload: Option<Upload>,
    output: Output,
    since: Instant,
    /// Since when the client takes nothing, and how much was waiting then.
    stalled: Option<(Instant, usize)>,
    is_half_closed: bool,
}

/// The exchange cannot be completed.
struct Cut;

impl Exchange {
    pub(crate) fn new(meta: Meta, stage: Stage, upload: Option<Upload>) -> Box<Exchange> {
        let output = Output::default();
        let (since, stage) = (Instant::now(), Some(stage));
        Box::new(Exchange { meta, stage, upload, output, since, stalled: None, is_half_closed: false })
    }

    /// Takes over what is still to be written of the exchanges before.
    pub(crate) fn take_output(&mut self, output: &mut Output) {
        self.output = std::mem::take(output);
    }

    /// Carries the exchange to its end.
    pub(crate) async fn run<S: Io>(mut self: Box<Self>, connection: &mut Http1<S>) -> End {
        let response = match self.stage.take() {
            Some(Stage::Respond(response)) => response,
            Some(Stage::Later(mut later)) => {
                match poll_fn(|cx| self.poll_response(&mut later, connection, cx)).await {
                    Ok(response) => response,
                    Err(Cut) => return End::Cut,
                }
            }
            Some(Stage::Flush(end)) => {
                let flushed = poll_fn(|cx| self.poll_flush(connection, cx)).await;
                return if flushed.is_ok() { end } else { End::Cut };
            }
            None => return End::Cut,
        };
        if response.status.code() == 101 {
            return self.switch(response, connection).await;
        }
        self.respond(response, connection).await
    }

    async fn respond<S: Io>(&mut self, mut response: Response, connection: &mut Http1<S>) -> End {
        if let Some(upload) = &mut self.upload {
            upload.forget_continue();
        }
        let has_content = !self.meta.to_head && !response.status.has_no_content();
        let body = std::mem::take(&mut response.body);
        let mut content = Content::new(if has_content { body } else { Body::Empty }, self.meta.http11);
        let broken = self.upload.as_ref().and_then(Upload::broken);
        match broken {
            Some(Broken::Malformed) => connection.link.count(Cause::BadContent),
            Some(Broken::TooLarge) => connection.link.count(Cause::ContentTooLarge),
            Some(Broken::Gone | Broken::TimedOut) | None => {}
        }
        let keep = self.meta.keep_alive
            && !response.close
            && broken.is_none()
            && content.framing != BodyFraming::UntilClose
            && !connection.link.is_stopping();
        let buf = self.output.buf();
        let head_bytes = write_head(&response, content.framing, keep, &self.meta, buf, &connection.link);
        let result = poll_fn(|cx| self.poll_content(&mut content, connection, cx)).await;
        if result.is_err() {
            self.flush_what_goes(connection).await;
        }
        let body_bytes = content.pushed.saturating_sub(self.output.remaining() as u64);
        if let Some(finish) = response.finish.take() {
            finish.finish(Sent { head_bytes, body_bytes, complete: result.is_ok() });
        }
        if result.is_err() {
            return End::Cut;
        }
        self.end(keep, connection).await
    }

    /// A response that breaks off is cut where it broke: the client gets its head at least.
    async fn flush_what_goes<S: Io>(&mut self, connection: &mut Http1<S>) {
        poll_fn(|cx| {
            // What does not go at once is lost with the connection.
            let _ = self.output.poll_flush(&mut connection.io, cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Decides about the connection once the response is written.
    async fn end<S: Io>(&mut self, keep: bool, connection: &mut Http1<S>) -> End {
        let Some(mut upload) = self.upload.take() else {
            return match (keep, self.meta.keep_alive) {
                (true, _) => End::Keep,
                (false, true) => End::Linger,
                (false, false) => End::Close,
            };
        };
        if !keep {
            return End::Linger;
        }
        let mut budget = connection.link.options.connections.drained_bytes_max;
        let limit = connection.link.options.timeouts.linger;
        let io = &mut connection.io;
        let drain = poll_fn(|cx| upload.poll_drain(io, &mut budget, cx));
        match within(limit, drain).await {
            Some(true) => {
                connection.carry = upload.into_rest();
                End::Keep
            }
            _ => End::Linger,
        }
    }

    /// RFC 9110 section 7.8: the response says so, then the connection is the tunnel's.
    async fn switch<S: Io>(&mut self, mut response: Response, connection: &mut Http1<S>) -> End {
        let Some(tunnel) = response.tunnel.take().filter(|_| self.meta.upgrade) else {
            let mut refusal = error_response(Status::BAD_GATEWAY, "the origin switched protocols unasked");
            refusal.finish = response.finish.take();
            write_whole(refusal, &self.meta, &mut self.output, &connection.link);
            let flushed = poll_fn(|cx| self.poll_flush(connection, cx)).await;
            return if flushed.is_ok() { End::Linger } else { End::Cut };
        };
        let before = self.output.buf().len();
        ResponseWriter {
            status: response.status,
            fields: &response.fields,
            date: None,
            framing: BodyFraming::Empty,
            to_head: false,
            persistence: Persistence::Upgrade,
        }
        .write(self.output.buf());
        let head_bytes = (self.output.buf().len() - before) as u64;
        self.output.on_written(response.finish.take(), Sent { head_bytes, ..Sent::default() });
        match poll_fn(|cx| self.poll_flush(connection, cx)).await {
            Ok(()) => End::Tunnel(tunnel),
            Err(Cut) => End::Cut,
        }
    }

    fn poll_response<S: Io>(
        &mut self,
        later: &mut Later,
        connection: &mut Http1<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response, Cut>> {
        let response = later.response.as_mut().poll(cx);
        // Those that came with the final one go first.
        while let Some(interim) = &mut later.interim
            && !self.output.is_full()
        {
            match interim.poll_recv(cx) {
                Poll::Ready(Some(interim)) => self.push_interim(&interim),
                Poll::Ready(None) => later.interim = None,
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(response) = response {
            return Poll::Ready(Ok(response));
        }
        self.poll_surroundings(connection, cx)
    }

    /// RFC 9110 section 15.2: not to HTTP/1.0 clients.
    fn push_interim(&mut self, interim: &Interim) {
        if !self.meta.http11 || !interim.status.is_informational() || interim.status.code() == 101 {
            return;
        }
        ResponseWriter {
            status: interim.status,
            fields: &interim.fields,
            date: None,
            framing: BodyFraming::Empty,
            to_head: false,
            persistence: Persistence::Keep,
        }
        .write(self.output.buf());
    }

    /// Moves content from the body to the client until it is all written.
    fn poll_content<S: Io>(
        &mut self,
        content: &mut Content,
        connection: &mut Http1<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Cut>> {
        let before = content.pushed;
        loop {
            if content.pushed - before >= TURN_BYTES {
                // Others get their turn.
                cx.waker().wake_by_ref();
                return self.poll_surroundings(connection, cx);
            }
            let is_fed = content.poll_feed(&mut self.output, cx)?;
            match self.output.poll_flush(&mut connection.io, cx) {
                Poll::Ready(Ok(())) if content.is_done => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if is_fed => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Cut)),
                _ => return self.poll_surroundings(connection, cx),
            }
        }
    }

    fn poll_flush<S: Io>(
        &mut self,
        connection: &mut Http1<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Cut>> {
        match self.output.poll_flush(&mut connection.io, cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|_| Cut)),
            Poll::Pending => self.poll_surroundings(connection, cx),
        }
    }

    /// What goes on beside the main thing: content comes in, the output goes out, time passes. Ready only
    /// when the exchange has to end.
    fn poll_surroundings<S: Io, T>(
        &mut self,
        connection: &mut Http1<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Cut>> {
        match &mut self.upload {
            Some(upload) => upload.poll_pump(&mut connection.io, &mut self.output, cx),
            None => self.poll_read_ahead(connection, cx)?,
        }
        match self.output.poll_flush(&mut connection.io, cx) {
            Poll::Ready(Ok(())) => self.stalled = None,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Cut)),
            Poll::Pending => {
                let remaining = self.output.remaining();
                if self.stalled.is_none_or(|(_, before)| before != remaining) {
                    self.stalled = Some((Instant::now(), remaining));
                }
            }
        }
        self.poll_deadlines(&mut connection.link, cx).map(Err)
    }

    /// Reads a little of what follows, to notice a client that resets the connection. One that closes only
    /// its own side still waits for the response.
    fn poll_read_ahead<S: Io>(&mut self, connection: &mut Http1<S>, cx: &mut Context<'_>) -> Result<(), Cut> {
        let mut room = [0; 2048];
        while !self.is_half_closed && connection.carry.len() < READ_AHEAD_BYTES_MAX {
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut connection.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => self.is_half_closed = true,
                Poll::Ready(Ok(())) => connection.carry.extend_from_slice(buf.filled()),
                Poll::Ready(Err(_)) => return Err(Cut),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn poll_deadlines(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<Cut> {
        loop {
            let timeouts = link.options.timeouts;
            let stalled = self.stalled.map(|(since, _)| since + timeouts.write);
            let starved = self.upload.as_ref().and_then(Upload::waiting_since);
            let draining = link.poll_stopping(cx).map(|since| since + timeouts.drain);
            let deadlines = [
                Some((self.since + timeouts.exchange, Cause::ExchangeTimeout)),
                stalled.map(|at| (at, Cause::WriteTimeout)),
                starved.map(|since| (since + timeouts.body_read, Cause::BodyTimeout)),
                draining.map(|at| (at, Cause::Drain)),
            ];
            let Some((deadline, cause)) = deadlines.into_iter().flatten().min_by_key(|(at, _)| *at) else {
                return Poll::Pending;
            };
            link.timer.set(deadline);
            if link.timer.poll_passed(cx).is_pending() {
                return Poll::Pending;
            }
            link.count(cause);
            match &mut self.upload {
                // The handler is told, and answers.
                Some(upload) if cause == Cause::BodyTimeout => upload.break_off(Broken::TimedOut),
                _ => return Poll::Ready(Cut),
            }
        }
    }
}

/// A response's content on its way out.
struct Content {
    body: Body,
    framing: BodyFraming,
    /// Bytes still to come, if their number was promised.
    left: Option<u64>,
    pushed: u64,
    is_done: bool,
    chunk_end_due: bool,
}

impl Content {
    fn new(body: Body, http11: bool) -> Content {
        let left = body.length();
        let framing = match left {
            Some(bytes) => BodyFraming::of_length(bytes),
            None if http11 => BodyFraming::Chunked,
            None => BodyFraming::UntilClose,
        };
        Content { body, framing, left, pushed: 0, is_done: false, chunk_end_due: false }
    }

    /// Takes frames until the output is full; false if the body has to be waited for.
    fn poll_feed(&mut self, output: &mut Output, cx: &mut Context<'_>) -> Result<bool, Cut> {
        while !self.is_done && !output.is_full() {
            if std::mem::take(&mut self.chunk_end_due) {
                output.buf().extend_from_slice(b"\r\n");
            }
            match self.body.poll_frame(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Some(Ok(Frame::Data(data)))) => self.push(data, output)?,
                Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) => {
                    if self.framing == BodyFraming::Chunked {
                        write_last_chunk(output.buf(), Some(&trailers));
                    }
                    self.end()?;
                }
                Poll::Ready(None) => {
                    if self.framing == BodyFraming::Chunked {
                        write_last_chunk(output.buf(), None);
                    }
                    self.end()?;
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "a response's content ended early");
                    return Err(Cut);
                }
            }
        }
        Ok(true)
    }

    fn push(&mut self, data: Bytes, output: &mut Output) -> Result<(), Cut> {
        if data.is_empty() {
            return Ok(());
        }
        let len = data.len() as u64;
        if let Some(left) = &mut self.left {
            // More than was promised would be read as the next response.
            *left = left.checked_sub(len).ok_or(Cut)?;
        }
        self.pushed += len;
        if self.framing != BodyFraming::Chunked {
            output.push(data);
            return Ok(());
        }
        output.buf().extend_from_slice(ChunkHead::new(data.len()).as_bytes());
        output.push(data);
        self.chunk_end_due = output.is_full();
        if !self.chunk_end_due {
            output.buf().extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Cut> {
        self.is_done = true;
        if self.left.unwrap_or(0) > 0 { Err(Cut) } else { Ok(()) }
    }
}
