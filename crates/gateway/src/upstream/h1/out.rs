//! What is to be written: a head, one piece of content uncopied, and what ends the piece.

use crate::upstream::io::Io;
use bytes::{Buf, Bytes};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// A head buffer larger than this is not kept.
const HEAD_BYTES_KEPT: usize = 8 * 1024;

/// Bytes in the order in which they go out: `head`, `data`, `tail`.
#[derive(Default)]
pub(super) struct Out {
    head: Vec<u8>,
    written: usize,
    data: Bytes,
    tail: &'static [u8],
    /// Something was written that may wait within TLS.
    unflushed: bool,
    /// Bytes written since the start, to see progress by.
    pub(super) total: u64,
}

impl Out {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.head.len() && !self.has_data() && !self.unflushed
    }

    /// Whether content waits; then neither head bytes nor more content may be added.
    pub(super) fn has_data(&self) -> bool {
        !self.data.is_empty() || !self.tail.is_empty()
    }

    /// Where head bytes are appended.
    pub(super) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// Adds content and what comes after it.
    pub(super) fn push(&mut self, data: Bytes, tail: &'static [u8]) {
        self.data = data;
        self.tail = tail;
    }

    /// Drops what was not written.
    pub(super) fn clear(&mut self) {
        self.head.clear();
        self.written = 0;
        self.data = Bytes::new();
        self.tail = b"";
        self.unflushed = false;
    }

    /// Frees memory that an idle connection does not need.
    pub(super) fn rest(&mut self) {
        if self.head.capacity() > HEAD_BYTES_KEPT {
            self.head = Vec::new();
        }
    }

    /// Ready once all is written.
    pub(super) fn poll_flush(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.head.len() || self.has_data() {
            let head = self.head.get(self.written..).unwrap_or_default();
            let parts = [IoSlice::new(head), IoSlice::new(&self.data), IoSlice::new(self.tail)];
            let result = if self.has_data() {
                Pin::new(&mut *io).poll_write_vectored(cx, &parts)
            } else {
                Pin::new(&mut *io).poll_write(cx, head)
            };
            let written = ready!(result)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(&mut *io).poll_flush(cx))?;
            self.unflushed = false;
        }
        self.head.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        self.unflushed = true;
        self.total += written as u64;
        let of_head = written.min(self.head.len() - self.written);
        self.written += of_head;
        let of_data = (written - of_head).min(self.data.len());
        self.data.advance(of_data);
        let of_tail = written - of_head - of_data;
        self.tail = self.tail.get(of_tail..).unwrap_or_default();
    }
}
