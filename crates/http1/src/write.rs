//! Heads as they go out: response heads of a server, request heads of a client.
//!
//! The writers decide the lines that frame the message, so that what was promised and what is sent cannot
//! differ. Hop-by-hop fields other than those are the caller's to remove (RFC 9110 section 7.6.1).

use crate::error::WriteError;
use crate::framing::BodyFraming;
use selvedge_types::{Fields, Method, Name, Status, name};

/// What a message says about the connection's future (RFC 9112 section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: HTTP/1.1 keeps it.
    Keep,
    /// `Connection: keep-alive`, for an HTTP/1.0 client that asked.
    KeepHttp10,
    /// `Connection: close`.
    Close,
    /// `Connection: upgrade`; the Upgrade field is the caller's.
    Upgrade,
}

impl Persistence {
    fn line(self) -> &'static [u8] {
        match self {
            Persistence::Keep => b"",
            Persistence::KeepHttp10 => b"connection: keep-alive\r\n",
            Persistence::Close => b"connection: close\r\n",
            Persistence::Upgrade => b"connection: upgrade\r\n",
        }
    }
}

/// A response head to write.
#[derive(Debug, Clone, Copy)]
pub struct ResponseWriter<'a> {
    /// The status.
    pub status: Status,
    /// The fields. Content-Length, Transfer-Encoding and Connection lines are replaced by those that
    /// `framing` and `persistence` ask for; a Content-Length of a response without content stays if the
    /// response is to HEAD or is a 304 (RFC 9110 section 8.6).
    pub fields: &'a Fields,
    /// Now, as an IMF-fixdate, for a Date line if the fields have none (RFC 9110 section 6.6.1).
    pub date: Option<&'a str>,
    /// How the content will be sent.
    pub framing: BodyFraming,
    /// Whether the request was HEAD.
    pub to_head: bool,
    /// What becomes of the connection.
    pub persistence: Persistence,
}

impl ResponseWriter<'_> {
    /// Appends the head, its empty line included.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.fields.wire_len() + 128);
        write_status_line(out, self.status);
        let has_content = !self.status.has_no_content() && !self.to_head;
        let keeps_length = self.to_head || self.status == Status::NOT_MODIFIED;
        let framing = if has_content { Some(self.framing) } else { None };
        write_fields(out, self.fields, framing, keeps_length);
        if let Some(date) = self.date.filter(|_| !self.fields.contains(name::DATE)) {
            out.extend_from_slice(b"date: ");
            out.extend_from_slice(date.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        match framing {
            Some(BodyFraming::Empty) => write_length(out, self.fields, 0),
            Some(BodyFraming::Length(bytes)) => write_length(out, self.fields, bytes),
            Some(BodyFraming::Chunked) => out.extend_from_slice(CHUNKED),
            Some(BodyFraming::UntilClose) | None => {}
        }
        out.extend_from_slice(self.persistence.line());
        out.extend_from_slice(b"\r\n");
    }
}

/// A request head to write.
#[derive(Debug, Clone, Copy)]
pub struct RequestWriter<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target in the form that fits the next hop, usually path and query.
    pub target: &'a str,
    /// The fields, Host among them. Content-Length, Transfer-Encoding and Connection lines are replaced.
    pub fields: &'a Fields,
    /// How the content will be sent; not until the connection closes.
    pub framing: BodyFraming,
    /// Codings already applied to the content, to be named before `chunked`; see
    /// [`RequestHead::inner_codings`](crate::RequestHead::inner_codings).
    pub inner_codings: Option<&'a str>,
    /// Whether trailers are welcome: says so in TE, which Connection then lists (RFC 9110 section 10.1.4).
    pub wants_trailers: bool,
    /// What becomes of the connection.
    pub persistence: Persistence,
}

