//! The chunked transfer coding (RFC 9112 section 7.1), both ways.

use crate::body::BodyStep;
use crate::error::BodyError;
use crate::limits::Limits;
use selvedge_types::fields::{Section, is_token_byte, is_value_byte};
use selvedge_types::{FieldError, Fields, name};

/// Decodes the chunked coding, however its bytes are cut.
///
/// ```text
/// Size -> [ExtensionStart -> Extension ->] SizeLf -> Data -> DataCr -> DataLf -> Size
///                                          SizeLf -> Trailers -> Done     (after a chunk of size zero)
/// ```
#[derive(Debug, Clone)]
pub(crate) struct ChunkedDecoder {
    state: State,
    /// Bytes of the chunk still to come.
    left: u64,
    /// Digits of the size read so far.
    digits: u8,
    /// Extension bytes still allowed in this message.
    extension_budget: usize,
    trailer_bytes_max: usize,
    trailer_lines_max: usize,
    /// The trailer section as far as it came; stays empty without trailers.
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    /// White space after the size, then `;`.
    BeforeExtension,
    /// After `;`: white space, then a name.
    ExtensionStart,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Sixteen hexadecimal digits fill 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

impl ChunkedDecoder {
    pub(crate) fn new(limits: &Limits) -> Self {
        ChunkedDecoder {
            state: State::Size,
            left: 0,
            digits: 0,
            extension_budget: limits.chunk_extension_bytes_max,
            trailer_bytes_max: limits.trailer_bytes_max,
            trailer_lines_max: limits.trailer_lines_max,
            trailers: Vec::new(),
        }
    }

    pub(crate) fn step(&mut self, buf: &[u8]) -> Result<BodyStep, BodyError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Done => return Ok(BodyStep::End { consumed: at, trailers: None }),
                State::Trailers => return self.read_trailers(buf, at),
                State::Data => {
                    let there = buf.len() - at;
                    if there == 0 {
                        return Ok(BodyStep::NeedMore { consumed: at });
                    }
                    let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(there);
                    self.left -= len as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(BodyStep::Data { start: at, len });
                }
                _ => {
                    let Some(byte) = buf.get(at) else {
                        return Ok(BodyStep::NeedMore { consumed: at });
                    };
                    self.read_framing(*byte)?;
                    at += 1;
                }
            }
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes one byte of what stands between data.
    fn read_framing(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match (self.state, byte) {
            (State::Size, digit) if digit.is_ascii_hexdigit() => return self.push_digit(digit),
            (State::Size, _) if self.digits == 0 => return Err(BodyError::ChunkSize),
            (State::Size, b'\r') => State::SizeLf,
            (State::Size | State::BeforeExtension, b';') => State::ExtensionStart,
            (State::Size | State::BeforeExtension, b' ' | b'\t') => State::BeforeExtension,
            (State::Size | State::BeforeExtension, _) => return Err(BodyError::ChunkSize),
            (State::ExtensionStart, b' ' | b'\t') => State::ExtensionStart,
            (State::ExtensionStart, b) if is_token_byte(b) => State::Extension,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b) if is_value_byte(b) => State::Extension,
            (State::ExtensionStart | State::Extension, _) => return Err(BodyError::ChunkExtension),
            (State::SizeLf, b'\n') if self.left > 0 => State::Data,
            (State::SizeLf, b'\n') => State::Trailers,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.digits = 0;
                State::Size
            }
            _ => return Err(BodyError::ChunkEnd),
        };
        if matches!(self.state, State::BeforeExtension | State::ExtensionStart | State::Extension) {
            let left = self.extension_budget.checked_sub(1);
            self.extension_budget = left.ok_or(BodyError::ChunkExtensionTooLong)?;
        }
        Ok(())
    }

    fn push_digit(&mut self, digit: u8) -> Result<(), BodyError> {
        if self.digits == SIZE_DIGITS_MAX {
            return Err(BodyError::ChunkSize);
        }
        let value = (digit as char).to_digit(16).ok_or(BodyError::ChunkSize)?;
        self.digits += 1;
        self.left = self.left << 4 | u64::from(value);
        Ok(())
    }

    /// The trailer section is gathered until its empty line is there, then read as a whole.
    fn read_trailers(&mut self, buf: &[u8], at: usize) -> Result<BodyStep, BodyError> {
        let fresh = buf.get(at..).unwrap_or_default();
        if self.trailers.is_empty() && fresh.starts_with(b"\r\n") {
            self.state = State::Done;
            return Ok(BodyStep::End { consumed: at + 2, trailers: None });
        }
        for (i, byte) in fresh.iter().enumerate() {
            if self.trailers.len() >= self.trailer_bytes_max {
                return Err(BodyError::TrailerTooLarge);
            }
            self.trailers.push(*byte);
            if *byte != b'\n' {
                continue;
            }
            if self.trailers.len() == 2 || self.trailers.ends_with(b"\r\n\r\n") {
                self.state = State::Done;
                let trailers = parse_trailers(&self.trailers, self.trailer_lines_max)?;
                self.trailers = Vec::new();
                return Ok(BodyStep::End { consumed: at + i + 1, trailers });
            }
            if !self.trailers.ends_with(b"\r\n") {
                return Err(BodyError::Trailer(FieldError::Line));
            }
        }
        Ok(BodyStep::NeedMore { consumed: buf.len() })
    }
}

