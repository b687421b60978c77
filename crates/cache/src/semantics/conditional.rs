//! Preconditions in requests (RFC 9110 section 13, RFC 9111 section 4.3.2).
//!
//! A cache evaluates If-None-Match, If-Modified-Since and If-Range against what it stored. If-Match and
//! If-Unmodified-Since are the origin's to evaluate: [`evaluate_at_origin`] is for when we are it.

use super::age::single_date;
use super::etag::{EntityTag, Strong, Validators};
use super::http_date;
use selvedge_types::fields::trim;
use selvedge_types::{Fields, Name, Status, UnixMillis, name};

/// What the preconditions of a request come to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Precondition {
    /// Answer as though there were none.
    Proceed,
    /// Answer 304.
    NotModified,
    /// Answer 412.
    Failed,
}

/// Evaluates a GET or HEAD request's preconditions against a stored response that may answer it.
/// `received` is when that response came, for want of Last-Modified and Date.
pub fn evaluate_at_cache(
    request: &Fields,
    status: Status,
    stored: &Fields,
    received: UnixMillis,
) -> Precondition {
    // Preconditions are ignored unless the plain answer would be a success (RFC 9110 section 13.2.1).
    if !status.is_success() {
        return Precondition::Proceed;
    }
    let current = Validators::of(stored, received);
    if request.contains(name::IF_NONE_MATCH) {
        return if none_matches(request, &current) {
            Precondition::Proceed
        } else {
            Precondition::NotModified
        };
    }
    let since = single_date(request, name::IF_MODIFIED_SINCE, received);
    // RFC 9111 section 4.3.2: without Last-Modified, Date counts, and without that the time of receipt.
    let modified =
        current.last_modified.or_else(|| single_date(stored, name::DATE, received)).unwrap_or(received);
    match since {
        Some(since) if modified.secs() <= since.secs() => Precondition::NotModified,
        _ => Precondition::Proceed,
    }
}

/// Evaluates a request's preconditions at the origin, in the order of RFC 9110 section 13.2.2.
/// `current` is none if the target has no representation; `reads` says that the method is GET or HEAD.
pub fn evaluate_at_origin(
    request: &Fields,
    reads: bool,
    current: Option<&Validators<'_>>,
    now: UnixMillis,
) -> Precondition {
    if request.contains(name::IF_MATCH) {
        if !some_match(request, current) {
            return Precondition::Failed;
        }
    } else if let (Some(limit), Some(modified)) =
        (single_date(request, name::IF_UNMODIFIED_SINCE, now), current.and_then(|c| c.last_modified))
        && modified.secs() > limit.secs()
    {
        return Precondition::Failed;
    }
    if request.contains(name::IF_NONE_MATCH) {
        return match current {
            Some(current) if !none_matches(request, current) && reads => Precondition::NotModified,
            Some(current) if !none_matches(request, current) => Precondition::Failed,
            _ => Precondition::Proceed,
        };
    }
    let since = single_date(request, name::IF_MODIFIED_SINCE, now);
    match (since, current.and_then(|c| c.last_modified)) {
        (Some(since), Some(modified)) if reads && modified.secs() <= since.secs() => {
            Precondition::NotModified
        }
        _ => Precondition::Proceed,
    }
}

/// Whether Range is to be respected as far as If-Range is concerned (RFC 9110 section 13.1.5): it is absent,
/// or its validator is strong and the current one.
pub fn if_range_holds(request: &Fields, current: &Validators<'_>, now: UnixMillis) -> bool {
    let mut values = request.get_all(name::IF_RANGE);
    let Some(value) = values.next().map(trim) else { return true };
    if values.next().is_some() {
        return false;
    }
    let is_tag = value.starts_with(b"\"") || value.starts_with(b"W/");
    match (http_date::parse(value, now).filter(|_| !is_tag), current.last_modified) {
        (Some(date), Some(modified)) => current.last_modified_is_strong && date == modified,
        (Some(_), None) => false,
        (None, _) => EntityTag::parse(value).zip(current.etag).is_some_and(|(a, b)| a.matches_strongly(b)),
    }
}

