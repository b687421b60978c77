//! What an operator may say about freshness, beside what the origin says.

use super::seconds::Seconds;
use selvedge_types::Status;

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
    /// Heuristically cacheable responses are treated as though they said `max-age` with this value and
    /// nothing else: `no-store`, `private` and `no-cache` are overridden. The rules on Authorization and
    /// Set-Cookie still hold.
    pub forced_ttl: Option<Seconds>,
    /// Lifetimes by status, of responses that state none; the first that matches counts.
    pub negative_ttls: Vec<NegativeTtl>,
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
            stale_if_error: Seconds::ZERO,
            stale_if_unreachable: Seconds::new(24 * 3600),
            heuristic: Some(Heuristic::default()),
            set_cookie: SetCookie::default(),
            client_directives: ClientDirectives::default(),
        }
    }
}

impl FreshnessPolicy {
    /// The negative lifetime set for `status`, if there is one.
    pub fn negative_ttl(&self, status: Status) -> Option<Seconds> {
        self.negative_ttls.iter().find(|n| n.applies_to(status)).map(|n| n.ttl)
    }
}

/// A lifetime for responses with some statuses that state none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NegativeTtl {
    /// The lowest status code.
    pub first: u16,
    /// The highest status code.
    pub last: u16,
    /// The lifetime.
    pub ttl: Seconds,
}

impl NegativeTtl {
    fn applies_to(&self, status: Status) -> bool {
        (self.first..=self.last).contains(&status.code())
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
    /// Stored only if `public`, `s-maxage` or a targeted field says that they are for many.
    #[default]
    IfShared,
    /// Stored as any other, as RFC 9111 section 7.3 allows.
    Store,
    /// Never stored.
    Pass,
    /// The cookies are dropped from what is stored and sent, the rest is stored as any other.
    Strip,
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
