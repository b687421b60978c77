//! The names by which stored responses are purged together, and what unsafe requests invalidate.

use super::beginnings::Beginning;
use super::fill::Order;
use super::rules::CacheRules;
use super::{Inner, target_of, without_scheme};
use selvedge_cache::semantics::tags::{cache_groups, tags};
use selvedge_cache::semantics::{Target, invalidation};
use selvedge_cache::stamps::{PurgeScope, ScopeHash};
use selvedge_types::{Fields, Hlc, Status};

impl Inner {
    /// The scopes of a response's tags and groups; none if it has more tags than are followed, and must
    /// therefore not be stored.
    pub(crate) fn labels(
        &self,
        order: &Order,
        rules: &CacheRules,
        response: &Fields,
    ) -> Option<Box<[ScopeHash]>> {
        let hasher = &self.memory.stamps.hasher;
        let own = tags(response).ok()?;
        let text = |tag: &[u8]| String::from_utf8_lossy(tag).into_owned();
        let tags: Vec<String> = own.iter().map(|tag| text(tag)).chain(rules.tags.iter().cloned()).collect();
        // A tag is purged in all of a namespace, or in one site of it.
        let tags = tags
            .iter()
            .flat_map(|tag| [hasher.of_tag(&rules.namespace, tag), hasher.of_tag(&rules.site, tag)]);
        let origin = origin_of(target_of(&order.request));
        let groups = cache_groups(response);
        let groups = groups.iter().map(|group| hasher.of_group(&origin, group));
        Some(tags.chain(groups).collect())
    }

    /// Makes invalid what a response to an unsafe request says (RFC 9111 section 4.4, RFC 9875 section 3).
    pub(crate) fn invalidate(&self, order: &Order, beginning: &Beginning, status: Status, response: &Fields) {
        let Order { request, facts, rules, .. } = order;
        let Some(found) = invalidation(facts.method, target_of(request), status, response) else { return };
        let at = self.tick();
        for target in &found.targets {
            self.invalidate_uri(rules, target.as_target(), at, beginning);
        }
        let origin = origin_of(target_of(request));
        for group in &found.groups {
            self.invalidate_here(self.memory.stamps.hasher.of_group(&origin, group), &rules.site, at);
        }
    }

    fn invalidate_uri(&self, rules: &CacheRules, target: Target<'_>, at: Hlc, beginning: &Beginning) {
        let mut text = Vec::new();
        rules.key_rule().write(target, &Fields::new(), None, &mut text);
        // What is not stored and not on its way needs no stamp, so that such requests do not pile them up.
        let key = self.memory.key(&text);
        let is_under_way = || self.beginnings.has_others(key, beginning);
        if rules.keys_by_uri && !self.may_have(key) && !is_under_way() {
            return;
        }
        let uri = String::from_utf8_lossy(selvedge_cache::semantics::key::uri_of_key(&text)).into_owned();
        let scope = PurgeScope::Url { site: rules.site.to_string(), uri: without_scheme(&uri).into() };
        self.invalidate_here(self.memory.stamps.hasher.scope(&scope), &rules.site, at);
    }
}

fn origin_of(target: Target<'_>) -> String {
    let authority = String::from_utf8_lossy(target.significant_authority()).to_ascii_lowercase();
    format!("{}://{authority}", target.scheme.as_str())
}
