//! A connection after 101 (Switching Protocols): a byte stream that belongs to whoever asked.

use super::conn::Conn;
use crate::upstream::lease::Lease;
use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The origin's end of an upgraded connection. Counts as a request under way until it is dropped.
pub(in crate::upstream) struct OriginTunnel {
    conn: Box<Conn>,
    /// What the origin sent right after its head.
    early: BytesMut,
    _lease: Lease,
}

impl OriginTunnel {
    pub(in crate::upstream) fn new(mut conn: Box<Conn>, lease: Lease) -> Self {
        let early = conn.read.split();
        OriginTunnel { conn, early, _lease: lease }
    }
}

impl AsyncRead for OriginTunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            return Pin::new(&mut this.conn.io).poll_read(cx, buf);
        }
        let len = this.early.len().min(buf.remaining());
        buf.put_slice(this.early.get(..len).unwrap_or_default());
        this.early.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OriginTunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().conn.io).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().conn.io).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().conn.io).poll_shutdown(cx)
    }
}
