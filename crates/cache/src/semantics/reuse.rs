//! Whether a stored response may answer a request now (RFC 9111 section 4).
//!
//! The caller has already matched the key and Vary; this decides by time and directives alone.

use super::freshness::Freshness;
use super::request::RequestFacts;
use super::seconds::Seconds;
use super::status::is_stale_if_error;
use selvedge_types::planted::{Bug, is_planted};
use selvedge_types::{Status, UnixMillis};
use std::time::Duration;

/// What to do with a stored response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// Serve it.
    Fresh {
        /// Its age, for the Age field.
        age: Duration,
        /// How long it stays fresh.
        ttl_left: Duration,
    },
    /// Serve it although it is stale.
    Stale(Stale),
    /// Ask the origin first; see [`on_error`] for what to do if that fails.
    Revalidate(RevalidateWhy),
    /// It would need the origin, which `only-if-cached` forbids: answer 504 (RFC 9111 section 5.2.1.7).
    GatewayTimeout,
}

/// Stale, and yet to be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stale {
    /// What allows it.
    pub why: StaleWhy,
    /// Its age, for the Age field.
    pub age: Duration,
    /// For how long it has been stale.
    pub staleness: Duration,
    /// Whether the caller should start a revalidation beside it.
    pub revalidate_in_background: bool,
}

/// What allows a stale response to be served.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StaleWhy {
    /// The request's `max-stale` (RFC 9111 section 5.2.1.2).
    MaxStale,
    /// The response's or operator's `stale-while-revalidate` (RFC 5861 section 3).
    WhileRevalidate,
    /// The response's, request's or operator's `stale-if-error` (RFC 5861 section 4).
    IfError,
    /// The origin cannot be reached (RFC 9111 section 4.2.4).
    Unreachable,
}

/// Why the origin has to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RevalidateWhy {
    /// It is stale.
    Stale,
    /// The response says `no-cache`.
    ResponseNoCache,
    /// The request says `no-cache`.
    RequestNoCache,
    /// It is older than the request's `max-age`.
    RequestMaxAge,
    /// It will not stay fresh for the request's `min-fresh`.
    RequestMinFresh,
}

impl RevalidateWhy {
    /// Whether the request forced it although the response is fresh: `fwd=request` of RFC 9211.
    pub fn is_by_request(self) -> bool {
        matches!(self, Self::RequestNoCache | Self::RequestMaxAge | Self::RequestMinFresh)
    }
}

/// How asking the origin failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No answer came: no connection, a timeout, a malformed answer, no healthy origin.
    Unreachable,
    /// It answered with this status.
    Status(Status),
}

/// Decides whether `stored` may answer `request` at `now`.
pub fn reuse(stored: &Freshness, request: &RequestFacts, now: UnixMillis) -> Reuse {
    let asked = &request.directives;
    let (age, left_ms) = (stored.age(now), stored.ttl_left_ms(now));
    let why = match refused(stored, request, age, left_ms) {
        Some(why) => why,
        None if left_ms > 0 => return Reuse::Fresh { age, ttl_left: Duration::from_millis(left_ms as u64) },
        None => match allowed_stale(stored, request, age, left_ms) {
            Some(stale) => return Reuse::Stale(stale),
            None => RevalidateWhy::Stale,
        },
    };
    if asked.only_if_cached { Reuse::GatewayTimeout } else { Reuse::Revalidate(why) }
}

/// Decides whether `stored` may answer `request` at `now` although asking the origin failed.
///
/// None means that the failure itself is the answer (504 where `must-revalidate` demands it).
pub fn on_error(
    stored: &Freshness,
    request: &RequestFacts,
    now: UnixMillis,
    failure: Failure,
) -> Option<Stale> {
    let asked = &request.directives;
    // What the response forbids holds in every case; fresh means that the request alone forced the question.
    if stored.no_cache {
        return None;
    }
    let staleness = staleness(stored.ttl_left_ms(now));
    let (limit, why) = match failure {
        Failure::Unreachable => (stored.stale_if_unreachable, StaleWhy::Unreachable),
        Failure::Status(status) if is_stale_if_error(status) => (stored.stale_if_error, StaleWhy::IfError),
        Failure::Status(_) => return None,
    };
    let by_request = if stored.must_revalidate { None } else { asked.stale_if_error };
    let limit = limit.max(by_request.unwrap_or(Seconds::ZERO));
    let fits = staleness.is_zero() && !limit.is_zero() || staleness_fits(staleness, limit);
    fits.then_some(Stale { why, age: stored.age(now), staleness, revalidate_in_background: false })
}

