//! The freshness lifetime of a response, and which rule gives it (RFC 9111 sections 4.2.1 and 4.2.2).

use super::age::{AgeField, date_value, single_date};
use super::cache_control::ResponseDirectives;
use super::policy::FreshnessPolicy;
use super::seconds::Seconds;
use super::status::is_heuristically_cacheable;
use super::targeted::DirectiveSource;
use selvedge_types::{Fields, Status, UnixMillis, name};

/// Which rule gave a response its freshness lifetime.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Rule {
    /// Nothing did: it is stale from the start.
    None = 0,
    /// The operator's forced lifetime.
    Forced = 1,
    /// `Selvedge-Cache-Control`
    Selvedge = 2,
    /// `CDN-Cache-Control`
    Cdn = 3,
    /// `s-maxage` in Cache-Control
    SMaxage = 4,
    /// `max-age` in Cache-Control
    MaxAge = 5,
    /// Expires
    Expires = 6,
    /// The operator's lifetime for this status.
    Negative = 7,
    /// The operator's default lifetime.
    Default = 8,
    /// A part of the time since Last-Modified.
    Heuristic = 9,
    /// `Surrogate-Control`
    Surrogate = 10,
    /// An Age that cannot be read: no lifetime can be told from it.
    UnknownAge = 11,
}

impl Rule {
    pub(super) const ALL: [Rule; 12] = [
        Rule::None,
        Rule::Forced,
        Rule::Selvedge,
        Rule::Cdn,
        Rule::SMaxage,
        Rule::MaxAge,
        Rule::Expires,
        Rule::Negative,
        Rule::Default,
        Rule::Heuristic,
        Rule::Surrogate,
        Rule::UnknownAge,
    ];

    /// The rule in words, for `cache inspect`.
    pub const fn describe(self) -> &'static str {
        match self {
            Rule::None => "no rule gives a lifetime",
            Rule::Forced => "operator's forced ttl",
            Rule::Selvedge => "Selvedge-Cache-Control from the origin",
            Rule::Cdn => "CDN-Cache-Control from the origin",
            Rule::SMaxage => "Cache-Control: s-maxage from the origin",
            Rule::MaxAge => "Cache-Control: max-age from the origin",
            Rule::Expires => "Expires from the origin",
            Rule::Negative => "operator's ttl for this status",
            Rule::Default => "operator's default ttl",
            Rule::Heuristic => "heuristic from Last-Modified",
            Rule::Surrogate => "Surrogate-Control from the origin",
            Rule::UnknownAge => "Age from the origin cannot be read: taken for stale",
        }
    }

    /// Whether the origin stated the lifetime.
    pub const fn is_explicit(self) -> bool {
        matches!(
            self,
            Rule::Selvedge | Rule::Cdn | Rule::Surrogate | Rule::SMaxage | Rule::MaxAge | Rule::Expires
        )
    }
}

/// RFC 9111 section 4.2.1, with the operator's rules around it.
pub(super) fn lifetime(
    status: Status,
    fields: &Fields,
    now: UnixMillis,
    said: &ResponseDirectives,
    source: DirectiveSource,
    policy: &FreshnessPolicy,
) -> (Rule, Seconds) {
    let by_default = is_heuristically_cacheable(status) || said.public;
    let stated = stated_lifetime(fields, now, said, source);
    if let (Some(ttl), true) = (policy.forced_ttl, by_default || stated.is_some()) {
        return (Rule::Forced, ttl);
    }
    if AgeField::of(fields) == AgeField::Unreadable {
        return (Rule::UnknownAge, Seconds::ZERO);
    }
    if let Some(stated) = stated {
        return stated;
    }
    if let Some(ttl) = policy.negative_ttl(status) {
        return (Rule::Negative, ttl);
    }
    if !by_default {
        return (Rule::None, Seconds::ZERO);
    }
    match policy.default_ttl {
        Some(ttl) => (Rule::Default, ttl),
        None => {
            heuristic(fields, now, policy).map_or((Rule::None, Seconds::ZERO), |ttl| (Rule::Heuristic, ttl))
        }
    }
}

