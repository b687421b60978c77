//! One fetch that any number of requests share.
//!
//! ```text
//! Waiting --head--> Flying --last byte--> Landed
//!    |                 '----error-------> Landed (with the error)
//!    |--released: the answer may not be shared, each waits for its own
//!    '--failed: nobody asks again, all get the same error
//! ```
//! The producer appends what the origin sends; each reader follows at its own pace. What all could need is
//! kept; of an object larger than [`Flight::WINDOW`], what was stored as slices is dropped again.

use bytes::Bytes;
use selvedge_exchange::BodyError;
use selvedge_types::Fields;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What became of the head of a shared fetch.
pub(crate) enum Head<H> {
    /// All may use it.
    Shared(Arc<H>),
    /// It is for the one who asked first; the others ask for themselves.
    Released,
}

impl<H> Clone for Head<H> {
    fn clone(&self) -> Self {
        match self {
            Head::Shared(head) => Head::Shared(head.clone()),
            Head::Released => Head::Released,
        }
    }
}

/// A fetch under way; `H` is what is known once the head has come.
pub(crate) struct Flight<H> {
    inner: Mutex<Inner<H>>,
}

struct Inner<H> {
    head: Option<Head<H>>,
    chunks: VecDeque<Bytes>,
    /// Offset of the first chunk kept.
    base: u64,
    /// Offset behind the last chunk.
    end: u64,
    landed: Option<Result<Option<Fields>, BodyError>>,
    readers: usize,
    furthest: u64,
    waiting: Vec<Waker>,
    producer: Option<Waker>,
    followers: u32,
}

