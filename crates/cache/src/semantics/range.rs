//! Byte ranges: Range, Content-Range and their resolution (RFC 9110 section 14).

use super::decimal::push_decimal;
use super::span::Span;
use selvedge_types::fields::trim;
use selvedge_types::{Fields, name};

/// How many ranges a request may ask for; with more, Range is ignored (RFC 9110 section 14.2 allows it).
pub const RANGES_MAX: usize = 16;
/// Ranges closer to each other than this are served as one (RFC 9110 section 15.3.7.2): the head of a part
/// takes about as many bytes.
pub const COALESCE_GAP_BYTES: u64 = 80;

/// One range as it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangeSpec {
    /// `first-` or `first-last`, both inclusive.
    From {
        /// The first byte's position.
        first: u64,
        /// The last byte's position; none for "to the end".
        last: Option<u64>,
    },
    /// `-length`: that many bytes at the end.
    Suffix(u64),
}

impl RangeSpec {
    fn parse(text: &[u8]) -> Option<RangeSpec> {
        let dash = text.iter().position(|b| *b == b'-')?;
        let (first, last) = (&text[..dash], &text[dash + 1..]);
        match (first, last) {
            (b"", length) => Some(RangeSpec::Suffix(position(length)?)),
            (first, b"") => Some(RangeSpec::From { first: position(first)?, last: None }),
            (first, last) => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(RangeSpec::From { first, last: Some(last) })
            }
        }
    }

    /// The bytes it means in a representation of `length` bytes, if there are any.
    pub fn resolve(self, length: u64) -> Option<Span> {
        match self {
            RangeSpec::From { first, last } => {
                let end = last.map_or(length, |last| last.saturating_add(1).min(length));
                Span::new(first, end)
            }
            RangeSpec::Suffix(n) => Span::new(length.saturating_sub(n), length),
        }
    }
}

/// A Range field in bytes that can be read (RFC 9110 section 14.1.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeRequest {
    specs: Vec<RangeSpec>,
}

/// What a [`RangeRequest`] means for a representation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selected {
    /// Answer 200 with everything: what was asked for is not worth serving in parts.
    Whole,
    /// Answer 206 with this part.
    One(Span),
    /// Answer 206 with these parts as multipart/byteranges, in the order asked for.
    Many(Vec<Span>),
    /// Answer 416 (RFC 9110 section 15.5.17).
    Unsatisfiable,
}

impl RangeRequest {
    /// Reads a request's Range; none if it is absent, repeated, in another unit, malformed or has too many
    /// ranges, in all of which cases it is to be ignored.
    pub fn of(request: &Fields) -> Option<RangeRequest> {
        let mut values = request.get_all(name::RANGE);
        let value = values.next()?;
        if values.next().is_some() { None } else { Self::parse(value) }
    }

    /// Reads a Range field's value.
    pub fn parse(value: &[u8]) -> Option<RangeRequest> {
        let equals = value.iter().position(|b| *b == b'=')?;
        if !value[..equals].eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let mut specs = Vec::new();
        for text in value[equals + 1..].split(|b| *b == b',').map(trim).filter(|t| !t.is_empty()) {
            if specs.len() == RANGES_MAX {
                return None;
            }
            specs.push(RangeSpec::parse(text)?);
        }
        (!specs.is_empty()).then_some(RangeRequest { specs })
    }

    /// The ranges as they were asked for, at least one.
    pub fn specs(&self) -> &[RangeSpec] {
        &self.specs
    }

    /// The only range, if one was asked for.
    pub fn single(&self) -> Option<RangeSpec> {
        if let [spec] = self.specs[..] { Some(spec) } else { None }
    }

