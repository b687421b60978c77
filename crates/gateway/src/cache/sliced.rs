//! Content that lies in slices.

use super::Inner;
use super::keep::slice_key;
use super::object::{Layout, Stored};
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
}

impl SlicedBody {
    pub(crate) fn new(inner: Arc<Inner>, key: KeyHash, layout: Layout, span: Span) -> Self {
        SlicedBody {
            inner,
            key,
            layout,
            at: span.start(),
            end: span.end(),
            length: span.len(),
            reading: None,
        }
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
            && let Some(data) = slice.from(self.at, self.end)
        {
            return self.took(data);
        }
        Poll::Ready(Some(Err(BodyError::Gone("a slice of it was evicted"))))
    }

    fn length(&self) -> Option<u64> {
        Some(self.length)
    }
}
