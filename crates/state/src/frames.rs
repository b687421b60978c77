//! Messages one after the other in a body: each after its length in 4 bytes, big endian.

use bytes::{Buf, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use selvedge_mesh::rpc::Body;
use selvedge_mesh::rpc::limits::MESSAGE_BYTES_MAX;
use selvedge_rt::links::LinkError;

/// The most bytes of a message: an object alone may be as large as a message of a call.
const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + (1 << 20);

/// Bytes of a message's length.
const LENGTH_BYTES: usize = 4;

/// Why there is no next message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("it sends a message of {0} bytes, which is too large")]
    TooLarge(usize),
    #[error("it sends what this version does not know: {0}")]
    Form(String),
}

/// A message as bytes.
pub(crate) fn encode<T: Encode<()>>(message: &T) -> Bytes {
    let mut bytes = vec![0; LENGTH_BYTES];
    // Writing to memory does not fail, and no form refuses to be written.
    let _ = minicbor::encode(message, &mut bytes);
    let length = u32::try_from(bytes.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
    if let Some(head) = bytes.first_chunk_mut::<LENGTH_BYTES>() {
        *head = length.to_be_bytes();
    }
    bytes.into()
}

/// Takes the first message out of what has come, if it is whole. Never panics.
pub(crate) fn take<T: for<'b> Decode<'b, ()>>(come: &mut BytesMut) -> Result<Option<T>, FrameError> {
    let Some(length) = come.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    if come.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    come.advance(LENGTH_BYTES);
    let frame = come.split_to(length);
    minicbor::decode(&frame).map(Some).map_err(|error| FrameError::Form(error.to_string()))
}

/// A body, message by message.
pub(crate) struct Frames {
    body: Body,
    come: BytesMut,
}

impl Frames {
    /// What comes in `body`.
    pub(crate) fn new(body: Body) -> Self {
        Frames { body, come: BytesMut::new() }
    }

    /// The next message; none at the end. Cancel-safe.
    pub(crate) async fn next<T: for<'b> Decode<'b, ()>>(&mut self) -> Result<Option<T>, FrameError> {
        loop {
            if let Some(message) = take(&mut self.come)? {
                return Ok(Some(message));
            }
            match self.body.next().await? {
                Some(bytes) => self.come.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_wherever_the_bytes_are_cut() {
        let messages: [(u8, String); 2] = [(1, "a".to_owned()), (2, String::new())];
        let bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message).to_vec()).collect();
        for cut in 0..bytes.len() {
            let (mut come, mut found) = (BytesMut::new(), Vec::new());
            for part in [&bytes[..cut], &bytes[cut..]] {
                come.extend_from_slice(part);
                while let Some(message) = take::<(u8, String)>(&mut come).unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, messages);
        }
        assert!(take::<(u8, String)>(&mut BytesMut::from(&[0xff; 9][..])).is_err());
    }
}