    /// What to answer with from a representation of `length` bytes.
    ///
    /// Overlapping and nearly adjacent ranges become one. Many ranges that add up to more than the
    /// representation are taken for an attack or a mistake and answered with all of it.
    pub fn select(&self, length: u64) -> Selected {
        let wanted: Vec<Span> = self.specs.iter().filter_map(|s| s.resolve(length)).collect();
        if wanted.is_empty() {
            return Selected::Unsatisfiable;
        }
        let asked: u64 = wanted.iter().fold(0, |n, s| n.saturating_add(s.len()));
        if wanted.len() > 1 && asked > length {
            return Selected::Whole;
        }
        match coalesce(wanted) {
            spans if spans.len() > 1 => Selected::Many(spans),
            spans => spans.first().map_or(Selected::Unsatisfiable, |span| Selected::One(*span)),
        }
    }
}

/// Joins spans that overlap or nearly touch, keeping the order of their first mention.
fn coalesce(wanted: Vec<Span>) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::with_capacity(wanted.len());
    for mut span in wanted {
        let mut place = out.len();
        // Joining may make a span reach another one that was apart before.
        while let Some(at) = out.iter().position(|known| known.gap_to(span) < COALESCE_GAP_BYTES) {
            span = out.remove(at).hull(span);
            place = place.min(at);
        }
        out.insert(place, span);
    }
    out
}

/// A 206 response's Content-Range (RFC 9110 section 14.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentRange {
    /// The bytes it holds.
    pub span: Span,
    /// The representation's length, if stated.
    pub length: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes first-last/length` or `bytes first-last/*`; none if it is anything else or impossible.
    pub fn parse(value: &[u8]) -> Option<ContentRange> {
        let space = value.iter().position(|b| *b == b' ')?;
        if !value[..space].eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let rest = &value[space + 1..];
        let slash = rest.iter().position(|b| *b == b'/')?;
        let RangeSpec::From { first, last: Some(last) } = RangeSpec::parse(&rest[..slash])? else {
            return None;
        };
        let length = match &rest[slash + 1..] {
            b"*" => None,
            text => Some(position(text)?),
        };
        let span = Span::new(first, last.checked_add(1)?)?;
        length.is_none_or(|n| span.end() <= n).then_some(ContentRange { span, length })
    }

    /// The field's value.
    pub fn to_value(self) -> Vec<u8> {
        let mut out = b"bytes ".to_vec();
        push_decimal(&mut out, self.span.start());
        out.push(b'-');
        push_decimal(&mut out, self.span.end() - 1);
        out.push(b'/');
        match self.length {
            Some(length) => push_decimal(&mut out, length),
            None => out.push(b'*'),
        }
        out
    }
}

/// The Content-Range value of a 416 (RFC 9110 section 14.4).
pub fn unsatisfied_range(length: u64) -> Vec<u8> {
    let mut out = b"bytes */".to_vec();
    push_decimal(&mut out, length);
    out
}

/// The Range value that asks for `span`; one that ends with the representation is left open.
pub fn range_value(span: Span, length: Option<u64>) -> Vec<u8> {
    let mut out = b"bytes=".to_vec();
    push_decimal(&mut out, span.start());
    out.push(b'-');
    if length != Some(span.end()) {
        push_decimal(&mut out, span.end() - 1);
    }
    out
}

