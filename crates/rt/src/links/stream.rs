//! The two ends of a stream.

use super::side::{RecvSide, SendSide};
use super::{Code, LinkError};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;

/// The sending end. One that is dropped before it is finished arrives as broken off ([`Code::CANCELLED`]),
/// never as an end.
pub struct SendStream {
    side: Box<dyn SendSide>,
    ended: bool,
}

impl SendStream {
    /// A handle to `side`.
    pub fn new(side: Box<dyn SendSide>) -> Self {
        SendStream { side, ended: false }
    }

    /// Sends all of `bytes`; waits while the reader has too much before it. Not cancel-safe: a part may be
    /// sent when the future is dropped.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), LinkError> {
        if self.ended {
            return Err(LinkError::Ended);
        }
        while !bytes.is_empty() {
            poll_fn(|cx| self.side.poll_write(cx, &mut bytes)).await?;
        }
        Ok(())
    }

    /// Says that all was sent. It arrives also when the stream is dropped then.
    pub fn finish(&mut self) -> Result<(), LinkError> {
        if std::mem::replace(&mut self.ended, true) { Err(LinkError::Ended) } else { self.side.finish() }
    }

    /// Breaks the stream off: what was sent may not arrive.
    pub fn reset(&mut self, code: Code) {
        self.ended = true;
        self.side.reset(code);
    }

    /// Among the streams of a link, those of higher priority are sent first. 0 at first.
    pub fn set_priority(&mut self, priority: i32) {
        self.side.set_priority(priority);
    }

    /// Why the reader wants no more; [`LinkError::Ended`] when it has got all of a finished stream. Cancel-safe.
    pub async fn stopped(&mut self) -> LinkError {
        poll_fn(|cx| self.side.poll_stopped(cx)).await
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.ended {
            self.side.reset(Code::CANCELLED);
        }
    }
}

/// The receiving end. One that is dropped before its end tells the sender to stop ([`Code::CANCELLED`]).
pub struct RecvStream {
    side: Box<dyn RecvSide>,
    ended: bool,
}

impl RecvStream {
    /// A handle to `side`.
    pub fn new(side: Box<dyn RecvSide>) -> Self {
        RecvStream { side, ended: false }
    }

    /// The next bytes, `max` at most; none once the sender finished. Cancel-safe.
    pub async fn read(&mut self, max: usize) -> Result<Option<Bytes>, LinkError> {
        if self.ended {
            return Ok(None);
        }
        let read = poll_fn(|cx| self.side.poll_read(cx, max)).await;
        self.ended = !matches!(read, Ok(Some(_)));
        read
    }

    /// All that comes, `max` bytes at most: none if there are more.
    pub async fn read_to_end(&mut self, max: usize) -> Result<Option<Bytes>, LinkError> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.read(usize::MAX).await? {
            if all.len() + bytes.len() > max {
                return Ok(None);
            }
            all.extend_from_slice(&bytes);
        }
        Ok(Some(all.freeze()))
    }

    /// Tells the sender that no more is wanted.
    pub fn stop(&mut self, code: Code) {
        self.ended = true;
        self.side.stop(code);
    }
}

/// Who knew how much to read has not read the end: that is no reason to tell the sender anything.
impl Drop for RecvStream {
    fn drop(&mut self) {
        if !self.ended && !self.side.is_at_end() {
            self.side.stop(Code::CANCELLED);
        }
    }
}
