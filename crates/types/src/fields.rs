//! Header and trailer fields (RFC 9110 section 5), kept in HTTP/1.1 wire form.
//!
//! One buffer holds `Name: value\r\n` lines and a small index points into it, so that a stored response
//! is written to a connection with one copy, and a look-up of a well-known name compares one byte.

mod packed;
mod section;

pub use section::Section;

use memchr::memchr;
use std::fmt;

/// Why a field line was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The name is empty or holds a byte that is not a token character (RFC 9110 section 5.6.2).
    #[error("field name is not a token")]
    Name,
    /// The value holds CR, LF, NUL or another control character (RFC 9110 section 5.5).
    #[error("field value holds a control character")]
    Value,
    /// A line has no colon, does not end in CRLF, or is folded (RFC 9112 section 5.2).
    #[error("field line is malformed")]
    Line,
    /// The name, value or whole section is larger than the index can address.
    #[error("field section is too large")]
    TooLarge,
    /// There are more lines than the caller allows.
    #[error("field section has too many lines")]
    TooMany,
}

/// A field name that this program looks at, or "any other".
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name(u8);

const OTHER: u8 = 0;

macro_rules! names {
    ($($id:literal $konst:ident $text:literal;)*) => {
        /// The names this program looks at. All are lowercase.
        pub mod name {
            use super::Name;
            $(#[doc = concat!("`", $text, "`")] pub const $konst: Name = Name($id);)*
        }
        const TEXTS: &[&str] = &["", $($text),*];
    };
}

names! {
    1 ACCEPT "accept";
    2 ACCEPT_CHARSET "accept-charset";
    3 ACCEPT_ENCODING "accept-encoding";
    4 ACCEPT_LANGUAGE "accept-language";
    5 ACCEPT_RANGES "accept-ranges";
    6 AGE "age";
    7 ALLOW "allow";
    8 AUTHORIZATION "authorization";
    9 CACHE_CONTROL "cache-control";
    10 CACHE_GROUPS "cache-groups";
    11 CACHE_GROUP_INVALIDATION "cache-group-invalidation";
    12 CACHE_STATUS "cache-status";
    13 CACHE_TAG "cache-tag";
    14 CDN_CACHE_CONTROL "cdn-cache-control";
    15 CDN_LOOP "cdn-loop";
    16 CONNECTION "connection";
    17 CONTENT_ENCODING "content-encoding";
    18 CONTENT_LANGUAGE "content-language";
    19 CONTENT_LENGTH "content-length";
    20 CONTENT_LOCATION "content-location";
    21 CONTENT_RANGE "content-range";
    22 CONTENT_TYPE "content-type";
    23 COOKIE "cookie";
    24 DATE "date";
    25 ETAG "etag";
    26 EXPECT "expect";
    27 EXPIRES "expires";
    28 FORWARDED "forwarded";
    29 HOST "host";
    30 IF_MATCH "if-match";
    31 IF_MODIFIED_SINCE "if-modified-since";
    32 IF_NONE_MATCH "if-none-match";
    33 IF_RANGE "if-range";
    34 IF_UNMODIFIED_SINCE "if-unmodified-since";
    35 KEEP_ALIVE "keep-alive";
    36 LAST_MODIFIED "last-modified";
    37 LINK "link";
    38 LOCATION "location";
    39 MAX_FORWARDS "max-forwards";
    40 ORIGIN "origin";
    41 PRAGMA "pragma";
    42 PROXY_AUTHENTICATE "proxy-authenticate";
    43 PROXY_AUTHENTICATION_INFO "proxy-authentication-info";
    44 PROXY_AUTHORIZATION "proxy-authorization";
    45 PROXY_CONNECTION "proxy-connection";
    46 PROXY_STATUS "proxy-status";
    47 RANGE "range";
    48 REFERER "referer";
    49 RETRY_AFTER "retry-after";
    50 SELVEDGE_CACHE_CONTROL "selvedge-cache-control";
    51 SERVER "server";
    52 SET_COOKIE "set-cookie";
    53 SURROGATE_KEY "surrogate-key";
    54 TE "te";
    55 TRAILER "trailer";
    56 TRANSFER_ENCODING "transfer-encoding";
    57 UPGRADE "upgrade";
    58 USER_AGENT "user-agent";
    59 VARY "vary";
    60 VIA "via";
    61 WARNING "warning";
    62 WWW_AUTHENTICATE "www-authenticate";
    63 X_FORWARDED_FOR "x-forwarded-for";
    64 X_FORWARDED_HOST "x-forwarded-host";
    65 X_FORWARDED_PROTO "x-forwarded-proto";
    66 X_REAL_IP "x-real-ip";
    67 X_REQUEST_ID "x-request-id";
    68 SURROGATE_CAPABILITY "surrogate-capability";
    69 SURROGATE_CONTROL "surrogate-control";
}

/// Names by [`slot`]: mostly one in a slot, never more than [`DEPTH`].
const SLOTS: usize = 256;
const DEPTH: usize = 2;
const BY_SLOT: [[u8; DEPTH]; SLOTS] = {
    let mut table = [[OTHER; DEPTH]; SLOTS];
    let mut i = 1;
    while i < TEXTS.len() {
        let row = &mut table[slot(TEXTS[i].as_bytes())];
        let mut place = 0;
        // Too many in one slot do not compile.
        while row[place] != OTHER {
            place += 1;
        }
        row[place] = i as u8;
        i += 1;
    }
    table
};

/// A hash of a name without case, from its length and three of its bytes. Not for an empty one.
const fn slot(text: &[u8]) -> usize {
    let (first, middle, last) = (text[0] | 0x20, text[text.len() / 2] | 0x20, text[text.len() - 1] | 0x20);
    let mixed = first as usize * 7 + middle as usize * 31 + last as usize * 3 + text.len() * 57;
    mixed % SLOTS
}

/// Whether `text` is the lowercase `name` in any case. Eight bytes at a time.
#[inline]
fn spells(name: &[u8], text: &[u8]) -> bool {
    if name.len() != text.len() {
        return false;
    }
    let (Some(name_end), Some(text_end)) = (name.last_chunk::<8>(), text.last_chunk::<8>()) else {
        return name.iter().zip(text).all(|(n, t)| *n == t.to_ascii_lowercase());
    };
    let same = |name: &[u8; 8], text: &[u8; 8]| {
        let (name, text) = (u64::from_le_bytes(*name), u64::from_le_bytes(*text));
        // The bit of case may differ where there is a letter, which no other byte of a name has this bit of.
        (name ^ text) & !((name & (ONES * 0x40)) >> 1) == 0
    };
    let (names, texts) = (name.as_chunks::<8>().0, text.as_chunks::<8>().0);
    names.iter().zip(texts).all(|(n, t)| same(n, t)) && same(name_end, text_end)
}

const ONES: u64 = 0x0101_0101_0101_0101;

impl Name {
    /// The well-known name that `text` spells in any case, if it is one.
    #[inline]
    pub fn find(text: &[u8]) -> Option<Name> {
        if text.is_empty() {
            return None;
        }
        let row = BY_SLOT[slot(text)];
        row.into_iter().find(|id| spells(TEXTS[usize::from(*id)].as_bytes(), text)).map(Name)
    }

    /// Where the name is in [`Fields::known`].
    #[inline]
    const fn bit(self) -> u128 {
        1 << self.0
    }

    /// The name in lowercase.
    pub fn as_str(self) -> &'static str {
        TEXTS[self.0 as usize]
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether `b` may stand in a token (RFC 9110 section 5.6.2).
#[inline]
pub fn is_token_byte(b: u8) -> bool {
    TOKEN[b as usize]
}

/// Whether `text` is a non-empty token (RFC 9110 section 5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| is_token_byte(*b))
}

/// Whether `b` may stand in a field value: visible ASCII, space, tab, obs-text (RFC 9110 section 5.5).
#[inline]
pub fn is_value_byte(b: u8) -> bool {
    b == b'\t' || (b >= 0x20 && b != 0x7f)
}

const TOKEN: [bool; 256] = {
    let mut t = [false; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        t[i] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        i += 1;
    }
    t
};

#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    value_len: u32,
    name_len: u16,
    id: u8,
}

