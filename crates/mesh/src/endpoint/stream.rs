//! The ends of a stream.

use super::error::{code, link_error, read_error, write_error};
use super::registry::Said;
use bytes::Bytes;
use iroh::endpoint::{RecvStream, SendStream, StoppedError, VarInt};
use selvedge_rt::links::side::{Boxed, RecvSide, SendSide};
use selvedge_rt::links::{Code, LinkError};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

pub(super) struct Sender {
    quic: SendStream,
    said: Said,
    stopped: Option<Boxed<'static, Result<Option<VarInt>, StoppedError>>>,
}

impl Sender {
    pub(super) fn new(quic: SendStream, said: Said) -> Self {
        Sender { quic, said, stopped: None }
    }
}

impl SendSide for Sender {
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<Result<(), LinkError>> {
        let chunks = &mut [std::mem::take(chunk)];
        // Its future keeps nothing between polls: the stream remembers whom to wake.
        let polled = pin!(self.quic.write_many_chunks(&mut chunks.as_mut_slice())).poll(cx);
        let [rest] = chunks;
        *chunk = std::mem::take(rest);
        polled.map(|written| written.map(drop).map_err(|e| write_error(e, &self.said)))
    }

    fn finish(&mut self) -> Result<(), LinkError> {
        self.quic.finish().map_err(|_| LinkError::Ended)
    }

    fn reset(&mut self, code: Code) {
        // Fails when the stream has ended already.
        let _ = self.quic.reset(VarInt::from_u32(code.0));
    }

    fn set_priority(&mut self, priority: i32) {
        // Fails when the stream has ended already.
        let _ = self.quic.set_priority(priority);
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let quic = &self.quic;
        let waiting = self.stopped.get_or_insert_with(|| Box::pin(quic.stopped()));
        waiting.as_mut().poll(cx).map(|stopped| {
            self.stopped = None;
            match stopped {
                Ok(Some(number)) => LinkError::Stopped(code(number)),
                Ok(None) | Err(StoppedError::ZeroRttRejected) => LinkError::Ended,
                Err(StoppedError::ConnectionLost(error)) => link_error(&error, Some(&self.said)),
            }
        })
    }
}

pub(super) struct Receiver {
    quic: RecvStream,
    said: Said,
}

impl Receiver {
    pub(super) fn new(quic: RecvStream, said: Said) -> Self {
        Receiver { quic, said }
    }
}

impl RecvSide for Receiver {
    fn poll_read(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, LinkError>> {
        // Its future keeps nothing between polls: the stream remembers whom to wake.
        let polled = pin!(self.quic.read_chunk(max)).poll(cx);
        polled.map(|read| read.map_err(|e| read_error(e, &self.said)))
    }

    fn is_at_end(&mut self) -> bool {
        let read = pin!(self.quic.read_chunk(1)).poll(&mut Context::from_waker(Waker::noop()));
        matches!(read, Poll::Ready(Ok(None)))
    }

    fn stop(&mut self, code: Code) {
        // Fails when the stream has ended already.
        let _ = self.quic.stop(VarInt::from_u32(code.0));
    }
}
