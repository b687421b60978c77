//! A request on its way out over HTTP/1.1.

use super::conn::Conn;
use crate::upstream::sending::SendState;
use crate::upstream::upload::{Piece, Upload};
use selvedge_exchange::BodyError;
use selvedge_http1::{BodyFraming, ChunkHead, write_last_chunk};
use std::io;
use std::task::{Context, Poll};

/// Why a request was not sent to its end.
#[derive(Debug)]
pub(super) enum SendError {
    /// Its content broke off.
    Content(BodyError),
    /// The connection did.
    Io(io::Error),
}

/// The sending side of an exchange. The head is in the connection's buffer already.
pub(in crate::upstream) struct Sending {
    upload: Upload,
    is_chunked: bool,
    on_hold: bool,
}

/// How content of `length` bytes is framed (RFC 9112 section 6).
pub(super) fn framing_of(length: Option<u64>) -> BodyFraming {
    length.map_or(BodyFraming::Chunked, BodyFraming::of_length)
}

impl Sending {
    /// `on_hold`: content waits for consent.
    pub(super) fn new(upload: Upload, on_hold: bool) -> Self {
        let is_chunked = framing_of(upload.length()) == BodyFraming::Chunked;
        Sending { on_hold: on_hold && !upload.is_done(), upload, is_chunked }
    }

    /// The content, to be sent again elsewhere.
    pub(super) fn into_upload(self) -> Upload {
        self.upload
    }

    /// Whether all of the request was written.
    pub(super) fn is_over(&self, conn: &Conn) -> bool {
        self.upload.is_done() && conn.out.is_empty()
    }

    /// The origin wants the content, or does not say.
    pub(super) fn release(&mut self) {
        self.on_hold = false;
    }

    /// Nothing more is sent.
    pub(super) fn abandon(&mut self, conn: &mut Conn) {
        self.upload.abandon();
        conn.out.clear();
    }

    /// Sends as much as goes.
    pub(super) fn poll_send(
        &mut self,
        conn: &mut Conn,
        cx: &mut Context<'_>,
    ) -> Result<SendState, SendError> {
        loop {
            let mut lacks_content = false;
            if !self.upload.is_done() && !self.on_hold && !conn.out.has_data() {
                match self.upload.poll_piece(cx) {
                    Poll::Ready(piece) => self.push(conn, piece.map_err(SendError::Content)?),
                    Poll::Pending => lacks_content = true,
                }
            }
            match conn.poll_flush(cx) {
                Poll::Ready(result) => result.map_err(SendError::Io)?,
                Poll::Pending => return Ok(SendState::OnOrigin),
            }
            if self.upload.is_done() {
                return Ok(SendState::Over);
            }
            if self.on_hold {
                return Ok(SendState::OnHold);
            }
            if lacks_content {
                return Ok(SendState::OnClient);
            }
        }
    }

    fn push(&mut self, conn: &mut Conn, piece: Piece) {
        match piece {
            Piece::Data(data) if self.is_chunked => {
                conn.out.head().extend_from_slice(ChunkHead::new(data.len()).as_bytes());
                conn.out.push(data, b"\r\n");
            }
            Piece::Data(data) => conn.out.push(data, b""),
            Piece::End(trailers) if self.is_chunked => write_last_chunk(conn.out.head(), trailers.as_ref()),
            Piece::End(_) => {}
        }
    }
}
