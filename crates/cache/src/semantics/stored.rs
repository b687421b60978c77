//! Which fields of a response are stored (RFC 9111 section 3.1), and how later responses update them
//! (sections 3.2, 3.4, 4.3.4 and 4.3.5).

use super::age::Times;
use super::etag::Validators;
use super::http_date;
use super::list::members;
use super::policy::FreshnessPolicy;
use super::request::RequestFacts;
use super::response::{Judgement, Received, judge};
use super::target::Target;
use selvedge_types::{Fields, Name, Status, UnixMillis, name};

/// The fields of `response` that may be stored and sent to later clients.
///
/// Left out are those about the connection, those of proxy authentication, `omit` (see
/// [`Judgement::omit`]), and Age, which is worked out anew for each answer. Date is added if it is missing
/// or cannot be read (RFC 9110 section 6.6.1).
pub fn storable_fields(response: &Fields, omit: &[Box<[u8]>], received: UnixMillis) -> Fields {
    let mut out = Fields::with_capacity(response.len() + 1, response.wire_len() + 40);
    for (known, text, value) in response.iter_known() {
        let listed =
            || omit.iter().any(|o| o.eq_ignore_ascii_case(text)) || is_listed_in_connection(response, text);
        if !is_never_stored(known) && !listed() {
            // The line is valid: it was in a list of fields before.
            let _ = out.append(text, value);
        }
    }
    ensure_date(&mut out, received);
    out
}

/// Whether the field is about one connection or one hop (RFC 9110 section 7.6.1, RFC 9111 section 3.1), or is Age.
fn is_never_stored(known: Option<Name>) -> bool {
    matches!(
        known,
        Some(
            name::CONNECTION
                | name::KEEP_ALIVE
                | name::PROXY_AUTHENTICATE
                | name::PROXY_AUTHENTICATION_INFO
                | name::PROXY_AUTHORIZATION
                | name::PROXY_CONNECTION
                | name::TE
                | name::TRAILER
                | name::TRANSFER_ENCODING
                | name::UPGRADE
                | name::AGE
        )
    )
}

/// A 304 leaves these as they are: they describe the stored bytes themselves (RFC 9111 section 3.2). So does
/// an ETag that is stored; one that is not is welcome.
fn is_never_updated(known: Option<Name>, text: &[u8], stored: &Fields) -> bool {
    match known {
        Some(name::CONTENT_LENGTH | name::CONTENT_ENCODING | name::CONTENT_RANGE) => true,
        Some(name::ETAG) => stored.contains(name::ETAG),
        Some(_) => false,
        None => [&b"content-md5"[..], b"content-digest"].iter().any(|n| text.eq_ignore_ascii_case(n)),
    }
}

fn is_listed_in_connection(fields: &Fields, text: &[u8]) -> bool {
    fields.get_all(name::CONNECTION).flat_map(members).any(|m| m.eq_ignore_ascii_case(text))
}

fn ensure_date(fields: &mut Fields, received: UnixMillis) {
    if super::age::date_value(fields, received).is_none() {
        fields.remove(name::DATE);
        // A written date is always a valid value.
        let _ = fields.add(name::DATE, http_date::write(received));
    }
}

/// A stored response brought up to date.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Updated {
    /// Its fields, to be stored in place of the old ones.
    pub fields: Fields,
    /// Its new facts. If the verdict says that it must not be stored, drop it after this answer; if only
    /// the request said so (`no-store`), leave the stored response as it was.
    pub judgement: Judgement,
}

/// What a 304 or HEAD response does to a stored one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Update {
    /// It is still the current one.
    Fresh(Box<Updated>),
    /// It is not the one that was meant: do not use it; ask the origin without conditions.
    Mismatch,
}

/// A stored response, as far as updating it needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The request facts, target and status that it is judged by.
    pub request: &'a RequestFacts,
    /// The URI that it answers.
    pub target: Target<'a>,
    /// Its status.
    pub status: Status,
    /// Its fields.
    pub fields: &'a Fields,
}

