//! An upgraded connection: bytes in both directions until both are done (RFC 9110 section 7.8).

use super::connection::Link;
use super::counters::Cause;
use super::rewind::Io;
use selvedge_exchange::Tunnel;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes in flight in each direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// Passes bytes until both sides are done, one fails, nothing passes for too long, or it lasted too long.
pub(crate) async fn run<S: Io>(mut client: S, mut other: Box<dyn Tunnel>, mut link: Link) {
    let (mut out, mut back) = (Direction::new(), Direction::new());
    let begun = Instant::now();
    let mut active = begun;
    let timeouts = link.options.timeouts;
    let cause = poll_fn(|cx| {
        let before = out.passed + back.passed;
        let sent = out.poll_pass(&mut client, &mut other, cx);
        let received = back.poll_pass(&mut other, &mut client, cx);
        match (sent, received) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(None),
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(None),
            _ => {}
        }
        if out.passed + back.passed != before {
            active = Instant::now();
        }
        let idle = (active + timeouts.tunnel, Cause::TunnelTimeout);
        let total = (begun + timeouts.tunnel_total, Cause::TunnelTotalTimeout);
        let drain = link.poll_stopping(cx).map(|since| (since + timeouts.drain, Cause::Drain));
        let (deadline, cause) =
            drain.into_iter().chain([total]).fold(idle, |a, b| if b.0 < a.0 { b } else { a });
        link.timer.set(deadline);
        link.timer.poll_passed(cx).map(|()| Some(cause))
    })
    .await;
    if let Some(cause) = cause {
        link.count(cause);
    }
}

struct Direction {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    passed: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The source ended; the sink is still to be told.
    Ending,
    Done,
}

impl Direction {
    fn new() -> Direction {
        Direction { buf: vec![0; BUFFER_BYTES], start: 0, end: 0, passed: 0, state: State::Open }
    }

    /// Passes what there is; ready at the source's end.
    fn poll_pass(
        &mut self,
        source: &mut (impl AsyncRead + Unpin + ?Sized),
        sink: &mut (impl AsyncWrite + Unpin + ?Sized),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while let Some(waiting) = self.buf.get(self.start..self.end).filter(|w| !w.is_empty()) {
                let count = ready!(Pin::new(&mut *sink).poll_write(cx, waiting))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.start += count;
                self.passed += count as u64;
            }
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx))?;
                    self.state = State::Done;
                }
                State::Open => {
                    let mut room = ReadBuf::new(&mut self.buf);
                    if Pin::new(&mut *source).poll_read(cx, &mut room)?.is_pending() {
                        ready!(Pin::new(&mut *sink).poll_flush(cx))?;
                        return Poll::Pending;
                    }
                    (self.start, self.end) = (0, room.filled().len());
                    if self.end == 0 {
                        self.state = State::Ending;
                    }
                }
            }
        }
    }
}
