//! A request's content on its way from an HTTP/1.1 connection to whoever reads it.
//!
//! The connection's task reads no further than the reader asks: one piece is ready at most, so a slow reader
//! slows the client down.

use super::output::Output;
use bytes::BytesMut;
use selvedge_exchange::{BodyError, BodyStream, Frame};
use selvedge_http1::{BodyDecoder, BodyFraming, BodyStep, Limits};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

/// Bytes read at a time.
const READ_BYTES: usize = 32 * 1024;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The connection's end.
pub(crate) struct Upload {
    pipe: Arc<Pipe>,
    decoder: BodyDecoder,
    /// Read, and not consumed.
    unread: BytesMut,
    /// The client waits for 100 before it sends.
    continue_due: bool,
    left_bytes: u64,
    limit: u64,
    state: State,
    waiting_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Complete,
    Broken(Broken),
}

/// Why content did not arrive whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The client went away.
    Gone,
    /// Its framing is malformed.
    Malformed,
    /// There is too much of it.
    TooLarge,
    /// It took too long.
    TimedOut,
}

/// The reader's end.
pub(crate) struct UploadBody {
    pipe: Arc<Pipe>,
    length: Option<u64>,
}

#[derive(Default)]
struct Pipe(Mutex<Shared>);

#[derive(Default)]
struct Shared {
    frame: Option<Result<Frame, BodyError>>,
    /// No frame comes after the one that is here.
    ended: bool,
    /// The reader asked for the first frame.
    started: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    connection: Option<Waker>,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, frame: Option<Result<Frame, BodyError>>, ended: bool) {
        let mut shared = self.lock();
        shared.frame = frame;
        shared.ended = ended;
        if let Some(reader) = shared.reader.take() {
            drop(shared);
            reader.wake();
        }
    }
}

impl Upload {
    /// Content framed by `framing`, whose first bytes are `unread`, and its reader's end.
    pub(crate) fn new(
        framing: BodyFraming,
        unread: &[u8],
        expects_continue: bool,
        limit: u64,
        limits: &Limits,
    ) -> (Upload, UploadBody) {
        let pipe = Arc::new(Pipe::default());
        let decoder = BodyDecoder::new(framing, limits);
        let length = decoder.remaining();
        let upload = Upload {
            pipe: pipe.clone(),
            decoder,
            unread: BytesMut::from(unread),
            continue_due: expects_continue && unread.is_empty(),
            left_bytes: limit,
            limit,
            state: State::Open,
            waiting_since: None,
        };
        (upload, UploadBody { pipe, length })
    }

