//! Reads a whole field section in one pass: the hot path of every request and response.
//!
//! Lines that are already in canonical form (`name: value CRLF`, as nearly every sender writes them) are
//! copied in runs, so the cost is one scan that validates and one copy.

use super::{Entry, FieldError, Fields, Name, ONES, OTHER, TOKEN, trim};

/// What [`Fields::read_section`] made of the bytes it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The section and the empty line that ends it took this many bytes.
    Complete(usize),
    /// The bytes end before the section does. What was read so far is not to be used.
    Incomplete,
}

impl Fields {
    /// Reads strict field lines up to and including the empty line that ends a section
    /// (RFC 9112 sections 5 and 2.1), at most `lines_max` of them.
    ///
    /// A bare CR or LF, folding, white space before the colon, an empty name and control characters are
    /// errors, never repaired.
    pub fn read_section(wire: &[u8], lines_max: usize) -> Result<(Fields, Section), FieldError> {
        if u32::try_from(wire.len()).is_err() {
            return Err(FieldError::TooLarge);
        }
        let mut fields = Fields::with_capacity(16, wire.len().min(2048) + 64);
        let mut run = 0;
        let mut at = 0;
        loop {
            let Some(line) = Line::read(&wire[at..])? else {
                return Ok((fields, Section::Incomplete));
            };
            if line.len == END {
                fields.buf.extend_from_slice(&wire[run..at]);
                return Ok((fields, Section::Complete(at + END)));
            }
            if fields.entries.len() >= lines_max {
                return Err(FieldError::TooMany);
            }
            if line.canonical {
                fields.note_line(at - run, &line);
            } else {
                fields.buf.extend_from_slice(&wire[run..at]);
                let text = &wire[at..at + line.len];
                let name = &text[..line.name_len as usize];
                fields.append_line(line.id, name, trim(&text[name.len() + 1..line.len - 2]))?;
                run = at + line.len;
            }
            at += line.len;
        }
    }

    /// Notes a line that will be copied with the run it stands in, `offset` bytes into it.
    #[inline]
    fn note_line(&mut self, offset: usize, line: &Line) {
        self.push_entry(Entry {
            start: (self.buf.len() + offset) as u32,
            value_len: (line.len - line.name_len as usize - 4) as u32,
            name_len: line.name_len,
            id: line.id,
        });
    }
}

/// The length of the empty line: CRLF.
const END: usize = 2;

/// One line as found, CRLF included in `len`.
struct Line {
    len: usize,
    name_len: u16,
    id: u8,
    canonical: bool,
}

impl Line {
    #[inline]
    fn read(wire: &[u8]) -> Result<Option<Line>, FieldError> {
        let Some(name_len) = wire.iter().position(|b| !TOKEN[*b as usize]) else {
            return Ok(None);
        };
        if wire[name_len] != b':' || name_len == 0 {
            return Self::end_or_error(wire, name_len);
        }
        let value = &wire[name_len + 1..];
        let value_len = value_end(value);
        let rest = &value[value_len..];
        match rest {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(None),
            [b'\n', ..] => return Err(FieldError::Line),
            _ => return Err(FieldError::Value),
        }
        let text = &value[..value_len];
        let name = &wire[..name_len];
        Ok(Some(Line {
            len: name_len + 1 + value_len + 2,
            name_len: u16::try_from(name_len).map_err(|_| FieldError::TooLarge)?,
            id: Name::find(name).map_or(OTHER, |n| n.0),
            canonical: is_canonical(text),
        }))
    }

    /// A line that does not start with a name and a colon: the end of the section, or malformed.
    #[cold]
    fn end_or_error(wire: &[u8], name_len: usize) -> Result<Option<Line>, FieldError> {
        match wire {
            [b'\r', b'\n', ..] => Ok(Some(Line { len: END, name_len: 0, id: OTHER, canonical: true })),
            [b'\r'] => Ok(None),
            [b'\n', ..] => Err(FieldError::Line),
            _ if matches!(wire.get(name_len), Some(b'\r' | b'\n')) => Err(FieldError::Line),
            _ => Err(FieldError::Name),
        }
    }
}

