//! From a site's, route's and rules' cache policies to the rules that the cache's driver goes by.

use super::combinations::Combinations;
use super::condition::ResponseCondition;
use crate::cache::{CacheRules, CompressRules, Refine};
use selvedge_cache::semantics::FreshnessPolicy;
use selvedge_types::resource::{
    CachePolicy, Coding, Compression, Destination, Glob, OriginName, Route, Site, Text,
};
use selvedge_types::{Fields, Status};
use std::fmt;
use std::sync::Arc;

/// What all rules of a site have in common.
#[derive(Debug, Clone)]
pub(super) struct SiteNames {
    pub(super) namespace: Arc<str>,
    /// `namespace/name`.
    pub(super) site: Arc<str>,
    /// The name in Cache-Status.
    pub(super) cache: Arc<str>,
    /// Whether a URI alone says under which key it is stored.
    pub(super) keys_by_uri: bool,
}

/// Whether all of a site's requests have keys that follow from their URIs.
pub(super) fn keys_by_uri(site: &Site) -> bool {
    let below = site.route.iter().map(|r| &r.policies).chain(site.rule.iter().map(|r| &r.policies));
    let own = site.policies.cache.key.as_ref();
    own.is_none_or(|key| key.headers.is_empty() && key.cookies.is_empty())
        && site.policies.rewrite.is_none()
        && below.into_iter().all(|policies| policies.cache.key.is_none() && policies.rewrite.is_none())
        && site.route.iter().all(|route| origin_of(Some(route)).is_none())
}

/// The group of servers that a route goes to, if it is not the site's main one.
pub(super) fn origin_of(route: Option<&Route>) -> Option<Arc<str>> {
    let Some(Destination::Origin(name)) = route?.to.as_ref() else { return None };
    (*name != OriginName::default()).then(|| name.as_str().into())
}

/// Policies of the cache and of compression, one level laid on the other.
#[derive(Debug, Clone)]
pub(super) struct Layered {
    pub(super) described: String,
    pub(super) cache: CachePolicy,
    pub(super) compress: Compression,
    /// The group of servers that is asked; none for the site's main one.
    pub(super) origin: Option<Arc<str>>,
}

impl Layered {
    /// Lays a level on top.
    pub(super) fn apply(&mut self, name: &str, cache: &CachePolicy, compress: &Compression) {
        self.described.push_str(name);
        self.cache.apply(cache);
        self.compress.apply(compress);
    }

    /// The rules that the cache's driver goes by.
    pub(super) fn rules(&self, names: &SiteNames, refine: Option<Arc<dyn Refine>>) -> CacheRules {
        let cache = &self.cache;
        CacheRules {
            described: self.described.clone(),
            namespace: names.namespace.clone(),
            site: names.site.clone(),
            origin: self.origin.clone(),
            cache_name: names.cache.clone(),
            enabled: cache.enabled.unwrap_or(true),
            key: cache.key.clone().unwrap_or_default(),
            keys_by_uri: names.keys_by_uri,
            freshness: FreshnessPolicy::of(cache),
            tags: cache.tags.clone(),
            expose_tags: cache.expose_tags.unwrap_or(false),
            strip_response_cookies: cache.strip_response_cookies.clone(),
            collapse: cache.collapse.unwrap_or(true),
            slice_bytes: cache.slice.unwrap_or(CachePolicy::DEFAULT_SLICE).get(),
            object_bytes_max: cache.max_object.map_or(u64::MAX, |size| size.get()),
            compress: compress_rules(&self.compress),
            refine,
        }
    }
}

fn compress_rules(compress: &Compression) -> CompressRules {
    let types = || Compression::DEFAULT_TYPES.iter().filter_map(|t| Glob::parse_text(t).ok()).collect();
    let codings: Vec<Coding> =
        compress.codings.clone().unwrap_or_else(|| Compression::DEFAULT_CODINGS.into());
    CompressRules {
        codings,
        bytes_min: compress.min_size.unwrap_or(Compression::DEFAULT_MIN_SIZE).get(),
        types: compress.types.clone().unwrap_or_else(types),
    }
}

/// A rule with a condition on the response.
#[derive(Debug)]
pub(super) struct ResponseRule {
    /// Its place among the site's rules.
    pub(super) index: u16,
    pub(super) name: String,
    pub(super) when: ResponseCondition,
    pub(super) cache: CachePolicy,
    pub(super) compress: Compression,
}

/// How many combinations of response rules are kept for one route.
pub(super) const COMBINATIONS_MAX: usize = 64;

/// Lays on a route's policies those of the response rules that fit. Each combination is made once.
pub(super) struct Refiner {
    pub(super) names: SiteNames,
    pub(super) base: Layered,
    pub(super) rules: Vec<Arc<ResponseRule>>,
    pub(super) made: Combinations<CacheRules>,
}

impl fmt::Debug for Refiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refiner").field("base", &self.base.described).finish_non_exhaustive()
    }
}

impl Refine for Refiner {
    fn refine(&self, status: Status, fields: &Fields) -> Option<Arc<CacheRules>> {
        let fitting: Vec<_> = self.rules.iter().filter(|rule| rule.when.holds(status, fields)).collect();
        if fitting.is_empty() {
            return None;
        }
        let combination: Vec<u16> = fitting.iter().map(|rule| rule.index).collect();
        Some(self.made.get(&combination, || {
            let mut layered = self.base.clone();
            fitting.iter().for_each(|rule| layered.apply(&rule.name, &rule.cache, &rule.compress));
            layered.rules(&self.names, None)
        }))
    }
}
