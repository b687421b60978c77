//! The bytes of entries and answers: CBOR with numbered fields (RFC 8949).
//!
//! A number is never used again. A later version may add fields, which this one skips; a command that it
//! does not know is an error, never a guess.

use crate::answer::{Answer, Refusal};
use crate::command::{Call, Command, Entry};
use minicbor::{Decode, Decoder, Encode};
use selvedge_types::Hlc;

/// The format of entries and rows.
pub const FORMAT: u16 = 1;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A later version wrote them.
    #[error("written in format {0}, but this version knows {FORMAT}; run a newer version")]
    Format(u16),
    /// They are not what any version writes.
    #[error("not CBOR of a known form: {0}; restore from a backup or a peer")]
    Form(String),
}

#[derive(Encode, Decode)]
struct EntryForm {
    #[n(0)]
    format: u16,
    #[n(1)]
    time: Hlc,
    #[n(2)]
    call: Option<Call>,
    #[n(3)]
    command: Command,
}

impl Entry {
    /// The entry as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Entry { time, call, command } = self.clone();
        to_bytes(&EntryForm { format: FORMAT, time, call, command })
    }

    /// Reads an entry. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        check_format(bytes)?;
        let EntryForm { time, call, command, .. } = from_bytes(bytes)?;
        Ok(Entry { time, call, command })
    }
}

/// The bytes of what a command answered.
pub fn encode_answer(answer: &Result<Answer, Refusal>) -> Vec<u8> {
    to_bytes(answer)
}

/// Reads what a command answered. Never panics.
pub fn decode_answer(bytes: &[u8]) -> Result<Result<Answer, Refusal>, CodecError> {
    from_bytes(bytes)
}

/// Checks the format, which is the first field whatever the rest is.
pub(crate) fn check_format(bytes: &[u8]) -> Result<(), CodecError> {
    let mut decoder = Decoder::new(bytes);
    let format = decoder.array().and_then(|_| decoder.u16());
    match format.map_err(form)? {
        FORMAT => Ok(()),
        other => Err(CodecError::Format(other)),
    }
}

pub(crate) fn to_bytes<T: Encode<()>>(value: &T) -> Vec<u8> {
    // Writing to memory cannot fail, and no type here refuses to be encoded.
    minicbor::to_vec(value).expect("encoding into memory")
}

pub(crate) fn from_bytes<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, CodecError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode().map_err(form)?;
    if decoder.position() == bytes.len() { Ok(value) } else { Err(form("more bytes than one value has")) }
}

pub(crate) fn form(error: impl std::fmt::Display) -> CodecError {
    CodecError::Form(error.to_string())
}

/// Values with a text form, as text.
pub(crate) mod text {
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};
    use selvedge_types::resource::Text;

    pub(crate) fn encode<T: Text, C, W: Write>(
        value: &T,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.str(&value.to_string())?.ok()
    }

    pub(crate) fn decode<T: Text, C>(d: &mut Decoder<'_>, _: &mut C) -> Result<T, DecodeError> {
        T::parse_text(d.str()?).map_err(DecodeError::message)
    }
}
