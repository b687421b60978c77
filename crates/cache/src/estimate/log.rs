//! Requests from lines of access logs: common and combined (with or without the virtual host in front), and
//! JSON objects, one a line.
//!
//! No line can do harm: what cannot be understood is a [`Fault`], and nothing is kept beyond the line.

mod combined;
mod json;
mod lines;
mod time;

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

use selvedge_types::UnixMillis;

pub use lines::{LINE_BYTES_MAX, Lines};

/// A request and its answer, as logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was.
    pub time: UnixMillis,
    /// The method, as sent.
    pub method: Cow<'a, [u8]>,
    /// The host, if the line says.
    pub host: Option<Cow<'a, [u8]>>,
    /// The target, as sent: most often a path and query.
    pub target: Cow<'a, [u8]>,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body, or near it; 0 if the line says `-`.
    pub bytes: u64,
}

/// Why a line is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is neither a combined line nor a JSON object.
    #[error("the line is in no format that is known: common, combined, or a JSON object")]
    Format,
    /// It says no time, or none that can be read.
    #[error("the line has no time that can be read")]
    Time,
    /// It says no method and target.
    #[error("the line has no request: a method and a target")]
    Request,
    /// It says no status of three digits.
    #[error("the line has no status from 100 to 599")]
    Status,
}

/// The record of a line, without its line end.
pub fn parse(line: &[u8]) -> Result<Record<'_>, Fault> {
    match line.trim_ascii_start().first() {
        Some(b'{') => json::parse(line.trim_ascii_start()),
        Some(_) => combined::parse(line),
        None => Err(Fault::Format),
    }
}

impl Record<'_> {
    /// A hash of host, path and query. Hosts are compared without regard to case, fragments are left out, and a
    /// target with a scheme and host stands for what it names.
    pub fn key_hash(&self) -> u64 {
        let (host, path) = match absolute(&self.target) {
            Some((host, path)) => (host, path),
            None => (self.host.as_deref().unwrap_or_default(), self.target.as_ref()),
        };
        let path = path.split(|b| *b == b'#').next().unwrap_or_default();
        let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
        if host.iter().any(u8::is_ascii_uppercase) {
            hasher.write(&host.to_ascii_lowercase());
        } else {
            hasher.write(host);
        }
        hasher.write(if path.is_empty() { b"/" } else { path });
        hasher.finish()
    }
}

/// Host, and path with query, of a target in absolute form (RFC 9112 section 3.2.2).
fn absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = target.strip_prefix(b"http://").or_else(|| target.strip_prefix(b"https://"))?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// Method and target of a request line; the version may be missing (HTTP/0.9).
fn request_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = line.iter().position(|b| *b == b' ')?;
    let (method, rest) = (&line[..space], line[space + 1..].trim_ascii());
    let target = match rest.iter().rposition(|b| *b == b' ') {
        Some(space) if rest[space + 1..].starts_with(b"HTTP/") => rest[..space].trim_ascii_end(),
        _ => rest,
    };
    let is_method =
        !method.is_empty() && method.iter().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'));
    (is_method && !target.is_empty()).then_some((method, target))
}

/// A status of three digits, 100 to 599.
fn status(text: &[u8]) -> Option<u16> {
    let code = decimal(text).and_then(|n| u16::try_from(n).ok())?;
    (100..600).contains(&code).then_some(code)
}

/// A number of at most 18 digits.
fn decimal(text: &[u8]) -> Option<u64> {
    let valid = (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    valid.then(|| text.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests;
