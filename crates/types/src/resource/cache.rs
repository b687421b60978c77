//! What is kept, under which key, for how long.

use super::field::FieldName;
use super::pattern::{Glob, PathPattern, StatusRange};
use super::quantity::{ByteSize, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The cache's behaviour. What is left out follows the next outer level (rule, route, site), then the
/// default named here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CachePolicy {
    /// Whether anything is stored or served from store. Default `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What requests are told apart by, besides scheme, host and path. Default: the whole query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<CacheKey>,
    /// How long a response is fresh that says nothing about it. Default: 10% of its age since Last-Modified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_ttl: Option<Period>,
    /// How long every storable response is fresh, whatever it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Period>,
    /// The least time a storable response is fresh, whatever it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ttl: Option<Period>,
    /// The most time a response is fresh, whatever it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<Period>,
    /// How long responses with a status are fresh that say nothing about it: `{ 404 = "10s", 5xx = "1s" }`.
    /// The narrowest range that fits wins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "status" }))]
    pub status_ttl: BTreeMap<StatusRange, Period>,
    /// How long past its freshness a response is served while a new one is fetched (RFC 5861), unless the
    /// response says. Default `0s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<Period>,
    /// How long past its freshness a response is served when the origin fails (RFC 5861), unless the
    /// response says. Without effect where the response forbids it (`must-revalidate`, `proxy-revalidate`,
    /// `no-cache`, `s-maxage`), unless `ttl` overrides all that the response says. Default `1d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<Period>,
    /// How long past its freshness a response is served when no origin server can be reached (RFC 9111
    /// section 4.2.4); at least `stale_if_error` counts. Default: as `stale_if_error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_unreachable: Option<Period>,
    /// What becomes of responses with Set-Cookie: `if_stated` stores those whose origin says how long they
    /// are fresh or `public`, `if_shared` only those that say they are for many (`public`, `s-maxage`, a
    /// targeted field), `store` stores them as any other. Default `if_stated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_cookie: Option<SetCookiePolicy>,
    /// Whether a client's own `no-cache`, `no-store` and `max-age` are ignored. Default `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_client: Option<bool>,
    /// Cookies dropped from requests, by name or pattern, before cache and origin see them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strip_request_cookies: Vec<Glob>,
    /// Cookies dropped from responses, by name or pattern, before the cache sees them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strip_response_cookies: Vec<Glob>,
    /// Requests that go past the cache.
    #[serde(skip_serializing_if = "Bypass::is_empty")]
    pub bypass: Bypass,
    /// Tags that stored responses get besides their own, to purge them by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whether clients see Surrogate-Key and Cache-Tag. Default `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose_tags: Option<bool>,
    /// Whether requests for the same thing wait for one fetch. Default `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collapse: Option<bool>,
    /// The size of the slices that large responses are fetched and kept in. Default `1MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("formatMinimum" = "16KiB", "formatMaximum" = "64MiB"))]
    pub slice: Option<ByteSize>,
    /// The largest response that is stored. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_object: Option<ByteSize>,
}

impl CachePolicy {
    /// The size of slices when none is given.
    pub const DEFAULT_SLICE: ByteSize = ByteSize::mib(1);

    /// Lays `over` on top: what it says wins; tags, cookies and bypasses add up.
    pub fn apply(&mut self, over: &CachePolicy) {
        fn take<T: Clone>(under: &mut Option<T>, over: &Option<T>) {
            if over.is_some() {
                under.clone_from(over);
            }
        }
        take(&mut self.enabled, &over.enabled);
        take(&mut self.key, &over.key);
        take(&mut self.default_ttl, &over.default_ttl);
        take(&mut self.ttl, &over.ttl);
        take(&mut self.min_ttl, &over.min_ttl);
        take(&mut self.max_ttl, &over.max_ttl);
        take(&mut self.stale_while_revalidate, &over.stale_while_revalidate);
        take(&mut self.stale_if_error, &over.stale_if_error);
        take(&mut self.stale_if_unreachable, &over.stale_if_unreachable);
        take(&mut self.set_cookie, &over.set_cookie);
        take(&mut self.ignore_client, &over.ignore_client);
        take(&mut self.expose_tags, &over.expose_tags);
        take(&mut self.collapse, &over.collapse);
        take(&mut self.slice, &over.slice);
        take(&mut self.max_object, &over.max_object);
        self.status_ttl.extend(over.status_ttl.iter().map(|(status, ttl)| (*status, *ttl)));
        self.strip_request_cookies.extend_from_slice(&over.strip_request_cookies);
        self.strip_response_cookies.extend_from_slice(&over.strip_response_cookies);
        self.tags.extend_from_slice(&over.tags);
        self.bypass.extend(&over.bypass);
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == CachePolicy::default()
    }

    /// How long a response with `status` is fresh that says nothing about it, by the narrowest range.
    pub fn status_ttl(&self, status: u16) -> Option<Period> {
        let fits = self.status_ttl.iter().filter(|(range, _)| range.contains(status));
        fits.min_by_key(|(range, _)| range.width()).map(|(_, ttl)| *ttl)
    }
}

/// What becomes of responses with Set-Cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SetCookiePolicy {
    /// Stored if the origin says how long they are fresh, or `public`.
    #[default]
    IfStated,
    /// Stored if they say that they are for many.
    IfShared,
    /// Stored as any other (RFC 9111 section 7.3).
    Store,
}

/// What requests are told apart by, besides scheme, host and path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CacheKey {
    /// Which parameters of the query count.
    pub query: QueryKey,
    /// Request header fields that count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<FieldName>,
    /// Cookies that count, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<String>,
    /// Whether the host counts; if not, all of a site's hosts share what is stored.
    pub host: bool,
    /// Whether the scheme counts; if not, http and https share what is stored.
    pub scheme: bool,
}

impl Default for CacheKey {
    fn default() -> Self {
        CacheKey {
            query: QueryKey::default(),
            headers: Vec::new(),
            cookies: Vec::new(),
            host: true,
            scheme: true,
        }
    }
}

/// Which parameters of a query count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QueryKey {
    /// Only these parameters count, by name or pattern. `[]` means that none does. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Vec<Glob>>,
    /// These parameters do not count, by name or pattern. Not together with `keep`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<Glob>,
    /// Whether the order of parameters does not count.
    pub sort: bool,
}

/// Requests that go past the cache: neither answered from it nor stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Bypass {
    /// Those with a path like this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPattern>,
    /// Those with a cookie of such a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<Glob>,
    /// Those with such a header field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<FieldName>,
    /// Those with such a query parameter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<Glob>,
}

impl Bypass {
    /// Whether no request goes past the cache.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.cookies.is_empty() && self.headers.is_empty() && self.query.is_empty()
    }
    fn extend(&mut self, more: &Bypass) {
        self.paths.extend_from_slice(&more.paths);
        self.cookies.extend_from_slice(&more.cookies);
        self.headers.extend_from_slice(&more.headers);
        self.query.extend_from_slice(&more.query);
    }
}