    /// Moves content as far as the reader wants it.
    pub(crate) fn poll_pump(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        output: &mut Output,
        cx: &mut Context<'_>,
    ) {
        while self.state == State::Open && self.is_wanted(cx) {
            if std::mem::take(&mut self.continue_due) {
                output.buf().extend_from_slice(CONTINUE);
            }
            match self.poll_step(io, cx) {
                Poll::Ready(Ok(Some(frame))) => self.pipe.give(Some(Ok(frame)), self.is_complete()),
                Poll::Ready(Ok(None)) if self.is_complete() => self.pipe.give(None, true),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(broken)) => self.break_off(broken),
                Poll::Pending => {
                    self.waiting_since.get_or_insert_with(Instant::now);
                    return;
                }
            }
            self.waiting_since = None;
        }
        // A reader that was there and left waits for nothing.
        self.waiting_since = None;
    }

    /// Since when the reader waits for the client, if it does.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// Gives the content up; the reader gets an error.
    pub(crate) fn break_off(&mut self, broken: Broken) {
        self.state = State::Broken(broken);
        self.waiting_since = None;
        let error = match broken {
            Broken::Gone => BodyError::Incomplete,
            Broken::Malformed => BodyError::Malformed("the client broke the framing"),
            Broken::TooLarge => BodyError::TooLarge { limit: self.limit },
            Broken::TimedOut => BodyError::TimedOut,
        };
        self.pipe.give(Some(Err(error)), true);
    }

    /// What went wrong, if something did.
    pub(crate) fn broken(&self) -> Option<Broken> {
        match self.state {
            State::Broken(broken) => Some(broken),
            _ => None,
        }
    }

    /// A final response goes out: the client must not be told to continue any more.
    pub(crate) fn forget_continue(&mut self) {
        if std::mem::take(&mut self.continue_due) {
            // Whether the client sends its content now cannot be known: the connection cannot be kept.
            self.state = State::Broken(Broken::Gone);
            self.pipe.give(Some(Err(BodyError::Incomplete)), true);
        }
    }

    /// Throws away what the reader left, `budget` bytes at most; whether the content then is complete.
    pub(crate) fn poll_drain(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        budget: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        while self.state == State::Open {
            match ready!(self.poll_step(io, cx)) {
                Ok(Some(Frame::Data(data))) if data.len() <= *budget => *budget -= data.len(),
                Ok(Some(Frame::Data(_))) | Err(_) => return Poll::Ready(false),
                Ok(_) => {}
            }
        }
        Poll::Ready(self.is_complete())
    }

    /// What was read beyond the content; only when that is complete.
    pub(crate) fn into_rest(mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread).into()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Whether the reader has room for a frame; if not, the task is woken when it has.
    fn is_wanted(&self, cx: &mut Context<'_>) -> bool {
        let mut shared = self.pipe.lock();
        let wanted = shared.started && shared.frame.is_none() && !shared.reader_gone;
        if !wanted {
            shared.connection = Some(cx.waker().clone());
        }
        wanted
    }

    /// The next frame, or None after framing alone.
    fn poll_step(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame>, Broken>> {
        match self.decoder.step(&self.unread).map_err(|_| Broken::Malformed)? {
            BodyStep::Data { start, len } => {
                let left = self.left_bytes.checked_sub(len as u64);
                self.left_bytes = left.ok_or(Broken::TooLarge)?;
                drop(self.unread.split_to(start));
                Poll::Ready(Ok(Some(Frame::Data(self.unread.split_to(len).freeze()))))
            }
            BodyStep::End { consumed, trailers } => {
                drop(self.unread.split_to(consumed));
                self.state = State::Complete;
                Poll::Ready(Ok(trailers.map(Frame::Trailers)))
            }
            BodyStep::NeedMore { consumed } => {
                drop(self.unread.split_to(consumed));
                self.unread.reserve(READ_BYTES);
                match ready!(self.poll_read(io, cx)) {
                    Ok(0) | Err(_) => Poll::Ready(Err(Broken::Gone)),
                    Ok(_) => Poll::Ready(Ok(None)),
                }
            }
        }
    }

    fn poll_read(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        poll_read_buf(std::pin::Pin::new(io), cx, &mut self.unread)
    }
}

impl Drop for Upload {
    /// A connection that goes away leaves no reader waiting.
    fn drop(&mut self) {
        if self.state == State::Open {
            self.pipe.give(Some(Err(BodyError::Incomplete)), true);
        }
    }
}

impl BodyStream for UploadBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let mut shared = self.pipe.lock();
        shared.started = true;
        let frame = shared.frame.take();
        let connection = shared.connection.take();
        if frame.is_none() && !shared.ended {
            shared.reader = Some(cx.waker().clone());
        }
        let ended = shared.ended;
        drop(shared);
        if let Some(connection) = connection {
            connection.wake();
        }
        match frame {
            Some(frame) => Poll::Ready(Some(frame)),
            None if ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Drop for UploadBody {
    fn drop(&mut self) {
        let mut shared = self.pipe.lock();
        shared.reader_gone = true;
        shared.frame = None;
        if let Some(connection) = shared.connection.take() {
            drop(shared);
            connection.wake();
        }
    }
}
