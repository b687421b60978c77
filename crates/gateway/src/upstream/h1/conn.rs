//! An HTTP/1.1 connection: a stream, what was read ahead, what is still to be written.

use super::out::Out;
use crate::upstream::io::Io;
use bytes::BytesMut;
use selvedge_rt::Deadline;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_util::io::poll_read_buf;

/// Room for a head and a small body, read with one call.
const READ_BYTES: usize = 8 * 1024;
/// Room made for content that is known to follow: the most that one transfer holds at a time.
const READ_BYTES_MAX: usize = 64 * 1024;
/// With less room than this a larger buffer is made.
const READ_BYTES_MIN: usize = 2 * 1024;

/// A connection that speaks HTTP/1.1.
pub(in crate::upstream) struct Conn {
    pub(super) io: Io,
    /// Bytes read and not yet used.
    pub(super) read: BytesMut,
    pub(super) out: Out,
    pub(super) deadline: Deadline,
    /// Requests it has answered in full.
    pub(super) served: u32,
}

impl Conn {
    pub(in crate::upstream) fn new(io: Io) -> Box<Self> {
        Box::new(Conn {
            io,
            read: BytesMut::new(),
            out: Out::default(),
            deadline: Deadline::default(),
            served: 0,
        })
    }

    /// Whether it can take a request: nothing left over, nothing came unasked, not closed.
    pub(in crate::upstream) fn is_ready(&mut self) -> bool {
        self.read.is_empty() && self.out.is_empty() && self.io.is_quiet()
    }

    /// Whether it was used before.
    pub(super) fn is_reused(&self) -> bool {
        self.served > 0
    }

    /// Frees what an idle connection does not need.
    pub(in crate::upstream) fn rest(&mut self) {
        self.deadline.set(None);
        if self.read.capacity() > READ_BYTES {
            self.read = BytesMut::new();
        }
        self.out.rest();
    }

    /// Reads what there is; `expected` is how much content is known to follow. 0 is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, expected: u64) -> Poll<io::Result<usize>> {
        let wanted = usize::try_from(expected).unwrap_or(usize::MAX).clamp(READ_BYTES, READ_BYTES_MAX);
        if self.read.capacity() - self.read.len() < READ_BYTES_MIN.min(wanted) {
            self.read.reserve(wanted);
        }
        poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read)
    }

    /// Writes on what is to be written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_flush(&mut self.io, cx)
    }
}
