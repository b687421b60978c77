//! A record's bytes.
//!
//! ```text
//!  0 crc32 of all that follows, padding excluded    12 group                 32 payload, then zeros
//!  4 payload's length                               16 sequence                 to a multiple of 8
//!  8 version, 9 zero                                24 the batch's first sequence
//! ```
//! The batch is what tells a torn tail from damage: a batch is written only after the one before was
//! flushed, so a whole record of a later batch proves that everything before it had been there.

use crate::coding::{u16_at, u32_at, u64_at};
use std::fmt;

/// The format of records.
const VERSION: u8 = 1;

/// Bytes before the payload.
pub(super) const HEADER: usize = 32;

/// Records begin at multiples of this.
pub(super) const ALIGN: usize = 8;

/// The longest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Which replicated group a record belongs to. The control store is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// A record's place in the log: 1 for the first that was ever written, then without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The place of the first record.
    pub const FIRST: Sequence = Sequence(1);

    /// The place `n` further on.
    pub const fn plus(self, n: u64) -> Self {
        Sequence(self.0.saturating_add(n))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record as read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place.
    pub sequence: Sequence,
    /// The first place of the batch that it was flushed with.
    pub batch: Sequence,
    /// Whose it is.
    pub group: GroupId,
    /// What was appended.
    pub payload: &'a [u8],
}

/// Bytes that a record with such a payload takes.
pub(super) const fn encoded_len(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(ALIGN)
}

/// Appends the record's bytes.
pub(super) fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    // The length fits: the log refuses payloads over PAYLOAD_BYTES_MAX.
    out.extend_from_slice(&u32::try_from(record.payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&[VERSION, 0, 0, 0]);
    out.extend_from_slice(&record.group.0.to_le_bytes());
    out.extend_from_slice(&record.sequence.0.to_le_bytes());
    out.extend_from_slice(&record.batch.0.to_le_bytes());
    out.extend_from_slice(record.payload);
    let crc = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + encoded_len(record.payload.len()), 0);
}

/// Reads the record at the start of `bytes`; none if there is no whole one. Also says how long it is.
pub fn decode(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let length = usize::try_from(u32_at(bytes, 4)?).ok()?;
    // Cheap tests first: this also runs at every possible place of a damaged file.
    if u32_at(bytes, 8)? != u32::from(VERSION) || length > PAYLOAD_BYTES_MAX || u16_at(bytes, 10)? != 0 {
        return None;
    }
    let record = Record {
        group: GroupId(u32_at(bytes, 12)?),
        sequence: Sequence(u64_at(bytes, 16)?),
        batch: Sequence(u64_at(bytes, 24)?),
        payload: bytes.get(HEADER..HEADER + length)?,
    };
    let padding = bytes.get(HEADER + length..encoded_len(length))?;
    let sound = record.batch <= record.sequence
        && padding.iter().all(|b| *b == 0)
        && u32_at(bytes, 0)? == crc32fast::hash(bytes.get(4..HEADER + length)?);
    sound.then_some((record, encoded_len(length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(sequence: u64, batch: u64, group: u32, payload: &[u8]) -> Record<'_> {
        Record { sequence: Sequence(sequence), batch: Sequence(batch), group: GroupId(group), payload }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            batch in 1u64..1 << 40, more in 0u64..1000, group: u32,
            payload in proptest::collection::vec(any::<u8>(), 0..300), junk: [u8; 9],
        ) {
            let record = record(batch + more, batch, group, &payload);
            let mut bytes = Vec::new();
            encode(&record, &mut bytes);
            let length = bytes.len();
            prop_assert_eq!(length % ALIGN, 0);
            bytes.extend(junk);
            prop_assert_eq!(decode(&bytes), Some((record, length)));
        }

        #[test]
        fn a_flipped_bit_is_noticed(
            payload in proptest::collection::vec(any::<u8>(), 0..100), bit in 0usize..4000,
        ) {
            let mut bytes = Vec::new();
            encode(&record(7, 7, 1, &payload), &mut bytes);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_taken_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