/// Updates a stored response from the 304 that validated it (RFC 9111 sections 4.3.3 and 4.3.4).
pub fn update_from_304(stored: Stored<'_>, new: &Fields, times: Times, policy: &FreshnessPolicy) -> Update {
    if !is_same_representation(stored.fields, new, times.responded) {
        return Update::Mismatch;
    }
    updated(stored, new, times, policy)
}

/// Updates a stored GET response from a HEAD response (RFC 9111 section 4.3.5): with the same validators
/// and length it is as good as a 304, otherwise the stored one is to be taken for stale
/// ([`Update::Mismatch`]). `status` is the HEAD response's.
pub fn update_from_head(
    stored: Stored<'_>,
    status: Status,
    new: &Fields,
    times: Times,
    policy: &FreshnessPolicy,
) -> Update {
    let same_length = match (stored.fields.get(name::CONTENT_LENGTH), new.get(name::CONTENT_LENGTH)) {
        (Some(old), Some(new)) => old == new,
        _ => true,
    };
    let same_coding = stored.fields.joined(name::CONTENT_ENCODING) == new.joined(name::CONTENT_ENCODING);
    let same_status =
        status == stored.status || stored.status == Status::PARTIAL_CONTENT && status == Status::OK;
    if !same_status
        || !same_length
        || !same_coding
        || !has_same_validators(stored.fields, new, times.responded)
    {
        return Update::Mismatch;
    }
    updated(stored, new, times, policy)
}

/// Whether a new 206's bytes belong to the same representation as the stored ones, so that both may be
/// combined (RFC 9111 section 3.4): only a strong validator that both share shows that.
pub fn may_combine(stored: &Fields, new: &Fields, now: UnixMillis) -> bool {
    let (old, new) = (Validators::of(stored, now), Validators::of(new, now));
    old.strong().is_some() && old.strong() == new.strong()
}

/// The fields of a combined response: the stored ones updated by the new 206's, Content-Range apart.
pub fn update_from_206(stored: Stored<'_>, new: &Fields, times: Times, policy: &FreshnessPolicy) -> Update {
    if !may_combine(stored.fields, new, times.responded) {
        return Update::Mismatch;
    }
    updated(stored, new, times, policy)
}

/// Makes a request validate the stored response (RFC 9111 section 4.3.1): its own conditions and Range give
/// way to If-None-Match and If-Modified-Since. Says whether there was a validator to send.
pub fn add_validators(request: &mut Fields, stored: &Fields) -> bool {
    for field in [
        name::IF_MATCH,
        name::IF_NONE_MATCH,
        name::IF_MODIFIED_SINCE,
        name::IF_UNMODIFIED_SINCE,
        name::IF_RANGE,
        name::RANGE,
    ] {
        request.remove(field);
    }
    let mut added = false;
    for (from, to) in [(name::ETAG, name::IF_NONE_MATCH), (name::LAST_MODIFIED, name::IF_MODIFIED_SINCE)] {
        let value = stored.get(from).filter(|v| !v.is_empty());
        added |= value.is_some_and(|v| request.add(to, v).is_ok());
    }
    added
}

fn updated(stored: Stored<'_>, new: &Fields, times: Times, policy: &FreshnessPolicy) -> Update {
    let merged = merge(stored.fields, new, times.responded);
    let received = Received {
        request: stored.request,
        target: stored.target,
        status: stored.status,
        fields: &merged,
        times,
    };
    let judgement = judge(received, policy);
    let fields = storable_fields(&merged, &judgement.omit, times.responded);
    Update::Fresh(Box::new(Updated { fields, judgement }))
}

