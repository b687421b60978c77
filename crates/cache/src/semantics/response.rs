//! Whether a response may be stored, and with which facts (RFC 9111 section 3).

use super::age::Times;
use super::cache_control::ResponseDirectives;
use super::freshness::Freshness;
use super::lifetime::Rule;
use super::policy::{FreshnessPolicy, SetCookie};
use super::range::ContentRange;
use super::request::{MethodClass, RequestFacts};
use super::status::is_understood;
use super::target::Target;
use super::targeted::{DirectiveSource, directives};
use super::vary::Vary;
use selvedge_types::fields::trim;
use selvedge_types::{Fields, Status, name};

/// Why a response is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum NotStored {
    /// RFC 9111 section 3: the method is not understood as cacheable.
    #[error("the request's method is not one whose responses are stored")]
    Method,
    /// Interim, 304, or a 206 whose Content-Range cannot be used.
    #[error("the status is not one whose responses are stored")]
    Status,
    /// RFC 9111 section 5.2.2.3.
    #[error("the origin says must-understand and the status is not known here")]
    NotUnderstood,
    /// RFC 9111 section 5.2.2.5.
    #[error("the origin says no-store")]
    NoStore,
    /// RFC 9111 section 5.2.1.5.
    #[error("the request says no-store")]
    RequestNoStore,
    /// RFC 9111 section 5.2.2.7.
    #[error("the origin says private")]
    Private,
    /// RFC 9111 section 3.5.
    #[error(
        "the request has Authorization and the response says neither public, s-maxage nor must-revalidate"
    )]
    Authorization,
    /// The operator's rule on cookies.
    #[error("the response sets a cookie and does not say that others may have it")]
    SetCookie,
    /// RFC 9111 section 4.1: such a response never matches another request.
    #[error("the response varies on everything, or on more fields than are followed")]
    VaryStar,
    /// RFC 9111 section 3, last point: no freshness, and the status allows no heuristic.
    #[error("the response states no lifetime and its status allows no heuristic")]
    NoFreshness,
    /// It would be stale at once and has neither a validator nor a stale window.
    #[error("the response is stale at once and cannot be validated")]
    NeverReusable,
    /// RFC 9110 section 9.3.3.
    #[error("a POST response is stored only with explicit freshness and the target as Content-Location")]
    Post,
}

/// What may be stored of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Storable {
    /// The whole representation.
    Whole,
    /// These bytes of it (RFC 9111 section 3.3).
    Part(ContentRange),
}

/// A response as it came, for [`judge`].
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The facts of the request that it answers.
    pub request: &'a RequestFacts,
    /// The URI that was asked for.
    pub target: Target<'a>,
    /// Its status.
    pub status: Status,
    /// Its fields.
    pub fields: &'a Fields,
    /// When it was asked for and came.
    pub times: Times,
}

/// The verdict on a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// What may be stored, or why nothing may.
    pub verdict: Result<Storable, NotStored>,
    /// The facts for reuse; of no use when nothing is stored, except to explain.
    pub freshness: Freshness,
    /// What it varies on.
    pub vary: Vary,
    /// Names of fields that must not be stored: listed in `no-cache="..."` or
    /// `private="..."`.
    pub omit: Vec<Box<[u8]>>,
    /// Where the directives were read from.
    pub source: DirectiveSource,
}

impl Judgement {
    /// Whether something may be stored.
    pub fn is_storable(&self) -> bool {
        self.verdict.is_ok()
    }
}

/// Decides whether and how a response may be stored by this shared cache.
pub fn judge(received: Received<'_>, policy: &FreshnessPolicy) -> Judgement {
    let fields = received.fields;
    let (said, source) = directives(fields);
    let freshness = Freshness::assess(received.status, fields, received.times, &said, source, policy);
    let vary = Vary::parse(fields);
    let verdict =
        Case { received, said: &said, source, freshness: &freshness, vary: &vary, policy }.verdict();
    let omit = [said.no_cache.fields(), said.private.fields()].concat();
    Judgement { verdict, freshness, vary, omit, source }
}

struct Case<'a> {
    received: Received<'a>,
    said: &'a ResponseDirectives,
    source: DirectiveSource,
    freshness: &'a Freshness,
    vary: &'a Vary,
    policy: &'a FreshnessPolicy,
}

