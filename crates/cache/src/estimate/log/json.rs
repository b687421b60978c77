//! JSON objects, one a line: our own log's names and those that other servers use.
//!
//! Only what is needed is looked at, and nothing is copied unless a string has escapes. Fields of an object
//! named `request` count as the line's own (Caddy).

use std::borrow::Cow;

use selvedge_types::UnixMillis;

use super::{Fault, Record, decimal, request_line, status, time};

/// How deep values may be nested.
const DEPTH_MAX: usize = 32;

/// The record of a line that is one object.
pub(super) fn parse(line: &[u8]) -> Result<Record<'_>, Fault> {
    let mut reader = Reader { rest: line };
    let mut found = Found::default();
    reader.object(&mut found, DEPTH_MAX).ok_or(Fault::Format)?;
    if !reader.rest.trim_ascii().is_empty() {
        return Err(Fault::Format);
    }
    found.record()
}

/// What the fields so far have said.
#[derive(Default)]
struct Found<'a> {
    time: Option<UnixMillis>,
    method: Option<Cow<'a, [u8]>>,
    host: Option<Cow<'a, [u8]>>,
    target: Option<Cow<'a, [u8]>>,
    status: Option<u16>,
    bytes: u64,
}

impl<'a> Found<'a> {
    fn record(self) -> Result<Record<'a>, Fault> {
        Ok(Record {
            time: self.time.ok_or(Fault::Time)?,
            method: self.method.ok_or(Fault::Request)?,
            host: self.host,
            target: self.target.filter(|target| !target.is_empty()).ok_or(Fault::Request)?,
            status: self.status.ok_or(Fault::Status)?,
            bytes: self.bytes,
        })
    }

    /// Takes a string or a number, without its quotes.
    fn field(&mut self, name: &[u8], value: Cow<'a, [u8]>) {
        match name {
            b"time" | b"ts" | b"timestamp" | b"@timestamp" | b"time_iso8601" | b"time_local" | b"msec" => {
                self.time = read_time(&value).or(self.time);
            }
            b"method" | b"request_method" | b"verb" => self.method = Some(value),
            b"host" | b"http_host" | b"vhost" | b"server_name" | b"authority" => self.host = Some(value),
            b"target" | b"request_uri" | b"url" => self.target = Some(value),
            b"uri" | b"path" => self.target = self.target.take().or(Some(value)),
            b"request" => self.request(value),
            b"status" | b"status_code" | b"response_code" => self.status = status(&value).or(self.status),
            b"bytes" | b"size" | b"body_bytes_sent" | b"bytes_sent" | b"response_size" => {
                self.bytes = decimal(&value).unwrap_or(self.bytes);
            }
            _ => {}
        }
    }

    fn request(&mut self, line: Cow<'a, [u8]>) {
        let Some((method, target)) = request_line(&line) else { return };
        let (method, target) = match line {
            Cow::Borrowed(line) => request_line(line)
                .map_or((Cow::default(), Cow::default()), |(method, target)| {
                    (Cow::Borrowed(method), Cow::Borrowed(target))
                }),
            Cow::Owned(_) => (Cow::Owned(method.to_vec()), Cow::Owned(target.to_vec())),
        };
        self.method = Some(method);
        self.target = Some(target);
    }
}

fn read_time(text: &[u8]) -> Option<UnixMillis> {
    time::rfc3339(text).or_else(|| time::number(text)).or_else(|| time::common(text))
}

/// What has not been read yet.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads an object whose fields are the record's.
    fn object(&mut self, found: &mut Found<'a>, depth: usize) -> Option<()> {
        self.expect(b'{')?;
        if self.take(b'}') {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            self.field(&name, found, depth)?;
            if self.take(b'}') {
                return Some(());
            }
            self.expect(b',')?;
        }
    }

    fn field(&mut self, name: &[u8], found: &mut Found<'a>, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => {
                let value = self.string()?;
                found.field(name, value);
                Some(())
            }
            b'{' if name == b"request" && depth == DEPTH_MAX => self.object(found, depth - 1),
            b'{' | b'[' => self.skip_nested(depth.checked_sub(1)?),
            _ => {
                let value = self.word()?;
                found.field(name, Cow::Borrowed(value));
                Some(())
            }
        }
    }

    fn skip_value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.skip_nested(depth.checked_sub(1)?),
            _ => self.word().map(drop),
        }
    }

    fn skip_nested(&mut self, depth: usize) -> Option<()> {
        let close = if self.take(b'{') { b'}' } else { self.expect(b'[').map(|()| b']')? };
        if self.take(close) {
            return Some(());
        }
        loop {
            if close == b'}' {
                self.string()?;
                self.expect(b':')?;
            }
            self.skip_value(depth)?;
            if self.take(close) {
                return Some(());
            }
            self.expect(b',')?;
        }
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<&'a [u8]> {
        self.peek()?;
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let end = self.rest.iter().position(|b| !is_word(b)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        self.expect(b'"')?;
        let end = quote_or_backslash(self.rest)?;
        if self.rest[end] == b'"' {
            let text = &self.rest[..end];
            self.rest = &self.rest[end + 1..];
            return Some(Cow::Borrowed(text));
        }
        let mut text = Vec::new();
        loop {
            let end = quote_or_backslash(self.rest)?;
            text.extend_from_slice(&self.rest[..end]);
            let quote = self.rest[end] == b'"';
            self.rest = &self.rest[end + 1..];
            if quote {
                return Some(Cow::Owned(text));
            }
            self.escape(&mut text)?;
        }
    }

    /// What follows a backslash (RFC 8259 section 7).
    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let (kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        let byte = match kind {
            b'"' | b'\\' | b'/' => *kind,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.code_point(text),
            _ => return None,
        };
        text.push(byte);
        Some(())
    }

    fn code_point(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let first = self.code_unit()?;
        let code = match first {
            0xD800..0xDC00 => {
                self.rest = self.rest.strip_prefix(b"\\u")?;
                let second = self.code_unit().filter(|unit| (0xDC00..0xE000).contains(unit))?;
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            unit => unit,
        };
        let mut buffer = [0; 4];
        text.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut buffer).as_bytes());
        Some(())
    }

    fn code_unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
    }

    /// The next byte that is not white space, of which most logs have none.
    fn peek(&mut self) -> Option<u8> {
        match self.rest.first() {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => {
                self.rest = self.rest.trim_ascii_start();
                self.rest.first().copied()
            }
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.rest = &self.rest[1..];
        }
        there
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }
}

/// Where the first quote or backslash is. Strings in logs are short: looking at eight bytes at a time, in place,
/// is done before a search made for long ones has begun.
fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero_bytes(word ^ each(b'"')) | zero_bytes(word ^ each(b'\\'));
        if found != 0 {
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(words.len() * 8 + at)
}

/// A one in each byte of a word.
const ONES: u64 = u64::from_le_bytes([1; 8]);

/// A word of which each byte is this one.
fn each(byte: u8) -> u64 {
    ONES * u64::from(byte)
}

/// The highest bit of the lowest byte that is zero; bits above that one mean nothing.
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_quote_or_backslash_is_found(text in proptest::collection::vec(prop_oneof![
            8 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => Just(b'#'), 1 => Just(b'!')
        ], 0..40)) {
            prop_assert_eq!(quote_or_backslash(&text), memchr::memchr2(b'"', b'\\', &text));
        }
    }
}
