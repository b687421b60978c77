//! Memory that responses and fetches under way hold besides what is cached: a count of its bytes, with a limit.
//!
//! Content is counted from its arrival until its last byte is sent or dropped, wherever it is meanwhile: in a flight,
//! in a slice that is being collected, in a connection's queue. So a count follows the bytes themselves (see
//! [`Held::count`]). What of the cache is being read is counted as well, once for any number of readers, since
//! eviction would not free it.
//!
//! From half of the limit on memory is *scarce*: a fetch goes one piece ahead of its readers, and what is stored is
//! handed out in copied pieces of [`PIECE`]. Each large response has a place of [`PLACE`] for its whole life, which is
//! what it holds then: as many as were let in can go on. At the limit there are no more places. Small content, that of
//! most hits, is not counted.

use super::object::{Pins, Stored};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Content up to this size is small: it is not counted. Also the largest piece that is handed out while memory is
/// scarce, and that origins' content comes in.
pub(crate) const PIECE: u64 = 64 << 10;

/// What each large response is counted for from its beginning: a piece that is sent, and one that is next.
const PLACE: u64 = 2 * PIECE;

/// What surrounds a counted piece of content, in bytes.
const AROUND: u64 = 128;

/// The count. Clones share it.
#[derive(Clone)]
pub(crate) struct Held(Arc<Counts>);

struct Counts {
    bytes: AtomicU64,
    max: AtomicU64,
}

impl Held {
    /// Nothing, of at most `max` bytes.
    pub(crate) fn new(max: u64) -> Self {
        Held(Arc::new(Counts { bytes: AtomicU64::new(0), max: AtomicU64::new(max) }))
    }

    /// Allows that many bytes from now on.
    pub(crate) fn set_max(&self, max: u64) {
        self.0.max.store(max, Relaxed);
    }

    /// How many bytes are held.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.load(Relaxed)
    }

    /// How many bytes may be held.
    pub(crate) fn max(&self) -> u64 {
        self.0.max.load(Relaxed)
    }

    /// Whether everyone has to get by with little.
    pub(crate) fn is_scarce(&self) -> bool {
        self.bytes() > self.max() / 2
    }

    /// Whether there is no room for more.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= self.max()
    }

    /// A place for one more large response, if there is room.
    pub(crate) fn admit(&self) -> Option<Hold> {
        let hold = self.hold(PLACE);
        (self.bytes() <= self.max()).then_some(hold)
    }

    /// Counts that many bytes until the answer is dropped.
    pub(crate) fn hold(&self, bytes: u64) -> Hold {
        self.0.bytes.fetch_add(bytes, Relaxed);
        Hold { held: self.clone(), bytes }
    }

    /// The same bytes, counted until the last of those who share them is gone.
    pub(crate) fn count(&self, bytes: Bytes) -> Bytes {
        let hold = self.hold(bytes.len() as u64 + AROUND);
        Bytes::from_owner(Counted { bytes, _hold: hold })
    }

    /// The bytes in `range` of something stored: as they are, which keeps all of it; copied if memory is scarce and
    /// they are more than a little.
    pub(crate) fn read(&self, stored: Stored, range: Range<usize>) -> Bytes {
        let all = stored.content();
        if all.len() as u64 <= PIECE || !self.is_scarce() {
            return self.pin(stored, range);
        }
        let end = range.end.min(range.start + PIECE as usize);
        self.count(Bytes::copy_from_slice(all.get(range.start..end).unwrap_or_default()))
    }

    /// The bytes in `range` of something stored as they are, which keeps all of it.
    pub(crate) fn pin(&self, stored: Stored, range: Range<usize>) -> Bytes {
        Bytes::from_owner(Pinned::new(stored, self.clone())).slice(range)
    }
}

/// Bytes that are counted until this is dropped.
pub(crate) struct Hold {
    held: Held,
    bytes: u64,
}

impl Hold {
    /// Counts that many more.
    pub(crate) fn grow(&mut self, bytes: u64) {
        self.held.0.bytes.fetch_add(bytes, Relaxed);
        self.bytes += bytes;
    }

    /// Counts none any more.
    pub(crate) fn clear(&mut self) {
        self.held.0.bytes.fetch_sub(self.bytes, Relaxed);
        self.bytes = 0;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.clear();
    }
}