/// What rules the stored response out, whether or not it is fresh.
fn refused(stored: &Freshness, request: &RequestFacts, age: Duration, left_ms: i64) -> Option<RevalidateWhy> {
    let asked = &request.directives;
    if stored.no_cache {
        return Some(RevalidateWhy::ResponseNoCache);
    }
    if asked.no_cache {
        return Some(RevalidateWhy::RequestNoCache);
    }
    // RFC 8246 section 2: a plain reload (`max-age=0`) does not revalidate what is immutable and fresh.
    let is_reload = asked.max_age == Some(Seconds::ZERO) && stored.immutable && left_ms > 0;
    if asked.max_age.is_some_and(|limit| age_exceeds(age, limit)) && !is_reload {
        return Some(RevalidateWhy::RequestMaxAge);
    }
    let wanted = asked.min_fresh.map_or(0, |s| s.millis() as i64);
    (wanted > 0 && left_ms < wanted).then_some(RevalidateWhy::RequestMinFresh)
}

fn allowed_stale(stored: &Freshness, request: &RequestFacts, age: Duration, left_ms: i64) -> Option<Stale> {
    let asked = &request.directives;
    let staleness = staleness(left_ms);
    // A request with max-age and without max-stale wants nothing stale (RFC 9111 section 5.2.1.1).
    let in_window = asked.max_age.is_none() && staleness_fits(staleness, stored.stale_while_revalidate);
    let by_request =
        !stored.must_revalidate && asked.max_stale.is_some_and(|limit| staleness_fits(staleness, limit));
    let why = match (in_window, by_request) {
        (true, _) => StaleWhy::WhileRevalidate,
        (_, true) => StaleWhy::MaxStale,
        _ => return None,
    };
    Some(Stale { why, age, staleness, revalidate_in_background: in_window })
}

fn staleness(left_ms: i64) -> Duration {
    Duration::from_millis(left_ms.min(0).unsigned_abs())
}

fn staleness_fits(staleness: Duration, limit: Seconds) -> bool {
    !limit.is_zero() && staleness.as_millis() <= u128::from(limit.millis()) || is_planted(Bug::StaleForEver)
}

/// Ages are compared in whole seconds, as the Age field shows them; an age of zero exceeds `max-age=0`,
/// which asks for validation (RFC 9111 section 5.2.1.1 with 8246 section 2).
fn age_exceeds(age: Duration, limit: Seconds) -> bool {
    limit.is_zero() || age.as_secs() > u64::from(limit.get())
}

#[cfg(test)]
mod tests {
    use super::super::policy::FreshnessPolicy;
    use super::super::testing::{at, judged, request};
    use super::*;

    fn stored(cache_control: &str) -> Freshness {
        let response = format!("200 ETag: \"a\"|Cache-Control: {cache_control}|");
        judged("GET", &response, &FreshnessPolicy::default()).freshness
    }

    /// What becomes of it after that many seconds, in short.
    fn outcome(cache_control: &str, asked: &str, after: i64) -> String {
        match reuse(&stored(cache_control), &request(asked), at(after)) {
            Reuse::Fresh { age, ttl_left } => format!("fresh {} {}", age.as_secs(), ttl_left.as_secs()),
            Reuse::Stale(s) => {
                format!("{:?} {} {}", s.why, s.staleness.as_secs(), s.revalidate_in_background)
            }
            Reuse::Revalidate(why) => format!("ask {why:?}"),
            Reuse::GatewayTimeout => "504".to_owned(),
        }
    }

    #[test]
    fn responses_are_reused_while_fresh() {
        for (cc, after, expected) in [
            ("max-age=10", 0, "fresh 0 10"),
            ("max-age=10", 9, "fresh 9 1"),
            ("max-age=10", 10, "ask Stale"),
            ("no-cache, max-age=10", 0, "ask ResponseNoCache"),
            ("no-cache=\"x\", max-age=10", 0, "fresh 0 10"),
            ("max-age=10, stale-while-revalidate=5", 10, "WhileRevalidate 0 true"),
            ("max-age=10, stale-while-revalidate=5", 15, "WhileRevalidate 5 true"),
            ("max-age=10, stale-while-revalidate=5", 16, "ask Stale"),
            ("max-age=10, stale-while-revalidate=5, must-revalidate", 11, "ask Stale"),
            ("s-maxage=10, stale-while-revalidate=5", 11, "WhileRevalidate 1 true"),
        ] {
            assert_eq!(outcome(cc, "GET", after), expected, "{cc} after {after} s");
        }
    }

