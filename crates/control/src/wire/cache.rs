//! The cache: what it holds, what passes through it, what is purged.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Fill and counters since the node's start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheStats {
    /// Memory.
    pub ram: Tier,
    /// Disk; capacity 0 if there is none.
    pub disk: Tier,
    /// Purges that are still remembered.
    pub purges: u64,
    /// The traffic of each site, by namespace and name.
    pub sites: Vec<SiteStats>,
}

/// One tier of the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tier {
    /// Stored responses.
    pub objects: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Bytes that they may take.
    pub capacity: u64,
    /// Responses dropped to make room.
    pub evictions: u64,
    /// Why nothing is written to it at present: it is full, or fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The traffic of one site. Requests = hits + stale + misses + bypassed + answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteStats {
    /// Who owns it.
    pub namespace: String,
    /// Its name.
    pub site: String,
    /// Requests.
    pub requests: u64,
    /// Answered fresh from memory.
    pub hits_ram: u64,
    /// Answered fresh from disk.
    pub hits_disk: u64,
    /// Answered stale, on purpose.
    pub stale: u64,
    /// Answered after asking the origin, or together with a request that did.
    pub misses: u64,
    /// Passed by the cache.
    pub bypassed: u64,
    /// Answered by the gateway itself: redirects, refusals.
    pub answered: u64,
    /// Answers with a status of 500 and above.
    pub errors: u64,
    /// Bytes of content sent to clients.
    pub sent_bytes: u64,
    /// Bytes of content received from origins.
    pub origin_bytes: u64,
    /// Requests to origins that failed.
    pub origin_errors: u64,
}

/// What to purge: exactly one of `url`, `prefix`, `tag` and `all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    /// This URL, with all its variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Every URL that begins with this one, by whole path segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What carries this tag, in `site` or in all of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// All of `site`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The site meant by `tag` and `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The namespace of `site` and `tag`; `default` if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only mark it stale: it may still be served while a new one is fetched, or when the origin fails.
    #[serde(default)]
    pub soft: bool,
}

/// A purge that is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Purged {
    /// The revision that holds it.
    pub revision: u64,
}

/// A request to look up in the cache without making it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectRequest {
    /// Its URL.
    pub url: String,
    /// Its method; GET if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Its header fields: name and value.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// What the cache knows about a request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Inspection {
    /// The namespace of the site that would answer.
    pub namespace: String,
    /// The site that would answer.
    pub site: String,
    /// The path pattern of the route that fits.
    pub route: String,
    /// The cache key.
    pub key: String,
    /// What would happen: `hit`, `stale`, `revalidate`, `miss` or `bypass`.
    pub decision: String,
    /// Why.
    pub reason: String,
    /// What is stored under the key, the variant that fits first.
    pub entries: Vec<Entry>,
    /// What decided about key and freshness, in order; the last one that speaks wins.
    pub rules: Vec<Rule>,
}

/// A stored response.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// Whether it fits the request.
    pub matches: bool,
    /// `ram` or `disk`.
    pub tier: String,
    /// Its status.
    pub status: u16,
    /// Its age in seconds (RFC 9111 section 4.2.3).
    pub age: f64,
    /// Seconds that it stays fresh; negative if it is stale.
    pub fresh_for: f64,
    /// Bytes of content that are stored.
    pub stored_bytes: u64,
    /// Bytes of content in all, if known.
    pub total_bytes: Option<u64>,
    /// What it varies by.
    pub vary: String,
    /// Its entity tag.
    pub etag: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Why it may not be used as it is, if so: `stale`, `purged`, `soft-purged` ...
    pub state: String,
}

/// Something that decided about a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// What it decided: `freshness`, `key`, `storing` ...
    pub about: String,
    /// Where it comes from: a header field, or a key of the manifest.
    pub source: String,
    /// What it says.
    pub effect: String,
}
