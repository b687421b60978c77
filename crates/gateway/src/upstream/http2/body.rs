//! An answer's content over HTTP/2. Dropping it unread resets the stream.

use super::conn::Lent;
use super::convert::trailers_of;
use super::exchange::Answer;
use super::send::Sending;
use crate::upstream::h1::BodyTimes;
use crate::upstream::lease::Lease;
use crate::upstream::outgoing::earlier;
use h2::RecvStream;
use selvedge_exchange::{Body, BodyError, BodyStream, Frame};
use selvedge_rt::Deadline;
use selvedge_types::{Fields, Method, Status, name};
use std::task::{Context, Poll, ready};
use tokio::time::Instant;

/// The answer's status, fields and content.
pub(in crate::upstream) fn content_of(
    answer: Answer,
    method: &Method,
    lease: Lease,
    times: BodyTimes,
) -> (Status, Fields, Body) {
    let Answer { status, fields, content, sending, lent, deadline } = answer;
    let has_none = *method == Method::Head || status.has_no_content();
    if content.is_end_stream() || has_none {
        return (status, fields, Body::Empty);
    }
    let length = fields.get_str(name::CONTENT_LENGTH).and_then(|value| value.parse().ok());
    let live =
        Live { content, sending, lease, _lent: lent, deadline, is_armed: false, is_in_trailers: false };
    (status, fields, Body::Stream(Box::new(Content { live: Some(live), length, times })))
}

struct Content {
    /// Gone after the end or an error.
    live: Option<Live>,
    length: Option<u64>,
    times: BodyTimes,
}

struct Live {
    content: RecvStream,
    sending: Sending,
    lease: Lease,
    _lent: Lent,
    deadline: Deadline,
    is_armed: bool,
    is_in_trailers: bool,
}

impl BodyStream for Content {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let Some(live) = &mut self.live else { return Poll::Ready(None) };
        let frame = ready!(live.poll_frame(cx, self.times));
        match &frame {
            Some(Ok(Frame::Data(_))) => {}
            Some(Ok(Frame::Trailers(_))) | None => self.live = None,
            Some(Err(_)) => {
                live.lease.handle_broken_content();
                self.live = None;
            }
        }
        Poll::Ready(frame)
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Live {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        times: BodyTimes,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        if self.sending.poll_send(cx).is_err() {
            self.sending.abandon();
        }
        while !self.is_in_trailers {
            match self.content.poll_data(cx) {
                Poll::Pending => return self.poll_deadline(cx, times),
                Poll::Ready(None) => self.is_in_trailers = true,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(BodyError::Incomplete))),
                Poll::Ready(Some(Ok(data))) => {
                    self.is_armed = false;
                    // Fails only on a stream that is gone, and then the next poll says so.
                    let _ = self.content.flow_control().release_capacity(data.len());
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::Data(data))));
                    }
                }
            }
        }
        match self.content.poll_trailers(cx) {
            Poll::Pending => self.poll_deadline(cx, times),
            Poll::Ready(Err(_)) => Poll::Ready(Some(Err(BodyError::Incomplete))),
            Poll::Ready(Ok(None)) => Poll::Ready(None),
            Poll::Ready(Ok(Some(trailers))) => Poll::Ready(Some(match trailers_of(&trailers) {
                Ok(trailers) => Ok(Frame::Trailers(trailers)),
                Err(_) => Err(BodyError::Malformed("trailer is malformed")),
            })),
        }
    }

    fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
        times: BodyTimes,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        if !self.is_armed {
            self.is_armed = true;
            self.deadline.set(earlier(Instant::now(), times.idle, times.due));
        }
        self.deadline.poll_passed(cx).map(|()| Some(Err(BodyError::TimedOut)))
    }
}
