//! Content on its way through an HTTP/2 connection.
//!
//! `h2` takes bytes whether the client wants them or not, and says nothing when they go out. So what it is given notes
//! for itself what of it was taken: the connection's deadlines, the counters and the access log go by that, not by
//! what was queued.

use bytes::{Buf, Bytes};
use selvedge_exchange::{Finish, Sent};
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, PoisonError};

/// What a connection shares with the responses that it carries.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Streams that the client cancelled.
    pub(crate) resets: AtomicU32,
    /// Bytes of content that wait in the connection.
    waiting: AtomicU64,
    /// Bytes of content that were taken, in all.
    taken: AtomicU64,
}

impl Shared {
    /// Whether content waits in the connection.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Bytes of content that were taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }
}

/// The content of one response. Who waits for its end is told when all of it was taken, or when nothing is left that
/// could still be sent.
pub(crate) struct Delivery {
    shared: Arc<Shared>,
    finish: Mutex<Option<Box<dyn Finish>>>,
    queued: AtomicU64,
    taken: AtomicU64,
    /// Nothing more will be queued.
    is_ended: AtomicBool,
    is_tended: bool,
}

impl Delivery {
    /// A response of which nothing was sent yet. `is_tended`: a task sees when the client cancels it.
    pub(crate) fn new(
        shared: Arc<Shared>,
        finish: Option<Box<dyn Finish>>,
        is_tended: bool,
    ) -> Arc<Delivery> {
        Arc::new(Delivery {
            shared,
            finish: Mutex::new(finish),
            queued: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            is_ended: AtomicBool::new(false),
            is_tended,
        })
    }

    /// The next piece of the content, for the connection.
    pub(crate) fn piece(self: &Arc<Self>, content: Bytes) -> Piece {
        let len = content.len() as u64;
        self.queued.fetch_add(len, AcqRel);
        self.shared.waiting.fetch_add(len, Relaxed);
        Piece { content, delivery: Some(self.clone()) }
    }

    /// Says that all pieces were made.
    pub(crate) fn end(&self) {
        self.is_ended.store(true, Release);
        if self.is_over() {
            self.tell();
        }
    }

    /// Whether all of it was taken.
    pub(crate) fn is_over(&self) -> bool {
        self.is_ended.load(Acquire) && self.taken.load(Acquire) == self.queued.load(Acquire)
    }

    fn take(&self, bytes: u64) {
        self.shared.waiting.fetch_sub(bytes, Relaxed);
        self.shared.taken.fetch_add(bytes, Relaxed);
        self.taken.fetch_add(bytes, AcqRel);
        if self.is_over() {
            self.tell();
        }
    }

    fn tell(&self) {
        let finish = self.finish.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(finish) = finish {
            let body_bytes = self.taken.load(Acquire);
            finish.finish(Sent { head_bytes: 0, body_bytes, complete: self.is_over() });
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.is_tended && !self.is_over() {
            self.shared.resets.fetch_add(1, Relaxed);
        }
        self.tell();
    }
}

/// A piece of content, as `h2` takes it: it shrinks as it goes out, and is dropped unsent when its stream is reset.
pub(crate) struct Piece {
    content: Bytes,
    delivery: Option<Arc<Delivery>>,
}

impl Piece {
    /// What ends a stream whose content was all queued.
    pub(crate) fn end() -> Piece {
        Piece { content: Bytes::new(), delivery: None }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.content.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.content
    }

    fn advance(&mut self, count: usize) {
        self.content.advance(count);
        if let Some(delivery) = &self.delivery {
            delivery.take(count as u64);
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(delivery) = &self.delivery {
            delivery.shared.waiting.fetch_sub(self.content.len() as u64, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    struct Told(std::sync::mpsc::Sender<Sent>);

    impl Finish for Told {
        fn finish(self: Box<Self>, sent: Sent) {
            self.0.send(sent).unwrap();
        }
    }

    fn delivery(is_tended: bool) -> (Arc<Shared>, Arc<Delivery>, Receiver<Sent>) {
        let shared = Arc::<Shared>::default();
        let (send, told) = channel();
        let delivery = Delivery::new(shared.clone(), Some(Box::new(Told(send))), is_tended);
        (shared, delivery, told)
    }

    #[test]
    fn the_end_is_told_when_the_last_byte_is_taken() {
        let (shared, delivery, told) = delivery(false);
        let (mut first, mut last) =
            (delivery.piece(Bytes::from_static(b"abc")), delivery.piece("de".as_bytes().into()));
        delivery.end();
        first.advance(3);
        last.advance(1);
        assert!(told.try_recv().is_err() && shared.is_waiting());
        last.advance(1);
        assert_eq!(told.try_recv(), Ok(Sent { head_bytes: 0, body_bytes: 5, complete: true }));
        assert!(!shared.is_waiting() && shared.taken() == 5);
        drop((first, last, delivery));
        assert!(told.try_recv().is_err() && shared.resets.load(Relaxed) == 0);
    }

    #[test]
    fn what_is_dropped_was_not_sent() {
        for (is_tended, resets) in [(false, 1), (true, 0)] {
            let (shared, delivery, told) = delivery(is_tended);
            let mut piece = delivery.piece(Bytes::from_static(b"abcde"));
            delivery.end();
            drop(delivery);
            piece.advance(2);
            drop(piece);
            assert_eq!(told.try_recv(), Ok(Sent { head_bytes: 0, body_bytes: 2, complete: false }));
            assert!(!shared.is_waiting());
            assert_eq!(shared.resets.load(Relaxed), resets);
        }
    }

    #[test]
    fn content_that_broke_off_is_not_complete_though_all_that_came_was_taken() {
        let (_, delivery, told) = delivery(true);
        delivery.piece(Bytes::from_static(b"ab")).advance(2);
        drop(delivery);
        assert_eq!(told.try_recv(), Ok(Sent { head_bytes: 0, body_bytes: 2, complete: false }));
    }
}
