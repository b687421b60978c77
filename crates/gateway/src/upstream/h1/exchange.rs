//! One request and the head of its answer over an HTTP/1.1 connection.
//!
//! Sending and receiving go on at once: an origin may answer before it has all of the request
//! (RFC 9112 section 9.3), and sending then goes on beside the answer's content.

use super::conn::Conn;
use super::send::{SendError, Sending, framing_of};
use crate::upstream::error::{FetchError, Stage};
use crate::upstream::hop::strip_response;
use crate::upstream::outgoing::Outgoing;
use crate::upstream::sending::SendState;
use crate::upstream::upload::Upload;
use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::Interim;
use selvedge_http1::{
    Limits, Persistence, Progress, RequestWriter, ResponseError, ResponseHead, parse_response,
};
use selvedge_types::name;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// What an answer's head and framing may cost.
pub(super) const LIMITS: Limits = Limits { head_bytes_max: 64 * 1024, ..Limits::DEFAULT };
/// Interim responses to one request.
pub(in crate::upstream) const INTERIM_MAX: u32 = 32;

/// An answer whose head has come. What was read of its content is in the connection's buffer.
pub(in crate::upstream) struct Answer {
    pub(in crate::upstream) head: ResponseHead,
    pub(in crate::upstream) conn: Box<Conn>,
    pub(in crate::upstream) sending: Sending,
}

/// No answer came; the connection is gone.
pub(in crate::upstream) struct Broken {
    pub(in crate::upstream) error: FetchError,
    /// The content, if none of it was lost.
    pub(in crate::upstream) upload: Upload,
}

/// Sends `request` and waits for the head of the final answer. Dropping the future closes the connection.
pub(in crate::upstream) async fn exchange(
    mut conn: Box<Conn>,
    request: &Outgoing<'_>,
    upload: Upload,
) -> Result<Answer, Broken> {
    let writer = RequestWriter {
        method: request.method,
        target: request.target,
        fields: request.fields,
        framing: framing_of(upload.length()),
        inner_codings: request.codings,
        wants_trailers: request.wants_trailers,
        persistence: if request.upgrade { Persistence::Upgrade } else { Persistence::Keep },
    };
    conn.out.clear();
    if let Err(error) = writer.write(conn.out.head()) {
        let error = FetchError::new(ProxyError::ProxyInternalError, Stage::Unsent, error.to_string());
        return Err(Broken { error, upload });
    }
    let sending = Sending::new(upload, request.expects_continue);
    let mut call =
        Call { conn, request, sending, armed: None, send_error: None, interims: 0, got_bytes: false };
    let mut progress = Progress::default();
    match poll_fn(|cx| call.poll_answer(cx, &mut progress)).await {
        Ok(head) => Ok(Answer { head, conn: call.conn, sending: call.sending }),
        Err(error) => Err(Broken { error, upload: call.sending.into_upload() }),
    }
}

struct Call<'a> {
    conn: Box<Conn>,
    request: &'a Outgoing<'a>,
    sending: Sending,
    /// What the deadline was set for: the sending state and how much was written then.
    armed: Option<(SendState, u64)>,
    /// Sending failed; an answer may be there nonetheless.
    send_error: Option<io::Error>,
    interims: u32,
    got_bytes: bool,
}

