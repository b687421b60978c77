//! A request's content on its way out, checked against the length that was announced.

use bytes::Bytes;
use selvedge_exchange::{Body, BodyError, Frame};
use selvedge_types::Fields;
use std::task::{Context, Poll, ready};

/// What comes next of the content.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    /// The end, with trailers if there are any. The last piece.
    End(Option<Fields>),
}

/// Content that is sent once, or again while nothing was lost of it.
pub(super) struct Upload {
    body: Body,
    /// Kept to send it again.
    whole: Option<Bytes>,
    length: Option<u64>,
    left: Option<u64>,
    touched: bool,
    done: bool,
}

impl Upload {
    pub(super) fn new(body: Body) -> Self {
        let length = body.length();
        let whole = match &body {
            Body::Empty => Some(Bytes::new()),
            Body::Full(bytes) => Some(bytes.clone()),
            Body::Stream(_) => None,
        };
        Upload { body, whole, length, left: length, touched: false, done: length == Some(0) }
    }

    /// The length in bytes, if it is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether the end was handed out.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether all of it can be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        self.whole.is_some() || !self.touched
    }

    /// Starts over; only for what is repeatable.
    pub(super) fn rewind(self) -> Self {
        match self.whole {
            Some(whole) => Upload::new(Body::from(whole)),
            None => self,
        }
    }

    /// Gives the rest up: what was not sent of a stream cannot be sent again either.
    pub(super) fn abandon(&mut self) {
        self.touched |= !self.done;
        self.body = Body::Empty;
        self.done = true;
    }

    /// The next piece. Not to be called once done.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        self.touched = true;
        let trailers = match ready!(self.body.poll_frame(cx)) {
            Some(Ok(Frame::Data(data))) => {
                if let Some(left) = &mut self.left {
                    let rest = left.checked_sub(data.len() as u64);
                    *left = rest.ok_or(BodyError::Malformed("content is longer than announced"))?;
                }
                return Poll::Ready(Ok(Piece::Data(data)));
            }
            Some(Ok(Frame::Trailers(trailers))) => Some(trailers),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => None,
        };
        if self.left.is_some_and(|left| left > 0) {
            return Poll::Ready(Err(BodyError::Incomplete));
        }
        self.abandon();
        Poll::Ready(Ok(Piece::End(trailers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn whole_content_is_sent_again_after_a_rewind() {
        let mut upload = Upload::new(Body::from("abc"));
        for _ in 0..2 {
            assert_eq!(upload.length(), Some(3));
            let piece = poll_fn(|cx| upload.poll_piece(cx)).await.unwrap();
            assert!(matches!(piece, Piece::Data(data) if data == "abc"));
            let end = poll_fn(|cx| upload.poll_piece(cx)).await.unwrap();
            assert!(matches!(end, Piece::End(None)) && upload.is_done() && upload.is_repeatable());
            upload = upload.rewind();
        }
        assert!(Upload::new(Body::Empty).is_done());
    }

    #[test]
    fn a_stream_that_was_given_up_is_not_sent_again_as_if_it_were_empty() {
        struct Never;
        impl selvedge_exchange::BodyStream for Never {
            fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
                Poll::Pending
            }
            fn length(&self) -> Option<u64> {
                Some(5)
            }
        }
        let mut upload = Upload::new(Body::Stream(Box::new(Never)));
        assert!(upload.is_repeatable());
        upload.abandon();
        assert!(upload.is_done() && !upload.is_repeatable());
        let mut whole = Upload::new(Body::from("abc"));
        whole.abandon();
        assert!(whole.is_repeatable() && !whole.rewind().is_done());
    }
}
