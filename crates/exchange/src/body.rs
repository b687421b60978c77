//! Message content, whole or streaming.

use bytes::Bytes;
use selvedge_types::Fields;
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// A piece of content.
#[derive(Debug)]
pub enum Frame {
    /// Bytes; never empty.
    Data(Bytes),
    /// The trailer section; the last frame.
    Trailers(Fields),
}

/// Why content ended before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The sender closed or reset before the end.
    #[error("the sender went away before the end of the content")]
    Incomplete,
    /// The sender broke the framing.
    #[error("content framing is malformed: {0}")]
    Malformed(&'static str),
    /// The content is larger than is allowed.
    #[error("content is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Nothing came for too long.
    #[error("no content came within the time allowed")]
    TimedOut,
    /// What was being read was changed or dropped meanwhile.
    #[error("the content is no longer available: {0}")]
    Gone(&'static str),
}

/// Content that comes as it is asked for.
pub trait BodyStream: Send {
    /// The next frame; `None` after the last. Must not be called again after `None` or an error.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>>;

    /// The whole length in bytes, if known before the first frame; the stream then yields just as many.
    fn length(&self) -> Option<u64>;
}

/// A message's content.
#[derive(Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// All of it.
    Full(Bytes),
    /// As it comes.
    Stream(Box<dyn BodyStream>),
}

impl Body {
    /// The length in bytes if it is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Full(bytes) => Some(bytes.len() as u64),
            Body::Stream(stream) => stream.length(),
        }
    }

    /// The next frame. Cancel-safe.
    pub async fn frame(&mut self) -> Option<Result<Frame, BodyError>> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// As [`BodyStream::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match self {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Body::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(Frame::Data(bytes))))
            }
            Body::Stream(stream) => stream.poll_frame(cx),
        }
    }

    /// All the content, `limit` bytes at most; trailers are dropped.
    pub async fn collect(mut self, limit: u64) -> Result<Bytes, BodyError> {
        if let Body::Full(bytes) = self {
            return if bytes.len() as u64 > limit { Err(BodyError::TooLarge { limit }) } else { Ok(bytes) };
        }
        let mut all = Vec::new();
        while let Some(frame) = self.frame().await {
            if let Frame::Data(data) = frame? {
                if (all.len() + data.len()) as u64 > limit {
                    return Err(BodyError::TooLarge { limit });
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(all.into())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Body::Empty } else { Body::Full(bytes) }
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Empty => f.write_str("Empty"),
            Body::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Body::Stream(stream) => write!(f, "Stream({:?})", stream.length()),
        }
    }
}
