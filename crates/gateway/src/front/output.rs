//! What waits to be written to an HTTP/1.1 connection.

use bytes::{Buf, Bytes};
use selvedge_exchange::{Finish, Sent};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Content up to this size is copied behind its head, so that both go out in one piece; larger content is
/// written from where it is.
const COPIED_BYTES_MAX: usize = 4 * 1024;
/// With this much waiting, nothing more is added before it is written.
const WAITING_BYTES_MAX: usize = 64 * 1024;
/// A buffer larger than this is not kept.
const KEPT_BYTES_MAX: usize = 128 * 1024;

/// Heads and small content in one buffer, then at most one large piece of content.
#[derive(Default)]
pub(crate) struct Output {
    buf: Vec<u8>,
    written: usize,
    tail: Bytes,
    unfinished: Vec<Unfinished>,
}

/// A response whose bytes are all here, to be told when they are written.
struct Unfinished {
    finish: Box<dyn Finish>,
    sent: Sent,
}

impl Output {
    /// Where heads and framing are written to. Only while [`Output::is_full`] says no.
    pub(crate) fn buf(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// Adds content. Only while [`Output::is_full`] says no.
    pub(crate) fn push(&mut self, content: Bytes) {
        if content.len() <= COPIED_BYTES_MAX {
            self.buf.extend_from_slice(&content);
        } else {
            self.tail = content;
        }
    }

    /// Tells `finish` when all that is here now is written, or that it was not.
    pub(crate) fn on_written(&mut self, finish: Option<Box<dyn Finish>>, sent: Sent) {
        self.unfinished.extend(finish.map(|finish| Unfinished { finish, sent }));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Whether what is here must be written before more may be added.
    pub(crate) fn is_full(&self) -> bool {
        !self.tail.is_empty() || self.buf.len() - self.written > WAITING_BYTES_MAX
    }

    /// Bytes not written yet.
    pub(crate) fn remaining(&self) -> usize {
        self.buf.len() - self.written + self.tail.len()
    }

    /// Writes all there is.
    pub(crate) fn poll_flush(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_empty() {
            self.settle();
            return Poll::Ready(Ok(()));
        }
        while !self.is_empty() {
            let count = ready!(self.poll_write_some(io, cx))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(count);
        }
        ready!(Pin::new(io).poll_flush(cx))?;
        self.settle();
        Poll::Ready(Ok(()))
    }

    fn poll_write_some(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let head = self.buf.get(self.written..).unwrap_or_default();
        match (head.is_empty(), self.tail.is_empty()) {
            (true, _) => Pin::new(io).poll_write(cx, &self.tail),
            (false, true) => Pin::new(io).poll_write(cx, head),
            (false, false) => {
                Pin::new(io).poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(&self.tail)])
            }
        }
    }

    fn advance(&mut self, count: usize) {
        let of_head = count.min(self.buf.len() - self.written);
        self.written += of_head;
        self.tail.advance((count - of_head).min(self.tail.len()));
        if self.written == self.buf.len() {
            self.buf.clear();
            self.written = 0;
        }
    }

    /// All is written: tells those who wait for it.
    fn settle(&mut self) {
        self.tail = Bytes::new();
        if self.buf.capacity() > KEPT_BYTES_MAX {
            self.buf = Vec::new();
        }
        for Unfinished { finish, sent } in self.unfinished.drain(..) {
            finish.finish(Sent { complete: true, ..sent });
        }
    }
}

impl Drop for Output {
    /// What is here was not written: the last responses first lack bytes.
    fn drop(&mut self) {
        let mut missing = self.remaining() as u64;
        while let Some(Unfinished { finish, sent }) = self.unfinished.pop() {
            let body_bytes = sent.body_bytes.saturating_sub(missing);
            let complete = missing == 0;
            missing = missing.saturating_sub(sent.body_bytes + sent.head_bytes);
            finish.finish(Sent { body_bytes, complete, ..sent });
        }
    }
}