    #[test]
    fn requests_have_a_say() {
        for (asked, cc, after, expected) in [
            ("no-cache", "max-age=10", 0, "ask RequestNoCache"),
            ("no-store", "max-age=10", 0, "fresh 0 10"),
            ("max-age=0", "max-age=10", 0, "ask RequestMaxAge"),
            ("max-age=0", "max-age=10, immutable", 0, "fresh 0 10"),
            ("no-cache", "max-age=10, immutable", 0, "ask RequestNoCache"),
            ("max-age=5", "max-age=10", 5, "fresh 5 5"),
            ("max-age=5", "max-age=10", 6, "ask RequestMaxAge"),
            ("max-age=99", "max-age=10, stale-while-revalidate=5", 11, "ask Stale"),
            ("min-fresh=5", "max-age=10", 5, "fresh 5 5"),
            ("min-fresh=5", "max-age=10", 6, "ask RequestMinFresh"),
            ("min-fresh=5", "max-age=10, stale-while-revalidate=5", 11, "ask RequestMinFresh"),
            ("max-stale", "max-age=10", 9999, "MaxStale 9989 false"),
            ("max-stale=5", "max-age=10", 15, "MaxStale 5 false"),
            ("max-stale=5", "max-age=10", 16, "ask Stale"),
            ("max-stale=5", "max-age=10, must-revalidate", 11, "ask Stale"),
            ("max-stale=5", "s-maxage=10", 11, "ask Stale"),
            ("max-stale=5", "max-age=10, no-cache", 1, "ask ResponseNoCache"),
            ("max-age=20, max-stale", "max-age=10", 15, "MaxStale 5 false"),
            ("only-if-cached", "max-age=10", 0, "fresh 0 10"),
            ("only-if-cached", "max-age=10", 11, "504"),
            ("only-if-cached, max-stale", "max-age=10", 11, "MaxStale 1 false"),
        ] {
            let request = format!("GET Cache-Control: {asked}|");
            assert_eq!(outcome(cc, &request, after), expected, "{asked} on {cc} after {after} s");
        }
    }

    #[test]
    fn errors_may_be_hidden_by_what_is_stored() {
        let gone = Failure::Unreachable;
        let status = |code| Failure::Status(Status::new(code).unwrap());
        for (cc, asked, after, failure, expected) in [
            ("max-age=10", "", 11, gone, Some(StaleWhy::Unreachable)),
            ("max-age=10", "", 10 + 24 * 3600, gone, Some(StaleWhy::Unreachable)),
            ("max-age=10", "", 11 + 24 * 3600, gone, None),
            ("max-age=10", "", 11, status(503), Some(StaleWhy::IfError)),
            ("max-age=10", "", 11 + 24 * 3600, status(503), None),
            ("max-age=10, stale-if-error=0", "", 11, status(503), None),
            ("max-age=10, must-revalidate", "", 11, status(503), None),
            ("s-maxage=10", "", 11, status(503), None),
            ("max-age=10, no-cache", "", 1, status(503), None),
            ("max-age=10, stale-if-error=60", "", 70, status(503), Some(StaleWhy::IfError)),
            ("max-age=10, stale-if-error=60", "", 71, status(503), None),
            ("max-age=10, stale-if-error=60", "", 11, status(501), None),
            ("max-age=10, stale-if-error=60", "", 11, status(404), None),
            ("max-age=10", "Cache-Control: stale-if-error=60|", 11, status(500), Some(StaleWhy::IfError)),
            ("max-age=10, must-revalidate", "Cache-Control: stale-if-error=60|", 11, gone, None),
            ("max-age=10, proxy-revalidate", "", 11, gone, None),
            ("s-maxage=10", "", 11, gone, None),
            ("max-age=10, no-cache", "", 1, gone, None),
            ("max-age=10", "Cache-Control: no-cache|", 1, gone, Some(StaleWhy::Unreachable)),
        ] {
            let found = on_error(&stored(cc), &request(&format!("GET {asked}")), at(after), failure);
            assert_eq!(found.map(|s| s.why), expected, "{cc} {asked} after {after} s, {failure:?}");
        }
    }
}
