//! What is stored: representations, their slices, and notes about keys.
//!
//! Memory for a million small objects is mostly what surrounds them, so a response takes two allocations: one
//! with its facts, labels and fields side by side, and one with its content, which is just as large as that.
//! A look-up reads the first from its beginning, and the content last.

use bytes::Bytes;
use selvedge_cache::semantics::{Freshness, VaryNames};
use selvedge_cache::shard::Shard;
use selvedge_cache::stamps::ScopeHash;
use selvedge_types::{FieldError, Fields, Hlc, Status, UnixMillis};
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use triomphe::ThinArc;

/// A value of the cache's index.
#[derive(Clone)]
pub(crate) enum Stored {
    /// A response.
    Object(Object),
    /// The responses to this key differ by these request fields; each is under a key of its own.
    Varies(Arc<VaryNames>),
    /// Responses to this key were not storable: until then nobody waits for another's fetch.
    Pass(UnixMillis),
    /// A piece of a response kept in slices.
    Slice(Arc<Slice>),
}

/// A stored response. Never changed: freshening replaces it. A clone is the same one.
#[derive(Clone)]
pub(crate) struct Object(ThinArc<Facts, u8>);

/// What is known of a stored response beside its fields.
pub(crate) struct Facts {
    /// On what reuse is decided.
    pub(crate) freshness: Freshness,
    /// When it was fetched or validated (the beginning of that), to compare with purges.
    pub(crate) fetched: Hlc,
    /// Names its content: slices and codings of another content have another number.
    pub(crate) content_id: u64,
    /// Its content.
    pub(crate) content: Content,
    /// Its status.
    pub(crate) status: Status,
    /// Those who read its content now.
    pins: Pins,
    /// How many labels precede its fields.
    labels: u16,
}

/// Counts those who read something stored.
#[derive(Default)]
pub(crate) struct Pins(AtomicU32);

impl Pins {
    /// One more; says whether it is the first.
    pub(crate) fn add(&self) -> bool {
        self.0.fetch_add(1, Relaxed) == 0
    }

    /// One less; says whether it was the last.
    pub(crate) fn remove(&self) -> bool {
        self.0.fetch_sub(1, Relaxed) == 1
    }
}

/// A response that is to be stored.
pub(crate) struct Draft {
    /// Its fields, packed, without those that frame or that belong to one connection.
    pub(crate) fields: Box<[u8]>,
    /// See [`Facts`].
    pub(crate) content: Content,
    /// See [`Facts`].
    pub(crate) freshness: Freshness,
    /// See [`Facts`].
    pub(crate) fetched: Hlc,
    /// See [`Facts`].
    pub(crate) content_id: u64,
    /// Scopes of its tags and cache groups.
    pub(crate) labels: Box<[ScopeHash]>,
    /// See [`Facts`].
    pub(crate) status: Status,
}

/// The content of a stored response.
pub(crate) enum Content {
    /// All of it.
    Whole(Box<[u8]>),
    /// Not here.
    Elsewhere(Box<Place>),
}

/// Where content is that is not with its object.
#[derive(Clone)]
pub(crate) enum Place {
    /// In slices, some of which may be absent.
    Slices(Layout),
    /// With another object, of which this one differs in its facts alone.
    Object(Object),
}

/// Where the slices of a representation are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// Tells representations apart: slices of one are never mixed with those of another.
    pub(crate) id: u64,
    /// The representation's length in bytes.
    pub(crate) length: u64,
    /// How many bytes a slice has, but for the last.
    pub(crate) slice_bytes: u64,
}

/// A contiguous piece of a slice; all of it once complete.
pub(crate) struct Slice {
    /// The offset of its first byte in the representation.
    pub(crate) start: u64,
    /// The bytes.
    pub(crate) bytes: Bytes,
    /// Those who read it now.
    pins: Pins,
}

/// Bytes of a label in an object.
const LABEL_BYTES: usize = size_of::<ScopeHash>();

/// Most labels of an object; tags and groups are far fewer, see the limits where they are read.
const LABELS_MAX: usize = u16::MAX as usize;