impl RequestWriter<'_> {
    /// Appends the head, its empty line included. Nothing is appended upon an error.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        let target = self.target.as_bytes();
        if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
            return Err(WriteError::Target);
        }
        out.reserve(target.len() + self.fields.wire_len() + 128);
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(target);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_fields(out, self.fields, Some(self.framing), false);
        match self.framing {
            BodyFraming::Length(bytes) => write_length(out, self.fields, bytes),
            BodyFraming::Chunked => write_codings(out, self.inner_codings),
            BodyFraming::Empty if expects_length(self.method) => write_length(out, self.fields, 0),
            BodyFraming::Empty | BodyFraming::UntilClose => {}
        }
        if self.wants_trailers {
            out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
        }
        out.extend_from_slice(self.persistence.line());
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// Methods that usually have content state even its absence (RFC 9110 section 8.6).
fn expects_length(method: &Method) -> bool {
    matches!(method, Method::Post | Method::Put | Method::Patch)
}

fn write_codings(out: &mut Vec<u8>, inner: Option<&str>) {
    match inner {
        None => out.extend_from_slice(CHUNKED),
        Some(inner) => {
            out.extend_from_slice(b"transfer-encoding: ");
            out.extend_from_slice(inner.as_bytes());
            out.extend_from_slice(b", chunked\r\n");
        }
    }
}

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

fn write_status_line(out: &mut Vec<u8>, status: Status) {
    let line: &[u8] = match status.code() {
        200 => b"HTTP/1.1 200 OK\r\n",
        206 => b"HTTP/1.1 206 Partial Content\r\n",
        304 => b"HTTP/1.1 304 Not Modified\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        code => {
            out.extend_from_slice(b"HTTP/1.1 ");
            write_number(out, u64::from(code));
            out.push(b' ');
            out.extend_from_slice(status.reason().as_bytes());
            b"\r\n"
        }
    };
    out.extend_from_slice(line);
}

/// The fields without those that `write` decides. One copy if there are none of them, or if the one there is
/// right already.
fn write_fields(out: &mut Vec<u8>, fields: &Fields, framing: Option<BodyFraming>, keeps_length: bool) {
    let length_stays = fields.contains(name::CONTENT_LENGTH)
        && match framing {
            Some(BodyFraming::Length(bytes)) => is_length(fields, bytes),
            Some(BodyFraming::Empty) => is_length(fields, 0),
            Some(_) => false,
            None => keeps_length,
        };
    let drops = |known: Name| match known {
        name::CONTENT_LENGTH => !length_stays,
        name::TRANSFER_ENCODING | name::CONNECTION => true,
        _ => false,
    };
    let decided = [name::TRANSFER_ENCODING, name::CONNECTION];
    if !fields.contains_any(&decided) && (length_stays || !fields.contains(name::CONTENT_LENGTH)) {
        fields.write_wire(out);
        return;
    }
    for (_, name, value) in fields.iter_known().filter(|(known, ..)| !known.is_some_and(drops)) {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether the fields hold exactly one Content-Length, and it is `bytes`.
fn is_length(fields: &Fields, bytes: u64) -> bool {
    let mut values = fields.get_all(name::CONTENT_LENGTH);
    let (first, second) = (values.next(), values.next());
    second.is_none() && first.is_some_and(|value| value == Decimal::new(bytes).as_bytes())
}

/// The Content-Length line, unless the fields already brought it.
fn write_length(out: &mut Vec<u8>, fields: &Fields, bytes: u64) {
    if is_length(fields, bytes) {
        return;
    }
    out.extend_from_slice(b"content-length: ");
    write_number(out, bytes);
    out.extend_from_slice(b"\r\n");
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(Decimal::new(number).as_bytes());
}

/// A number's decimal digits, without allocation.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn new(number: u64) -> Decimal {
        let mut decimal = Decimal { digits: [b'0'; 20], start: 20 };
        let mut left = number;
        for place in decimal.digits.iter_mut().rev() {
            *place = b'0' + (left % 10) as u8;
            decimal.start -= 1;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        decimal
    }

    fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}