impl Case<'_> {
    fn verdict(&self) -> Result<Storable, NotStored> {
        self.method()?;
        let storable = self.status()?;
        self.restrictions()?;
        self.authorization()?;
        self.cookies()?;
        if *self.vary == Vary::Star {
            return Err(NotStored::VaryStar);
        }
        self.usefulness()?;
        Ok(storable)
    }

    fn method(&self) -> Result<(), NotStored> {
        match self.received.request.method {
            MethodClass::Get => Ok(()),
            MethodClass::Post if self.is_storable_post() => Ok(()),
            MethodClass::Post => Err(NotStored::Post),
            _ => Err(NotStored::Method),
        }
    }

    /// RFC 9110 section 9.3.3: such a response can be reused for GET and HEAD of the same URI.
    fn is_storable_post(&self) -> bool {
        let mut locations = self.received.fields.get_all(name::CONTENT_LOCATION);
        let same = locations.next().is_some_and(|reference| {
            let named = self.received.target.resolve(trim(reference));
            named.is_some_and(|uri| uri.as_target().is_same(self.received.target))
        });
        same && locations.next().is_none()
            && self.received.status.is_success()
            && self.freshness.rule.is_explicit()
    }

    fn status(&self) -> Result<Storable, NotStored> {
        match self.received.status.code() {
            ..200 | 304 => Err(NotStored::Status),
            206 => self.part().map(Storable::Part).ok_or(NotStored::Status),
            200 if self.is_part_in_disguise() => Err(NotStored::Status),
            _ => Ok(Storable::Whole),
        }
    }

    /// Content-Range means nothing in a 200 (RFC 9110 section 14.4), but one that names less than everything
    /// is better believed.
    fn is_part_in_disguise(&self) -> bool {
        let range = self.received.fields.get(name::CONTENT_RANGE).and_then(ContentRange::parse);
        range.is_some_and(|range| range.length != Some(range.span.len()))
    }

    /// A single part of a GET whose position is stated; multipart/byteranges has no Content-Range.
    fn part(&self) -> Option<ContentRange> {
        if self.received.request.method != MethodClass::Get {
            return None;
        }
        let mut values = self.received.fields.get_all(name::CONTENT_RANGE);
        let range = ContentRange::parse(values.next()?)?;
        values.next().is_none().then_some(range)
    }

    fn restrictions(&self) -> Result<(), NotStored> {
        if self.received.request.directives.no_store {
            return Err(NotStored::RequestNoStore);
        }
        if self.said.must_understand && !is_understood(self.received.status) {
            return Err(NotStored::NotUnderstood);
        }
        if self.said.no_store && !self.said.must_understand {
            return Err(NotStored::NoStore);
        }
        if self.said.private.is_response() { Err(NotStored::Private) } else { Ok(()) }
    }

    fn authorization(&self) -> Result<(), NotStored> {
        let allowed = self.said.public || self.said.s_maxage.is_some() || self.said.must_revalidate;
        if self.received.request.authorization && !allowed { Err(NotStored::Authorization) } else { Ok(()) }
    }

    fn cookies(&self) -> Result<(), NotStored> {
        if !self.received.fields.contains(name::SET_COOKIE) {
            return Ok(());
        }
        let shared = self.said.public
            || self.said.s_maxage.is_some()
            || self.said.max_age.is_some() && self.source.is_targeted()
            || self.said.no_cache.fields().iter().chain(self.said.private.fields()).any(|f| is_set_cookie(f));
        let stored = match self.policy.set_cookie {
            SetCookie::Store => true,
            SetCookie::IfStated => shared || self.freshness.rule.is_explicit(),
            SetCookie::IfShared => shared,
        };
        if stored { Ok(()) } else { Err(NotStored::SetCookie) }
    }

    fn usefulness(&self) -> Result<(), NotStored> {
        let facts = self.freshness;
        let by_status = super::status::is_heuristically_cacheable(self.received.status);
        // RFC 9111 section 3: explicit freshness, public, or a status that is cacheable by default.
        if facts.rule == Rule::None && !self.said.public && !by_status {
            return Err(NotStored::NoFreshness);
        }
        let fresh = facts.is_fresh(self.received.times.responded) && !facts.no_cache;
        let stated_stale = !facts.no_cache
            && (self.said.stale_while_revalidate.is_some() || self.said.stale_if_error.is_some())
            && !(facts.stale_while_revalidate.is_zero() && facts.stale_if_error.is_zero());
        // Given a lifetime, but older than that: of use to max-stale, and when the origin is gone.
        let aged = facts.rule.is_explicit()
            && !facts.lifetime.is_zero()
            && !(facts.no_cache || facts.stale_if_unreachable.is_zero());
        let useful = fresh || facts.has_validator || stated_stale || aged;
        if useful { Ok(()) } else { Err(NotStored::NeverReusable) }
    }
}