/// Whether what follows the colon is one space and a value without white space around it.
fn is_canonical(text: &[u8]) -> bool {
    let is_space = |b: u8| b == b' ' || b == b'\t';
    match text {
        [b' '] => true,
        [b' ', first, .., last] => !is_space(*first) && !is_space(*last),
        [b' ', only] => !is_space(*only),
        _ => false,
    }
}

const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Where the first byte stands that may not be in a field value, or the length. Eight bytes at a time.
#[inline]
fn value_end(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let del = word ^ (ONES * 0x7f);
        let is_del = del.wrapping_sub(ONES) & !del & HIGHS;
        let found = below_space | is_del;
        if found == 0 {
            at += 8;
            continue;
        }
        at += (found.trailing_zeros() / 8) as usize;
        if bytes[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().position(|b| !super::is_value_byte(*b)).unwrap_or(tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::name;

    fn complete(wire: &[u8]) -> Fields {
        let (fields, section) = Fields::read_section(wire, 100).unwrap();
        assert_eq!(section, Section::Complete(wire.len()));
        fields
    }

    #[test]
    fn canonical_and_odd_lines_mix_in_order() {
        let fields =
            complete(b"Host: a\r\nX-Tight:1\r\nAccept:  b \t\r\nEmpty:\r\nSpace: \r\nVia: c\r\n\r\n");
        let mut out = Vec::new();
        fields.write_wire(&mut out);
        assert_eq!(out, b"Host: a\r\nX-Tight: 1\r\nAccept: b\r\nEmpty: \r\nSpace: \r\nVia: c\r\n");
        assert_eq!(fields.get(name::ACCEPT), Some(&b"b"[..]));
        assert_eq!(fields.get(name::VIA), Some(&b"c"[..]));
    }

    #[test]
    fn a_section_is_the_same_as_its_lines() {
        let lines = b"Host: example.org\r\nCookie: a=b;\tc\x80d\r\nX: \r\n";
        let mut section = lines.to_vec();
        section.extend_from_slice(b"\r\n");
        assert_eq!(complete(&section), Fields::from_wire(lines).unwrap());
    }

    #[test]
    fn every_prefix_is_incomplete() {
        let wire = b"Host: example.org\r\nX-Long: 0123456789 0123456789\r\n\r\n";
        for end in 0..wire.len() {
            let (_, section) = Fields::read_section(&wire[..end], 100).unwrap();
            assert_eq!(section, Section::Incomplete, "{end}");
        }
    }

    #[test]
    fn malformed_sections_are_refused() {
        for (wire, error) in [
            (&b"Host : a\r\n\r\n"[..], FieldError::Name),
            (b": a\r\n\r\n", FieldError::Name),
            (b" a: b\r\n\r\n", FieldError::Name),
            (b"A: b\r\n folded\r\n\r\n", FieldError::Name),
            (b"no colon\r\n\r\n", FieldError::Name),
            (b"nocolon\r\n\r\n", FieldError::Line),
            (b"A: b\n\r\n", FieldError::Line),
            (b"A: b\r\n\n", FieldError::Line),
            (b"A: b\rc\r\n\r\n", FieldError::Value),
            (b"A: 0123456789\0\r\n\r\n", FieldError::Value),
            (b"A: 0123456789\x7f\r\n\r\n", FieldError::Value),
            (b"A: 1\r\nB: 2\r\nC: 3\r\n\r\n", FieldError::TooMany),
        ] {
            assert_eq!(
                Fields::read_section(wire, 2).err(),
                Some(error),
                "{:?}",
                String::from_utf8_lossy(wire)
            );
        }
    }

    #[test]
    fn the_scan_stops_at_exactly_the_bytes_that_are_not_allowed() {
        for at in 0..20 {
            for byte in 0..=255u8 {
                let mut text = *b"abcdefgh\tijklmn\x80pqrs";
                text[at] = byte;
                let slow = text.iter().position(|b| !crate::fields::is_value_byte(*b)).unwrap_or(text.len());
                assert_eq!(value_end(&text), slow, "{byte} at {at}");
            }
        }
    }
}