fn stated_lifetime(
    fields: &Fields,
    now: UnixMillis,
    said: &ResponseDirectives,
    source: DirectiveSource,
) -> Option<(Rule, Seconds)> {
    let rule = |of_cache_control: Rule| match source {
        DirectiveSource::Selvedge => Rule::Selvedge,
        DirectiveSource::Cdn => Rule::Cdn,
        DirectiveSource::Surrogate => Rule::Surrogate,
        DirectiveSource::CacheControl => of_cache_control,
    };
    if let Some(ttl) = said.s_maxage {
        return Some((rule(Rule::SMaxage), ttl));
    }
    if let Some(ttl) = said.max_age {
        return Some((rule(Rule::MaxAge), ttl));
    }
    if source.is_targeted() || !fields.contains(name::EXPIRES) {
        return None;
    }
    Some((Rule::Expires, expires_lifetime(fields, now).unwrap_or(Seconds::ZERO)))
}

/// Expires minus Date; an invalid or repeated Expires is in the past (RFC 9111 section 5.3).
fn expires_lifetime(fields: &Fields, now: UnixMillis) -> Option<Seconds> {
    let expires = single_date(fields, name::EXPIRES, now)?;
    let date = date_value(fields, now).unwrap_or(now);
    Some(Seconds::new(expires.secs().saturating_sub(date.secs())))
}

fn heuristic(fields: &Fields, now: UnixMillis, policy: &FreshnessPolicy) -> Option<Seconds> {
    let options = policy.heuristic?;
    let modified = single_date(fields, name::LAST_MODIFIED, now)?;
    let date = date_value(fields, now).unwrap_or(now);
    let unchanged = date.secs().saturating_sub(modified.secs());
    Some(Seconds::new(unchanged.saturating_mul(u64::from(options.percent)) / 100).min(options.cap))
}

#[cfg(test)]
mod tests {
    use super::super::policy::Heuristic;
    use super::super::testing::judged;
    use super::*;
    use selvedge_types::resource::StatusRange;

    fn found(response: &str, policy: &FreshnessPolicy) -> (Rule, u32) {
        let facts = judged("GET", response, policy).freshness;
        (facts.rule, facts.lifetime.get())
    }

    #[test]
    fn the_most_specific_lifetime_counts() {
        for (response, expected) in [
            ("200 Cache-Control: s-maxage=1, max-age=2|Expires: {3}|", (Rule::SMaxage, 1)),
            ("200 Cache-Control: max-age=0, s-maxage=3600|", (Rule::SMaxage, 3600)),
            ("200 Cache-Control: max-age=2|Expires: {-7200}|", (Rule::MaxAge, 2)),
            ("200 Cache-Control: max-age=2|Expires: 0|", (Rule::MaxAge, 2)),
            ("200 Cache-Control: max-age=x|Expires: {60}|", (Rule::MaxAge, 0)),
            ("200 Date: {0}|Expires: {60}|", (Rule::Expires, 60)),
            ("200 Date: {-60}|Expires: {60}|", (Rule::Expires, 120)),
            ("200 Date: {60}|Expires: {30}|", (Rule::Expires, 0)),
            ("200 Date: nonsense|Expires: {60}|", (Rule::Expires, 60)),
            ("200 Expires: {60}|", (Rule::Expires, 60)),
            ("200 Expires: {60}|Expires: {60}|", (Rule::Expires, 0)),
            ("200 Expires: 0|Last-Modified: {-1000}|", (Rule::Expires, 0)),
            ("200 CDN-Cache-Control: max-age=1|Expires: {60}|Cache-Control: s-maxage=9|", (Rule::Cdn, 1)),
            ("200 Selvedge-Cache-Control: s-maxage=1, max-age=5|", (Rule::Selvedge, 1)),
            ("200 CDN-Cache-Control: foo|Expires: {60}|", (Rule::None, 0)),
            (
                "200 Surrogate-Control: max-age=3|Expires: {60}|Cache-Control: max-age=9|",
                (Rule::Surrogate, 3),
            ),
            ("200 Cache-Control: max-age=9|Age: x|", (Rule::UnknownAge, 0)),
            ("200", (Rule::None, 0)),
        ] {
            assert_eq!(found(response, &FreshnessPolicy::default()), expected, "{response}");
        }
    }

