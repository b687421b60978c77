//! Response heads (RFC 9112 sections 4, 5 and 6), as a client reads them.

use crate::error::ResponseError;
use crate::framing::{BodyFraming, Codings, FramingFields};
use crate::head::{Progress, ScanError};
use crate::limits::Limits;
use selvedge_types::fields::{Section, is_value_byte};
use selvedge_types::{Fields, Method, Status, Version};

/// A response head that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status. Interim ones (1xx) come before the final response.
    pub status: Status,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// All field lines, in order, none changed.
    pub fields: Fields,
    /// Where the content ends.
    pub framing: BodyFraming,
    /// Whether the connection can be used again after the content.
    pub keep_alive: bool,
    /// Whether the connection changes protocol after this head: 101 to an upgrade, or 2xx to CONNECT.
    pub switches: bool,
}

/// Reads the head of a response to a request with `method` from the start of `buf`.
///
/// Returns the head and how many bytes it took, or None while it is incomplete: then call again with the same
/// `progress` and at least the same bytes.
pub fn parse_response(
    buf: &[u8],
    progress: &mut Progress,
    method: &Method,
    limits: &Limits,
) -> Result<Option<(ResponseHead, usize)>, ResponseError> {
    if progress.is_fresh()
        && let Some(done) = read_head(buf, method, limits)?
    {
        return Ok(Some(done));
    }
    if !progress.scan(buf, limits)? {
        return Ok(None);
    }
    read_head(buf, method, limits)?.ok_or(ResponseError::LineEnd).map(Some)
}

impl From<ScanError> for ResponseError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::LineEnd => ResponseError::LineEnd,
            ScanError::StartLineTooLong | ScanError::HeadTooLarge => ResponseError::HeadTooLarge,
        }
    }
}

/// A whole head, or None if `buf` ends before it does.
fn read_head(
    buf: &[u8],
    method: &Method,
    limits: &Limits,
) -> Result<Option<(ResponseHead, usize)>, ResponseError> {
    let Some(line) = StatusLine::read(buf)? else {
        return Ok(None);
    };
    let rest = buf.get(line.len..).unwrap_or_default();
    let (fields, section) = Fields::read_section(rest, limits.field_lines_max)?;
    let Section::Complete(section_len) = section else {
        return Ok(None);
    };
    let used = line.len + section_len;
    if used > limits.head_bytes_max {
        return Err(ResponseError::HeadTooLarge);
    }
    let (status, version) = (line.status, line.version);
    let found = FramingFields::gather(&fields);
    let http11 = version == Version::Http11;
    let framing = response_framing(&found, &fields, method, status, version)?;
    let keep_alive = found.keeps_alive(http11) && framing != BodyFraming::UntilClose;
    let switches = status.code() == 101 || is_tunnel(method, status);
    Ok(Some((ResponseHead { status, version, fields, framing, keep_alive, switches }, used)))
}

fn is_tunnel(method: &Method, status: Status) -> bool {
    *method == Method::Connect && status.is_success()
}

/// RFC 9112 section 6.3, every doubtful case refused.
fn response_framing(
    found: &FramingFields<'_>,
    fields: &Fields,
    method: &Method,
    status: Status,
    version: Version,
) -> Result<BodyFraming, ResponseError> {
    if found.look_alike {
        return Err(ResponseError::LookAlike);
    }
    if found.has_coding && found.content_lengths > 0 {
        return Err(ResponseError::LengthAndCoding);
    }
    let length = found.length().map_err(|()| ResponseError::ContentLength)?;
    let is_plain_chunked =
        || version == Version::Http11 && Codings::parse(fields) == Codings::Chunked { inner: None };
    if found.has_coding && !is_plain_chunked() {
        return Err(ResponseError::TransferEncoding);
    }
    if *method == Method::Head || status.has_no_content() || is_tunnel(method, status) {
        return Ok(BodyFraming::Empty);
    }
    Ok(match (found.has_coding, length) {
        (true, _) => BodyFraming::Chunked,
        (false, Some(length)) => BodyFraming::of_length(length),
        (false, None) => BodyFraming::UntilClose,
    })
}

/// `HTTP-version SP status-code [ SP reason-phrase ] CRLF` (RFC 9112 section 4), with its length.
struct StatusLine {
    status: Status,
    version: Version,
    len: usize,
}

/// `HTTP/1.1 200`
const STATUS_END: usize = 12;

impl StatusLine {
    fn read(buf: &[u8]) -> Result<Option<StatusLine>, ResponseError> {
        let Some((start, rest)) = buf.split_first_chunk::<STATUS_END>() else {
            let is_begun = b"HTTP/1.".iter().zip(buf).all(|(a, b)| a == b);
            return if is_begun { Ok(None) } else { Err(ResponseError::StatusLine) };
        };
        let (version, code) = match start {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b' ', code @ ..] => (Version::Http10, code),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9', b' ', code @ ..] => {
                (Version::Http11, code)
            }
            _ => return Err(ResponseError::StatusLine),
        };
        let status = parse_status(code).ok_or(ResponseError::StatusLine)?;
        // The space before an empty reason is often left out; nothing depends on it.
        if !matches!(rest, [] | [b' ' | b'\r' | b'\n', ..]) {
            return Err(ResponseError::StatusLine);
        }
        let reason_len = rest.iter().position(|b| !is_value_byte(*b)).unwrap_or(rest.len());
        match rest.get(reason_len..).unwrap_or_default() {
            [b'\r', b'\n', ..] => Ok(Some(StatusLine { status, version, len: STATUS_END + reason_len + 2 })),
            [] | [b'\r'] => Ok(None),
            [b'\n', ..] => Err(ResponseError::LineEnd),
            _ => Err(ResponseError::StatusLine),
        }
    }
}

fn parse_status(code: &[u8]) -> Option<Status> {
    let digit = |b: &u8| b.is_ascii_digit().then(|| u16::from(b - b'0'));
    match code {
        [a, b, c] => Status::new(digit(a)? * 100 + digit(b)? * 10 + digit(c)?),
        _ => None,
    }
}
