//! One request and the head of its answer over HTTP/2 (RFC 9113).

use super::conn::Lent;
use super::convert::{fields_of, request_of};
use super::send::{SendError, Sending};
use crate::upstream::error::{FetchError, Stage};
use crate::upstream::h1::{Broken, INTERIM_MAX};
use crate::upstream::hop::strip_response;
use crate::upstream::outgoing::Outgoing;
use crate::upstream::sending::SendState;
use crate::upstream::upload::Upload;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Response};
use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::Interim;
use selvedge_rt::Deadline;
use selvedge_types::{Fields, Status};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, timeout_at};

/// An answer whose head has come.
pub(in crate::upstream) struct Answer {
    pub(in crate::upstream) status: Status,
    pub(in crate::upstream) fields: Fields,
    pub(super) content: RecvStream,
    pub(super) sending: Sending,
    pub(super) lent: Lent,
    pub(super) deadline: Deadline,
}

/// Sends `request` and waits for the head of the final answer. Dropping the future resets the stream.
pub(in crate::upstream) async fn exchange(
    lent: Lent,
    request: &Outgoing<'_>,
    upload: Upload,
) -> Result<Answer, Broken> {
    let head = match request_of(request) {
        Ok(head) => head,
        Err(error) => {
            let detail = format!("the request cannot be sent over HTTP/2: {error}");
            let error = FetchError::new(ProxyError::ProxyInternalError, Stage::Unsent, detail);
            return Err(Broken { error, upload });
        }
    };
    let mut sender = lent.sender();
    let ready = timeout_at(request.due, poll_fn(|cx| sender.poll_ready(cx))).await;
    let sent = match ready {
        Ok(Ok(())) => sender.send_request(head, upload.is_done()),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            lent.retire();
            let detail = "took no new stream in time";
            let error = FetchError::new(ProxyError::HttpResponseTimeout, Stage::Unsent, detail);
            return Err(Broken { error, upload });
        }
    };
    let (response, stream) = match sent {
        Ok(sent) => sent,
        Err(error) => {
            // Nothing went out: the connection is being closed.
            lent.retire();
            let detail = format!("the HTTP/2 connection is closed: {error}");
            let error = FetchError::new(ProxyError::ConnectionTerminated, Stage::Unsent, detail);
            return Err(Broken { error, upload });
        }
    };
    let sending = Sending::new(upload, stream, request.expects_continue);
    let deadline = Deadline::default();
    let mut call = Call { lent, request, sending, response, deadline, armed: None, interims: 0 };
    let head = poll_fn(|cx| call.poll_answer(cx)).await;
    let read = head.and_then(|head| {
        call.lent.handle_answer();
        let (parts, content) = head.into_parts();
        let status = Status::new(parts.status.as_u16());
        let read =
            status.zip(fields_of(&parts.headers).ok()).map(|(status, fields)| (status, fields, content));
        read.ok_or_else(|| call.fail(ProxyError::HttpProtocolError, "sent a malformed answer"))
    });
    let Call { lent, sending, deadline, .. } = call;
    match read {
        Ok((status, fields, content)) => Ok(Answer { status, fields, content, sending, lent, deadline }),
        Err(error) => Err(Broken { error, upload: sending.into_upload() }),
    }
}

struct Call<'a> {
    lent: Lent,
    request: &'a Outgoing<'a>,
    sending: Sending,
    response: ResponseFuture,
    deadline: Deadline,
    /// What the deadline was set for.
    armed: Option<(SendState, u64)>,
    interims: u32,
}

impl Call<'_> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<RecvStream>, FetchError>> {
        loop {
            let state = match self.sending.poll_send(cx) {
                Ok(state) => state,
                Err(SendError::Content(error)) => {
                    return Poll::Ready(Err(FetchError::of_content(&error, Stage::Answered)));
                }
                // The answer says more than the failure to send, if there is one.
                Err(SendError::Stream) => {
                    self.sending.abandon();
                    SendState::Over
                }
            };
            if let Err(error) = self.pass_interims(cx) {
                return Poll::Ready(Err(error));
            }
            if let Poll::Ready(result) = Pin::new(&mut self.response).poll(cx) {
                return Poll::Ready(result.map_err(|error| self.reset(&error)));
            }
            self.arm(state);
            if self.deadline.poll_passed(cx).is_pending() {
                return Poll::Pending;
            }
            if state != SendState::OnHold || Instant::now() >= self.request.due {
                // If the connection is dead, the next request must not wait as long.
                self.lent.retire();
                return Poll::Ready(Err(state.timed_out()));
            }
            self.sending.release();
        }
    }

    fn pass_interims(&mut self, cx: &mut Context<'_>) -> Result<(), FetchError> {
        while let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            self.interims += 1;
            if self.interims > INTERIM_MAX {
                return Err(self.fail(ProxyError::HttpProtocolError, "sent too many interim responses"));
            }
            if interim.status() == http::StatusCode::CONTINUE {
                self.sending.release();
            } else if let Some(channel) = self.request.interim {
                self.pass(channel, interim.status().as_u16(), interim.headers());
            }
        }
        Ok(())
    }

    fn pass(&self, channel: &tokio::sync::mpsc::Sender<Interim>, code: u16, headers: &HeaderMap) {
        if let (Some(status), Ok(mut fields)) = (Status::new(code), fields_of(headers)) {
            strip_response(&mut fields);
            // A client that is behind with reading misses interim responses; they are advice.
            let _ = channel.try_send(Interim { status, fields });
        }
    }

    fn arm(&mut self, state: SendState) {
        let armed = Some((state, self.sending.total));
        if self.armed == armed {
            return;
        }
        self.armed = armed;
        self.deadline.set(state.deadline(Instant::now(), self.request));
    }

    fn reset(&self, error: &h2::Error) -> FetchError {
        let unseen = error.reason() == Some(Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR));
        let is_cut = error.is_io() || error.is_go_away();
        if unseen || is_cut {
            self.lent.retire();
        }
        let (kind, stage) = match (unseen, is_cut) {
            (true, _) => (ProxyError::ConnectionTerminated, Stage::Unsent),
            (false, true) if self.lent.is_reused() => (ProxyError::ConnectionTerminated, Stage::Stale),
            (false, true) => (ProxyError::ConnectionTerminated, Stage::Unanswered),
            (false, false) if error.is_reset() && error.is_remote() => {
                (ProxyError::HttpResponseIncomplete, Stage::Answered)
            }
            (false, false) => (ProxyError::HttpProtocolError, Stage::Answered),
        };
        FetchError::new(kind, stage, format!("HTTP/2: {error}"))
    }

    fn fail(&self, kind: ProxyError, detail: impl Into<String>) -> FetchError {
        FetchError::new(kind, Stage::Answered, detail)
    }
}