/// The fields of a 304 made from a stored response (RFC 9110 section 15.4.5): all but representation
/// metadata, of which Last-Modified stays if there is no ETag to guide the recipient.
pub fn not_modified_fields(stored: &Fields) -> Fields {
    let has_etag = stored.contains(name::ETAG);
    let dropped = |known: Option<Name>, text: &[u8]| match known {
        Some(
            name::CONTENT_LENGTH
            | name::CONTENT_TYPE
            | name::CONTENT_ENCODING
            | name::CONTENT_LANGUAGE
            | name::CONTENT_RANGE
            | name::TRAILER
            | name::TRANSFER_ENCODING,
        ) => true,
        Some(name::LAST_MODIFIED) => has_etag,
        Some(_) => false,
        None => text.eq_ignore_ascii_case(b"content-md5"),
    };
    let mut out = Fields::with_capacity(stored.len(), stored.wire_len());
    for (known, text, value) in stored.iter_known() {
        if !dropped(known, text) {
            // The line is valid: it was in a list of fields before.
            let _ = out.append(text, value);
        }
    }
    out
}

/// The If-Range value for a strong validator.
pub fn if_range_value(strong: Strong<'_>) -> Vec<u8> {
    match strong {
        Strong::Tag(tag) => tag.opaque.to_vec(),
        Strong::Date(date) => http_date::write(date).to_vec(),
    }
}

fn none_matches(request: &Fields, current: &Validators<'_>) -> bool {
    let matches = |asked: EntityTag<'_>| current.etag.is_some_and(|tag| tag.matches_weakly(asked));
    !EntityTag::is_listed(request.get_all(name::IF_NONE_MATCH), matches)
}

