//! A request's content on its way out over HTTP/2.

use crate::upstream::sending::SendState;
use crate::upstream::upload::{Piece, Upload};
use bytes::Bytes;
use h2::SendStream;
use selvedge_exchange::BodyError;
use std::task::{Context, Poll};

/// Why content was not sent to its end.
pub(super) enum SendError {
    /// It broke off itself.
    Content(BodyError),
    /// The stream was reset; its answer, if there is one, says why.
    Stream,
}

pub(super) struct Sending {
    upload: Upload,
    stream: SendStream<Bytes>,
    pending: Bytes,
    on_hold: bool,
    /// Bytes handed to the stream, to see progress by.
    pub(super) total: u64,
    is_over: bool,
}

impl Sending {
    pub(super) fn new(upload: Upload, stream: SendStream<Bytes>, on_hold: bool) -> Self {
        let is_over = upload.is_done();
        Sending { upload, stream, pending: Bytes::new(), on_hold: on_hold && !is_over, total: 0, is_over }
    }

    pub(super) fn into_upload(self) -> Upload {
        self.upload
    }

    pub(super) fn release(&mut self) {
        self.on_hold = false;
    }

    /// Nothing more is sent; the stream is reset when the answer was read.
    pub(super) fn abandon(&mut self) {
        self.upload.abandon();
        self.pending = Bytes::new();
        self.is_over = true;
    }

    /// Sends as much as goes.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<SendState, SendError> {
        loop {
            if self.is_over {
                return Ok(SendState::Over);
            }
            if self.on_hold {
                return Ok(SendState::OnHold);
            }
            if !self.pending.is_empty() {
                if self.push_pending(cx)?.is_pending() {
                    return Ok(SendState::OnOrigin);
                }
                continue;
            }
            match self.upload.poll_piece(cx) {
                Poll::Pending => return Ok(SendState::OnClient),
                Poll::Ready(Ok(Piece::Data(data))) => self.pending = data,
                Poll::Ready(Ok(Piece::End(trailers))) => self.end(trailers).map_err(|_| SendError::Stream)?,
                Poll::Ready(Err(error)) => return Err(SendError::Content(error)),
            }
        }
    }

    fn end(&mut self, trailers: Option<selvedge_types::Fields>) -> Result<(), h2::Error> {
        self.is_over = true;
        match trailers.and_then(|fields| super::convert::headers_of(&fields).ok()) {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        }
    }

    /// Sends of the pending bytes what the windows allow.
    fn push_pending(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, SendError> {
        self.stream.reserve_capacity(self.pending.len());
        let allowed = match self.stream.capacity() {
            0 => match self.stream.poll_capacity(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Some(Ok(allowed))) => allowed,
                Poll::Ready(Some(Err(_))) => return Err(SendError::Stream),
                // The origin wants no more of it: its answer follows.
                Poll::Ready(None) => {
                    self.abandon();
                    return Ok(Poll::Ready(()));
                }
            },
            allowed => allowed,
        };
        let part = self.pending.split_to(allowed.min(self.pending.len()));
        self.total += part.len() as u64;
        self.stream.send_data(part, false).map_err(|_| SendError::Stream)?;
        Ok(Poll::Ready(()))
    }
}
