//! Content that is still on its way, for one of those who read it.

use super::Inner;
use super::fill::Answer;
use super::flight::{Next, Reader};
use super::object::Layout;
use super::parts::Refetch;
use super::sliced::SlicedBody;
use selvedge_cache::semantics::{KeyHash, Span};
use selvedge_exchange::{BodyError, BodyStream, Frame};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Follows a flight. What the flight has forgotten, because others were faster, comes from the slices that were
/// stored meanwhile: from memory, from disk, or from the origin by range.
pub(crate) struct Following {
    reader: Reader<Answer>,
    length: Option<u64>,
    /// Where the slices are, if the content is kept.
    stored: Option<(Arc<Inner>, KeyHash, Layout)>,
    refetch: Option<Arc<Refetch>>,
    /// Reads up to where the flight goes on.
    behind: Option<SlicedBody>,
}

impl Following {
    pub(crate) fn new(
        reader: Reader<Answer>,
        length: Option<u64>,
        stored: Option<(Arc<Inner>, KeyHash, Layout)>,
        refetch: Option<Arc<Refetch>>,
    ) -> Self {
        Following { reader, length, stored, refetch, behind: None }
    }

    /// The content from the reader's place to `until`, from what is stored.
    fn catch_up(&self, until: u64) -> Option<SlicedBody> {
        let (inner, key, layout) = self.stored.as_ref()?;
        let span = Span::new(self.reader.offset(), until)?;
        Some(SlicedBody::new(inner.clone(), *key, *layout, span, self.refetch.clone()))
    }
}

impl BodyStream for Following {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        loop {
            if let Some(behind) = &mut self.behind {
                match ready!(behind.poll_frame(cx)) {
                    Some(Ok(Frame::Data(data))) => {
                        self.reader.skip_to(self.reader.offset() + data.len() as u64);
                        return Poll::Ready(Some(Ok(Frame::Data(data))));
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(Frame::Trailers(_))) | None => self.behind = None,
                }
            }
            return Poll::Ready(match ready!(self.reader.poll_next(cx)) {
                Next::Data(data) => Some(Ok(Frame::Data(data))),
                Next::End(None) => None,
                Next::End(Some(trailers)) => Some(Ok(Frame::Trailers(trailers))),
                Next::Failed(error) => Some(Err(error)),
                Next::Forgotten { until } => {
                    self.behind = self.catch_up(until);
                    if self.behind.is_some() {
                        continue;
                    }
                    Some(Err(BodyError::Gone("this reader fell too far behind")))
                }
            });
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}
