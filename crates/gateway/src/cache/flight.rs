//! One fetch that any number of requests share.
//!
//! ```text
//! Waiting --head--> Flying --last byte--> Landed
//!    |                 '----error-------> Landed (with the error)
//!    |--released: the answer may not be shared, each waits for its own
//!    '--failed: nobody asks again, all get the same error
//! ```
//! The producer appends what the origin sends. Whoever joins takes a [`Seat`], waits there for the head, and
//! then reads at its own pace. What those in their seats could need is held, within two bounds: the producer
//! waits when it is [`Flight::WINDOW`] ahead of the fastest reader, and what the fastest has passed is let go
//! once it can be read back from where it is stored. If nothing is stored, the producer also waits when it is
//! [`Flight::BEHIND`] ahead of the slowest, for whom everything is held; one for whom it waited [`Flight::STALL`] in
//! vain is cut off. While memory is scarce, these bounds are far smaller.

#[cfg(test)]
mod tests;

use super::beginnings::Beginning;
use super::held::{Held, PIECE};
use bytes::Bytes;
use selvedge_cache::stamps::ScopeHash;
use selvedge_exchange::{BodyError, BodyStream, Frame};
use selvedge_types::{Fields, Hlc};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

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
    beginning: Beginning,
    labels: OnceLock<Box<[ScopeHash]>>,
    inner: Mutex<Inner<H>>,
}

struct Inner<H> {
    head: Option<Head<H>>,
    chunks: VecDeque<Bytes>,
    /// Offset of the first chunk held.
    base: u64,
    /// Offset behind the last chunk.
    end: u64,
    kept: Kept,
    landed: Option<Result<Option<Fields>, BodyError>>,
    seats: Seats,
    furthest: u64,
    /// Woken when there may be room.
    producer: Option<Waker>,
    /// Woken when the last reader leaves.
    deserted: Option<Waker>,
}

/// How many readers are few.
const FEW: usize = 16;

/// Whether what was sent can be read back from elsewhere.
#[derive(Clone, Copy)]
enum Kept {
    /// Up to that offset.
    UpTo(u64),
    /// Nothing is stored.
    Not,
}

/// Why the producer may go on, or what it should do first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// Somebody wants more.
    Wanted,
    /// Nobody reads.
    Unread,
    /// Memory is scarce, and the readers are slow: what is collected to be stored should go.
    Scarce,
}

/// How far the producer may be ahead.
#[derive(Clone, Copy)]
struct Bounds {
    of_fastest: u64,
    of_slowest: u64,
}

impl<H> Flight<H> {
    /// How many bytes the producer may be ahead of the fastest reader.
    pub(crate) const WINDOW: u64 = 2 << 20;
    /// How many bytes the producer may be ahead of the slowest reader of content that is not stored.
    pub(crate) const BEHIND: u64 = 8 << 20;
    /// How long everybody waits for the slowest reader of such content, if that takes nothing.
    pub(crate) const STALL: Duration = Duration::from_secs(10);
    /// How long the producer waits for readers while memory is scarce, before that has consequences.
    pub(crate) const SCARCE_STALL: Duration = Duration::from_secs(1);

