//! The beginning of a response's content, looked at before the response's head goes out: what breaks off at once
//! is then an error that the client can read, not a connection that ends.
//!
//! Content that is known to be short is waited for until all of it is there. Of other content only what is there
//! already is looked at, so nothing that streams is delayed.

use crate::cache::failed;
use crate::cache::origin::FetchFailure;
use selvedge_exchange::{Body, BodyError, BodyStream, Frame, Response};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// How much content is looked at before a response begins, in bytes.
const LOOKED_AT_BYTES_MAX: u64 = 16 * 1024;

/// The response once its content has begun well; else the error, from the gateway called `name`, that tells so.
pub(crate) async fn begun(mut response: Response, name: &str) -> Response {
    if !matches!(response.body, Body::Stream(_)) || response.tunnel.is_some() {
        return response;
    }
    match begin(std::mem::take(&mut response.body)).await {
        Ok(body) => {
            response.body = body;
            response
        }
        Err(error) => {
            let mut failure = FetchFailure::from(&error);
            if let Some(fetched) = &response.fetched {
                failure.endpoint.clone_from(&fetched.endpoint);
                failure.attempts = fetched.attempts;
            }
            failed(&failure, name)
        }
    }
}

async fn begin(body: Body) -> Result<Body, BodyError> {
    let length = body.length();
    let mut early = Early { frames: VecDeque::new(), bytes: 0, length, rest: body, is_over: false };
    poll_fn(|cx| early.poll_begin(cx)).await?;
    Ok(early.into_body())
}

/// Content whose first frames were taken already.
struct Early {
    frames: VecDeque<Frame>,
    /// In the frames taken.
    bytes: u64,
    length: Option<u64>,
    rest: Body,
    /// Nothing comes after the frames taken.
    is_over: bool,
}

impl Early {
    /// Takes what is there; of short content all.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.bytes <= LOOKED_AT_BYTES_MAX {
            match self.rest.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Frame::Data(data) = &frame {
                        self.bytes += data.len() as u64;
                    }
                    self.frames.push_back(frame);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => {
                    self.is_over = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending if self.is_short() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether it is short, and not all there.
    fn is_short(&self) -> bool {
        self.length.is_some_and(|length| length <= LOOKED_AT_BYTES_MAX && self.bytes < length)
    }

    fn into_body(mut self) -> Body {
        let is_whole = self.is_over && self.length == Some(self.bytes) && self.frames.len() == 1;
        match self.frames.pop_front() {
            Some(Frame::Data(data)) if is_whole => return Body::Full(data),
            Some(first) => self.frames.push_front(first),
            None if self.is_over && self.length == Some(0) => return Body::Empty,
            None => {}
        }
        Body::Stream(Box::new(self))
    }
}

impl BodyStream for Early {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if self.is_over => Poll::Ready(None),
            None => self.rest.poll_frame(cx),
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use selvedge_types::Status;
    use std::pin::pin;
    use std::task::Waker;

    enum Step {
        Data(&'static str),
        Wait,
        Break,
    }
    use Step::{Break, Data, Wait};

    struct Scripted(VecDeque<Step>, Option<u64>);

    impl BodyStream for Scripted {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
            match self.0.pop_front() {
                Some(Data(text)) => Poll::Ready(Some(Ok(Frame::Data(Bytes::from_static(text.as_bytes()))))),
                Some(Wait) => Poll::Pending,
                Some(Break) => Poll::Ready(Some(Err(BodyError::Incomplete))),
                None => Poll::Ready(None),
            }
        }

        fn length(&self) -> Option<u64> {
            self.1
        }
    }

    fn response(length: Option<u64>, steps: impl IntoIterator<Item = Step>) -> Response {
        let body = Body::Stream(Box::new(Scripted(steps.into_iter().collect(), length)));
        Response { body, ..Response::new(Status::OK) }
    }

    #[test]
    fn content_that_breaks_off_before_anything_is_sent_is_a_bad_gateway() {
        for (length, steps, polls) in [
            (Some(1000), vec![Data("short"), Break], 1),
            (Some(1000), vec![Data("short"), Wait, Break], 2),
            (Some(1000), vec![Wait, Data("short"), Wait, Break], 3),
            (None, vec![Break], 1),
            (None, vec![Data("5 or more"), Break], 1),
        ] {
            let mut begun = pin!(begun(response(length, steps), "edge"));
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 1..polls {
                assert!(begun.as_mut().poll(&mut cx).is_pending());
            }
            let Poll::Ready(response) = begun.as_mut().poll(&mut cx) else { panic!() };
            assert_eq!(response.status, Status::BAD_GATEWAY);
            let said = response.fields.get_str(selvedge_types::name::PROXY_STATUS);
            assert_eq!(said, Some("edge; error=http_response_incomplete"));
        }
    }

    #[tokio::test]
    async fn content_that_streams_is_not_waited_for_and_comes_whole() {
        const LONG: Option<u64> = Some(1 + LOOKED_AT_BYTES_MAX);
        for (length, steps, expected) in [
            (None, vec![Data("a"), Wait, Data("b")], "ab"),
            (None, vec![Wait, Data("ab")], "ab"),
            (LONG, vec![Data("a"), Wait, Data("b")], "ab"),
            (Some(2), vec![Data("a"), Data("b")], "ab"),
            (Some(2), vec![Data("ab")], "ab"),
            (None, vec![], ""),
        ] {
            let mut begun = pin!(begun(response(length, steps), "edge"));
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(mut response) = begun.as_mut().poll(&mut cx) else { panic!() };
            assert_eq!(response.body.length(), length);
            let mut all = Vec::new();
            loop {
                match response.body.poll_frame(&mut cx) {
                    Poll::Ready(Some(Ok(Frame::Data(data)))) => all.extend_from_slice(&data),
                    Poll::Ready(None) => break,
                    Poll::Pending => {}
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(all, expected.as_bytes());
        }
    }
}
