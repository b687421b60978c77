//! Request content held to a site's limit.

use selvedge_exchange::{Body, BodyError, BodyStream, Frame};
use std::task::{Context, Poll};

/// Holds `body` to `limit` bytes: at once if its length is known, else as it comes.
///
/// # Errors
/// [`BodyError::TooLarge`] when its stated length is over the limit.
pub(super) fn limited(body: Body, limit: u64) -> Result<Body, BodyError> {
    match (body.length(), body) {
        (Some(length), _) if length > limit => Err(BodyError::TooLarge { limit }),
        (None, Body::Stream(stream)) => {
            Ok(Body::Stream(Box::new(Limited { stream, left: limit, limit, over: false })))
        }
        (_, body) => Ok(body),
    }
}

struct Limited {
    stream: Box<dyn BodyStream>,
    left: u64,
    limit: u64,
    over: bool,
}

impl BodyStream for Limited {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let polled = self.stream.poll_frame(cx);
        let Poll::Ready(Some(Ok(Frame::Data(data)))) = &polled else { return polled };
        match self.left.checked_sub(data.len() as u64) {
            Some(left) => {
                self.left = left;
                polled
            }
            None => {
                self.over = true;
                Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit })))
            }
        }
    }

    fn length(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    struct Pieces(Vec<&'static str>);
    impl BodyStream for Pieces {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
            let piece = (!self.0.is_empty()).then(|| self.0.remove(0));
            Poll::Ready(piece.map(|p| Ok(Frame::Data(Bytes::from_static(p.as_bytes())))))
        }
        fn length(&self) -> Option<u64> {
            None
        }
    }

    #[test]
    fn content_is_held_to_the_limit_as_it_comes() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut body = limited(Body::Stream(Box::new(Pieces(vec!["abc", "de", "f"]))), 5).unwrap();
        for expected in ["abc", "de"] {
            let Poll::Ready(Some(Ok(Frame::Data(data)))) = body.poll_frame(&mut cx) else { panic!() };
            assert_eq!(data, expected);
        }
        let Poll::Ready(Some(Err(error))) = body.poll_frame(&mut cx) else { panic!() };
        assert_eq!(error, BodyError::TooLarge { limit: 5 });
    }

    #[test]
    fn content_of_known_length_is_refused_at_once() {
        assert!(limited(Body::from("abcdef"), 5).is_err());
        assert!(matches!(limited(Body::from("abcde"), 5), Ok(Body::Full(_))));
        assert!(matches!(limited(Body::Empty, 0), Ok(Body::Empty)));
    }
}