impl Entry {
    fn value_start(&self) -> usize {
        self.start as usize + self.name_len as usize + 2
    }
    fn line(&self) -> std::ops::Range<usize> {
        self.start as usize..self.value_start() + self.value_len as usize + 2
    }
}

/// An ordered list of field lines. Names keep the case they came in and compare without it.
#[derive(Clone, Default)]
pub struct Fields {
    buf: Vec<u8>,
    entries: Vec<Entry>,
    /// The well-known names among them, a bit each, so that what is absent needs no search.
    known: u128,
}

impl Fields {
    /// An empty list.
    pub const fn new() -> Self {
        Fields { buf: Vec::new(), entries: Vec::new(), known: 0 }
    }

    /// An empty list with room for `lines` lines of `bytes` bytes in all.
    pub fn with_capacity(lines: usize, bytes: usize) -> Self {
        Fields { buf: Vec::with_capacity(bytes), entries: Vec::with_capacity(lines), known: 0 }
    }

    /// Reads strict `name: value CRLF` lines, without the empty line that ends a section.
    ///
    /// White space around a value is dropped (RFC 9112 section 5.1); a bare CR or LF, folding and white
    /// space before the colon are errors, never repaired.
    pub fn from_wire(wire: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::with_capacity(12, wire.len() + 64);
        let mut rest = wire;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).ok_or(FieldError::Line)?;
            let line = rest[..end].strip_suffix(b"\r").ok_or(FieldError::Line)?;
            let colon = memchr(b':', line).ok_or(FieldError::Line)?;
            fields.append(&line[..colon], trim(&line[colon + 1..]))?;
            rest = &rest[end + 1..];
        }
        Ok(fields)
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes the lines take in wire form.
    pub fn wire_len(&self) -> usize {
        self.entries.iter().map(|e| e.line().len()).sum()
    }

    /// Appends the lines in HTTP/1.1 wire form, each ended by CRLF.
    pub fn write_wire(&self, out: &mut Vec<u8>) {
        if self.is_dense() {
            out.extend_from_slice(&self.buf);
        } else {
            self.entries.iter().for_each(|e| out.extend_from_slice(&self.buf[e.line()]));
        }
    }

    /// The first value of `name`.
    #[inline]
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        if !self.contains(name) {
            return None;
        }
        self.entries.iter().find(|e| e.id == name.0).map(|e| self.value(e))
    }

    /// The first value of `name` if it is UTF-8.
    pub fn get_str(&self, name: Name) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// Every value of `name`, in order.
    pub fn get_all(&self, name: Name) -> impl Iterator<Item = &[u8]> + Clone {
        let entries = if self.contains(name) { &self.entries[..] } else { &[] };
        entries.iter().filter(move |e| e.id == name.0).map(|e| self.value(e))
    }

    /// Every value of the name that `text` spells in any case, in order.
    pub fn get_all_named<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(text)).map(|(_, v)| v)
    }

    /// Whether `name` occurs.
    #[inline]
    pub fn contains(&self, name: Name) -> bool {
        self.known & name.bit() != 0
    }

    /// All values of `name` joined with ", " (RFC 9110 section 5.3), none if it does not occur.
    pub fn joined(&self, name: Name) -> Option<Vec<u8>> {
        let mut values = self.get_all(name);
        let mut all = values.next()?.to_vec();
        values.for_each(|v| {
            all.extend_from_slice(b", ");
            all.extend_from_slice(v);
        });
        Some(all)
    }

    /// The comma-separated members of every value of `name`, trimmed, empty ones left out
    /// (RFC 9110 section 5.6.1). Not for values that hold quoted strings.
    pub fn members(&self, name: Name) -> impl Iterator<Item = &[u8]> + Clone {
        self.get_all(name).flat_map(|v| v.split(|b| *b == b',')).map(trim).filter(|m| !m.is_empty())
    }

    /// Whether a list field such as Connection holds `member`, compared without case.
    pub fn has_member(&self, name: Name, member: &str) -> bool {
        self.members(name).any(|m| m.eq_ignore_ascii_case(member.as_bytes()))
    }

    /// Each line's name, in the case it came in, and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.entries.iter().map(|e| (self.name_of(e), self.value(e)))
    }

    /// Each line's well-known name, if it has one, its name as it came, and its value.
    pub fn iter_known(&self) -> impl Iterator<Item = (Option<Name>, &[u8], &[u8])> + Clone {
        self.entries.iter().map(|e| {
            let known = (e.id != OTHER).then_some(Name(e.id));
            (known, self.name_of(e), self.value(e))
        })
    }

    /// Adds a line whose name and value come from outside.
    pub fn append(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldError> {
        if !is_token(name) {
            return Err(FieldError::Name);
        }
        if !value.iter().all(|b| is_value_byte(*b)) {
            return Err(FieldError::Value);
        }
        let id = Name::find(name).map_or(OTHER, |n| n.0);
        self.append_line(id, name, value)
    }

    /// Adds a line with a well-known name.
    pub fn add(&mut self, name: Name, value: impl AsRef<[u8]>) -> Result<(), FieldError> {
        let value = value.as_ref();
        if !value.iter().all(|b| is_value_byte(*b)) {
            return Err(FieldError::Value);
        }
        self.append_line(name.0, name.as_str().as_bytes(), value)
    }

    /// Replaces every line of `name` by one.
    pub fn set(&mut self, name: Name, value: impl AsRef<[u8]>) -> Result<(), FieldError> {
        self.remove(name);
        self.add(name, value)
    }

    /// Drops every line of `name`; says whether there was one.
    #[inline]
    pub fn remove(&mut self, name: Name) -> bool {
        if !self.contains(name) {
            return false;
        }
        self.entries.retain(|e| e.id != name.0);
        self.known &= !name.bit();
        true
    }

    /// Drops every line of the name that `text` spells in any case; says whether there was one.
    pub fn remove_named(&mut self, text: &[u8]) -> bool {
        self.retain(|name, _| !name.eq_ignore_ascii_case(text))
    }

    /// Keeps the lines for which `keep` says so; says whether one was dropped.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        let before = self.entries.len();
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|e| keep(self.name_of(e), self.value(e)));
        self.known = entries.iter().fold(0, |known, e| known | Name(e.id).bit());
        self.entries = entries;
        before != self.entries.len()
    }

    fn append_line(&mut self, id: u8, name: &[u8], value: &[u8]) -> Result<(), FieldError> {
        let start = u32::try_from(self.buf.len()).map_err(|_| FieldError::TooLarge)?;
        let name_len = u16::try_from(name.len()).map_err(|_| FieldError::TooLarge)?;
        let value_len = u32::try_from(value.len()).map_err(|_| FieldError::TooLarge)?;
        self.buf.reserve(name.len() + value.len() + 4);
        self.buf.extend_from_slice(name);
        self.buf.extend_from_slice(b": ");
        self.buf.extend_from_slice(value);
        self.buf.extend_from_slice(b"\r\n");
        self.push_entry(Entry { start, value_len, name_len, id });
        Ok(())
    }

    #[inline]
    fn push_entry(&mut self, entry: Entry) {
        self.known |= Name(entry.id).bit();
        self.entries.push(entry);
    }

    fn is_dense(&self) -> bool {
        self.wire_len() == self.buf.len()
    }
    fn name_of(&self, e: &Entry) -> &[u8] {
        &self.buf[e.start as usize..e.start as usize + e.name_len as usize]
    }
    fn value(&self, e: &Entry) -> &[u8] {
        &self.buf[e.value_start()..e.value_start() + e.value_len as usize]
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().zip(other.iter()).all(|(a, b)| a.0.eq_ignore_ascii_case(b.0) && a.1 == b.1)
    }
}
impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        f.debug_list().entries(self.iter().map(|(n, v)| (text(n), text(v)))).finish()
    }
}

