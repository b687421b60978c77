//! What an operator may say about freshness, beside what the origin says.

use super::seconds::Seconds;
use selvedge_types::Status;
use selvedge_types::resource::{CachePolicy, Period, SetCookiePolicy, StatusRange};

/// How long responses are kept where the origin says nothing, and what overrides what it says.
///
/// The default is what the RFCs ask of a shared cache, with heuristic freshness on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreshnessPolicy {
    /// Lifetime of heuristically cacheable responses that state none; replaces the heuristic.
    pub default_ttl: Option<Seconds>,
    /// A shorter lifetime is raised to this. Does not make `no-store` or `private` responses storable.
    pub min_ttl: Option<Seconds>,
    /// A longer lifetime is lowered to this.
    pub max_ttl: Option<Seconds>,
    /// The lifetime of every storable response, whatever it says, `no-cache` and `must-revalidate` too. Does
    /// not make responses storable that are not.
    pub forced_ttl: Option<Seconds>,
    /// Lifetimes by status, of responses that state none; the first that matches counts.
    pub negative_ttls: Vec<(StatusRange, Seconds)>,
    /// For how long a stale response may be served while it is revalidated, if the origin does not say.
    pub stale_while_revalidate: Seconds,
    /// For how long a stale response may be served when the origin answers 500, 502, 503 or 504, if the
    /// origin does not say (RFC 5861 section 4).
    pub stale_if_error: Seconds,
    /// For how long a stale response may be served when the origin cannot be reached (RFC 9111 section
    /// 4.2.4). At least `stale_if_error` counts.
    pub stale_if_unreachable: Seconds,
    /// Heuristic freshness (RFC 9111 section 4.2.2); none switches it off.
    pub heuristic: Option<Heuristic>,
    /// What happens to responses with Set-Cookie.
    pub set_cookie: SetCookie,
    /// Whether requests may steer the cache.
    pub client_directives: ClientDirectives,
}

impl Default for FreshnessPolicy {
    fn default() -> Self {
        FreshnessPolicy {
            default_ttl: None,
            min_ttl: None,
            max_ttl: None,
            forced_ttl: None,
            negative_ttls: Vec::new(),
            stale_while_revalidate: Seconds::ZERO,
            stale_if_error: Seconds::new(24 * 3600),
            stale_if_unreachable: Seconds::new(24 * 3600),
            heuristic: Some(Heuristic::default()),
            set_cookie: SetCookie::default(),
            client_directives: ClientDirectives::default(),
        }
    }
}

impl FreshnessPolicy {
    /// The policy that a manifest states.
    pub fn of(stated: &CachePolicy) -> Self {
        let seconds = |period: Option<Period>| period.map(|p| Seconds::of(p.get()));
        let defaults = Self::default();
        let mut negative_ttls: Vec<_> =
            stated.status_ttl.iter().map(|(range, ttl)| (*range, Seconds::of(ttl.get()))).collect();
        negative_ttls.sort_by_key(|(range, _)| range.width());
        let stale_if_error = seconds(stated.stale_if_error).unwrap_or(defaults.stale_if_error);
        FreshnessPolicy {
            default_ttl: seconds(stated.default_ttl),
            min_ttl: seconds(stated.min_ttl),
            max_ttl: seconds(stated.max_ttl),
            forced_ttl: seconds(stated.ttl),
            negative_ttls,
            stale_while_revalidate: seconds(stated.stale_while_revalidate).unwrap_or_default(),
            stale_if_error,
            stale_if_unreachable: seconds(stated.stale_if_unreachable).unwrap_or(stale_if_error),
            set_cookie: match stated.set_cookie.unwrap_or_default() {
                SetCookiePolicy::IfStated => SetCookie::IfStated,
                SetCookiePolicy::IfShared => SetCookie::IfShared,
                SetCookiePolicy::Store => SetCookie::Store,
            },
            client_directives: match stated.ignore_client {
                Some(true) => ClientDirectives::Ignore,
                _ => ClientDirectives::Honor,
            },
            ..defaults
        }
    }

    /// The negative lifetime set for `status`, if there is one.
    pub fn negative_ttl(&self, status: Status) -> Option<Seconds> {
        self.negative_ttls.iter().find(|(range, _)| range.contains(status.code())).map(|(_, ttl)| *ttl)
    }
}

/// A part of the time since Last-Modified, as RFC 9111 section 4.2.2 suggests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heuristic {
    /// How many hundredths of the time since Last-Modified.
    pub percent: u8,
    /// The longest lifetime it may give.
    pub cap: Seconds,
}

impl Default for Heuristic {
    /// 10%, the figure the RFC gives as typical, and at most a day.
    fn default() -> Self {
        Heuristic { percent: 10, cap: Seconds::new(24 * 3600) }
    }
}

/// What happens to responses with Set-Cookie, which are often meant for one user alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SetCookie {
    /// Stored if the origin says how long they are fresh, or `public`; not by a lifetime that is guessed or
    /// the operator's.
    #[default]
    IfStated,
    /// Stored only if `public`, `s-maxage` or a targeted field says that they are for many.
    IfShared,
    /// Stored as any other, as RFC 9111 section 7.3 allows.
    Store,
}

/// Whether Cache-Control in requests steers the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClientDirectives {
    /// As RFC 9111 section 5.2.1 says.
    #[default]
    Honor,
    /// They are ignored, so that no client can force work on the origin.
    Ignore,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_states_a_policy() {
        let period = |secs| Some(Period::from_secs(secs));
        let range = |first, last| StatusRange::new(first, last).unwrap();
        let mut stated = CachePolicy {
            default_ttl: period(1),
            ttl: period(2),
            min_ttl: period(3),
            max_ttl: Some(Period::from_millis(3_500)),
            stale_while_revalidate: period(5),
            ignore_client: Some(true),
            ..Default::default()
        };
        stated.status_ttl.insert(range(400, 499), Period::from_secs(6));
        stated.status_ttl.insert(range(404, 404), Period::from_secs(7));
        let found = FreshnessPolicy::of(&stated);
        let secs = |s: Option<Seconds>| s.map(Seconds::get);
        assert_eq!(secs(found.default_ttl), Some(1));
        assert_eq!(secs(found.forced_ttl), Some(2));
        assert_eq!((secs(found.min_ttl), secs(found.max_ttl)), (Some(3), Some(4)));
        assert_eq!(found.stale_while_revalidate.get(), 5);
        assert_eq!((found.stale_if_error.get(), found.stale_if_unreachable.get()), (24 * 3600, 24 * 3600));
        assert_eq!(found.client_directives, ClientDirectives::Ignore);
        assert_eq!(secs(found.negative_ttl(Status::NOT_FOUND)), Some(7));
        assert_eq!(secs(found.negative_ttl(Status::BAD_REQUEST)), Some(6));
        assert_eq!(found.negative_ttl(Status::OK), None);
        stated.stale_if_error = period(0);
        assert_eq!(FreshnessPolicy::of(&stated).stale_if_unreachable, Seconds::ZERO);
        assert_eq!(FreshnessPolicy::of(&CachePolicy::default()), FreshnessPolicy::default());
    }
}