fn is_set_cookie(field: &[u8]) -> bool {
    field.eq_ignore_ascii_case(name::SET_COOKIE.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::seconds::Seconds;
    use super::super::span::Span;
    use super::super::testing::judged;
    use super::*;
    use proptest::prelude::*;
    use selvedge_types::resource::StatusRange;

    fn verdict(asked: &str, response: &str) -> Result<Storable, NotStored> {
        judged(asked, response, &FreshnessPolicy::default()).verdict
    }

    #[test]
    fn responses_to_get_are_stored_unless_something_forbids_it() {
        let ok = Ok(Storable::Whole);
        for (asked, response, expected) in [
            ("GET", "200 Cache-Control: max-age=1|", ok),
            ("GET", "200 ETag: \"a\"|", ok),
            ("GET", "200 Cache-Control: no-cache|ETag: \"a\"|", ok),
            ("GET", "200 Cache-Control: no-cache, max-age=9|", Err(NotStored::NeverReusable)),
            ("GET", "200 Cache-Control: max-age=0|", Err(NotStored::NeverReusable)),
            ("GET", "200 Cache-Control: max-age=0, stale-while-revalidate=9|", ok),
            ("GET", "200 Cache-Control: max-age=5|Age: 9|", ok),
            ("GET", "200 Cache-Control: max-age=5|Age: x|", Err(NotStored::NeverReusable)),
            ("GET", "200 Cache-Control: s-maxage=5|Age: 9|", Err(NotStored::NeverReusable)),
            ("GET", "200 X: y|", Err(NotStored::NeverReusable)),
            ("GET", "200 Cache-Control: no-store, max-age=1|", Err(NotStored::NoStore)),
            ("GET", "200 Cache-Control: No-StOrE|ETag: \"a\"|", Err(NotStored::NoStore)),
            ("GET", "200 Cache-Control: private, max-age=1|", Err(NotStored::Private)),
            ("GET", "200 Cache-Control: private=\"x\", max-age=1|", ok),
            ("GET Cache-Control: no-store|", "200 Cache-Control: max-age=1|", Err(NotStored::RequestNoStore)),
            ("GET", "200 CDN-Cache-Control: max-age=1|Cache-Control: no-store|", ok),
            ("GET", "200 CDN-Cache-Control: private|Cache-Control: max-age=1|", Err(NotStored::Private)),
            ("GET", "200 Cache-Control: max-age=1|Vary: *|", Err(NotStored::VaryStar)),
            ("GET", "200 Cache-Control: max-age=1|Vary: a, b|", ok),
            ("GET", "200 Pragma: no-cache|Cache-Control: max-age=1|", ok),
            ("HEAD", "200 Cache-Control: max-age=1|", Err(NotStored::Method)),
            ("PUT", "200 Cache-Control: max-age=1|", Err(NotStored::Method)),
            ("OPTIONS", "200 Cache-Control: max-age=1|", Err(NotStored::Method)),
        ] {
            assert_eq!(verdict(asked, response), expected, "{asked} -> {response}");
        }
    }

    #[test]
    fn every_final_status_is_stored_with_explicit_freshness() {
        for status in
            [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599]
        {
            let fresh = format!("{status} Cache-Control: max-age=60|");
            assert_eq!(verdict("GET", &fresh), Ok(Storable::Whole), "{status}");
        }
        for status in [100, 103, 199, 304] {
            let fresh = format!("{status} Cache-Control: max-age=60|");
            assert_eq!(verdict("GET", &fresh), Err(NotStored::Status), "{status}");
        }
        for status in [201, 302, 403, 500, 599] {
            let unstated = format!("{status} Last-Modified: {{-1000}}|");
            assert_eq!(verdict("GET", &unstated), Err(NotStored::NoFreshness), "{status}");
        }
    }

    #[test]
    fn must_understand_outweighs_no_store_for_statuses_that_are_known() {
        let said = "Cache-Control: max-age=60, no-store, must-understand|";
        assert_eq!(verdict("GET", &format!("200 {said}")), Ok(Storable::Whole));
        assert_eq!(verdict("GET", &format!("599 {said}")), Err(NotStored::NotUnderstood));
        assert_eq!(
            verdict("GET", "599 Cache-Control: max-age=60, must-understand|"),
            Err(NotStored::NotUnderstood)
        );
    }

    #[test]
    fn authorization_needs_permission() {
        let asked = "GET Authorization: Basic x|";
        for (cc, allowed) in [
            ("max-age=60", false),
            ("max-age=60, public", true),
            ("max-age=60, must-revalidate", true),
            ("s-maxage=60", true),
            ("max-age=60, proxy-revalidate", false),
        ] {
            let found = verdict(asked, &format!("200 Cache-Control: {cc}|"));
            assert_eq!(found.is_ok(), allowed, "{cc}");
        }
        let forced = FreshnessPolicy { forced_ttl: Some(Seconds::new(60)), ..Default::default() };
        assert_eq!(judged(asked, "200", &forced).verdict, Err(NotStored::Authorization));
        assert_eq!(judged("GET", "200 Cache-Control: no-store|", &forced).verdict, Err(NotStored::NoStore));
    }

    #[test]
    fn cookies_are_set_for_one_user_unless_something_says_otherwise() {
        let policy = |set_cookie| FreshnessPolicy { set_cookie, ..Default::default() };
        for (rule, response, stored) in [
            (SetCookie::IfStated, "Cache-Control: max-age=1|", true),
            (SetCookie::IfStated, "Expires: {60}|", true),
            (SetCookie::IfStated, "Cache-Control: public|Last-Modified: {-1000}|", true),
            (SetCookie::IfStated, "Last-Modified: {-1000}|", false),
            (SetCookie::IfStated, "ETag: \"a\"|", false),
            (SetCookie::IfShared, "Cache-Control: max-age=1|", false),
            (SetCookie::IfShared, "Cache-Control: max-age=1, public|", true),
            (SetCookie::IfShared, "Cache-Control: s-maxage=1|", true),
            (SetCookie::IfShared, "CDN-Cache-Control: max-age=1|", true),
            (SetCookie::IfShared, "Cache-Control: max-age=1, no-cache=\"set-cookie\"|", true),
            (SetCookie::Store, "Cache-Control: max-age=1|", true),
        ] {
            let found = judged("GET", &format!("200 Set-Cookie: a=b|{response}"), &policy(rule));
            assert_eq!(found.is_storable(), stored, "{rule:?} {response}");
        }
    }

    #[test]
    fn post_is_stored_for_its_own_uri_with_explicit_freshness() {
        for (response, stored) in [
            ("200 Cache-Control: max-age=1|Content-Location: /x|", true),
            ("200 Cache-Control: max-age=1|Content-Location: https://A.example:443/x|", true),
            ("200 Cache-Control: max-age=1|Content-Location: /y|", false),
            ("200 Cache-Control: max-age=1|Content-Location: https://b.example/x|", false),
            ("200 Cache-Control: max-age=1|Content-Location: /x|Content-Location: /x|", false),
            ("200 Cache-Control: max-age=1|", false),
            ("200 Last-Modified: {-1000}|Content-Location: /x|", false),
            ("500 Cache-Control: max-age=1|Content-Location: /x|", false),
        ] {
            let expected = if stored { Ok(Storable::Whole) } else { Err(NotStored::Post) };
            assert_eq!(verdict("POST", response), expected, "{response}");
        }
    }

    #[test]
    fn a_part_is_stored_if_it_says_which() {
        let part = Storable::Part(ContentRange { span: Span::new(0, 5).unwrap(), length: Some(10) });
        for (response, expected) in [
            ("206 Cache-Control: max-age=1|Content-Range: bytes 0-4/10|", Ok(part)),
            ("206 Cache-Control: max-age=1|", Err(NotStored::Status)),
            ("206 Cache-Control: max-age=1|Content-Range: bytes 0-4/3|", Err(NotStored::Status)),
            (
                "206 Cache-Control: max-age=1|Content-Range: bytes 0-4/10|Content-Range: bytes 5-9/10|",
                Err(NotStored::Status),
            ),
            ("200 Cache-Control: max-age=1|Content-Range: bytes 0-4/10|", Err(NotStored::Status)),
            ("200 Cache-Control: max-age=1|Content-Range: bytes 0-9/10|", Ok(Storable::Whole)),
            ("200 Cache-Control: max-age=1|Content-Range: nonsense|", Ok(Storable::Whole)),
            ("404 Cache-Control: max-age=1|Content-Range: bytes 0-4/10|", Ok(Storable::Whole)),
        ] {
            assert_eq!(verdict("GET Range: bytes=0-4|", response), expected, "{response}");
        }
    }

    #[test]
    fn an_operator_may_have_errors_stored_for_a_while() {
        let negative_ttls = vec![(StatusRange::new(500, 599).unwrap(), Seconds::new(1))];
        let policy = FreshnessPolicy { negative_ttls, ..Default::default() };
        assert!(judged("GET", "503", &policy).is_storable());
        assert_eq!(judged("GET", "503 Cache-Control: no-store|", &policy).verdict, Err(NotStored::NoStore));
    }

    proptest! {
        #[test]
        fn no_response_panics(
            status in 100u16..1000,
            lines in prop::collection::vec(("(cache-control|cdn-cache-control|expires|age|date|vary|content-range|etag|last-modified|content-location)", "[ -~]{0,40}"), 0..8),
        ) {
            let text: String = lines.iter().filter(|(_, v)| !v.contains(['|', '{', '}'])).map(|(n, v)| format!("{n}: {v}|")).collect();
            judged("GET", &format!("{status} {text}"), &FreshnessPolicy::default());
        }
    }
}
