//! Request heads (RFC 9112 sections 3, 5 and 6), as a server reads them.

use crate::authority::Authority;
use crate::error::RequestError;
use crate::framing::{BodyFraming, Codings, FramingFields};
use crate::head::{Progress, ScanError};
use crate::limits::Limits;
use crate::target::Target;
use selvedge_types::fields::{Section, is_token_byte};
use selvedge_types::{Fields, Method, Version};

/// A request head that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target, split.
    pub target: Target,
    /// HTTP/1.0 or HTTP/1.1; a higher minor version counts as 1.1 (RFC 9110 section 2.5).
    pub version: Version,
    /// All field lines, in order, none changed.
    pub fields: Fields,
    /// Who is asked: Host's value, equal to the target's authority where both are there. None in an HTTP/1.0
    /// request without either.
    pub authority: Option<Authority>,
    /// Where the content ends.
    pub framing: BodyFraming,
    /// Transfer codings applied below `chunked`, as a list. They are not decoded; a request that passes the
    /// content on names them again.
    pub inner_codings: Option<Box<str>>,
    /// Whether the client wants the connection kept (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Whether the client waits for 100 before it sends content (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
    /// Whether the client asks for another protocol (RFC 9110 section 7.8).
    pub upgrade: bool,
}

/// Reads a request head from the start of `buf`.
///
/// Returns the head and how many bytes it took, or None while it is incomplete: then call again with the same
/// `progress` and at least the same bytes. One empty line before the request line is skipped
/// (RFC 9112 section 2.2).
pub fn parse_request(
    buf: &[u8],
    progress: &mut Progress,
    limits: &Limits,
) -> Result<Option<(RequestHead, usize)>, RequestError> {
    let skipped = match buf {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let buf = buf.get(skipped..).unwrap_or_default();
    if progress.is_fresh()
        && let Some((head, used)) = read_head(buf, limits)?
    {
        return Ok(Some((head, used + skipped)));
    }
    if !progress.scan(buf, limits)? {
        return Ok(None);
    }
    let (head, used) = read_head(buf, limits)?.ok_or(RequestError::LineEnd)?;
    Ok(Some((head, used + skipped)))
}

impl From<ScanError> for RequestError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::LineEnd => RequestError::LineEnd,
            ScanError::StartLineTooLong => RequestError::TargetTooLong,
            ScanError::HeadTooLarge => RequestError::HeadTooLarge,
        }
    }
}

/// A whole head, or None if `buf` ends before it does.
fn read_head(buf: &[u8], limits: &Limits) -> Result<Option<(RequestHead, usize)>, RequestError> {
    let Some(line) = RequestLine::read(buf, limits)? else {
        return Ok(None);
    };
    let rest = buf.get(line.len..).unwrap_or_default();
    let (fields, section) = Fields::read_section(rest, limits.field_lines_max)?;
    let Section::Complete(section_len) = section else {
        return Ok(None);
    };
    let used = line.len + section_len;
    if used > limits.head_bytes_max {
        return Err(RequestError::HeadTooLarge);
    }
    let method = line.method;
    let target = Target::parse(&method, line.target)?;
    let found = FramingFields::gather(&fields);
    let authority = check_host(&found, &target, line.version)?;
    let (framing, inner_codings) = request_framing(&found, &fields, &method, line.version)?;
    let http11 = line.version == Version::Http11;
    let (keep_alive, upgrade) = (found.keeps_alive(http11), found.upgrades(http11));
    let expects_continue = found.expects_continue && http11 && framing != BodyFraming::Empty;
    let version = line.version;
    let head = RequestHead {
        method,
        target,
        version,
        fields,
        authority,
        framing,
        inner_codings,
        keep_alive,
        expects_continue,
        upgrade,
    };
    Ok(Some((head, used)))
}

/// `method SP request-target SP HTTP-version CRLF` (RFC 9112 section 3), with its length.
struct RequestLine<'a> {
    method: Method,
    target: &'a [u8],
    version: Version,
    len: usize,
}

/// The longest method taken; registered ones have at most 17 bytes.
const METHOD_BYTES_MAX: usize = 32;
/// `HTTP/1.1`
const VERSION_LEN: usize = 8;

