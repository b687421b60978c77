//! Content as it comes over a connection, whatever frames it.

use crate::chunked::ChunkedDecoder;
use crate::error::BodyError;
use crate::framing::BodyFraming;
use crate::limits::Limits;
use selvedge_types::Fields;

/// What the next bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyStep {
    /// All bytes given, or those counted, were framing; more are needed. `consumed` may be zero.
    NeedMore {
        /// Bytes to drop from the front.
        consumed: usize,
    },
    /// `len` bytes of content, after `start` bytes of framing. Drop `start + len` from the front.
    Data {
        /// Where the content starts.
        start: usize,
        /// How long it is; not zero.
        len: usize,
    },
    /// The content is complete. What follows belongs to the next message.
    End {
        /// Bytes to drop from the front.
        consumed: usize,
        /// Trailers, those that may not stand there dropped (RFC 9110 section 6.5).
        trailers: Option<Fields>,
    },
}

/// Finds content among the bytes that follow a head. Nothing is copied.
#[derive(Debug, Clone)]
pub struct BodyDecoder(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose { closed: bool },
}

impl BodyDecoder {
    /// A decoder for the content that `framing` describes.
    pub fn new(framing: BodyFraming, limits: &Limits) -> BodyDecoder {
        BodyDecoder(match framing {
            BodyFraming::Empty => Kind::Length(0),
            BodyFraming::Length(bytes) => Kind::Length(bytes),
            BodyFraming::Chunked => Kind::Chunked(Box::new(ChunkedDecoder::new(limits))),
            BodyFraming::UntilClose => Kind::UntilClose { closed: false },
        })
    }

    /// Says what stands at the front of `buf`, the bytes of the connection not yet consumed.
    pub fn step(&mut self, buf: &[u8]) -> Result<BodyStep, BodyError> {
        match &mut self.0 {
            Kind::Length(0) => Ok(BodyStep::End { consumed: 0, trailers: None }),
            Kind::Length(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                *left -= len as u64;
                Ok(data_or_more(len))
            }
            Kind::Chunked(decoder) => decoder.step(buf),
            Kind::UntilClose { closed: true } => Ok(BodyStep::End { consumed: 0, trailers: None }),
            Kind::UntilClose { closed: false } => Ok(data_or_more(buf.len())),
        }
    }

    /// The connection ended; whether the content did too. An early end is never a complete message
    /// (RFC 9112 section 8).
    pub fn handle_close(&mut self) -> Result<(), BodyError> {
        match &mut self.0 {
            Kind::UntilClose { closed } => {
                *closed = true;
                Ok(())
            }
            Kind::Length(0) => Ok(()),
            Kind::Length(_) => Err(BodyError::Truncated),
            Kind::Chunked(decoder) if decoder.is_done() => Ok(()),
            Kind::Chunked(_) => Err(BodyError::Truncated),
        }
    }

    /// How many bytes of content are still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.0 {
            Kind::Length(left) => Some(left),
            _ => None,
        }
    }
}

fn data_or_more(len: usize) -> BodyStep {
    if len == 0 { BodyStep::NeedMore { consumed: 0 } } else { BodyStep::Data { start: 0, len } }
}