    #[test]
    fn heuristic_freshness_is_for_statuses_that_allow_it_and_for_public() {
        let modified = "Last-Modified: {-1000}|Date: {0}|";
        for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            let response = format!("{status} {modified}");
            assert_eq!(found(&response, &FreshnessPolicy::default()), (Rule::Heuristic, 100), "{status}");
        }
        for status in [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599] {
            let response = format!("{status} {modified}");
            assert_eq!(found(&response, &FreshnessPolicy::default()), (Rule::None, 0), "{status}");
            let response = format!("{status} {modified}Cache-Control: public|");
            assert_eq!(found(&response, &FreshnessPolicy::default()), (Rule::Heuristic, 100), "{status}");
        }
        let future = "200 Last-Modified: {1000}|";
        assert_eq!(found(future, &FreshnessPolicy::default()), (Rule::Heuristic, 0));
        let old = "200 Last-Modified: {-100000000}|";
        assert_eq!(found(old, &FreshnessPolicy::default()), (Rule::Heuristic, 24 * 3600));
        let off = FreshnessPolicy { heuristic: None, ..Default::default() };
        assert_eq!(found(old, &off), (Rule::None, 0));
        let all = Heuristic { percent: 100, cap: Seconds::MAX };
        let generous = FreshnessPolicy { heuristic: Some(all), ..Default::default() };
        assert_eq!(found(old, &generous), (Rule::Heuristic, 100_000_000));
    }

    #[test]
    fn an_operator_fills_in_and_overrides() {
        let ttl = |n| Some(Seconds::new(n));
        let filling = FreshnessPolicy {
            default_ttl: ttl(7),
            negative_ttls: vec![
                (StatusRange::new(404, 404).unwrap(), Seconds::new(3)),
                (StatusRange::new(500, 599).unwrap(), Seconds::new(1)),
            ],
            ..Default::default()
        };
        for (response, expected) in [
            ("200", (Rule::Default, 7)),
            ("200 Last-Modified: {-1000}|", (Rule::Default, 7)),
            ("200 Cache-Control: max-age=0|", (Rule::MaxAge, 0)),
            ("302", (Rule::None, 0)),
            ("404", (Rule::Negative, 3)),
            ("404 Cache-Control: max-age=9|", (Rule::MaxAge, 9)),
            ("502", (Rule::Negative, 1)),
        ] {
            assert_eq!(found(response, &filling), expected, "{response}");
        }
        let bounded = FreshnessPolicy { min_ttl: ttl(10), max_ttl: ttl(20), ..Default::default() };
        for (response, expected, raised, lowered) in [
            ("200 Cache-Control: max-age=1|", 10, true, false),
            ("200 Cache-Control: max-age=15|", 15, false, false),
            ("200 Cache-Control: max-age=99|", 20, false, true),
            ("200", 0, false, false),
        ] {
            let facts = judged("GET", response, &bounded).freshness;
            let flags = (facts.lifetime.get(), facts.raised_to_min, facts.lowered_to_max);
            assert_eq!(flags, (expected, raised, lowered), "{response}");
        }
        let forcing = FreshnessPolicy { forced_ttl: ttl(60), ..Default::default() };
        let facts = judged("GET", "200 Cache-Control: no-cache, max-age=1|", &forcing);
        assert_eq!((facts.freshness.rule, facts.freshness.lifetime.get()), (Rule::Forced, 60));
        assert!(facts.is_storable() && !facts.freshness.no_cache);
        assert_eq!(found("302 Cache-Control: max-age=1|", &forcing), (Rule::Forced, 60));
        assert_eq!(found("302", &forcing), (Rule::None, 0));
    }
}