/// `text` without spaces and tabs at its ends (OWS, RFC 9110 section 5.6.3).
pub fn trim(text: &[u8]) -> &[u8] {
    let is_space = |b: &u8| *b == b' ' || *b == b'\t';
    let start = text.iter().position(|b| !is_space(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !is_space(b)).map_or(start, |e| e + 1);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (i, text) in TEXTS.iter().enumerate().skip(1) {
            assert_eq!(Name::find(text.to_ascii_uppercase().as_bytes()), Some(Name(i as u8)), "{text}");
            assert_eq!(Name(i as u8).as_str(), *text);
        }
        assert_eq!(Name::find(b"x-unknown"), None);
        assert_eq!(Name::find(b""), None);
        assert_eq!(Name::find(&[b'a'; 100]), None);
    }

    #[test]
    fn only_letters_have_case() {
        assert!(spells(b"cache-control", b"Cache-CONTROL") && spells(b"te", b"TE"));
        for other in [&b"cache\rcontrol"[..], b"cache-contro\x0c", b"cache-controls", b"T\x65 "] {
            assert!(!spells(b"cache-control", other) && !spells(b"te", other), "{other:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_occurs_is_known_whatever_was_added_and_dropped(steps: Vec<(u8, u8)>) {
            let mut fields = Fields::new();
            for (what, which) in steps {
                let name = Name(which % 8 + 1);
                match what % 4 {
                    0 | 1 => fields.add(name, "x").unwrap(),
                    2 => drop(fields.remove(name)),
                    _ => drop(fields.retain(|text, _| !text.eq_ignore_ascii_case(name.as_str().as_bytes()))),
                }
                for name in (1..TEXTS.len()).map(|id| Name(id as u8)) {
                    let occurs = fields.iter_known().any(|(known, ..)| known == Some(name));
                    proptest::prop_assert_eq!(fields.contains(name), occurs);
                }
            }
        }
    }

    #[test]
    fn lines_keep_order_and_case_and_go_out_as_they_came() {
        let wire = b"Host: a.example\r\nX-One:  1 \r\naccept: a\r\nAccept: b, ,c\r\n";
        let mut fields = Fields::from_wire(wire).unwrap();
        assert_eq!(fields.get(name::HOST), Some(&b"a.example"[..]));
        assert_eq!(fields.get_all_named(b"x-one").collect::<Vec<_>>(), [b"1"]);
        assert_eq!(fields.members(name::ACCEPT).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(fields.joined(name::ACCEPT).unwrap(), b"a, b, ,c");
        assert!(fields.remove(name::HOST));
        let mut out = Vec::new();
        fields.write_wire(&mut out);
        assert_eq!(out, b"X-One: 1\r\naccept: a\r\nAccept: b, ,c\r\n");
        assert_eq!(out.len(), fields.wire_len());
    }

    #[test]
    fn malformed_lines_are_refused() {
        for (wire, error) in [
            (&b"Host : a\r\n"[..], FieldError::Name),
            (b": a\r\n", FieldError::Name),
            (b"Host: a\n", FieldError::Line),
            (b"Host: a\rb\r\n", FieldError::Value),
            (b"Host: a\0\r\n", FieldError::Value),
            (b" folded: a\r\n", FieldError::Name),
            (b"no colon\r\n", FieldError::Line),
            (b"Host: a", FieldError::Line),
        ] {
            assert_eq!(Fields::from_wire(wire).unwrap_err(), error, "{:?}", String::from_utf8_lossy(wire));
        }
    }
}
