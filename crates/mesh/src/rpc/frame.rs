//! The bytes of calls. In a stream, each way:
//!
//! ```text
//!   length of the head (2 bytes, big endian) | head (CBOR) | message | body, until the stream ends
//! ```
//! Heads are CBOR with numbered fields (RFC 8949): a later version may add fields, which this one skips; the
//! first field is the format. A datagram is one CBOR array with its content as the last field.

use super::fault::{Fault, FaultKind};
use super::limits::{
    DATAGRAM_BYTES_MAX, FAULT_TEXT_BYTES_MAX, HEAD_BYTES_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX,
};
use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode};
use selvedge_types::Hlc;

/// The format of heads and datagrams.
pub const FORMAT: u16 = 1;
/// Bytes of a head's length.
pub const LENGTH_BYTES: usize = 2;

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A later version wrote it.
    #[error("a frame of format {0}, but this version knows {FORMAT}; upgrade this node")]
    Format(u16),
    /// A length is beyond its limit.
    #[error("a {what} of {bytes} bytes, more than {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// It ends too early.
    #[error("a frame that ends early")]
    Short,
    /// It is not what any version writes.
    #[error("not a frame: {0}")]
    Form(String),
}

/// What a question begins with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct QuestionHead {
    #[n(0)]
    format: u16,
    /// The sender's clock.
    #[n(1)]
    pub time: Hlc,
    /// Who is asked.
    #[n(2)]
    pub service: String,
    /// In which version of the service's messages.
    #[n(3)]
    pub version: u16,
    /// How long the asker will wait, in milliseconds.
    #[n(4)]
    pub deadline_ms: u32,
    /// How urgent it is: see [`super::Priority`].
    #[n(5)]
    pub priority: u8,
    /// The length of the message.
    #[n(6)]
    pub message_bytes: u32,
}

/// What an answer begins with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AnswerHead {
    #[n(0)]
    format: u16,
    /// The sender's clock.
    #[n(1)]
    pub time: Hlc,
    /// The length of the message.
    #[n(2)]
    pub message_bytes: u32,
    #[n(3)]
    fault: Option<FaultForm>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct FaultForm {
    #[n(0)]
    kind: u8,
    #[n(1)]
    text: String,
    #[n(2)]
    oldest: Option<u16>,
    #[n(3)]
    latest: Option<u16>,
}

/// A datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The sender's clock.
    pub time: Hlc,
    /// For whom it is.
    pub service: String,
    /// What it says.
    pub content: Bytes,
}

#[derive(Encode, Decode)]
struct DatagramForm<'a> {
    #[n(0)]
    format: u16,
    #[n(1)]
    time: Hlc,
    #[b(2)]
    service: &'a str,
    #[cbor(b(3), with = "minicbor::bytes")]
    content: &'a [u8],
}

impl QuestionHead {
    /// A head of the present format.
    pub fn new(time: Hlc, service: &str, version: u16) -> Self {
        let service = service.to_owned();
        QuestionHead { format: FORMAT, time, service, version, deadline_ms: 0, priority: 0, message_bytes: 0 }
    }

    /// The head and its length as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        check_name(&self.service)?;
        with_length(self)
    }

    /// Reads a head, without its length. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let head: Self = decode(bytes)?;
        check_name(&head.service)?;
        check_message(head.message_bytes)?;
        Ok(head)
    }
}

impl AnswerHead {
    /// The head of an answer with a message of that length, or of a fault.
    pub fn new(time: Hlc, outcome: Result<u32, &Fault>) -> Self {
        let (message_bytes, fault) = match outcome {
            Ok(bytes) => (bytes, None),
            Err(fault) => (0, Some(FaultForm::from(fault))),
        };
        AnswerHead { format: FORMAT, time, message_bytes, fault }
    }

    /// The head and its length as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        with_length(self)
    }

    /// Reads a head, without its length. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let head: Self = decode(bytes)?;
        check_message(head.message_bytes)?;
        Ok(head)
    }

    /// What went wrong, if anything.
    pub fn fault(&self) -> Option<Fault> {
        let FaultForm { kind, text, oldest, latest } = self.fault.clone()?;
        let versions = oldest.zip(latest).map(|(oldest, latest)| oldest..=latest);
        Some(Fault { kind: FaultKind::from_number(kind), text, versions })
    }
}

impl From<&Fault> for FaultForm {
    fn from(fault: &Fault) -> Self {
        let end = fault.text.floor_char_boundary(FAULT_TEXT_BYTES_MAX);
        let (oldest, latest) = fault.versions.clone().map(|v| v.into_inner()).unzip();
        FaultForm { kind: fault.kind.number(), text: fault.text[..end].to_owned(), oldest, latest }
    }
}

impl Datagram {
    /// The datagram as bytes.
    pub fn encode(&self) -> Result<Bytes, FrameError> {
        check_name(&self.service)?;
        limit("datagram", self.content.len(), DATAGRAM_BYTES_MAX)?;
        let form =
            DatagramForm { format: FORMAT, time: self.time, service: &self.service, content: &self.content };
        minicbor::to_vec(form).map(Bytes::from).map_err(form_error)
    }

    /// Reads a datagram. Never panics.
    pub fn decode(bytes: &Bytes) -> Result<Self, FrameError> {
        let form: DatagramForm<'_> = decode(bytes)?;
        check_name(form.service)?;
        limit("datagram", form.content.len(), DATAGRAM_BYTES_MAX)?;
        let content = bytes.slice_ref(form.content);
        Ok(Datagram { time: form.time, service: form.service.to_owned(), content })
    }
}

