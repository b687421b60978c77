//! Reading an object from its file.

use super::file::Segment;
use super::location::Location;
use super::record::{Found, Key, Layout, low_bits};
use bytes::Bytes;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Longer objects are never read on a thread that must not wait.
const TRY_BYTES_MAX: usize = 128 << 10;

/// Bytes read first when only a part of an object is wanted.
const HEAD_BYTES: usize = 4096;

/// Where an object was when it was looked up. Holds its file open.
#[derive(Clone)]
pub struct Located {
    pub(super) key: Key,
    pub(super) location: Location,
    pub(super) segment: Arc<Segment>,
}

impl Located {
    pub(super) fn read(&self) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.location.len()];
        let read = self.segment.file.read_at(&mut bytes, self.location.offset())?;
        bytes.truncate(read);
        Ok(bytes.into())
    }

    pub(super) fn try_read(&self) -> io::Result<Option<Bytes>> {
        let length = self.location.len();
        if length > TRY_BYTES_MAX {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        let whole = self.segment.file.try_read_at(&mut bytes, self.location.offset())?;
        Ok(whole.then(|| bytes.into()))
    }

    pub(super) fn read_part(&self, part: Range<u64>) -> io::Result<Option<Found>> {
        let mut head = self.read_bytes(0..HEAD_BYTES.min(self.location.len()))?;
        // The sums of a long body, and a long meta, do not fit the first read.
        if Layout::body_offset(&head).is_some_and(|at| at > head.len() && at <= self.location.len()) {
            head = self.read_bytes(0..Layout::body_offset(&head).unwrap_or(0))?;
        }
        let Some(layout) = self.layout(&head) else { return Ok(None) };
        let length = layout.body_len();
        let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(length);
        let wanted = clamp(part.start)..clamp(part.end).max(clamp(part.start));
        let blocks = layout.blocks(&wanted);
        let body = self.read_bytes(layout.body_at() + blocks.start..layout.body_at() + blocks.end)?;
        let (Some(meta), true) = (layout.meta(&head), layout.check(&head, blocks.start, &body)) else {
            return Ok(None);
        };
        let asked = wanted.start - blocks.start..wanted.end - blocks.start;
        let whole = asked.end <= body.len();
        Ok(whole.then(|| Found { head: layout.head, meta, body_len: length as u64, body: body.slice(asked) }))
    }

    fn read_bytes(&self, part: Range<usize>) -> io::Result<Bytes> {
        let mut bytes = vec![0; part.len()];
        let read = self.segment.file.read_at(&mut bytes, self.location.offset() + part.start as u64)?;
        bytes.truncate(read);
        Ok(bytes.into())
    }

    pub(super) fn layout(&self, bytes: &[u8]) -> Option<Layout> {
        let layout = Layout::decode(bytes)?;
        let ours = layout.nonce == low_bits(self.segment.nonce) && layout.len() == self.location.len();
        ours.then_some(layout)
    }
}