fn parse_trailers(wire: &[u8], lines_max: usize) -> Result<Option<Fields>, BodyError> {
    let (mut fields, section) = Fields::read_section(wire, lines_max).map_err(|error| match error {
        FieldError::TooMany | FieldError::TooLarge => BodyError::TrailerTooLarge,
        other => BodyError::Trailer(other),
    })?;
    if section != Section::Complete(wire.len()) {
        return Err(BodyError::Trailer(FieldError::Line));
    }
    drop_forbidden_trailers(&mut fields);
    Ok((!fields.is_empty()).then_some(fields))
}

/// Drops what may not stand in trailers: framing, routing, authentication, content format, controls
/// (RFC 9110 section 6.5.1).
pub fn drop_forbidden_trailers(fields: &mut Fields) {
    use name::*;
    for forbidden in [
        TRANSFER_ENCODING,
        CONTENT_LENGTH,
        HOST,
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        UPGRADE,
        TE,
        TRAILER,
        EXPECT,
        MAX_FORWARDS,
        CACHE_CONTROL,
        PRAGMA,
        RANGE,
        CONTENT_RANGE,
        CONTENT_TYPE,
        CONTENT_ENCODING,
        AUTHORIZATION,
        PROXY_AUTHORIZATION,
        WWW_AUTHENTICATE,
        PROXY_AUTHENTICATE,
        COOKIE,
        SET_COOKIE,
        AGE,
        DATE,
        EXPIRES,
        LOCATION,
        RETRY_AFTER,
        VARY,
    ] {
        fields.remove(forbidden);
    }
}

/// The line before a chunk's data. After the data comes CRLF, then the next chunk or the last.
#[derive(Debug, Clone, Copy)]
pub struct ChunkHead {
    text: [u8; 18],
    start: usize,
}

impl ChunkHead {
    /// The head of a chunk of `len` bytes. A chunk of zero bytes would end the content: write none.
    pub fn new(len: usize) -> ChunkHead {
        let mut text = *b"0000000000000000\r\n";
        let mut start = 16;
        let mut left = len as u64;
        while left > 0 && start > 0 {
            start -= 1;
            if let Some(place) = text.get_mut(start) {
                *place = b"0123456789abcdef"[(left & 15) as usize];
            }
            left >>= 4;
        }
        ChunkHead { text, start: start.min(15) }
    }

    /// The line's bytes, CRLF included.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(self.start..).unwrap_or_default()
    }
}

/// Appends the last chunk and the trailer section. Forbidden trailers (RFC 9110 section 6.5.1) are left out.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers.filter(|fields| !fields.is_empty()) {
        let mut allowed = trailers.clone();
        drop_forbidden_trailers(&mut allowed);
        allowed.write_wire(out);
    }
    out.extend_from_slice(b"\r\n");
}
