//! From what is asked and what there is to the head of the answer, without reading a byte.

use selvedge_cache::semantics::etag::Validators;
use selvedge_cache::semantics::range::unsatisfied_range;
use selvedge_cache::semantics::{
    ContentRange, Precondition, RangeRequest, Selected, conditional, evaluate_at_origin, http_date,
};
use selvedge_types::{Fields, Method, Name, Status, UnixMillis, name};
use std::ops::Range;

/// What a request asks, as far as a file's answer depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// GET or HEAD.
    pub method: &'a Method,
    /// Its header fields.
    pub fields: &'a Fields,
    /// Wall time.
    pub now: UnixMillis,
}

/// What there is.
#[derive(Debug, Clone, Copy)]
pub struct Representation<'a> {
    /// The media type.
    pub media_type: &'static str,
    /// The length in bytes.
    pub len: u64,
    /// The entity tag, with its quotes.
    pub etag: &'a str,
    /// When it was last changed, if that is known.
    pub modified: Option<UnixMillis>,
}

/// The answer's head, and the part of the content that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// 200, 206, 304, 412 or 416.
    pub status: Status,
    /// Header fields.
    pub fields: Fields,
    /// The bytes to send; none for 304, 412 and 416.
    pub part: Option<Range<u64>>,
}

/// Plans the answer: preconditions first (RFC 9110 section 13.2.2), then Range (section 14.2).
///
/// Several ranges are answered with everything, as section 14.2 allows: no client needs more than that of
/// files.
pub fn plan(facts: &Facts<'_>, there: &Representation<'_>) -> Plan {
    let mut validators = Fields::with_capacity(2, 128);
    put(&mut validators, name::ETAG, there.etag);
    if let Some(modified) = there.modified {
        put(&mut validators, name::LAST_MODIFIED, http_date::write(modified));
    }
    let current = Validators::of(&validators, facts.now);
    match evaluate_at_origin(facts.fields, true, Some(&current), facts.now) {
        Precondition::Proceed => {}
        Precondition::NotModified => {
            return Plan { status: Status::NOT_MODIFIED, fields: validators, part: None };
        }
        Precondition::Failed => {
            return Plan { status: Status::PRECONDITION_FAILED, fields: Fields::new(), part: None };
        }
    }
    let respects_range =
        *facts.method == Method::Get && conditional::if_range_holds(facts.fields, &current, facts.now);
    let ranges = RangeRequest::of(facts.fields).filter(|_| respects_range);
    let selected = ranges.map_or(Selected::Whole, |ranges| ranges.select(there.len));
    respond(there, validators, selected)
}

fn respond(there: &Representation<'_>, validators: Fields, selected: Selected) -> Plan {
    let mut fields = validators;
    put(&mut fields, name::CONTENT_TYPE, there.media_type);
    put(&mut fields, name::ACCEPT_RANGES, "bytes");
    match selected {
        Selected::Whole | Selected::Many(_) => {
            put(&mut fields, name::CONTENT_LENGTH, there.len.to_string());
            Plan { status: Status::OK, fields, part: Some(0..there.len) }
        }
        Selected::One(span) => {
            let range = ContentRange { span, length: Some(there.len) };
            put(&mut fields, name::CONTENT_RANGE, range.to_value());
            put(&mut fields, name::CONTENT_LENGTH, span.len().to_string());
            Plan { status: Status::PARTIAL_CONTENT, fields, part: Some(span.start()..span.end()) }
        }
        Selected::Unsatisfiable => {
            let mut fields = Fields::with_capacity(2, 64);
            put(&mut fields, name::CONTENT_RANGE, unsatisfied_range(there.len));
            Plan { status: Status::RANGE_NOT_SATISFIABLE, fields, part: None }
        }
    }
}

fn put(fields: &mut Fields, name: Name, value: impl AsRef<[u8]>) {
    // What is put here is made of visible characters.
    let _ = fields.add(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: UnixMillis = UnixMillis::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT

    fn ask(method: Method, request: &str) -> (u16, Option<Range<u64>>, String) {
        let fields = Fields::from_wire(request.as_bytes()).unwrap();
        let now = UnixMillis::from_secs(1_000_000_000);
        let there =
            Representation { media_type: "text/plain", len: 10, etag: "\"e\"", modified: Some(MODIFIED) };
        let plan = plan(&Facts { method: &method, fields: &fields, now }, &there);
        let range = plan.fields.get_str(name::CONTENT_RANGE).unwrap_or_default().to_owned();
        (plan.status.code(), plan.part, range)
    }

    #[test]
    fn preconditions_come_before_ranges() {
        for (request, status) in [
            ("", 200),
            ("If-None-Match: \"e\"\r\n", 304),
            ("If-None-Match: W/\"e\", \"x\"\r\n", 304),
            ("If-None-Match: *\r\n", 304),
            ("If-None-Match: \"x\"\r\n", 200),
            ("If-None-Match: \"x\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 200),
            ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 304),
            ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 200),
            ("If-Match: \"x\"\r\n", 412),
            ("If-Match: \"e\"\r\n", 200),
            ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 412),
            ("If-None-Match: \"e\"\r\nRange: bytes=0-1\r\n", 304),
        ] {
            assert_eq!(ask(Method::Get, request).0, status, "{request}");
        }
    }

    #[test]
    fn one_range_is_served_as_a_part() {
        for (request, status, part, content_range) in [
            ("Range: bytes=0-3\r\n", 206, Some(0..4), "bytes 0-3/10"),
            ("Range: bytes=-3\r\n", 206, Some(7..10), "bytes 7-9/10"),
            ("Range: bytes=5-\r\nIf-Range: \"e\"\r\n", 206, Some(5..10), "bytes 5-9/10"),
            ("Range: bytes=5-\r\nIf-Range: \"x\"\r\n", 200, Some(0..10), ""),
            ("Range: bytes=10-\r\n", 416, None, "bytes */10"),
            ("Range: lines=1-2\r\n", 200, Some(0..10), ""),
        ] {
            assert_eq!(ask(Method::Get, request), (status, part, content_range.to_owned()), "{request}");
        }
    }

    #[test]
    fn range_means_nothing_to_head() {
        assert_eq!(ask(Method::Head, "Range: bytes=0-3\r\n").0, 200);
    }
}