impl Content {
    /// Content in slices.
    pub(crate) fn sliced(layout: Layout) -> Self {
        Content::Elsewhere(Box::new(Place::Slices(layout)))
    }
}

impl Draft {
    /// The response, to be stored.
    pub(crate) fn store(self) -> Object {
        let labels = &self.labels[..self.labels.len().min(LABELS_MAX)];
        let mut bytes = Vec::with_capacity(labels.len() * LABEL_BYTES + self.fields.len());
        labels.iter().for_each(|label| bytes.extend_from_slice(&label.0.to_le_bytes()));
        bytes.extend_from_slice(&self.fields);
        let facts = Facts {
            freshness: self.freshness,
            fetched: self.fetched,
            content_id: self.content_id,
            content: self.content,
            status: self.status,
            pins: Pins::default(),
            labels: labels.len() as u16,
        };
        Object(ThinArc::from_header_and_slice(facts, &bytes))
    }
}

impl Deref for Object {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.0.header.header
    }
}

impl Object {
    /// The fields, packed.
    pub(crate) fn packed(&self) -> &[u8] {
        &self.0.slice[usize::from(self.labels) * LABEL_BYTES..]
    }

    /// The fields, to be changed and sent.
    pub(crate) fn fields(&self) -> Result<Fields, FieldError> {
        Fields::unpack(self.packed())
    }

    /// Scopes of its tags and cache groups.
    pub(crate) fn labels(&self) -> impl ExactSizeIterator<Item = ScopeHash> {
        let labels = &self.0.slice[..usize::from(self.labels) * LABEL_BYTES];
        labels.chunks_exact(LABEL_BYTES).map(|label| {
            let mut bytes = [0; LABEL_BYTES];
            bytes.copy_from_slice(label);
            ScopeHash(u128::from_le_bytes(bytes))
        })
    }

    /// The length of the content.
    pub(crate) fn length(&self) -> u64 {
        self.layout().map_or(self.bytes().len() as u64, |layout| layout.length)
    }

    /// Where its slices are, if it lies in slices.
    pub(crate) fn layout(&self) -> Option<Layout> {
        match &self.content {
            Content::Whole(_) => None,
            Content::Elsewhere(place) => match &**place {
                Place::Slices(layout) => Some(*layout),
                Place::Object(other) => other.layout(),
            },
        }
    }

    /// Its content without a copy; empty if it lies in slices.
    pub(crate) fn body(&self) -> Bytes {
        Bytes::from_owner(Sent(self.clone()))
    }

    /// Those who read its content, which may be another's.
    fn pins(&self) -> &Pins {
        match &self.content {
            Content::Elsewhere(place) => match &**place {
                Place::Slices(_) => &self.pins,
                Place::Object(other) => other.pins(),
            },
            Content::Whole(_) => &self.pins,
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Whole(bytes) => bytes,
            Content::Elsewhere(place) => match &**place {
                Place::Slices(_) => &[],
                Place::Object(other) => other.bytes(),
            },
        }
    }

    /// The bytes that are stored of it, slices aside.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.packed().len() + self.bytes().len()
    }

    /// The facts at `now` if a soft purge covers it since then, or none.
    pub(crate) fn freshness_since(&self, purged: Option<Hlc>, now: UnixMillis) -> Freshness {
        match purged {
            // The hybrid clock may be ahead of the wall's.
            Some(since) => self.freshness.made_stale(since.millis().min(now)),
            None => self.freshness,
        }
    }

    /// The same response with other facts; it shares the content.
    pub(crate) fn with(&self, freshness: Freshness) -> Object {
        let content = match &self.content {
            Content::Whole(_) => Content::Elsewhere(Box::new(Place::Object(self.clone()))),
            Content::Elsewhere(place) => Content::Elsewhere(place.clone()),
        };
        self.draft(self.packed().into(), content, freshness, self.fetched).store()
    }

    /// The same response with other facts and fields, and with a copy of its content.
    pub(crate) fn freshened(&self, fields: Box<[u8]>, freshness: Freshness, fetched: Hlc) -> Draft {
        let content = match self.layout() {
            Some(layout) => Content::sliced(layout),
            None => Content::Whole(self.bytes().into()),
        };
        self.draft(fields, content, freshness, fetched)
    }

    fn draft(&self, fields: Box<[u8]>, content: Content, freshness: Freshness, fetched: Hlc) -> Draft {
        Draft {
            fields,
            content,
            freshness,
            fetched,
            content_id: self.content_id,
            labels: self.labels().collect(),
            status: self.status,
        }
    }
}