impl<'a> RequestLine<'a> {
    fn read(buf: &'a [u8], limits: &Limits) -> Result<Option<Self>, RequestError> {
        let method_len = buf.iter().position(|b| !is_token_byte(*b)).unwrap_or(buf.len());
        if method_len > METHOD_BYTES_MAX {
            return Err(RequestError::Method);
        }
        let (method, rest) = buf.split_at(method_len);
        let rest = match rest {
            [] => return Ok(None),
            [b' ', rest @ ..] if method_len > 0 => rest,
            _ => return Err(RequestError::Method),
        };
        let target_len = rest.iter().position(|b| *b <= b' ').unwrap_or(rest.len());
        if target_len > limits.target_bytes_max {
            return Err(RequestError::TargetTooLong);
        }
        let (target, rest) = rest.split_at(target_len);
        let rest = match rest {
            [] => return Ok(None),
            [b' ', rest @ ..] if target_len > 0 => rest,
            _ => return Err(RequestError::RequestLine),
        };
        let Some(version) = read_version(rest)? else {
            return Ok(None);
        };
        let method = Method::parse(method).ok_or(RequestError::Method)?;
        let len = method_len + 1 + target_len + 1 + VERSION_LEN + 2;
        Ok(Some(RequestLine { method, target, version, len }))
    }
}

/// `HTTP/1.x CRLF` at the start of `rest`, or None if it is cut off.
fn read_version(rest: &[u8]) -> Result<Option<Version>, RequestError> {
    let Some((version, rest)) = rest.split_at_checked(VERSION_LEN) else {
        let is_begun = b"HTTP/".iter().zip(rest).all(|(a, b)| a == b);
        return if is_begun { Ok(None) } else { Err(RequestError::RequestLine) };
    };
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Version::Http11,
        [b'H', b'T', b'T', b'P', b'/', b'2'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(RequestError::Version);
        }
        _ => return Err(RequestError::RequestLine),
    };
    match rest {
        [b'\r', b'\n', ..] => Ok(Some(version)),
        [] | [b'\r'] => Ok(None),
        [b'\n', ..] => Err(RequestError::LineEnd),
        _ => Err(RequestError::RequestLine),
    }
}

/// Exactly one valid Host in HTTP/1.1, at most one in HTTP/1.0, and the same as an absolute target's
/// authority (RFC 9112 section 3.2).
fn check_host(
    found: &FramingFields<'_>,
    target: &Target,
    version: Version,
) -> Result<Option<Authority>, RequestError> {
    let host = match (found.hosts, found.host) {
        (1, Some(value)) => Authority::parse(value).ok_or(RequestError::Host)?,
        (0, _) if version == Version::Http10 => return Ok(target.authority.clone()),
        _ => return Err(RequestError::Host),
    };
    match &target.authority {
        Some(named) if !is_same_authority(named, &host, target) => Err(RequestError::Host),
        _ => Ok(Some(host)),
    }
}

/// Whether both name the same host and port, a missing port being the scheme's.
fn is_same_authority(a: &Authority, b: &Authority, target: &Target) -> bool {
    use crate::target::TargetForm;
    use selvedge_types::Scheme;
    let usual = match target.form {
        TargetForm::Absolute(Scheme::Http) => Some(80),
        TargetForm::Absolute(Scheme::Https) => Some(443),
        _ => None,
    };
    let port = |authority: &Authority| authority.port().or(usual);
    // Many clients leave CONNECT's port out of Host.
    let is_port_same = port(a) == port(b) || (target.form == TargetForm::Authority && b.port().is_none());
    a.host() == b.host() && is_port_same
}

/// RFC 9112 section 6.3, every doubtful case refused.
fn request_framing(
    found: &FramingFields<'_>,
    fields: &Fields,
    method: &Method,
    version: Version,
) -> Result<(BodyFraming, Option<Box<str>>), RequestError> {
    if found.look_alike {
        return Err(RequestError::LookAlike);
    }
    if found.has_coding && found.content_lengths > 0 {
        return Err(RequestError::LengthAndCoding);
    }
    let length = found.length().map_err(|()| RequestError::ContentLength)?;
    let (framing, inner) = match (found.has_coding, length) {
        (false, length) => (BodyFraming::of_length(length.unwrap_or(0)), None),
        (true, _) if version == Version::Http10 => return Err(RequestError::CodingInHttp10),
        (true, _) => match Codings::parse(fields) {
            Codings::Chunked { inner } => (BodyFraming::Chunked, inner),
            Codings::Unknown => return Err(RequestError::UnknownCoding),
            Codings::Malformed => return Err(RequestError::TransferEncoding),
        },
    };
    let takes_none = matches!(method, Method::Get | Method::Head | Method::Trace | Method::Connect);
    if takes_none && framing != BodyFraming::Empty {
        return Err(RequestError::UnexpectedContent);
    }
    Ok((framing, inner))
}