    pub(crate) fn new(beginning: Beginning) -> Arc<Self> {
        Arc::new(Flight {
            beginning,
            labels: OnceLock::new(),
            inner: Mutex::new(Inner {
                head: None,
                chunks: VecDeque::new(),
                base: 0,
                end: 0,
                kept: Kept::UpTo(0),
                landed: None,
                seats: Seats::default(),
                furthest: 0,
                producer: None,
                deserted: None,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner<H>> {
        // No code that holds the lock can leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time before which the fetch had not begun: what was purged since does not get its content.
    pub(crate) fn began(&self) -> Hlc {
        self.beginning.at()
    }

    /// By what its response is purged, once its head has come.
    pub(crate) fn labels(&self) -> &[ScopeHash] {
        self.labels.get().map_or(&[], |labels| labels)
    }

    /// Says by what the response is purged. Only the first call counts.
    pub(crate) fn label(&self, labels: &[ScopeHash]) {
        let _ = self.labels.set(labels.into());
    }

    /// Joins: everything from the first byte on is within reach of the seat.
    pub(crate) fn seat(self: &Arc<Self>) -> Seat<H> {
        let slot = self.lock().seats.take();
        Seat { flight: self.clone(), slot }
    }

    /// How many bytes have come.
    pub(crate) fn end(&self) -> u64 {
        self.lock().end
    }

    /// How many are in their seats.
    pub(crate) fn seated(&self) -> usize {
        self.lock().seats.taken
    }

    /// Tells the head to all who wait. Only the first call counts.
    pub(crate) fn publish(&self, head: Head<H>) {
        let mut inner = self.lock();
        inner.head.get_or_insert(head);
        inner.seats.wake();
    }

    /// Appends content.
    pub(crate) fn push(&self, chunk: Bytes) {
        let mut inner = self.lock();
        inner.end += chunk.len() as u64;
        inner.chunks.push_back(chunk);
        inner.let_go();
        inner.seats.wake();
    }

    /// What ends before `offset` can be read back from where it is stored.
    pub(crate) fn kept_up_to(&self, offset: u64) {
        let mut inner = self.lock();
        inner.kept = Kept::UpTo(offset);
        inner.let_go();
    }

    /// Nothing is stored, or no longer. Whoever takes a seat from now on may come too late.
    pub(crate) fn keep_nothing(&self) {
        self.lock().kept = Kept::Not;
    }

    /// Ends the content, with trailers or an error. Only the first call counts. Whoever takes a seat from now on may
    /// come too late.
    pub(crate) fn land(&self, outcome: Result<Option<Fields>, BodyError>) {
        let mut inner = self.lock();
        inner.landed.get_or_insert(outcome);
        inner.seats.wake();
    }

    /// Waits until the producer may append more, or should do something else first. Cancel-safe.
    pub(crate) async fn room(&self, held: &Held) -> Room {
        // Mostly there is, and no timer is needed.
        if let Poll::Ready(room) = self.lock().has_room(Self::bounds(held)) {
            return room;
        }
        let mut waited = Duration::ZERO;
        loop {
            let room = poll_fn(|cx| self.poll_room(held, cx));
            if let Ok(room) = tokio::time::timeout(Self::SCARCE_STALL, room).await {
                return room;
            }
            waited += Self::SCARCE_STALL;
            let is_scarce = held.is_scarce();
            let mut inner = self.lock();
            if is_scarce && matches!(inner.kept, Kept::UpTo(_)) {
                return Room::Scarce;
            }
            if is_scarce || waited >= Self::STALL {
                inner.cut_slowest(Self::bounds(held));
                waited = Duration::ZERO;
            }
        }
    }

    fn poll_room(&self, held: &Held, cx: &Context<'_>) -> Poll<Room> {
        let mut inner = self.lock();
        let room = inner.has_room(Self::bounds(held));
        if room.is_pending() {
            inner.producer = Some(cx.waker().clone());
        }
        room
    }

    /// Ready when nobody reads.
    pub(crate) fn poll_unread(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.seats.taken == 0 {
            return Poll::Ready(());
        }
        inner.deserted = Some(cx.waker().clone());
        Poll::Pending
    }

    fn bounds(held: &Held) -> Bounds {
        if held.is_scarce() {
            // Nothing more before the fastest has taken what there is.
            return Bounds { of_fastest: 1, of_slowest: 4 * PIECE };
        }
        Bounds { of_fastest: Self::WINDOW, of_slowest: Self::BEHIND }
    }
}

impl<H> Inner<H> {
    /// Lets chunks go that nobody needs to find here.
    fn let_go(&mut self) {
        let limit = match self.kept {
            _ if self.is_for_these() => self.slowest().unwrap_or(self.end),
            Kept::UpTo(offset) if self.seats.taken == 0 => offset,
            Kept::UpTo(offset) => offset.min(self.furthest),
            Kept::Not => self.end,
        };
        self.let_go_up_to(limit);
    }

    /// Whether nobody comes any more who needs it from the beginning.
    fn is_for_these(&self) -> bool {
        self.landed.is_some() || matches!(self.kept, Kept::Not)
    }

    /// The same after a reader moved or left. To look for the slowest of many each time would be slow, and one copy
    /// for many is not much.
    fn let_go_after_move(&mut self) {
        if !self.is_for_these() || self.seats.taken <= FEW {
            self.let_go();
        }
    }

    fn let_go_up_to(&mut self, limit: u64) {
        while let Some(first) = self.chunks.front() {
            let end = self.base + first.len() as u64;
            if end > limit {
                break;
            }
            self.base = end;
            self.chunks.pop_front();
        }
    }

    /// Where the slowest reader is that was not cut off.
    fn slowest(&self) -> Option<u64> {
        self.seats.offsets().filter(|at| *at >= self.base).min()
    }

    /// Ready if the producer may append more.
    fn has_room(&self, bounds: Bounds) -> Poll<Room> {
        if self.seats.taken == 0 {
            return Poll::Ready(Room::Unread);
        }
        let is_far_ahead = self.waits_for_fastest(bounds) || self.waits_for_slowest(bounds);
        if is_far_ahead { Poll::Pending } else { Poll::Ready(Room::Wanted) }
    }

    fn waits_for_fastest(&self, bounds: Bounds) -> bool {
        self.end >= self.furthest + bounds.of_fastest
    }

    fn waits_for_slowest(&self, bounds: Bounds) -> bool {
        let is_far = |slowest| self.end >= slowest + bounds.of_slowest;
        matches!(self.kept, Kept::Not) && self.slowest().is_some_and(is_far)
    }

    /// Cuts off the slowest reader, if it alone is waited for.
    fn cut_slowest(&mut self, bounds: Bounds) {
        if self.waits_for_fastest(bounds) || !self.waits_for_slowest(bounds) {
            return;
        }
        let (Some(slowest), Some(first)) = (self.slowest(), self.chunks.front()) else { return };
        // What it would read next goes, and it with that.
        let next = self.base + first.len() as u64;
        self.let_go_up_to(next.max(slowest));
        self.seats.wake();
        self.let_go();
    }

    fn move_to(&mut self, slot: usize, offset: u64) {
        self.seats.places[slot].at = offset;
        self.furthest = self.furthest.max(offset);
        self.let_go_after_move();
        self.wake_producer();
    }

    fn wake_producer(&mut self) {
        if let Some(producer) = self.producer.take() {
            producer.wake();
        }
    }

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

/// The seats of a flight. A slot is used again once its seat is given up.
#[derive(Default)]
struct Seats {
    places: Vec<Place>,
    free: Vec<usize>,
    taken: usize,
}

#[derive(Default)]
struct Place {
    at: u64,
    taken: bool,
    waker: Option<Waker>,
}

impl Seats {
    fn take(&mut self) -> usize {
        self.taken += 1;
        let place = Place { at: 0, taken: true, waker: None };
        match self.free.pop() {
            Some(slot) => {
                self.places[slot] = place;
                slot
            }
            None => {
                self.places.push(place);
                self.places.len() - 1
            }
        }
    }

    fn give_up(&mut self, slot: usize) {
        self.places[slot] = Place::default();
        self.free.push(slot);
        self.taken -= 1;
    }

    fn wait(&mut self, slot: usize, cx: &Context<'_>) {
        match &mut self.places[slot].waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
    }

    fn wake(&mut self) {
        self.places.iter_mut().filter_map(|place| place.waker.take()).for_each(Waker::wake);
    }

    fn offsets(&self) -> impl Iterator<Item = u64> + '_ {
        self.places.iter().filter(|place| place.taken).map(|place| place.at)
    }
}

/// A place in a flight: waits for its head, then reads its content from the first byte on.
pub(crate) struct Seat<H> {
    flight: Arc<Flight<H>>,
    slot: usize,
}

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Next {
    /// Bytes at the reader's place, which moves on.
    Data(Bytes),
    /// The end, with trailers.
    End(Option<Fields>),
    /// The bytes at its place were let go: they are to be had where they are stored, if at all.
    Forgotten,
    /// The fetch failed.
    Failed(BodyError),
}

impl<H> Seat<H> {
    /// Its flight.
    pub(crate) fn flight(&self) -> &Arc<Flight<H>> {
        &self.flight
    }

    /// Waits for the head. Cancel-safe.
    pub(crate) async fn head(&self) -> Head<H> {
        poll_fn(|cx| {
            let mut inner = self.flight.lock();
            match &inner.head {
                Some(head) => Poll::Ready(head.clone()),
                None => {
                    inner.seats.wait(self.slot, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Where it stands.
    pub(crate) fn offset(&self) -> u64 {
        self.flight.lock().seats.places[self.slot].at
    }

    /// Whether the bytes at its place were let go.
    pub(crate) fn is_behind(&self) -> bool {
        let inner = self.flight.lock();
        inner.seats.places[self.slot].at < inner.base
    }

    /// Moves to `offset`, for bytes had elsewhere.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.flight.lock().move_to(self.slot, offset);
    }

    /// What comes next.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut inner = self.flight.lock();
        let at = inner.seats.places[self.slot].at;
        if at < inner.base {
            return Poll::Ready(Next::Forgotten);
        }
        if at < inner.end {
            let data = inner.data_at(at);
            inner.move_to(self.slot, at + data.len() as u64);
            return Poll::Ready(Next::Data(data));
        }
        match &inner.landed {
            Some(Ok(trailers)) => Poll::Ready(Next::End(trailers.clone())),
            Some(Err(error)) => Poll::Ready(Next::Failed(error.clone())),
            None => {
                inner.seats.wait(self.slot, cx);
                Poll::Pending
            }
        }
    }
}

impl<H> Drop for Seat<H> {
    fn drop(&mut self) {
        let mut inner = self.flight.lock();
        inner.seats.give_up(self.slot);
        inner.let_go_after_move();
        inner.wake_producer();
        if inner.seats.taken == 0
            && let Some(deserted) = inner.deserted.take()
        {
            deserted.wake();
        }
    }
}

/// A seat as content of a response: fails where bytes were let go.
impl<H: Send + Sync> BodyStream for Seat<H> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        self.poll_next(cx).map(|next| match next {
            Next::Data(data) => Some(Ok(Frame::Data(data))),
            Next::End(None) => None,
            // The front stops after trailers.
            Next::End(Some(trailers)) => Some(Ok(Frame::Trailers(trailers))),
            Next::Forgotten => Some(Err(BodyError::Gone("this reader fell too far behind"))),
            Next::Failed(error) => Some(Err(error)),
        })
    }

    fn length(&self) -> Option<u64> {
        None
    }
}
