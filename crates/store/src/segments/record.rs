//! An object's bytes on disk.
//!
//! ```text
//!  0 magic and version    24 fetch's time    44 body's length     56 the caller's note
//!  4 crc32 of the rest    32 kind            48 meta's crc32      64 crc32 of each 64 KiB of the body
//!    of header and sums   40 meta's length   52 the file's nonce     then meta, body, zeros to 64 bytes
//!  8 key
//! ```

use super::location::UNIT;
use crate::coding::{u32_at, u64_at, u128_at};
use bytes::Bytes;
use selvedge_types::Hlc;
use selvedge_types::planted::{Bug, is_planted};
use std::ops::Range;

const MAGIC: u32 = u32::from_le_bytes(*b"SOB\x01");

/// Bytes before the sums.
pub(super) const FIXED: usize = 64;

/// Each so many bytes of a body have a checksum of their own, so that a part can be read alone.
pub(super) const BLOCK: usize = 64 << 10;

/// The longest meta, in bytes.
pub const META_BYTES_MAX: usize = 256 << 10;

/// An object's name: a uniform 128-bit hash of its cache key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u128);

/// What is known of an object beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its name.
    pub key: Key,
    /// When its fetch began, to be compared with purges; of a stamp, the moment up to which it invalidates.
    pub fetched: Hlc,
    /// What it is.
    pub kind: Kind,
    /// The caller's.
    pub note: u64,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An object.
    Object,
    /// A note that a scope was invalidated, which outlives all objects that it covers; the name is the scope's,
    /// the number the caller's kind of it. It has neither meta nor body.
    Stamp(u8),
    /// A note that nothing fetched up to its time is used any more. Files that are begun later say so themselves.
    Floor,
    /// A note that the object of that name, written before, is not there any more. It need not outlive its file: what
    /// was written before is in older ones, or in the same.
    Gone,
}

/// The bits of [`Kind::Floor`], after those of all stamps.
const FLOOR: u64 = 1 << 16;
/// The bits of [`Kind::Gone`].
const GONE: u64 = FLOOR + 1;

impl Kind {
    pub(super) fn to_bits(self) -> u64 {
        match self {
            Kind::Object => 0,
            Kind::Stamp(kind) => u64::from(kind) + 1,
            Kind::Floor => FLOOR,
            Kind::Gone => GONE,
        }
    }

    pub(super) fn from_bits(bits: u64) -> Option<Kind> {
        match bits.checked_sub(1) {
            None => Some(Kind::Object),
            Some(_) if bits == FLOOR => Some(Kind::Floor),
            Some(_) if bits == GONE => Some(Kind::Gone),
            Some(kind) => u8::try_from(kind).ok().map(Kind::Stamp),
        }
    }
}

/// An object to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// What is known of it.
    pub head: Head,
    /// Its stored header, in the caller's format; at most [`META_BYTES_MAX`].
    pub meta: Bytes,
    /// Its bytes, or those of a slice of it.
    pub body: Bytes,
    /// Whether a request brought it, which speaks for it; else it is only offered again.
    pub asked: bool,
}

/// An object, or a part of its body, that was read and passed its checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is known of it.
    pub head: Head,
    /// Its stored header.
    pub meta: Bytes,
    /// How long its body is.
    pub body_len: u64,
    /// The bytes asked for.
    pub body: Bytes,
}

/// Where the parts of a record are, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) head: Head,
    pub(super) nonce: u32,
    meta_crc: u32,
    meta_at: usize,
    body_at: usize,
    end: usize,
}

impl NewRecord {
    /// The note that `scope` was invalidated up to `at`.
    pub fn stamp(scope: Key, at: Hlc, kind: u8) -> Self {
        NewRecord::bare(Head { key: scope, fetched: at, kind: Kind::Stamp(kind), note: 0 })
    }

