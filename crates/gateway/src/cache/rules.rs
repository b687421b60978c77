//! What the cache is told about a route: everything decided when the configuration was read.

use selvedge_cache::semantics::{FreshnessPolicy, KeyRule};
use selvedge_types::resource::{CacheKey, Coding, Glob};
use selvedge_types::{Fields, Status, name};
use std::fmt;
use std::sync::Arc;

/// The cache's rules for the requests of one route, flattened from site, route and rules.
#[derive(Clone, Debug)]
pub struct CacheRules {
    /// Where these rules come from, for `cache inspect`: site, route, and the names of rules that fit.
    pub described: String,
    /// The namespace, which owns tags.
    pub namespace: Arc<str>,
    /// The site with its namespace, which owns keys: `default/docs`.
    pub site: Arc<str>,
    /// The group of servers that is asked, which is part of keys; none for the site's main one.
    pub origin: Option<Arc<str>>,
    /// The name in Cache-Status.
    pub cache_name: Arc<str>,
    /// Whether anything is stored or served from store.
    pub enabled: bool,
    /// What requests are told apart by.
    pub key: CacheKey,
    /// Whether, in all of the site, the key of what is stored for a URI follows from the URI: no fields count,
    /// one group of servers is asked, and nothing is rewritten.
    pub keys_by_uri: bool,
    /// How long responses are kept.
    pub freshness: FreshnessPolicy,
    /// Tags that stored responses get besides their own.
    pub tags: Vec<String>,
    /// Whether clients see Surrogate-Key and Cache-Tag.
    pub expose_tags: bool,
    /// Cookies dropped from responses before they are stored.
    pub strip_response_cookies: Vec<Glob>,
    /// Whether requests for the same thing wait for one fetch.
    pub collapse: bool,
    /// The size of the slices that large responses are kept in, in bytes.
    pub slice_bytes: u64,
    /// The largest response that is stored, in bytes.
    pub object_bytes_max: u64,
    /// Which responses are compressed.
    pub compress: CompressRules,
    /// Rules that look at the response.
    pub refine: Option<Arc<dyn Refine>>,
}

/// Rules that can only be decided when the response is there.
pub trait Refine: Send + Sync + fmt::Debug {
    /// The rules for that response, if they differ.
    fn refine(&self, status: Status, fields: &Fields) -> Option<Arc<CacheRules>>;
}

impl CacheRules {
    /// The rules for a response with that status and fields.
    pub fn for_response(self: &Arc<Self>, status: Status, fields: &Fields) -> Arc<CacheRules> {
        self.refine.as_ref().and_then(|r| r.refine(status, fields)).unwrap_or_else(|| self.clone())
    }

    /// How keys are made.
    pub(crate) fn key_rule(&self) -> KeyRule<'_> {
        KeyRule { policy: &self.key, site: &self.site, origin: self.origin.as_deref() }
    }

    /// Drops the cookies that are not to reach cache and clients.
    pub(crate) fn strip_cookies(&self, response: &mut Fields) {
        if self.strip_response_cookies.is_empty() || !response.contains(name::SET_COOKIE) {
            return;
        }
        let dropped = |value: &[u8]| {
            let name = value.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
            self.strip_response_cookies.iter().any(|glob| glob.matches(name))
        };
        response.retain(|text, value| !(text.eq_ignore_ascii_case(b"set-cookie") && dropped(value)));
    }
}

/// The longest media type: two names of 127 characters (RFC 6838 section 4.2).
const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// Which responses are compressed, and how.
#[derive(Clone, Debug)]
pub struct CompressRules {
    /// The codings offered, best first.
    pub codings: Vec<Coding>,
    /// The smallest content that is compressed, in bytes.
    pub bytes_min: u64,
    /// Media types that are compressed.
    pub types: Vec<Glob>,
}

impl CompressRules {
    /// Whether content of that media type (with or without parameters) and length may be compressed.
    pub fn fits(&self, content_type: Option<&[u8]>, length: Option<u64>) -> bool {
        if self.codings.is_empty() || length.is_some_and(|n| n < self.bytes_min) {
            return false;
        }
        let Some(content_type) = content_type else { return false };
        let media = content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let mut room = [0; MEDIA_TYPE_BYTES_MAX];
        let Some(lower) = room.get_mut(..media.len()) else { return false };
        lower.copy_from_slice(media);
        lower.make_ascii_lowercase();
        self.types.iter().any(|t| t.matches(lower))
    }
}