impl Call<'_> {
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        progress: &mut Progress,
    ) -> Poll<Result<ResponseHead, FetchError>> {
        loop {
            let state = match self.send(cx) {
                Ok(state) => state,
                Err(error) => return Poll::Ready(Err(error)),
            };
            match self.receive(cx, progress) {
                Poll::Ready(Ok(Some(head))) => return Poll::Ready(Ok(head)),
                Poll::Ready(Ok(None)) => continue,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            self.arm(state);
            if self.conn.deadline.poll_passed(cx).is_pending() {
                return Poll::Pending;
            }
            if state != SendState::OnHold || Instant::now() >= self.request.due {
                return Poll::Ready(Err(state.timed_out()));
            }
            self.sending.release();
        }
    }

    /// Sends on. When the connection breaks meanwhile, the answer that may have come before is still read.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<SendState, FetchError> {
        if self.sending.is_over(&self.conn) {
            return Ok(SendState::Over);
        }
        match self.sending.poll_send(&mut self.conn, cx) {
            Ok(state) => Ok(state),
            Err(SendError::Content(error)) => Err(FetchError::of_content(&error, Stage::Answered)),
            Err(SendError::Io(error)) => {
                self.send_error.get_or_insert(error);
                self.sending.abandon(&mut self.conn);
                Ok(SendState::Over)
            }
        }
    }

    /// Reads on: a final head, or none after an interim one.
    fn receive(
        &mut self,
        cx: &mut Context<'_>,
        progress: &mut Progress,
    ) -> Poll<Result<Option<ResponseHead>, FetchError>> {
        loop {
            if !self.conn.read.is_empty() {
                match parse_response(&self.conn.read, progress, self.request.method, &LIMITS) {
                    Ok(Some((head, used))) => {
                        bytes::Buf::advance(&mut self.conn.read, used);
                        *progress = Progress::default();
                        return Poll::Ready(self.take_head(head));
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(self.malformed(error))),
                }
            }
            match self.conn.poll_read(cx, 0) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.ended(None))),
                Poll::Ready(Ok(_)) => self.got_bytes = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.ended(Some(error)))),
            }
        }
    }

    /// Whether the protocols that the origin switches to are among those asked for (RFC 9110 section 7.8).
    fn was_offered(&self, head: &ResponseHead) -> bool {
        let asked = |protocol: &[u8]| {
            let mut offers = self.request.fields.members(name::UPGRADE);
            offers.any(|offer| offer.eq_ignore_ascii_case(protocol))
        };
        let mut chosen = head.fields.members(name::UPGRADE).peekable();
        self.request.upgrade && chosen.peek().is_some() && chosen.all(asked)
    }

    /// Passes an interim head on; gives a final one back.
    fn take_head(&mut self, mut head: ResponseHead) -> Result<Option<ResponseHead>, FetchError> {
        if head.status.code() == 101 {
            return if self.was_offered(&head) {
                Ok(Some(head))
            } else {
                Err(self.fail(ProxyError::HttpUpgradeFailed, "switched protocols unasked"))
            };
        }
        if !head.status.is_informational() {
            return Ok(Some(head));
        }
        self.interims += 1;
        if self.interims > INTERIM_MAX {
            return Err(self.fail(ProxyError::HttpProtocolError, "sent too many interim responses"));
        }
        if head.status.code() == 100 {
            self.sending.release();
        } else if let Some(interim) = &self.request.interim {
            strip_response(&mut head.fields);
            // A client that is behind with reading misses interim responses; they are advice.
            let _ = interim.try_send(Interim { status: head.status, fields: head.fields });
        }
        Ok(None)
    }

    /// Sets the deadline for what is waited for now.
    fn arm(&mut self, state: SendState) {
        let armed = Some((state, self.conn.out.total));
        if self.armed == armed {
            return;
        }
        self.armed = armed;
        self.conn.deadline.set(state.deadline(Instant::now(), self.request));
    }

    fn malformed(&self, error: ResponseError) -> FetchError {
        let kind = match error {
            ResponseError::HeadTooLarge => ProxyError::HttpResponseHeaderSectionSize,
            _ => ProxyError::HttpProtocolError,
        };
        self.fail(kind, format!("sent a malformed answer: {error}"))
    }

    fn ended(&mut self, error: Option<io::Error>) -> FetchError {
        let cause = self.send_error.take().or(error).map_or(String::new(), |e| format!(" ({e})"));
        if self.got_bytes {
            let detail = format!("closed the connection within an answer's head{cause}");
            return self.fail(ProxyError::HttpResponseIncomplete, detail);
        }
        let stage = if self.conn.is_reused() { Stage::Stale } else { Stage::Unanswered };
        let detail = format!("closed the connection without an answer{cause}");
        FetchError::new(ProxyError::ConnectionTerminated, stage, detail)
    }

    fn fail(&self, kind: ProxyError, detail: impl Into<String>) -> FetchError {
        FetchError::new(kind, Stage::Answered, detail)
    }
}