/// RFC 9111 section 3.2: each field of the new response replaces all of that name. Age stays for the judge.
fn merge(stored: &Fields, new: &Fields, received: UnixMillis) -> Fields {
    let takes = |known: Option<Name>, text: &[u8]| {
        (!is_never_stored(known) || known == Some(name::AGE))
            && !is_never_updated(known, text, stored)
            && !is_listed_in_connection(new, text)
    };
    let mut merged = Fields::with_capacity(stored.len() + 4, stored.wire_len() + new.wire_len());
    let replaced =
        |text: &[u8]| new.iter_known().any(|(k, n, _)| n.eq_ignore_ascii_case(text) && takes(k, n));
    for (known, text, value) in stored.iter_known() {
        // An old Date must not make the new answer look old.
        if known != Some(name::DATE) && known != Some(name::AGE) && !replaced(text) {
            let _ = merged.append(text, value);
        }
    }
    for (known, text, value) in new.iter_known() {
        if takes(known, text) {
            let _ = merged.append(text, value);
        }
    }
    ensure_date(&mut merged, received);
    merged
}

/// RFC 9111 section 4.3.4. A 304 without validators answers for the one stored response that was asked about.
/// So does one with another ETag if the stored ETag was all that was asked with: some servers send a tag with
/// another suffix. Had Last-Modified been sent beside it, the answer might be to the date alone.
fn is_same_representation(stored: &Fields, new: &Fields, now: UnixMillis) -> bool {
    let (old, new) = (Validators::of(stored, now), Validators::of(new, now));
    let old_date = stored.get(name::LAST_MODIFIED);
    match (new.etag, old.etag) {
        (Some(_), Some(_)) if old_date.is_none() => true,
        (Some(new), Some(old)) if !new.weak && !old.weak => new.matches_strongly(old),
        (Some(new), Some(old)) => new.matches_weakly(old),
        (Some(_), None) => new.last_modified == old.last_modified,
        (None, Some(_)) => true,
        (None, None) => {
            new.last_modified.is_none_or(|date| old.last_modified.is_none_or(|known| known == date))
        }
    }
}

