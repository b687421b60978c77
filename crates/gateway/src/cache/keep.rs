//! Turns content that arrives into stored objects: whole if it is small, in slices if it is large.

use super::Inner;
use super::fill::NewResponse;
use super::held::{Gathered, PIECE};
use super::memory::derived;
use super::object::{Content, Draft, Layout, Slice, Stored};
use bytes::Bytes;
use selvedge_cache::semantics::{Freshness, KeyHash, Vary};
use selvedge_cache::stamps::ScopeHash;
use selvedge_types::planted::{Bug, is_planted};
use selvedge_types::{Hlc, Status};
use std::sync::Arc;

/// The content is larger than may be stored.
#[derive(Debug)]
pub(crate) struct TooLarge;

/// Collects one response's content.
pub(crate) struct Keeper {
    inner: Arc<Inner>,
    primary: KeyHash,
    key: KeyHash,
    vary: Vary,
    status: Status,
    fields: Box<[u8]>,
    freshness: Freshness,
    labels: Box<[ScopeHash]>,
    started: Hlc,
    slice_bytes: u64,
    bytes_max: u64,
    /// The slice, or all of the content, that is being collected.
    current: Gathered,
    /// Where it begins.
    base: u64,
}

impl Keeper {
    pub(crate) fn new(
        inner: Arc<Inner>,
        primary: KeyHash,
        new: &NewResponse,
        labels: Box<[ScopeHash]>,
        started: Hlc,
    ) -> Self {
        let slice_bytes = new.rules.slice_bytes.max(1);
        let current = Gathered::new(&inner.held);
        Keeper {
            inner,
            primary,
            key: new.key,
            vary: new.vary.clone(),
            status: new.status,
            fields: new.fields.pack(),
            freshness: new.freshness,
            labels,
            started,
            slice_bytes,
            bytes_max: new.rules.object_bytes_max,
            current,
            base: 0,
        }
    }

    /// Takes content; says up to which offset it can be read back as slices.
    pub(crate) fn push(&mut self, mut data: Bytes) -> Result<u64, TooLarge> {
        if self.base + (self.current.len() + data.len()) as u64 > self.bytes_max {
            return Err(TooLarge);
        }
        while !data.is_empty() {
            if self.current.len() as u64 == self.slice_bytes {
                self.store_slice();
            }
            let room = usize::try_from(self.slice_bytes).unwrap_or(usize::MAX) - self.current.len();
            self.current.push(data.split_to(room.min(data.len())));
        }
        Ok(self.base)
    }

    /// Whether it has collected more than a piece while memory is scarce.
    pub(crate) fn is_burden(&self) -> bool {
        self.current.len() as u64 > PIECE && self.inner.held.is_scarce()
    }

    /// The content is complete: stores it, unless a purge came since its fetch began.
    pub(crate) fn finish(mut self) {
        let content = if self.base == 0 {
            Content::Whole(self.current.take())
        } else {
            let layout = Layout {
                id: self.started.to_bits(),
                length: self.base + self.current.len() as u64,
                slice_bytes: self.slice_bytes,
            };
            if self.current.len() > 0 {
                self.store_slice();
            }
            Content::sliced(layout)
        };
        let draft = Draft {
            fields: self.fields,
            content,
            freshness: self.freshness,
            fetched: self.started,
            content_id: self.started.to_bits(),
            labels: self.labels,
            status: self.status,
        };
        if let Vary::On(names) = self.vary {
            self.inner.put(self.primary, Stored::Varies(Arc::new(names)));
        }
        self.inner.put(self.key, Stored::Object(draft.store()));
    }

    fn store_slice(&mut self) {
        let slice = Slice::new(self.base, self.current.take().into());
        let key = slice_key(self.key, self.started.to_bits(), self.base / self.slice_bytes);
        self.base = slice.end();
        self.inner.put(key, Stored::Slice(Arc::new(slice)));
    }
}

/// The key of a slice of the representation `id` under `key`. The slices of one representation lie in all shards:
/// it may be larger than one of them.
pub(crate) fn slice_key(key: KeyHash, id: u64, index: u64) -> KeyHash {
    let id = if is_planted(Bug::SlicesMixed) { 0 } else { id };
    let salt = spread(id ^ spread(index + 1));
    let mut bytes = derived(key, salt).to_bytes();
    bytes[8..].copy_from_slice(&(key.high() ^ spread(salt)).to_le_bytes());
    KeyHash::from_bytes(bytes)
}

/// Under which key those fetch who bring credentials: they wait for each other and for nobody else, and that what they
/// get is not shared is noted there.
pub(crate) fn key_with_credentials(key: KeyHash) -> KeyHash {
    derived(key, spread(u64::MAX))
}

/// Mixes bits so that small differences change them all (the finalizer of splitmix64, Steele et al., 2014).
pub(crate) fn spread(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
