//! What comes after a message: bytes as they arrive.

use super::limits::STALL_MAX;
use super::reader::Reader;
use bytes::Bytes;
use selvedge_rt::LinkError;
use selvedge_rt::links::Code;
use tokio::sync::OwnedSemaphorePermit;

/// The most bytes of a part.
const PART_BYTES_MAX: usize = 256 << 10;

/// A body that arrives. One that is dropped before its end tells the sender to stop.
pub struct Body {
    reader: Reader,
    offset: u64,
    /// Its place among the calls under way, given back when it is dropped.
    _place: Option<OwnedSemaphorePermit>,
}

impl Body {
    pub(super) fn new(reader: Reader, place: Option<OwnedSemaphorePermit>) -> Self {
        Body { reader, offset: 0, _place: place }
    }

    /// The next part; none at the end. One that stands still for [`STALL_MAX`] counts as lost. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        let part = tokio::time::timeout(STALL_MAX, self.reader.part(PART_BYTES_MAX)).await;
        let part = part.unwrap_or(Err(LinkError::Lost))?;
        self.offset += part.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(part)
    }

    /// How many bytes of it have been given out.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// All of it, `max` bytes at most.
    pub async fn all(&mut self, max: usize) -> Result<Bytes, LinkError> {
        let mut all = Vec::new();
        while let Some(part) = self.next().await? {
            if all.len() + part.len() > max {
                self.reader.stop(Code::OVERLOADED);
                return Err(LinkError::Stopped(Code::OVERLOADED));
            }
            all.extend_from_slice(&part);
        }
        Ok(all.into())
    }
}