/// RFC 9111 section 4.3.5: each validator in the HEAD response must be the stored one.
fn has_same_validators(stored: &Fields, new: &Fields, now: UnixMillis) -> bool {
    let (old, new) = (Validators::of(stored, now), Validators::of(new, now));
    let same_tag = new.etag.is_none_or(|tag| old.etag == Some(tag));
    let same_date = new.last_modified.is_none_or(|date| old.last_modified == Some(date));
    same_tag && same_date
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, TARGET, fields, request};
    use super::*;
    use proptest::prelude::*;

    const TIMES: Times = Times { requested: NOW, responded: NOW };

    fn from_304(old: &str, new: &str) -> Update {
        let (old, request) = (fields(old), request("GET"));
        let stored = Stored { request: &request, target: TARGET, status: Status::OK, fields: &old };
        update_from_304(stored, &fields(new), TIMES, &FreshnessPolicy::default())
    }

    fn from_head(old: &str, status: u16, new: &str) -> Update {
        let (old, request) = (fields(old), request("GET"));
        let stored = Stored { request: &request, target: TARGET, status: Status::OK, fields: &old };
        let status = Status::new(status).unwrap();
        update_from_head(stored, status, &fields(new), TIMES, &FreshnessPolicy::default())
    }

    fn fresh(update: Update) -> Updated {
        match update {
            Update::Fresh(updated) => *updated,
            Update::Mismatch => panic!("mismatch"),
        }
    }

    #[test]
    fn fields_of_the_connection_are_not_stored() {
        let response = fields(
            "Date: {0}|Connection: close, X-Hop|X-Hop: 1|Keep-Alive: 1|Proxy-Authenticate: a|Proxy-Authentication-Info: b|\
             Proxy-Authorization: c|Proxy-Connection: d|TE: e|Trailer: f|Transfer-Encoding: chunked|Upgrade: g|Age: 3|\
             Set-Cookie: a=b|X-Private: h|ETag: \"a\"|Content-Length: 3|",
        );
        let kept = storable_fields(&response, &[b"x-private"[..].into()], NOW);
        assert_eq!(kept, fields("Date: {0}|Set-Cookie: a=b|ETag: \"a\"|Content-Length: 3|"));
    }

    #[test]
    fn a_missing_or_invalid_date_is_the_time_of_receipt() {
        assert_eq!(storable_fields(&fields("X: y|"), &[], NOW), fields("X: y|Date: {0}|"));
        assert_eq!(storable_fields(&fields("Date: x|"), &[], NOW), fields("Date: {0}|"));
    }

    #[test]
    fn a_304_replaces_fields_but_not_what_describes_the_bytes() {
        let old = "Date: {-100}|ETag: \"a\"|Cache-Control: max-age=1|X: 1|X: 2|Y: 3|Content-Length: 5|Content-Encoding: br|\
                   Content-Type: text/plain|Content-MD5: old|Content-Digest: old|";
        let new = "Date: {-5}|ETag: \"a\"|Cache-Control: max-age=60|x: 9|Content-Length: 0|Content-Encoding: gzip|\
                   Content-Range: bytes 0-1/2|Content-Type: text/html|Content-MD5: new|content-digest: new|Connection: Hop|Hop: 1|Keep-Alive: 1|Age: 10|New: 1|";
        let updated = fresh(from_304(old, new));
        assert_eq!(
            updated.fields,
            fields(
                "ETag: \"a\"|Y: 3|Content-Length: 5|Content-Encoding: br|Content-MD5: old|Content-Digest: old|\
                 Date: {-5}|Cache-Control: max-age=60|x: 9|Content-Type: text/html|New: 1|"
            )
        );
        let freshness = updated.judgement.freshness;
        assert_eq!((freshness.lifetime.get(), freshness.age(NOW).as_secs()), (60, 10));
    }

    #[test]
    fn a_304_without_date_makes_the_response_young_again() {
        let updated = fresh(from_304("Date: {-100}|ETag: \"a\"|Cache-Control: max-age=60|", "ETag: \"a\"|"));
        assert!(updated.judgement.freshness.is_fresh(NOW));
        assert_eq!(updated.fields.get(name::DATE), Some(&http_date::write(NOW)[..]));
    }

    #[test]
    fn a_304_adds_an_etag_but_never_changes_one() {
        for (old, new, expected) in [
            ("ETag: \"a\"|", "ETag: \"b\"|", "\"a\""),
            ("ETag: W/\"a\"|", "ETag: \"a\"|", "W/\"a\""),
            ("Last-Modified: {-9}|", "ETag: \"b\"|Last-Modified: {-9}|", "\"b\""),
        ] {
            assert_eq!(fresh(from_304(old, new)).fields.get_str(name::ETAG), Some(expected), "{old} {new}");
        }
    }

    #[test]
    fn a_304_may_forbid_further_storing() {
        let updated = fresh(from_304("ETag: \"a\"|Cache-Control: max-age=60|", "Cache-Control: no-store|"));
        assert!(!updated.judgement.is_storable());
    }

    #[test]
    fn a_304_updates_only_what_its_validators_name() {
        for (old, new, matches) in [
            ("ETag: \"a\"|", "ETag: \"a\"|", true),
            ("ETag: \"a\"|", "ETag: \"b\"|", true),
            ("ETag: \"a\"|Last-Modified: {-9}|", "ETag: \"a\"|", true),
            ("ETag: \"a\"|Last-Modified: {-9}|", "ETag: \"b\"|", false),
            ("ETag: W/\"a\"|Last-Modified: {-9}|", "ETag: \"a\"|", true),
            ("ETag: W/\"a\"|Last-Modified: {-9}|", "ETag: W/\"b\"|", false),
            ("ETag: \"a\"|", "", true),
            ("ETag: \"a\"|", "Last-Modified: {-9}|", true),
            ("Last-Modified: {-9}|", "Last-Modified: {-9}|", true),
            ("Last-Modified: {-9}|", "Last-Modified: {-8}|", false),
            ("Last-Modified: {-9}|", "", true),
            ("Last-Modified: {-9}|", "ETag: \"a\"|", false),
            ("Last-Modified: {-9}|", "ETag: \"a\"|Last-Modified: {-9}|", true),
            ("X: y|", "Last-Modified: {-9}|", true),
        ] {
            assert_eq!(from_304(old, new) != Update::Mismatch, matches, "{old} {new}");
        }
    }

    #[test]
    fn a_head_response_updates_what_it_still_describes() {
        let old = "ETag: \"a\"|Content-Length: 5|Cache-Control: max-age=1|X: 1|";
        for (status, new, matches) in [
            (200, "ETag: \"a\"|Content-Length: 5|X: 2|", true),
            (200, "ETag: \"a\"|X: 2|", true),
            (200, "X: 2|", true),
            (200, "ETag: \"b\"|", false),
            (200, "ETag: \"a\"|Content-Length: 6|", false),
            (200, "Last-Modified: {-1}|", false),
            (200, "ETag: \"a\"|Content-Encoding: br|", false),
            (410, "ETag: \"a\"|", false),
        ] {
            let found = from_head(old, status, new);
            assert_eq!(found != Update::Mismatch, matches, "{status} {new}");
            if let (Update::Fresh(updated), true) = (found, new.contains("X: 2")) {
                assert_eq!(updated.fields.get(name::CONTENT_LENGTH), Some(&b"5"[..]));
                assert_eq!(updated.fields.get_all_named(b"x").collect::<Vec<_>>(), [b"2"]);
            }
        }
    }

    #[test]
    fn parts_are_combined_under_one_strong_validator() {
        for (old, new, may) in [
            ("ETag: \"a\"|", "ETag: \"a\"|", true),
            ("ETag: \"a\"|", "ETag: \"b\"|", false),
            ("ETag: W/\"a\"|", "ETag: W/\"a\"|", false),
            ("ETag: \"a\"|", "", false),
            ("", "", false),
            ("Last-Modified: {-9}|Date: {-5}|", "Last-Modified: {-9}|Date: {0}|", true),
            ("Last-Modified: {-9}|Date: {-9}|", "Last-Modified: {-9}|Date: {0}|", false),
        ] {
            assert_eq!(may_combine(&fields(old), &fields(new), NOW), may, "{old} {new}");
        }
    }

    #[test]
    fn a_validating_request_carries_the_stored_validators_alone() {
        for (stored, expected, sent) in [
            ("ETag: \"a\"|Last-Modified: {-9}|", "X: y|If-None-Match: \"a\"|If-Modified-Since: {-9}|", true),
            ("ETag: W/\"a\"|", "X: y|If-None-Match: W/\"a\"|", true),
            ("ETag: abc|", "X: y|If-None-Match: abc|", true),
            ("ETag: |", "X: y|", false),
            ("", "X: y|", false),
        ] {
            let mut request = fields(
                "X: y|If-None-Match: \"mine\"|If-Modified-Since: {0}|Range: bytes=0-|If-Range: \"q\"|If-Match: *|",
            );
            assert_eq!(add_validators(&mut request, &fields(stored)), sent);
            assert_eq!(request, fields(expected), "{stored}");
        }
    }

    proptest! {
        #[test]
        fn storing_twice_changes_nothing(lines in prop::collection::vec(("(connection|age|date|x|te|etag)", "[ -~]{0,20}"), 0..8)) {
            let mut response = Fields::new();
            for (n, v) in &lines {
                response.append(n.as_bytes(), selvedge_types::fields::trim(v.as_bytes())).unwrap();
            }
            let once = storable_fields(&response, &[], NOW);
            prop_assert_eq!(&storable_fields(&once, &[], NOW), &once);
        }
    }
}