fn some_match(request: &Fields, current: Option<&Validators<'_>>) -> bool {
    let matches =
        |asked: EntityTag<'_>| current.and_then(|c| c.etag).is_some_and(|tag| tag.matches_strongly(asked));
    current.is_some() && EntityTag::is_listed(request.get_all(name::IF_MATCH), matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis::from_secs(1_790_000_000);
    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn fields(wire: &str) -> Fields {
        let wire = wire.replace("OLD", OLD).replace("LATER", LATER).replace('|', "\r\n");
        Fields::from_wire(wire.as_bytes()).unwrap()
    }

    #[test]
    fn a_cache_answers_304_to_what_still_holds() {
        use Precondition::*;
        for (request, stored, expected) in [
            ("If-None-Match: \"a\"|", "ETag: \"a\"|", NotModified),
            ("If-None-Match: W/\"a\"|", "ETag: \"a\"|", NotModified),
            ("If-None-Match: \"a\"|", "ETag: W/\"a\"|", NotModified),
            ("If-None-Match: \"x\", \"a\"|", "ETag: \"a\"|", NotModified),
            ("If-None-Match: \"x\"|If-None-Match: \"a\"|", "ETag: \"a\"|", NotModified),
            ("If-None-Match: *|", "Date: OLD|", NotModified),
            ("If-None-Match: \"x\"|", "ETag: \"a\"|", Proceed),
            ("If-None-Match: a|", "ETag: a|", NotModified),
            ("If-None-Match: \"a\"|", "Date: OLD|", Proceed),
            ("If-None-Match: \"x\"|If-Modified-Since: LATER|", "ETag: \"a\"|Last-Modified: OLD|", Proceed),
            ("If-Modified-Since: OLD|", "Last-Modified: OLD|", NotModified),
            ("If-Modified-Since: LATER|", "Last-Modified: OLD|", NotModified),
            ("If-Modified-Since: OLD|", "Last-Modified: LATER|", Proceed),
            ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT|", "Last-Modified: OLD|", NotModified),
            ("If-Modified-Since: OLD|", "Date: OLD|", NotModified),
            ("If-Modified-Since: OLD|", "Date: LATER|", Proceed),
            ("If-Modified-Since: OLD|", "X: y|", Proceed),
            ("If-Modified-Since: nonsense|", "Last-Modified: OLD|", Proceed),
            ("If-Match: \"x\"|", "ETag: \"a\"|", Proceed),
            ("Accept: a|", "ETag: \"a\"|", Proceed),
        ] {
            let found = evaluate_at_cache(&fields(request), Status::OK, &fields(stored), NOW);
            assert_eq!(found, expected, "{request} {stored}");
        }
        let found = evaluate_at_cache(&fields("If-None-Match: *|"), Status::NOT_FOUND, &Fields::new(), NOW);
        assert_eq!(found, Proceed);
        let received = evaluate_at_cache(
            &fields("If-Modified-Since: LATER|"),
            Status::OK,
            &Fields::new(),
            UnixMillis::from_secs(784_111_778),
        );
        assert_eq!(received, NotModified);
    }

    #[test]
    fn an_origin_follows_the_order_of_precedence() {
        use Precondition::*;
        for (request, reads, current, expected) in [
            ("If-Match: \"a\"|", false, Some("ETag: \"a\"|"), Proceed),
            ("If-Match: *|", false, Some("ETag: \"a\"|"), Proceed),
            ("If-Match: *|", false, None, Failed),
            ("If-Match: W/\"a\"|", false, Some("ETag: W/\"a\"|"), Failed),
            ("If-Match: \"x\"|If-None-Match: \"a\"|", true, Some("ETag: \"a\"|"), Failed),
            ("If-Match: \"a\"|If-None-Match: \"a\"|", true, Some("ETag: \"a\"|"), NotModified),
            ("If-Unmodified-Since: OLD|", true, Some("Last-Modified: LATER|"), Failed),
            ("If-Unmodified-Since: OLD|", true, Some("Last-Modified: OLD|"), Proceed),
            (
                "If-Match: \"a\"|If-Unmodified-Since: OLD|",
                true,
                Some("ETag: \"a\"|Last-Modified: LATER|"),
                Proceed,
            ),
            ("If-None-Match: *|", false, Some("ETag: \"a\"|"), Failed),
            ("If-None-Match: *|", false, None, Proceed),
            ("If-Modified-Since: OLD|", true, Some("Last-Modified: OLD|"), NotModified),
            ("If-Modified-Since: OLD|", false, Some("Last-Modified: OLD|"), Proceed),
            ("If-Modified-Since: OLD|", true, Some("X: y|"), Proceed),
        ] {
            let current = current.map(fields);
            let current = current.as_ref().map(|f| Validators::of(f, NOW));
            assert_eq!(
                evaluate_at_origin(&fields(request), reads, current.as_ref(), NOW),
                expected,
                "{request}"
            );
        }
    }

    #[test]
    fn if_range_needs_a_strong_match() {
        for (request, current, holds) in [
            ("X: y|", "ETag: \"a\"|", true),
            ("If-Range: \"a\"|", "ETag: \"a\"|", true),
            ("If-Range: \"b\"|", "ETag: \"a\"|", false),
            ("If-Range: W/\"a\"|", "ETag: W/\"a\"|", false),
            ("If-Range: OLD|", "Last-Modified: OLD|Date: LATER|", true),
            ("If-Range: OLD|", "Last-Modified: OLD|Date: OLD|", false),
            ("If-Range: LATER|", "Last-Modified: OLD|Date: LATER|", false),
            ("If-Range: OLD|", "ETag: \"a\"|", false),
        ] {
            let current = fields(current);
            let found = if_range_holds(&fields(request), &Validators::of(&current, NOW), NOW);
            assert_eq!(found, holds, "{request}");
        }
    }

    #[test]
    fn a_304_has_no_representation_metadata() {
        let stored = "Date: OLD|ETag: \"a\"|Last-Modified: OLD|Content-Type: a/b|Content-Length: 3|\
                      Content-Location: /x|Vary: a|Cache-Control: max-age=1|Content-Security-Policy: none|";
        let expected = "Date: OLD|ETag: \"a\"|Content-Location: /x|Vary: a|Cache-Control: max-age=1|\
                        Content-Security-Policy: none|";
        assert_eq!(not_modified_fields(&fields(stored)), fields(expected));
        let stored = fields("Last-Modified: OLD|Content-MD5: x|");
        assert_eq!(not_modified_fields(&stored), fields("Last-Modified: OLD|"));
    }
}
