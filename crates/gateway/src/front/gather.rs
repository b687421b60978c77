//! An HTTP/2 connection's bytes, on the way between `h2` and the stream.
//!
//! `h2` writes and flushes after each DATA frame. While a connection is *gathering*, what is written stays here
//! instead, and goes out in one piece when the poll is over: ten small responses are then one TLS record and one
//! system call, not ten. Also notes whether the client takes what is written.

use super::rewind::Io;
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered at most: the content of one TLS record (RFC 8446 section 5.1).
const GATHERED_BYTES_MAX: usize = 16 * 1024;
/// Pieces that a write passes on at most, with what was gathered; the caller comes again with the others.
const PIECES_MAX: usize = 4;

thread_local! {
    /// A buffer without content, so that a connection that says nothing holds none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream whose writes are gathered. Clones are the same stream.
pub(crate) struct Gather<S>(Arc<Mutex<Pipe<S>>>);

struct Pipe<S> {
    io: S,
    is_gathering: bool,
    /// Taken from `h2`; all before `sent` is written.
    gathered: Vec<u8>,
    sent: usize,
    /// Bytes that were written to the stream.
    written: u64,
    is_blocked: bool,
}

impl<S> Clone for Gather<S> {
    fn clone(&self) -> Self {
        Gather(self.0.clone())
    }
}

impl<S> Gather<S> {
    pub(crate) fn new(io: S) -> Self {
        Gather(Arc::new(Mutex::new(Pipe {
            io,
            is_gathering: false,
            gathered: Vec::new(),
            sent: 0,
            written: 0,
            is_blocked: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Pipe<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on writes and flushes are kept here.
    pub(crate) fn begin(&self) {
        self.lock().is_gathering = true;
    }

    /// From now on writes and flushes pass through. What was gathered goes out before them.
    pub(crate) fn end(&self) {
        self.lock().is_gathering = false;
    }

    /// If the client takes nothing at the moment: how many bytes it took before.
    pub(crate) fn blocked_at(&self) -> Option<u64> {
        let pipe = self.lock();
        pipe.is_blocked.then_some(pipe.written)
    }

    /// The stream itself, if this is the last handle to it.
    pub(crate) fn into_inner(self) -> Option<S> {
        let pipe = Arc::into_inner(self.0)?;
        Some(pipe.into_inner().unwrap_or_else(PoisonError::into_inner).io)
    }
}

impl<S: Io> Gather<S> {
    /// Writes what was gathered.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_send(cx)
    }
}

impl<S: Io> Pipe<S> {
    fn poll_write(&mut self, bufs: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        loop {
            if self.is_gathering && self.gathered.len() + len <= GATHERED_BYTES_MAX {
                self.keep(bufs);
                return Poll::Ready(Ok(len));
            }
            let before = self.gathered.len() - self.sent;
            let written = ready!(self.poll_write_through(bufs, cx))?;
            if written == 0 || written > before {
                return Poll::Ready(Ok(written.saturating_sub(before)));
            }
        }
    }

    fn keep(&mut self, bufs: &[IoSlice<'_>]) {
        if self.gathered.capacity() == 0 {
            self.gathered = SPARE.take();
        }
        bufs.iter().for_each(|buf| self.gathered.extend_from_slice(buf));
    }

    /// Writes some of what was gathered and of `bufs` behind it; how many bytes of both.
    fn poll_write_through(&mut self, bufs: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let gathered = self.gathered.get(self.sent..).unwrap_or_default();
        let mut pieces = [IoSlice::new(gathered); PIECES_MAX];
        let mut count = usize::from(!gathered.is_empty());
        for (piece, buf) in pieces.iter_mut().skip(count).zip(bufs.iter().filter(|buf| !buf.is_empty())) {
            *piece = *buf;
            count += 1;
        }
        let pieces = pieces.get(..count).unwrap_or_default();
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.is_blocked = result.is_pending();
        let written = ready!(result)?;
        self.written += written as u64;
        self.sent = (self.sent + written).min(self.gathered.len());
        if self.sent == self.gathered.len() {
            self.give_back();
        }
        Poll::Ready(Ok(written))
    }

    fn give_back(&mut self) {
        self.gathered.clear();
        self.sent = 0;
        if self.gathered.capacity() > 0 {
            SPARE.set(std::mem::take(&mut self.gathered));
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            if ready!(self.poll_write_through(&[], cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<S: Io> AsyncRead for Gather<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_read(cx, buf)
    }
}

impl<S: Io> AsyncWrite for Gather<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.lock().poll_write(&[IoSlice::new(buf)], cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(bufs, cx)
    }

    /// Small pieces are copied, large ones passed on as they are.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.lock();
        if pipe.is_gathering { Poll::Ready(Ok(())) } else { pipe.poll_send(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.lock();
        ready!(pipe.poll_send(cx))?;
        Pin::new(&mut pipe.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::task::Waker;

    /// Takes what its script allows, piece by piece, and blocks when that is used up.
    #[derive(Default)]
    struct Script {
        allowed: VecDeque<usize>,
        written: Vec<Vec<u8>>,
    }

    impl AsyncRead for Script {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Script {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let Some(allowed) = self.allowed.pop_front() else { return Poll::Pending };
            let mut all: Vec<u8> = bufs.iter().flat_map(|buf| buf.to_vec()).collect();
            all.truncate(allowed);
            let count = all.len();
            self.written.push(all);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gather(allowed: &[usize]) -> Gather<Script> {
        Gather::new(Script { allowed: allowed.iter().copied().collect(), written: Vec::new() })
    }

    fn write(gather: &Gather<Script>, pieces: &[&[u8]]) -> Option<usize> {
        let cx = &mut Context::from_waker(Waker::noop());
        let pieces: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        match gather.lock().poll_write(&pieces, cx) {
            Poll::Ready(result) => Some(result.unwrap()),
            Poll::Pending => None,
        }
    }

    fn send(gather: &Gather<Script>) -> bool {
        gather.poll_send(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn flush(gather: &Gather<Script>) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        Pin::new(&mut gather.clone()).poll_flush(cx).is_ready()
    }

    fn written(gather: Gather<Script>) -> Vec<Vec<u8>> {
        gather.into_inner().unwrap().written
    }

    #[test]
    fn what_is_gathered_goes_out_in_one_piece() {
        let gather = gather(&[100]);
        gather.begin();
        assert_eq!(write(&gather, &[b"ab", b"c"]), Some(3));
        assert!(flush(&gather));
        assert_eq!(write(&gather, &[b"de"]), Some(2));
        gather.end();
        assert!(send(&gather));
        assert_eq!(gather.lock().written, 5);
        assert_eq!(written(gather), [b"abcde"]);
    }

    #[test]
    fn more_than_fits_goes_out_behind_what_is_there() {
        let large = vec![b'x'; GATHERED_BYTES_MAX];
        let gather = gather(&[usize::MAX, usize::MAX]);
        gather.begin();
        write(&gather, &[b"ab"]);
        assert_eq!(write(&gather, &[b"cd", &large]), Some(2 + large.len()));
        assert_eq!(write(&gather, &[b"e"]), Some(1));
        assert!(send(&gather));
        assert_eq!(written(gather), [[b"abcd", &large[..]].concat(), b"e".to_vec()]);
    }

    #[test]
    fn nothing_is_lost_or_doubled_when_the_client_takes_little() {
        let large = vec![b'x'; GATHERED_BYTES_MAX + 1];
        let gather = gather(&[1, 2, 5]);
        gather.begin();
        write(&gather, &[b"abc"]);
        assert_eq!(write(&gather, &[&large]), Some(5), "three bytes first, then what the third write takes");
        assert_eq!(write(&gather, &[&large]), None);
        assert_eq!(gather.blocked_at(), Some(8));
        assert_eq!(written(gather), [&b"a"[..], b"bc", b"xxxxx"]);
    }

    #[test]
    fn a_client_that_takes_nothing_blocks_the_sending_and_not_the_gathering() {
        let gather = gather(&[1]);
        gather.begin();
        write(&gather, &[b"abc"]);
        assert!(!send(&gather));
        assert_eq!(gather.blocked_at(), Some(1));
        assert_eq!(write(&gather, &[b"d"]), Some(1));
        gather.lock().io.allowed.push_back(9);
        assert!(send(&gather) && gather.blocked_at().is_none());
        assert_eq!(written(gather), [&b"a"[..], b"bcd"]);
    }

    #[test]
    fn without_gathering_writes_pass_through_behind_what_is_there() {
        let gather = gather(&[9, 9]);
        gather.begin();
        write(&gather, &[b"a"]);
        gather.end();
        assert_eq!(write(&gather, &[b"b"]), Some(1));
        assert_eq!(write(&gather, &[b"c"]), Some(1));
        assert_eq!(written(gather), [&b"ab"[..], b"c"]);
    }
}
