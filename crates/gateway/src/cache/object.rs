//! What is stored: representations, their slices, and notes about keys.

use bytes::Bytes;
use selvedge_cache::semantics::{Freshness, VaryNames};
use selvedge_cache::stamps::ScopeHash;
use selvedge_types::{FieldError, Fields, Hlc, Status, UnixMillis};
use std::sync::Arc;

/// A value of the cache's index.
#[derive(Clone)]
pub(crate) enum Stored {
    /// A response.
    Object(Arc<Object>),
    /// The responses to this key differ by these request fields; each is under a key of its own.
    Varies(Arc<VaryNames>),
    /// Responses to this key were not storable: until then nobody waits for another's fetch.
    Pass(UnixMillis),
    /// A piece of a response kept in slices.
    Slice(Arc<Slice>),
}

/// A stored response. Never changed: freshening replaces it.
pub(crate) struct Object {
    /// Its fields, in wire form, without those that frame or that belong to one connection.
    pub(crate) fields: Box<[u8]>,
    /// Its content.
    pub(crate) content: Content,
    /// On what reuse is decided.
    pub(crate) freshness: Freshness,
    /// When it was fetched or validated (the beginning of that), to compare with purges.
    pub(crate) fetched: Hlc,
    /// Names its content: slices and codings of another content have another number.
    pub(crate) content_id: u64,
    /// Scopes of its tags and cache groups.
    pub(crate) labels: Box<[ScopeHash]>,
    /// Its status.
    pub(crate) status: Status,
}

/// The content of a stored response.
#[derive(Clone)]
pub(crate) enum Content {
    /// All of it.
    Whole(Bytes),
    /// In slices, some of which may be absent.
    Sliced(Layout),
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
}

/// What an entry takes beside its payload: index, policy, the structures above, and allocations' rounding,
/// as measured by the race's memory case.
const ENTRY_BYTES: usize = 280;

impl Object {
    /// The fields, to be changed and sent.
    pub(crate) fn fields(&self) -> Result<Fields, FieldError> {
        Fields::from_wire(&self.fields)
    }

    /// The length of the content.
    pub(crate) fn length(&self) -> u64 {
        match &self.content {
            Content::Whole(bytes) => bytes.len() as u64,
            Content::Sliced(layout) => layout.length,
        }
    }

    /// The facts at `now` if a soft purge covers it since then, or none.
    pub(crate) fn freshness_since(&self, purged: Option<Hlc>, now: UnixMillis) -> Freshness {
        match purged {
            // The hybrid clock may be ahead of the wall's.
            Some(since) => self.freshness.made_stale(since.millis().min(now)),
            None => self.freshness,
        }
    }

    /// The same response with other facts.
    pub(crate) fn with(&self, freshness: Freshness) -> Object {
        self.freshened(self.fields.clone(), freshness, self.fetched)
    }

    /// The same response with other facts and fields.
    pub(crate) fn freshened(&self, fields: Box<[u8]>, freshness: Freshness, fetched: Hlc) -> Object {
        Object {
            fields,
            content: self.content.clone(),
            freshness,
            fetched,
            content_id: self.content_id,
            labels: self.labels.clone(),
            status: self.status,
        }
    }
}

impl Slice {
    /// The offset behind its last byte.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// What it has of the representation from `at` on, up to `end`.
    pub(crate) fn read(&self, at: u64, end: u64) -> Option<Bytes> {
        if at < self.start || at >= self.end() {
            return None;
        }
        let until = end.min(self.end());
        Some(self.bytes.slice((at - self.start) as usize..(until - self.start) as usize))
    }
}

impl Stored {
    /// How many bytes of memory it takes, with what is needed to find it.
    pub(crate) fn cost(&self) -> u32 {
        let payload = match self {
            Stored::Object(object) => {
                let content = match &object.content {
                    Content::Whole(bytes) => bytes.len(),
                    Content::Sliced(_) => 0,
                };
                object.fields.len() + content + object.labels.len() * size_of::<ScopeHash>()
            }
            Stored::Slice(slice) => slice.bytes.len(),
            Stored::Varies(_) | Stored::Pass(_) => 0,
        };
        u32::try_from(payload + ENTRY_BYTES).unwrap_or(u32::MAX)
    }
}