impl<H> Flight<H> {
    /// How many bytes the producer may be ahead of the fastest reader.
    pub(crate) const WINDOW: u64 = 2 << 20;

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Flight {
            inner: Mutex::new(Inner {
                head: None,
                chunks: VecDeque::new(),
                base: 0,
                end: 0,
                landed: None,
                readers: 0,
                furthest: 0,
                waiting: Vec::new(),
                producer: None,
                followers: 0,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner<H>> {
        // No code that holds the lock can leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the head to all who wait. Only the first call counts.
    pub(crate) fn publish(&self, head: Head<H>) {
        let mut inner = self.lock();
        inner.head.get_or_insert(head);
        inner.wake_readers();
    }

    /// Waits for the head. Cancel-safe.
    pub(crate) async fn head(&self) -> Head<H> {
        poll_fn(|cx| {
            let mut inner = self.lock();
            match &inner.head {
                Some(head) => Poll::Ready(head.clone()),
                None => {
                    inner.wait(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Counts one more that waits for the head; says how many there are.
    pub(crate) fn follow(&self) -> u32 {
        let mut inner = self.lock();
        inner.followers = inner.followers.saturating_add(1);
        inner.followers
    }

    /// Appends content.
    pub(crate) fn push(&self, chunk: Bytes) {
        let mut inner = self.lock();
        inner.end += chunk.len() as u64;
        inner.chunks.push_back(chunk);
        inner.wake_readers();
    }

    /// Ends the content, with trailers or an error. Only the first call counts.
    pub(crate) fn land(&self, outcome: Result<Option<Fields>, BodyError>) {
        let mut inner = self.lock();
        inner.landed.get_or_insert(outcome);
        inner.wake_readers();
    }

    /// Waits until the producer may append more, and says whether anyone still reads. Cancel-safe.
    pub(crate) async fn room(&self) -> bool {
        poll_fn(|cx| {
            let mut inner = self.lock();
            if inner.readers == 0 || inner.end < inner.furthest + Self::WINDOW {
                return Poll::Ready(inner.readers > 0);
            }
            inner.producer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Forgets chunks that end before `offset` and that the fastest reader has passed.
    pub(crate) fn forget_before(&self, offset: u64) {
        let mut inner = self.lock();
        let limit = if inner.readers == 0 { offset } else { offset.min(inner.furthest) };
        while let Some(first) = inner.chunks.front() {
            let end = inner.base + first.len() as u64;
            if end > limit {
                break;
            }
            inner.base = end;
            inner.chunks.pop_front();
        }
    }

    /// How many bytes have come.
    pub(crate) fn received(&self) -> u64 {
        self.lock().end
    }

    /// A reader of the content from `offset` on. The producer stays within reach of it, also while it waits for
    /// the head.
    pub(crate) fn reader(self: &Arc<Self>, offset: u64) -> Reader<H> {
        let mut inner = self.lock();
        inner.readers += 1;
        inner.furthest = inner.furthest.max(offset);
        inner.wake_producer();
        drop(inner);
        Reader { flight: self.clone(), at: offset }
    }
}

impl<H> Inner<H> {
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|w| w.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }
    fn wake_readers(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
    fn wake_producer(&mut self) {
        if let Some(producer) = self.producer.take() {
            producer.wake();
        }
    }
}

/// Follows a flight's content.
pub(crate) struct Reader<H> {
    flight: Arc<Flight<H>>,
    at: u64,
}

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Next {
    /// Bytes at the reader's place, which moves on.
    Data(Bytes),
    /// The end, with trailers.
    End(Option<Fields>),
    /// The bytes at its place were dropped: they are to be had as slices, if at all.
    Forgotten {
        /// Where those begin that are still here.
        until: u64,
    },
    /// The fetch failed.
    Failed(BodyError),
}

impl<H> Reader<H> {
    /// Where it stands.
    pub(crate) fn offset(&self) -> u64 {
        self.at
    }

    /// Moves to `offset`, for bytes had elsewhere.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.at = offset;
        let mut inner = self.flight.lock();
        inner.furthest = inner.furthest.max(offset);
        inner.wake_producer();
    }

    /// What comes next.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut inner = self.flight.lock();
        if self.at < inner.base {
            return Poll::Ready(Next::Forgotten { until: inner.base });
        }
        if self.at < inner.end {
            let data = inner.data_at(self.at);
            self.at += data.len() as u64;
            if self.at > inner.furthest {
                inner.furthest = self.at;
                inner.wake_producer();
            }
            return Poll::Ready(Next::Data(data));
        }
        match &inner.landed {
            Some(Ok(trailers)) => Poll::Ready(Next::End(trailers.clone())),
            Some(Err(error)) => Poll::Ready(Next::Failed(error.clone())),
            None => {
                inner.wait(cx);
                Poll::Pending
            }
        }
    }
}

impl<H> Inner<H> {
    /// The bytes at `at`, which lies between `base` and `end`. A flight holds few chunks at a time (its
    /// window), and a reader mostly wants one of the last ones: the search goes backwards.
    fn data_at(&self, at: u64) -> Bytes {
        let mut end = self.end;
        for chunk in self.chunks.iter().rev() {
            let start = end - chunk.len() as u64;
            if at >= start {
                return chunk.slice((at - start) as usize..);
            }
            end = start;
        }
        Bytes::new()
    }
}

impl<H> Drop for Reader<H> {
    fn drop(&mut self) {
        let mut inner = self.flight.lock();
        inner.readers -= 1;
        inner.wake_producer();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn next(reader: &mut Reader<()>) -> Poll<Next> {
        reader.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn text(poll: Poll<Next>) -> String {
        match poll {
            Poll::Ready(Next::Data(d)) => String::from_utf8_lossy(&d).into_owned(),
            Poll::Ready(other) => format!("{other:?}"),
            Poll::Pending => "pending".into(),
        }
    }

    #[test]
    fn each_reader_gets_all_bytes_whenever_it_came() {
        let flight: Arc<Flight<()>> = Flight::new();
        let mut early = flight.reader(0);
        assert_eq!(text(next(&mut early)), "pending");
        flight.push(Bytes::from_static(b"one "));
        assert_eq!(text(next(&mut early)), "one ");
        flight.push(Bytes::from_static(b"two"));
        flight.land(Ok(None));
        let mut late = flight.reader(0);
        for reader in [&mut early, &mut late] {
            let mut all = String::new();
            while let Poll::Ready(Next::Data(d)) = next(reader) {
                all.push_str(&String::from_utf8_lossy(&d));
            }
            assert!(all.ends_with("two"), "{all}");
        }
    }

    #[test]
    fn a_failure_reaches_every_reader() {
        let flight: Arc<Flight<()>> = Flight::new();
        flight.push(Bytes::from_static(b"half"));
        flight.land(Err(BodyError::Incomplete));
        let mut reader = flight.reader(0);
        assert_eq!(text(next(&mut reader)), "half");
        assert_eq!(text(next(&mut reader)), "Failed(Incomplete)");
    }

    #[test]
    fn what_was_forgotten_is_reported_not_skipped() {
        let flight: Arc<Flight<()>> = Flight::new();
        let mut fast = flight.reader(0);
        let mut slow = flight.reader(0);
        for _ in 0..4 {
            flight.push(Bytes::from_static(b"abcd"));
        }
        while let Poll::Ready(Next::Data(_)) = next(&mut fast) {}
        flight.forget_before(8);
        assert_eq!(text(next(&mut slow)), "Forgotten { until: 8 }");
        slow.skip_to(10);
        assert_eq!(text(next(&mut slow)), "cd");
    }

    #[test]
    fn the_producer_waits_for_the_fastest_reader_and_goes_on_without_any() {
        let flight: Arc<Flight<()>> = Flight::new();
        let mut reader = flight.reader(0);
        flight.push(Bytes::from(vec![0; Flight::<()>::WINDOW as usize]));
        let mut room = Box::pin(flight.room());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut cx).is_pending());
        assert!(next(&mut reader).is_ready());
        assert_eq!(room.as_mut().poll(&mut cx), Poll::Ready(true));
        drop(reader);
        flight.push(Bytes::from(vec![0; 1 + Flight::<()>::WINDOW as usize]));
        assert_eq!(Box::pin(flight.room()).as_mut().poll(&mut cx), Poll::Ready(false));
    }
}
