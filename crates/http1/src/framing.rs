//! Which fields frame a message, and what they say (RFC 9112 section 6).

use selvedge_types::fields::{is_token, trim};
use selvedge_types::{Fields, Name, name};

/// Where a message's content ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no content.
    Empty,
    /// This many bytes, from Content-Length; not zero.
    Length(u64),
    /// The chunked coding says where.
    Chunked,
    /// At the end of the connection; responses only.
    UntilClose,
}

impl BodyFraming {
    /// The framing of a known number of bytes.
    pub fn of_length(bytes: u64) -> BodyFraming {
        if bytes == 0 { BodyFraming::Empty } else { BodyFraming::Length(bytes) }
    }
}

/// What the fields that frame a message and its connection say, gathered in one pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FramingFields<'a> {
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) hosts: usize,
    pub(crate) content_length: Option<&'a [u8]>,
    pub(crate) content_lengths: usize,
    pub(crate) has_coding: bool,
    pub(crate) look_alike: bool,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) connection_upgrade: bool,
    pub(crate) has_upgrade: bool,
    pub(crate) expects_continue: bool,
}

impl<'a> FramingFields<'a> {
    pub(crate) fn gather(fields: &'a Fields) -> FramingFields<'a> {
        let mut found = FramingFields::default();
        for (known, text, value) in fields.iter_known() {
            match known {
                None => found.look_alike |= is_look_alike(text),
                Some(known) => found.note(known, value),
            }
        }
        found
    }

    #[inline]
    fn note(&mut self, known: Name, value: &'a [u8]) {
        match known {
            name::HOST => {
                self.hosts += 1;
                self.host = Some(value);
            }
            name::CONTENT_LENGTH => {
                self.content_lengths += 1;
                self.content_length = Some(value);
            }
            name::TRANSFER_ENCODING => self.has_coding = true,
            name::CONNECTION => self.note_connection(value),
            name::UPGRADE => self.has_upgrade = true,
            name::EXPECT => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
    }

    fn note_connection(&mut self, value: &[u8]) {
        for option in value.split(|b| *b == b',').map(trim) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// Content-Length's number; `Err` if it is doubled, a list, or not plain digits in range.
    pub(crate) fn length(&self) -> Result<Option<u64>, ()> {
        match (self.content_lengths, self.content_length) {
            (0, _) | (_, None) => Ok(None),
            (1, Some(value)) => parse_length(value).map(Some).ok_or(()),
            _ => Err(()),
        }
    }

    /// Whether the connection outlives the message, as far as the fields say (RFC 9112 section 9.3).
    pub(crate) fn keeps_alive(&self, http11: bool) -> bool {
        !self.close && (http11 || self.keep_alive)
    }

    /// Whether the message asks for, or agrees to, another protocol (RFC 9110 section 7.8).
    pub(crate) fn upgrades(&self, http11: bool) -> bool {
        http11 && self.connection_upgrade && self.has_upgrade
    }
}

/// `1*DIGIT` within 64 bits (RFC 9110 section 8.6).
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// What the transfer codings of a message come to (RFC 9112 section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Codings {
    /// `chunked` last and once; before it these, which are known and left as they are.
    Chunked { inner: Option<Box<str>> },
    /// A coding before `chunked` is not known.
    Unknown,
    /// `chunked` is not last, or not once, or the list is malformed.
    Malformed,
}

impl Codings {
    pub(crate) fn parse(fields: &Fields) -> Codings {
        let values = fields.get_all(name::TRANSFER_ENCODING);
        let mut members = values.flat_map(|v| v.split(|b| *b == b',')).map(trim).peekable();
        let mut inner = String::new();
        let mut unknown = false;
        while let Some(member) = members.next() {
            let Some(coding) = coding_name(member) else {
                return Codings::Malformed;
            };
            let is_last = members.peek().is_none();
            if coding.eq_ignore_ascii_case("chunked") != is_last {
                return Codings::Malformed;
            }
            if is_last {
                break;
            }
            unknown |= !KNOWN.iter().any(|known| coding.eq_ignore_ascii_case(known));
            inner.push_str(if inner.is_empty() { "" } else { ", " });
            inner.push_str(coding);
        }
        if unknown {
            return Codings::Unknown;
        }
        Codings::Chunked { inner: (!inner.is_empty()).then(|| inner.into()) }
    }
}

/// Codings that may stand before `chunked`: passed on, never decoded.
const KNOWN: &[&str] = &["gzip", "x-gzip", "deflate", "compress", "x-compress", "identity"];

/// The name of `token *( ";" [ parameter ] )`. `chunked` has no parameters (RFC 9112 section 7.1), yet plain
/// ones change nothing about the framing and are dropped.
fn coding_name(member: &[u8]) -> Option<&str> {
    let mut parts = member.split(|b| *b == b';').map(trim);
    let coding = parts.next().filter(|name| is_token(name))?;
    let is_parameter = |part: &[u8]| {
        let mut sides = part.splitn(2, |b| *b == b'=').map(trim);
        sides.all(is_token)
    };
    if !parts.all(|part| part.is_empty() || is_parameter(part)) {
        return None;
    }
    std::str::from_utf8(coding).ok()
}

/// Whether a name, punctuation aside, spells one that frames messages: some servers turn `_` into `-`, or
/// skip what they do not know, and would then cut the message elsewhere.
pub fn is_look_alike(text: &[u8]) -> bool {
    let spells = |plain: &[u8]| {
        let mut letters = text.iter().filter(|b| b.is_ascii_alphanumeric());
        plain.iter().all(|p| letters.next().is_some_and(|l| l.eq_ignore_ascii_case(p)))
            && letters.next().is_none()
    };
    text.len() >= 13 && (spells(b"contentlength") || spells(b"transferencoding"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codings(values: &[&str]) -> Codings {
        let mut fields = Fields::new();
        values.iter().for_each(|v| fields.add(name::TRANSFER_ENCODING, v).unwrap());
        Codings::parse(&fields)
    }

    #[test]
    fn chunked_must_be_last_and_once() {
        let plain = Codings::Chunked { inner: None };
        let with = |inner: &str| Codings::Chunked { inner: Some(inner.into()) };
        for (values, expected) in [
            (&["chunked"][..], plain.clone()),
            (&["ChUnKeD"], plain.clone()),
            (&["chunked;param;"], plain.clone()),
            (&["chunked ; a=b"], plain),
            (&["gzip, chunked"], with("gzip")),
            (&["GZIP", "identity", "chunked"], with("GZIP, identity")),
            (&["cow, chunked"], Codings::Unknown),
            (&["gzip"], Codings::Malformed),
            (&["identity"], Codings::Malformed),
            (&["xchunked"], Codings::Malformed),
            (&["chunked, chunked"], Codings::Malformed),
            (&["chunked", "cow"], Codings::Malformed),
            (&["chunked", "chunked"], Codings::Malformed),
            (&["chunked,"], Codings::Malformed),
            (&[", chunked"], Codings::Malformed),
            (&[""], Codings::Malformed),
            (&["chunked\u{a0}"], Codings::Malformed),
            (&["\"chunked\""], Codings::Malformed),
            (&["chunked;a=\"b\""], Codings::Malformed),
            (&["chunked chunked"], Codings::Malformed),
        ] {
            assert_eq!(codings(values), expected, "{values:?}");
        }
    }

    #[test]
    fn lengths_are_plain_digits_in_range() {
        for (value, expected) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1 1", None),
            ("1,1", None),
            ("0x1", None),
            ("1.0", None),
            ("\u{661}", None),
        ] {
            assert_eq!(parse_length(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn look_alikes_are_found_by_their_letters() {
        for name in [
            "Content_Length",
            "Transfer---Encoding",
            "transfer_encoding",
            "_Content-Length",
            "Content-Length!",
        ] {
            assert!(is_look_alike(name.as_bytes()), "{name}");
        }
        for name in ["Content-Lengths", "X-Content-Length", "Content-Len", "Transfer-Encoding2"] {
            assert!(!is_look_alike(name.as_bytes()), "{name}");
        }
    }
}
