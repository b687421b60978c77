//! Answering with parts: the fields of 206 and 416 responses, multipart/byteranges, and completing what is
//! stored in part (RFC 9110 sections 14.6 and 15.3.7, RFC 9111 section 3.4).

use super::conditional::if_range_value;
use super::decimal::push_decimal;
use super::etag::Validators;
use super::range::{ContentRange, range_value, unsatisfied_range};
use super::span::Span;
use selvedge_types::{FieldError, Fields, UnixMillis, name};

/// The fields of a 206 with one part, made from a stored response's.
pub fn part_fields(stored: &Fields, range: ContentRange) -> Result<Fields, FieldError> {
    let mut out = stored.clone();
    set_number(&mut out, range.span.len())?;
    out.set(name::CONTENT_RANGE, range.to_value())?;
    Ok(out)
}

/// The fields of a 416 for a representation of `length` bytes, made from a stored response's: only Date and
/// what concerns caches stays, the content being another one.
pub fn unsatisfiable_fields(stored: &Fields, length: u64) -> Result<Fields, FieldError> {
    let mut out = Fields::new();
    for field in [name::DATE, name::ETAG, name::VARY, name::ACCEPT_RANGES] {
        for value in stored.get_all(field) {
            out.add(field, value)?;
        }
    }
    out.add(name::CONTENT_RANGE, unsatisfied_range(length))?;
    set_number(&mut out, 0)?;
    Ok(out)
}

/// Makes a request ask for `span` alone, and only if the representation is still the stored one.
///
/// False, and nothing changed, if the stored response has no strong validator: its parts cannot be combined.
pub fn ask_for_span(
    request: &mut Fields,
    stored: &Fields,
    span: Span,
    length: Option<u64>,
    now: UnixMillis,
) -> bool {
    let Some(strong) = Validators::of(stored, now).strong() else { return false };
    for field in [name::IF_MATCH, name::IF_NONE_MATCH, name::IF_MODIFIED_SINCE, name::IF_UNMODIFIED_SINCE] {
        request.remove(field);
    }
    let range = request.set(name::RANGE, range_value(span, length));
    range.and(request.set(name::IF_RANGE, if_range_value(strong))).is_ok()
}

/// A multipart/byteranges body: for each part a head to write before its bytes, and an end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Multipart {
    /// The Content-Type of the whole.
    pub content_type: Vec<u8>,
    /// Each part's head and the bytes that follow it.
    pub parts: Vec<(Vec<u8>, Span)>,
    /// What ends the body.
    pub end: Vec<u8>,
}

impl Multipart {
    /// Plans a body of those parts of a representation of `length` bytes. `boundary` is a random number: the
    /// content must not happen to contain it.
    pub fn new(spans: &[Span], length: u64, content_type: Option<&[u8]>, boundary: u128) -> Self {
        let boundary = format!("{boundary:032x}");
        let head = |span: &Span| {
            let mut out = format!("\r\n--{boundary}\r\n").into_bytes();
            if let Some(kind) = content_type {
                out.extend_from_slice(b"Content-Type: ");
                out.extend_from_slice(kind);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"Content-Range: ");
            out.extend_from_slice(&ContentRange { span: *span, length: Some(length) }.to_value());
            out.extend_from_slice(b"\r\n\r\n");
            out
        };
        Multipart {
            content_type: format!("multipart/byteranges; boundary={boundary}").into_bytes(),
            parts: spans.iter().map(|span| (head(span), *span)).collect(),
            end: format!("\r\n--{boundary}--\r\n").into_bytes(),
        }
    }

    /// The body's length in bytes.
    pub fn content_length(&self) -> u64 {
        let parts: u64 = self.parts.iter().map(|(head, span)| head.len() as u64 + span.len()).sum();
        parts + self.end.len() as u64
    }

    /// The fields of the 206, made from a stored response's.
    pub fn fields(&self, stored: &Fields) -> Result<Fields, FieldError> {
        let mut out = stored.clone();
        out.remove(name::CONTENT_RANGE);
        out.set(name::CONTENT_TYPE, &self.content_type)?;
        set_number(&mut out, self.content_length())?;
        Ok(out)
    }
}

fn set_number(fields: &mut Fields, n: u64) -> Result<(), FieldError> {
    let mut text = Vec::with_capacity(20);
    push_decimal(&mut text, n);
    fields.set(name::CONTENT_LENGTH, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis::from_secs(1_790_000_000);

    fn fields(wire: &str) -> Fields {
        Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap()
    }

    fn span(first: u64, last: u64) -> Span {
        Span::new(first, last + 1).unwrap()
    }

    #[test]
    fn one_part_says_where_it_lies() {
        let stored = fields("Content-Length: 10|ETag: \"a\"|Content-Range: bytes 0-9/10|");
        let range = ContentRange { span: span(2, 4), length: Some(10) };
        let expected = fields("ETag: \"a\"|Content-Length: 3|Content-Range: bytes 2-4/10|");
        assert_eq!(part_fields(&stored, range).unwrap(), expected);
    }

    #[test]
    fn an_unsatisfiable_range_is_answered_with_the_length() {
        let stored = fields("Content-Length: 10|Content-Type: a/b|Vary: x|");
        let expected = fields("Vary: x|Content-Range: bytes */10|Content-Length: 0|");
        assert_eq!(unsatisfiable_fields(&stored, 10).unwrap(), expected);
    }

    #[test]
    fn several_parts_make_a_multipart_body() {
        let body = Multipart::new(&[span(0, 1), span(100, 101)], 200, Some(b"text/plain"), 0xabc);
        let content = [b'.'; 200];
        let mut wire = Vec::new();
        for (head, span) in &body.parts {
            wire.extend_from_slice(head);
            wire.extend_from_slice(&content[span.start() as usize..span.end() as usize]);
        }
        wire.extend_from_slice(&body.end);
        assert_eq!(body.content_length(), wire.len() as u64);
        let boundary = "00000000000000000000000000000abc";
        let expected = format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/200\r\n\r\n..\
             \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 100-101/200\r\n\r\n..\
             \r\n--{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(wire).unwrap(), expected);
        let sent = body.fields(&fields("Content-Type: text/plain|Content-Length: 200|ETag: \"a\"|")).unwrap();
        assert_eq!(sent.get(name::CONTENT_TYPE), Some(&body.content_type[..]));
        assert_eq!(sent.get_str(name::CONTENT_LENGTH), Some(body.content_length().to_string().as_str()));
    }

    #[test]
    fn missing_bytes_are_asked_for_under_a_strong_validator() {
        let mut request = fields("If-None-Match: \"old\"|Range: bytes=0-|X: y|");
        assert!(ask_for_span(&mut request, &fields("ETag: \"a\"|"), span(5, 9), Some(10), NOW));
        assert_eq!(request, fields("X: y|Range: bytes=5-|If-Range: \"a\"|"));
        assert!(!ask_for_span(&mut request, &fields("ETag: W/\"a\"|"), span(5, 9), Some(10), NOW));
    }
}
