//! Reads frames from a stream.

use super::frame::{FrameError, LENGTH_BYTES, head_length};
use bytes::{Bytes, BytesMut};
use selvedge_rt::LinkError;
use selvedge_rt::links::{Code, RecvStream};

/// How much is asked of the stream at once.
const READ_BYTES: usize = 64 << 10;

/// What goes wrong in reading a frame.
#[derive(Debug)]
pub(super) enum ReadError {
    Link(LinkError),
    Frame(FrameError),
}

impl From<FrameError> for ReadError {
    fn from(error: FrameError) -> Self {
        ReadError::Frame(error)
    }
}

/// The receiving end of a stream, and what of it was read too much.
pub(super) struct Reader {
    stream: RecvStream,
    rest: Bytes,
}

impl Reader {
    pub(super) fn new(stream: RecvStream) -> Self {
        Reader { stream, rest: Bytes::new() }
    }

    /// The bytes of the next head.
    pub(super) async fn head(&mut self) -> Result<Bytes, ReadError> {
        let length = self.exactly(LENGTH_BYTES).await?;
        let length = head_length(length.as_ref().try_into().map_err(|_| FrameError::Short)?)?;
        self.exactly(length).await
    }

    /// That many bytes, a length that was checked. They are kept as they come: a length alone takes no memory.
    pub(super) async fn exactly(&mut self, length: usize) -> Result<Bytes, ReadError> {
        if self.rest.len() >= length {
            return Ok(self.rest.split_to(length));
        }
        let mut all = BytesMut::from(std::mem::take(&mut self.rest).as_ref());
        while all.len() < length {
            let read = self.stream.read(READ_BYTES).await.map_err(ReadError::Link)?;
            all.extend_from_slice(&read.ok_or(FrameError::Short)?);
        }
        self.rest = all.split_off(length).freeze();
        Ok(all.freeze())
    }

    /// The next bytes, as many as there are and `max` at most; none at the end. Cancel-safe.
    pub(super) async fn part(&mut self, max: usize) -> Result<Option<Bytes>, LinkError> {
        if self.rest.is_empty() {
            return self.stream.read(max).await;
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(max))))
    }

    pub(super) fn stop(&mut self, code: Code) {
        self.stream.stop(code);
    }
}