/// Digits only; larger than can be counted is the largest number.
fn position(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |n: u64, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(first: u64, last: u64) -> Span {
        Span::new(first, last + 1).unwrap()
    }

    #[test]
    fn ranges_are_resolved_against_the_length() {
        use Selected::*;
        for (value, expected) in [
            ("bytes=0-0", One(span(0, 0))),
            ("Bytes=0-499", One(span(0, 499))),
            ("bytes=500-", One(span(500, 9_999))),
            ("bytes=-500", One(span(9_500, 9_999))),
            ("bytes=-99999", One(span(0, 9_999))),
            ("bytes=9999-99999999999999999999999", One(span(9_999, 9_999))),
            ("bytes=10000-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=20000-30000,-0", Unsatisfiable),
            ("bytes=0-99,5000-5099", Many(vec![span(0, 99), span(5_000, 5_099)])),
            ("bytes=5000-5099, 0-99", Many(vec![span(5_000, 5_099), span(0, 99)])),
            ("bytes=0-99,20000-", One(span(0, 99))),
            ("bytes=0-99,100-199", One(span(0, 199))),
            ("bytes=0-99,150-199", One(span(0, 199))),
            ("bytes=0-99,300-399,90-310", One(span(0, 399))),
            ("bytes=0-,0-,0-", Whole),
            ("bytes=,0-1,,", One(span(0, 1))),
        ] {
            assert_eq!(RangeRequest::parse(value.as_bytes()).unwrap().select(10_000), expected, "{value}");
        }
        assert_eq!(RangeRequest::parse(b"bytes=0-").unwrap().select(0), Unsatisfiable);
    }

    #[test]
    fn what_cannot_be_read_is_ignored() {
        let many = format!("bytes={}", vec!["0-0"; RANGES_MAX + 1].join(","));
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-3",
            "bytes=1",
            "bytes=0-1,5-3",
            "bytes= 0 -1",
            "items=0-1",
            "bytes=+1-2",
            "bytes=0-1bytes=2-3",
            &many,
        ] {
            assert_eq!(RangeRequest::parse(value.as_bytes()), None, "{value}");
        }
        let twice = Fields::from_wire(b"Range: bytes=0-1\r\nRange: bytes=2-3\r\n").unwrap();
        assert_eq!(RangeRequest::of(&twice), None);
    }

    #[test]
    fn content_range_is_read_and_written() {
        for (value, expected) in [
            ("bytes 0-4/10", Some((0, 4, Some(10)))),
            ("bytes 5-9/*", Some((5, 9, None))),
            ("bytes */10", None),
            ("bytes 0-10/10", None),
            ("bytes 5-4/10", None),
            ("bytes 0-/10", None),
            ("bytes -4/10", None),
            ("bytes=0-4/10", None),
            ("bytes  0-4/10", None),
            ("bytes 0-4/ 10", None),
            ("bytes 0-18446744073709551615/*", None),
            ("items 0-4/10", None),
        ] {
            let found = ContentRange::parse(value.as_bytes());
            let expected = expected.map(|(a, b, length)| ContentRange { span: span(a, b), length });
            assert_eq!(found, expected, "{value}");
            if let Some(found) = found {
                assert_eq!(found.to_value(), value.as_bytes());
            }
        }
        assert_eq!(unsatisfied_range(10), b"bytes */10");
        assert_eq!(range_value(span(5, 9), Some(10)), b"bytes=5-");
        assert_eq!(range_value(span(5, 9), Some(11)), b"bytes=5-9");
        assert_eq!(range_value(span(5, 9), None), b"bytes=5-9");
    }

    proptest! {
        #[test]
        fn no_input_panics(value in prop::collection::vec(any::<u8>(), 0..60), length: u64) {
            if let Some(ranges) = RangeRequest::parse(&value) {
                ranges.select(length);
            }
            ContentRange::parse(&value);
        }

        #[test]
        fn what_is_selected_lies_inside_apart_and_costs_no_more_than_everything(
            value in "bytes=([0-9]{0,3}-[0-9]{0,3},){1,8}", length in 0u64..1000,
        ) {
            let Some(ranges) = RangeRequest::parse(value.as_bytes()) else { return Ok(()) };
            let spans = match ranges.select(length) {
                Selected::One(span) => vec![span],
                Selected::Many(spans) => spans,
                _ => return Ok(()),
            };
            prop_assert!(spans.iter().all(|s| s.end() <= length));
            for (i, a) in spans.iter().enumerate() {
                for b in &spans[i + 1..] {
                    prop_assert!(a.gap_to(*b) >= COALESCE_GAP_BYTES);
                }
            }
        }
    }
}