/// The length of the head that follows, if there can be such a head.
pub fn head_length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
    let length = usize::from(u16::from_be_bytes(bytes));
    limit("head", length, HEAD_BYTES_MAX).map(|()| length)
}

/// The first field is checked by itself: what another format has after it is its own.
fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, FrameError> {
    let mut first = Decoder::new(bytes);
    match first.array().and_then(|_| first.u16()).map_err(form_error)? {
        FORMAT => {}
        other => return Err(FrameError::Format(other)),
    }
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode().map_err(form_error)?;
    if decoder.position() == bytes.len() { Ok(value) } else { Err(form_error("it goes on after its end")) }
}

fn with_length<T: Encode<()>>(head: &T) -> Result<Vec<u8>, FrameError> {
    let encoded = minicbor::to_vec(head).map_err(form_error)?;
    limit("head", encoded.len(), HEAD_BYTES_MAX)?;
    let length = u16::try_from(encoded.len()).map_err(form_error)?;
    Ok([length.to_be_bytes().as_slice(), &encoded].concat())
}

fn check_name(name: &str) -> Result<(), FrameError> {
    limit("service's name", name.len(), NAME_BYTES_MAX)
}

fn check_message(bytes: u32) -> Result<(), FrameError> {
    limit("message", bytes as usize, MESSAGE_BYTES_MAX)
}

fn limit(what: &'static str, bytes: usize, max: usize) -> Result<(), FrameError> {
    if bytes > max { Err(FrameError::TooLarge { what, bytes, max }) } else { Ok(()) }
}

fn form_error(error: impl std::fmt::Display) -> FrameError {
    FrameError::Form(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults() -> impl Strategy<Value = Fault> {
        let versions = proptest::option::of((0..9u16).prop_map(|n| n..=n + 3));
        (0..12u8, ".{0,40}", versions).prop_map(|(kind, text, versions)| Fault {
            kind: FaultKind::from_number(kind),
            text,
            versions,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            time: u64, service in "[a-z]{1,24}", version: u16, deadline_ms: u32, priority: u8,
            message_bytes in 0..=MESSAGE_BYTES_MAX as u32, fault in faults(), content: Vec<u8>,
        ) {
            let time = Hlc::from_bits(time);
            let head = QuestionHead {
                deadline_ms, priority, message_bytes, ..QuestionHead::new(time, &service, version)
            };
            prop_assert_eq!(QuestionHead::decode(&head.encode().unwrap()[LENGTH_BYTES..]).unwrap(), head);
            for outcome in [Ok(message_bytes), Err(&fault)] {
                let head = AnswerHead::new(time, outcome);
                let bytes = head.encode().unwrap();
                prop_assert_eq!(head_length([bytes[0], bytes[1]]).unwrap() + LENGTH_BYTES, bytes.len());
                let read = AnswerHead::decode(&bytes[LENGTH_BYTES..]).unwrap();
                prop_assert_eq!(&read, &head);
                prop_assert_eq!(read.fault(), outcome.err().cloned());
            }
            let datagram = Datagram { time, service, content: content.into() };
            prop_assert_eq!(Datagram::decode(&datagram.encode().unwrap()).unwrap(), datagram);
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes: Vec<u8>) {
            let _ = (QuestionHead::decode(&bytes), AnswerHead::decode(&bytes), Datagram::decode(&bytes.into()));
        }

        #[test]
        fn a_changed_byte_never_makes_reading_panic(at in 0..40usize, bit in 0..8u32) {
            let mut bytes = QuestionHead::new(Hlc::from_bits(7), "service", 3).encode().unwrap();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
            let _ = QuestionHead::decode(&bytes[LENGTH_BYTES..]);
        }
    }

    #[test]
    fn the_largest_datagram_fits_a_link() {
        let content = Bytes::from(vec![0; DATAGRAM_BYTES_MAX]);
        let largest =
            Datagram { time: Hlc::from_bits(u64::MAX), service: "x".repeat(NAME_BYTES_MAX), content };
        assert!(largest.encode().unwrap().len() <= selvedge_rt::links::DATAGRAM_BYTES_MAX);
    }

    #[test]
    fn another_format_is_named_and_fields_of_a_later_version_are_skipped() {
        let other = minicbor::to_vec((2_u16, "anything")).unwrap();
        assert_eq!(QuestionHead::decode(&other), Err(FrameError::Format(2)));
        let mut later = minicbor::Encoder::new(Vec::new());
        later.array(8).unwrap().u16(1).unwrap().u64(5).unwrap().str("s").unwrap().u16(4).unwrap();
        later.u32(6).unwrap().u8(1).unwrap().u32(0).unwrap().str("new").unwrap();
        let read = QuestionHead::decode(&later.into_writer()).unwrap();
        assert_eq!((read.service.as_str(), read.version, read.deadline_ms), ("s", 4, 6));
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused_before_anything_is_kept() {
        assert!(matches!(head_length([0xff, 0xff]), Err(FrameError::TooLarge { what: "head", .. })));
        let head = QuestionHead { message_bytes: u32::MAX, ..QuestionHead::new(Hlc::ZERO, "s", 1) };
        let read = QuestionHead::decode(&head.encode().unwrap()[LENGTH_BYTES..]);
        assert!(matches!(read, Err(FrameError::TooLarge { what: "message", .. })));
    }
}