    /// The note that nothing fetched up to `at` is used any more.
    pub(super) fn floor(at: Hlc) -> Self {
        NewRecord::bare(Head { key: Key(0), fetched: at, kind: Kind::Floor, note: 0 })
    }

    /// The note that the object of that name is not there any more.
    pub(super) fn gone(key: Key) -> Self {
        NewRecord::bare(Head { key, fetched: Hlc::ZERO, kind: Kind::Gone, note: 0 })
    }

    fn bare(head: Head) -> Self {
        NewRecord { head, meta: Bytes::new(), body: Bytes::new(), asked: false }
    }

    /// Bytes that it takes on disk.
    pub fn encoded_len(&self) -> usize {
        (FIXED + 4 * self.body.len().div_ceil(BLOCK) + self.meta.len() + self.body.len())
            .next_multiple_of(UNIT)
    }

    /// Appends its bytes for the file with that nonce. Meta and body are within their limits.
    pub(super) fn encode(&self, nonce: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.head.key.0.to_le_bytes());
        out.extend_from_slice(&self.head.fetched.to_bits().to_le_bytes());
        out.extend_from_slice(&self.head.kind.to_bits().to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.meta.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&self.meta).to_le_bytes());
        out.extend_from_slice(&low_bits(nonce).to_le_bytes());
        out.extend_from_slice(&self.head.note.to_le_bytes());
        for block in self.body.chunks(BLOCK) {
            out.extend_from_slice(&crc32fast::hash(block).to_le_bytes());
        }
        let crc = crc32fast::hash(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&self.meta);
        out.extend_from_slice(&self.body);
        out.resize(start + self.encoded_len(), 0);
    }
}

/// The part of a file's nonce that records repeat.
#[allow(clippy::cast_possible_truncation)] // that is the purpose
pub(super) const fn low_bits(nonce: u64) -> u32 {
    nonce as u32
}

