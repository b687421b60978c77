//! Content that is read from where it is stored as it is sent: what lies in slices, and what is large while memory is
//! scarce.

use super::Inner;
use super::held::{Hold, PIECE};
use super::keep::slice_key;
use super::object::{Layout, Stored};
use super::parts::Refetch;
use bytes::Bytes;
use selvedge_cache::semantics::{KeyHash, Span};
use selvedge_exchange::{Body, BodyError, BodyStream, Frame};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

type Read = Pin<Box<dyn Future<Output = Result<Bytes, BodyError>> + Send>>;

/// Where content is.
#[derive(Clone, Copy)]
pub(crate) enum Lies {
    /// In slices.
    Sliced(Layout),
    /// In one piece, under the representation's own key; that is its number.
    Whole(u64),
}

/// A span of stored content.
pub(crate) struct StoredBody {
    inner: Arc<Inner>,
    key: KeyHash,
    lies: Lies,
    at: u64,
    end: u64,
    length: u64,
    reading: Option<Read>,
    refetch: Option<Arc<Refetch>>,
    _place: Option<Hold>,
}

impl StoredBody {
    /// The content in `span`. What is not stored any more is fetched, if `refetch` says how; else it breaks off.
    pub(crate) fn new(
        inner: Arc<Inner>,
        key: KeyHash,
        lies: Lies,
        span: Span,
        refetch: Option<Arc<Refetch>>,
        place: Option<Hold>,
    ) -> Self {
        let (at, end, length) = (span.start(), span.end(), span.len());
        StoredBody { inner, key, lies, at, end, length, reading: None, refetch, _place: place }
    }

    /// Where it stands.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Under which key its next bytes are.
    fn key_here(&self) -> KeyHash {
        match self.lies {
            Lies::Sliced(layout) => slice_key(self.key, layout.id, self.at / layout.slice_bytes),
            Lies::Whole(_) => self.key,
        }
    }

    /// Reads what comes next from disk, or from the origin if it is not there.
    fn read(&self, key: KeyHash) -> Read {
        let (inner, lies, refetch) = (self.inner.clone(), self.lies, self.refetch.clone());
        let (from, wanted) = (self.at, self.end);
        Box::pin(async move {
            if let Some(at) = inner.on_disk(key)
                && let Some(stored) = inner.read_disk(key, at).await
                && let Some(data) = inner.part_of(stored, lies, from, wanted)
            {
                return Ok(data);
            }
            let (Some(refetch), Lies::Sliced(layout)) = (refetch, lies) else {
                return Err(BodyError::Gone("a part of it was dropped"));
            };
            let slice_end = (from / layout.slice_bytes + 1).saturating_mul(layout.slice_bytes);
            let most = if inner.held.is_scarce() { from.saturating_add(PIECE) } else { u64::MAX };
            let Some(span) = Span::new(from, slice_end.min(layout.length).min(most)) else {
                return Err(BodyError::Incomplete);
            };
            let data = inner.fetch_span(&refetch, span).await.map_err(BodyError::from)?;
            let wanted = usize::try_from(wanted - from).unwrap_or(usize::MAX).min(data.len());
            if wanted == 0 { Err(BodyError::Incomplete) } else { Ok(data.slice(..wanted)) }
        })
    }

    pub(crate) fn into_body(self) -> Body {
        Body::Stream(Box::new(self))
    }

    fn took(&mut self, data: Bytes) -> Poll<Option<Result<Frame, BodyError>>> {
        self.at += data.len() as u64;
        Poll::Ready(Some(Ok(Frame::Data(data))))
    }
}

impl BodyStream for StoredBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if self.at >= self.end {
            return Poll::Ready(None);
        }
        if let Some(reading) = &mut self.reading {
            let read = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            return match read {
                Ok(data) => self.took(data),
                Err(error) => Poll::Ready(Some(Err(error))),
            };
        }
        let key = self.key_here();
        if let Some(stored) = self.inner.memory.get(key) {
            let (begins, bytes) = (stored.begins_at(self.at), stored.content().len());
            if let Some(data) = self.inner.part_of(stored, self.lies, self.at, self.end) {
                if begins {
                    self.inner.note_hit(key, bytes);
                }
                return self.took(data);
            }
        }
        self.reading = Some(self.read(key));
        self.poll_frame(cx)
    }

    fn length(&self) -> Option<u64> {
        Some(self.length)
    }
}

impl Inner {
    /// What something stored has, from `at` on and up to `end`, of the content that lies as said.
    fn part_of(&self, stored: Stored, lies: Lies, at: u64, end: u64) -> Option<Bytes> {
        let range = match (&stored, lies) {
            (Stored::Slice(slice), _) => slice.range(at, end)?,
            (Stored::Object(object), Lies::Whole(id)) if object.content_id == id => {
                let length = stored.content().len();
                let end = usize::try_from(end).unwrap_or(length).min(length);
                let at = usize::try_from(at).ok().filter(|at| *at < end)?;
                at..end
            }
            _ => return None,
        };
        Some(self.held.read(stored, range))
    }
}
