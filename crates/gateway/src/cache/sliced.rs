//! Content that lies in slices.

use super::Inner;
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

/// A span of a representation in slices.
pub(crate) struct SlicedBody {
    inner: Arc<Inner>,
    key: KeyHash,
    layout: Layout,
    at: u64,
    end: u64,
    length: u64,
    reading: Option<Read>,
    refetch: Option<Arc<Refetch>>,
}

impl SlicedBody {
    pub(crate) fn new(
        inner: Arc<Inner>,
        key: KeyHash,
        layout: Layout,
        span: Span,
        refetch: Option<Arc<Refetch>>,
    ) -> Self {
        let (at, end, length) = (span.start(), span.end(), span.len());
        SlicedBody { inner, key, layout, at, end, length, reading: None, refetch }
    }

    /// Reads the rest of a slice from disk, or from the origin if it is not there.
    fn read(&self, slice_key: KeyHash) -> Read {
        let (inner, refetch, layout) = (self.inner.clone(), self.refetch.clone(), self.layout);
        let slice_end = (self.at / layout.slice_bytes + 1).saturating_mul(layout.slice_bytes);
        let (from, wanted, end) = (self.at, self.end, slice_end.min(layout.length));
        Box::pin(async move {
            if let Some(at) = inner.on_disk(slice_key)
                && let Some(Stored::Slice(slice)) = inner.read_disk(slice_key, at).await
                && let Some(data) = slice.read(from, wanted)
            {
                return Ok(data);
            }
            let (Some(refetch), Some(span)) = (refetch, Span::new(from, end)) else {
                return Err(BodyError::Gone("a part of it was dropped"));
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

impl BodyStream for SlicedBody {
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
        let key = slice_key(self.key, self.layout.id, self.at / self.layout.slice_bytes);
        if let Some(Stored::Slice(slice)) = self.inner.memory.get(key)
            && let Some(data) = slice.read(self.at, self.end)
        {
            self.inner.note_hit(key, slice.bytes.len());
            return self.took(data);
        }
        self.reading = Some(self.read(key));
        self.poll_frame(cx)
    }

    fn length(&self) -> Option<u64> {
        Some(self.length)
    }
}