struct Counted {
    bytes: Bytes,
    _hold: Hold,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Keeps something stored while its content is sent. Large content is counted while anyone does.
struct Pinned {
    stored: Stored,
    held: Held,
}

impl Pinned {
    fn new(stored: Stored, held: Held) -> Self {
        let pinned = Pinned { stored, held };
        if pinned.large().is_some_and(|(pins, _)| pins.add()) {
            pinned.held.0.bytes.fetch_add(pinned.stored.content().len() as u64, Relaxed);
        }
        pinned
    }

    fn large(&self) -> Option<(&Pins, u64)> {
        let bytes = self.stored.content().len() as u64;
        self.stored.pins().filter(|_| bytes > PIECE).map(|pins| (pins, bytes))
    }
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        self.stored.content()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some((pins, bytes)) = self.large()
            && pins.remove()
        {
            self.held.0.bytes.fetch_sub(bytes, Relaxed);
        }
    }
}

/// Content that is collected in the pieces that it came in.
pub(crate) struct Gathered {
    pieces: Vec<Bytes>,
    len: usize,
    /// Small pieces, copied: what surrounds each would be more than itself.
    tail: Vec<u8>,
    copied: Hold,
}

/// Pieces smaller than this are copied.
const COPIED_BELOW: usize = 1024;

impl Gathered {
    pub(crate) fn new(held: &Held) -> Self {
        Gathered { pieces: Vec::new(), len: 0, tail: Vec::new(), copied: held.hold(0) }
    }

    /// How many bytes were collected.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds what comes next.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() < COPIED_BELOW {
            self.copied.grow(piece.len() as u64);
            self.tail.extend_from_slice(&piece);
            return;
        }
        self.end_tail();
        self.pieces.push(piece);
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).into());
        }
    }

    /// All of it, in an allocation of just its size; then it is empty.
    pub(crate) fn take(&mut self) -> Box<[u8]> {
        let mut all = Vec::with_capacity(self.len);
        self.pieces.drain(..).for_each(|piece| all.extend_from_slice(&piece));
        all.append(&mut self.tail);
        self.tail = Vec::new();
        self.copied.clear();
        self.len = 0;
        all.into_boxed_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::Slice;
    use super::*;

    fn slice(bytes: usize) -> Stored {
        Stored::Slice(Arc::new(Slice::new(0, vec![b'x'; bytes].into())))
    }

    #[test]
    fn counted_bytes_count_until_the_last_part_of_them_is_gone() {
        let held = Held::new(1 << 20);
        let counted = held.count(Bytes::from_static(b"abcdef"));
        let part = counted.slice(2..4);
        drop(counted);
        assert_eq!((held.bytes(), &part[..]), (6 + AROUND, &b"cd"[..]));
        drop(part);
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn places_end_at_the_limit_and_are_given_back() {
        let held = Held::new(3 * PLACE);
        let mut places: Vec<_> = std::iter::from_fn(|| held.admit()).collect();
        assert_eq!((places.len(), held.bytes()), (3, 3 * PLACE));
        places.pop();
        assert!(held.admit().is_some());
    }

    #[test]
    fn what_is_stored_counts_once_for_all_who_read_it() {
        let held = Held::new(1 << 30);
        let stored = slice(1 << 20);
        let readers: Vec<_> = (0..5).map(|_| held.read(stored.clone(), 0..1 << 20)).collect();
        assert_eq!(held.bytes(), 1 << 20);
        drop(readers);
        assert_eq!(held.bytes(), 0);
        let small = held.read(slice(PIECE as usize), 0..10);
        assert_eq!((held.bytes(), small.len()), (0, 10));
    }

    #[test]
    fn scarce_memory_gives_out_copies_of_a_piece() {
        let held = Held::new(4 * PIECE);
        let stored = slice(1 << 20);
        let _others = held.hold(3 * PIECE);
        let part = held.read(stored.clone(), 100..1 << 20);
        assert_eq!((part.len() as u64, held.bytes()), (PIECE, 4 * PIECE + AROUND));
        let Stored::Slice(slice) = stored else { unreachable!() };
        assert_eq!(Arc::strong_count(&slice), 1, "nobody keeps all of it");
    }

    #[test]
    fn pieces_of_any_size_are_gathered_in_order() {
        let held = Held::new(1 << 20);
        let mut gathered = Gathered::new(&held);
        let all: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        let mut rest = Bytes::from(all.clone());
        for len in [3, 5000, 10, 20, 2000, 2967] {
            gathered.push(rest.split_to(len));
        }
        assert_eq!((gathered.len(), held.bytes()), (10_000, 33));
        assert_eq!(&*gathered.take(), &all[..]);
        assert_eq!((gathered.len(), held.bytes()), (0, 0));
    }
}