impl Layout {
    /// Reads header and sums at the start of `bytes`; none if they are not whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<Layout> {
        if u32_at(bytes, 0)? != MAGIC {
            return None;
        }
        let meta_len = usize::try_from(u32_at(bytes, 40)?).ok()?;
        let body_len = usize::try_from(u32_at(bytes, 44)?).ok()?;
        let meta_at = FIXED + 4 * body_len.div_ceil(BLOCK);
        if meta_len > META_BYTES_MAX || u32_at(bytes, 4)? != crc32fast::hash(bytes.get(8..meta_at)?) {
            return None;
        }
        let head = Head {
            key: Key(u128_at(bytes, 8)?),
            fetched: Hlc::from_bits(u64_at(bytes, 24)?),
            kind: Kind::from_bits(u64_at(bytes, 32)?)?,
            note: u64_at(bytes, 56)?,
        };
        let body_at = meta_at + meta_len;
        let end = body_at.checked_add(body_len)?;
        let (meta_crc, nonce) = (u32_at(bytes, 48)?, u32_at(bytes, 52)?);
        Some(Layout { head, nonce, meta_crc, meta_at, body_at, end })
    }

    /// The nonce in a header, whatever else it says.
    pub(super) fn nonce(bytes: &[u8]) -> Option<u32> {
        u32_at(bytes, 52)
    }

    /// Where a header says, unchecked, that the body begins.
    pub(super) fn body_offset(bytes: &[u8]) -> Option<usize> {
        let meta = usize::try_from(u32_at(bytes, 40)?).ok()?;
        let body = usize::try_from(u32_at(bytes, 44)?).ok()?;
        Some(FIXED + 4 * body.div_ceil(BLOCK) + meta)
    }

    /// Bytes that the record takes on disk.
    pub(super) fn len(&self) -> usize {
        self.end.next_multiple_of(UNIT)
    }

    pub(super) fn body_len(&self) -> usize {
        self.end - self.body_at
    }

    /// Bytes from the record's start to its body.
    pub(super) fn body_at(&self) -> usize {
        self.body_at
    }

    /// The meta in the record's first bytes; none if it is damaged or not all there.
    pub(super) fn meta(&self, bytes: &Bytes) -> Option<Bytes> {
        let meta = bytes.get(self.meta_at..self.body_at)?;
        (crc32fast::hash(meta) == self.meta_crc).then(|| bytes.slice(self.meta_at..self.body_at))
    }

    /// The part of the body, in whole blocks, that holds `wanted`.
    pub(super) fn blocks(&self, wanted: &Range<usize>) -> Range<usize> {
        let end = wanted.end.next_multiple_of(BLOCK).min(self.body_len());
        wanted.start / BLOCK * BLOCK..end.max(wanted.start / BLOCK * BLOCK)
    }

    /// Whether `blocks`, the body from `from` on, are what was written; `head` has the sums.
    pub(super) fn check(&self, head: &[u8], from: usize, blocks: &[u8]) -> bool {
        let first = from / BLOCK;
        let whole = |(i, block): (usize, &[u8])| {
            u32_at(head, FIXED + 4 * (first + i)) == Some(crc32fast::hash(block))
        };
        blocks.chunks(BLOCK).enumerate().all(whole) || is_planted(Bug::DamageServed)
    }

    /// The whole record; none if it is damaged.
    pub(super) fn found(&self, bytes: &Bytes) -> Option<Found> {
        let body = bytes.get(self.body_at..self.end)?;
        let meta = self.meta(bytes)?;
        self.check(bytes, 0, body).then(|| Found {
            head: self.head,
            meta,
            body_len: body.len() as u64,
            body: bytes.slice(self.body_at..self.end),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(meta: Vec<u8>, body: Vec<u8>) -> NewRecord {
        let head = Head { key: Key(5 << 90), fetched: Hlc::from_bits(9), kind: Kind::Object, note: 4 };
        NewRecord { head, meta: meta.into(), body: body.into(), asked: true }
    }

    fn decode(bytes: &[u8]) -> Option<Found> {
        Layout::decode(bytes)?.found(&Bytes::copy_from_slice(bytes))
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            meta in proptest::collection::vec(any::<u8>(), 0..300),
            body_len in prop_oneof![0usize..300, BLOCK - 2..BLOCK + 2, 2 * BLOCK..2 * BLOCK + 9],
        ) {
            let body: Vec<u8> = (0..body_len).map(|i| (i % 251) as u8).collect();
            let record = record(meta, body);
            let mut bytes = Vec::new();
            record.encode(7, &mut bytes);
            prop_assert_eq!(bytes.len(), record.encoded_len());
            prop_assert_eq!(Layout::decode(&bytes).unwrap().len(), bytes.len());
            let found = decode(&bytes).unwrap();
            prop_assert_eq!((found.head, found.meta, found.body), (record.head, record.meta, record.body));
        }

        #[test]
        fn a_flipped_bit_outside_of_the_padding_is_noticed(
            meta in proptest::collection::vec(any::<u8>(), 0..50),
            body in proptest::collection::vec(any::<u8>(), 0..200), bit: proptest::sample::Index,
        ) {
            let record = record(meta, body);
            let mut bytes = Vec::new();
            record.encode(7, &mut bytes);
            let end = Layout::decode(&bytes).unwrap().end;
            let bit = bit.index(end * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_taken_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_part_is_covered_by_whole_blocks() {
        let mut bytes = Vec::new();
        record(vec![], vec![1; 2 * BLOCK + 10]).encode(1, &mut bytes);
        let layout = Layout::decode(&bytes).unwrap();
        for (wanted, blocks) in [
            (0..1, 0..BLOCK),
            (BLOCK - 1..BLOCK + 1, 0..2 * BLOCK),
            (2 * BLOCK + 1..2 * BLOCK + 2, 2 * BLOCK..2 * BLOCK + 10),
            (5..5, 0..BLOCK),
        ] {
            assert_eq!(layout.blocks(&wanted), blocks, "{wanted:?}");
        }
    }
}