/// Keeps an object while its content is sent.
struct Sent(Object);

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Slice {
    /// Those bytes, of which the first is at `start` in the representation.
    pub(crate) fn new(start: u64, bytes: Bytes) -> Self {
        Slice { start, bytes, pins: Pins::default() }
    }

    /// The offset behind its last byte.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Where in its bytes is what it has of the representation from `at` on, up to `end`.
    pub(crate) fn range(&self, at: u64, end: u64) -> Option<Range<usize>> {
        if at < self.start || at >= self.end() {
            return None;
        }
        let until = end.min(self.end());
        Some((at - self.start) as usize..(until - self.start) as usize)
    }
}

/// The counts of a shared allocation: of `std`'s, and with a length beside one count, of a thin one.
const COUNTS_BYTES: usize = 2 * size_of::<usize>();

/// What shared `Bytes` keep beside them.
const SHARED_BYTES: usize = 3 * size_of::<usize>();

impl Stored {
    /// The content that is with it.
    pub(crate) fn content(&self) -> &[u8] {
        match self {
            Stored::Object(object) => object.bytes(),
            Stored::Slice(slice) => &slice.bytes,
            Stored::Varies(_) | Stored::Pass(_) => &[],
        }
    }

    /// Whether its content begins at that place of the representation.
    pub(crate) fn begins_at(&self, at: u64) -> bool {
        match self {
            Stored::Slice(slice) => slice.start == at,
            Stored::Object(_) | Stored::Varies(_) | Stored::Pass(_) => at == 0,
        }
    }

    /// Those who read that content; none if there can be none.
    pub(crate) fn pins(&self) -> Option<&Pins> {
        match self {
            Stored::Object(object) => Some(object.pins()),
            Stored::Slice(slice) => Some(&slice.pins),
            Stored::Varies(_) | Stored::Pass(_) => None,
        }
    }

    /// How many bytes of memory it takes, with what is needed to find it.
    pub(crate) fn cost(&self) -> u32 {
        let own = match self {
            Stored::Object(object) => object.allocated(),
            Stored::Slice(slice) => {
                let around = allocated(COUNTS_BYTES + size_of::<Slice>()) + allocated(SHARED_BYTES);
                around + allocated(slice.bytes.len())
            }
            Stored::Varies(names) => {
                allocated(COUNTS_BYTES + size_of::<VaryNames>())
                    + names.allocated_lens().map(allocated).sum::<usize>()
            }
            Stored::Pass(_) => 0,
        };
        u32::try_from(own + Shard::<Stored>::ENTRY_BYTES).unwrap_or(u32::MAX)
    }
}

impl Object {
    fn allocated(&self) -> usize {
        let content = self.layout().map_or(self.bytes().len(), |_| size_of::<Place>());
        allocated(COUNTS_BYTES + size_of::<Facts>() + self.0.slice.len()) + allocated(content)
    }
}

/// What the allocator takes for that many bytes: its sizes are a quarter of a power of two apart.
fn allocated(bytes: usize) -> usize {
    const SMALL_MAX: usize = 64;
    const SMALL_STEP: usize = 16;
    match bytes.checked_sub(1) {
        None => 0,
        Some(_) if bytes <= SMALL_MAX => bytes.next_multiple_of(SMALL_STEP),
        Some(below) => bytes.next_multiple_of(1 << (below.ilog2() - 2)),
    }
}

#[cfg(test)]
mod tests;
