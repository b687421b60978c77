//! What holds for the requests of one route, with the rules that fit them: everything that can be decided
//! before a request comes, decided.

use super::answer::Refusal;
use super::auth::Gate;
use super::cache_rules::ResponseRule;
use super::cookies::strip_cookies;
use super::parameters::parameters;
use super::pattern::Matcher;
use super::rate::{Pace, RateTable, TooMany};
use super::render::{Changes, Parts};
use crate::cache::CacheRules;
use selvedge_cache::semantics::canonical_target;
use selvedge_cache::semantics::cookies::cookies;
use selvedge_exchange::{Request, Response};
use selvedge_types::resource::{Access, Bypass, Glob, RateKey, Respond, Rewrite, Template, UpgradeProtocol};
use selvedge_types::{FieldError, Fields, name};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What answers.
#[derive(Debug)]
pub(super) enum Action {
    /// The group of origin servers at this place in the router's list.
    Origin(u32),
    Redirect {
        status: u16,
        location: Template,
    },
    Respond(Respond, Changes),
    Nothing,
}

/// A rate and what requests share that count against it.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) by: RateKey,
    pub(super) pace: Pace,
    pub(super) status: u16,
    /// Tells this limit's keys from others'.
    pub(super) salt: u64,
}

/// All policies of a route, flattened.
#[derive(Debug)]
pub(super) struct Effective {
    pub(super) rules: Arc<CacheRules>,
    pub(super) action: Action,
    pub(super) access: Option<Access>,
    pub(super) gate: Option<Arc<Gate>>,
    pub(super) limits: Vec<Limit>,
    pub(super) strip_cookies: Vec<Glob>,
    pub(super) bypass: BypassTest,
    pub(super) rewrite: Option<Rewrite>,
    /// What connections may be switched to.
    pub(super) upgrade: Vec<UpgradeProtocol>,
    pub(super) request_changes: Changes,
    pub(super) response_changes: Changes,
    pub(super) response_rules: Vec<(Arc<ResponseRule>, Changes)>,
    /// Whether a template holds a part of the request.
    pub(super) need_parts: bool,
}

impl Effective {
    /// Whether the address may ask.
    pub(super) fn admits_address(&self, client: IpAddr) -> bool {
        self.access.as_ref().is_none_or(|access| {
            let has =
                |networks: &[selvedge_types::resource::Network]| networks.iter().any(|n| n.contains(client));
            !has(&access.deny) && (access.allow.is_empty() || has(&access.allow))
        })
    }

    /// Counts the request against every limit; the first that is over refuses it, with its status.
    pub(super) fn count(
        &self,
        table: &RateTable,
        request: &Request,
        client: IpAddr,
        now: Duration,
    ) -> Result<(), (u16, TooMany)> {
        self.limits.iter().try_for_each(|limit| {
            let key = limit.key(table, request, client);
            table.take(key, limit.pace, now).map_err(|wait| (limit.status, wait))
        })
    }

    /// Makes the changes to the request that come before the cache is asked. Gives the path and query that the
    /// origin is asked for, if a rewrite makes them others than the client's, which the cache goes by.
    pub(super) fn prepare(
        &self,
        request: &mut Request,
        parts: Option<&Parts>,
    ) -> Result<Option<Arc<str>>, Refusal> {
        if self.gate.as_ref().is_some_and(|gate| !gate.forward) {
            request.fields.remove(name::AUTHORIZATION);
        }
        self.change_fields(&mut request.fields, parts).map_err(|_| Refusal::HeaderTooLarge)?;
        let Some(rewrite) = &self.rewrite else { return Ok(None) };
        let sent = rewritten(rewrite, &request.target, parts);
        let sent = canonical_target(&sent).map_err(|_| Refusal::Path)?;
        Ok((sent != request.target).then(|| sent.into()))
    }

    fn change_fields(&self, fields: &mut Fields, parts: Option<&Parts>) -> Result<(), FieldError> {
        self.hold_upgrade(fields)?;
        strip_cookies(fields, &self.strip_cookies)?;
        self.request_changes.apply(fields, parts)
    }

    /// Leaves of Upgrade what may be switched to. So what still has the field goes past the cache, and what
    /// asked for anything else is an ordinary request.
    fn hold_upgrade(&self, fields: &mut Fields) -> Result<(), FieldError> {
        if !fields.contains(name::UPGRADE) {
            return Ok(());
        }
        let may = |asked: &&[u8]| self.upgrade.iter().any(|protocol| protocol.is(asked));
        let allowed: Vec<&[u8]> = fields.members(name::UPGRADE).filter(may).collect();
        let allowed = allowed.join(&b", "[..]);
        fields.remove(name::UPGRADE);
        if allowed.is_empty() { Ok(()) } else { fields.add(name::UPGRADE, allowed) }
    }

    /// Makes the changes to the response on its way to the client.
    pub(super) fn finish(&self, response: &mut Response, parts: Option<&Parts>) -> Result<(), FieldError> {
        if self.response_rules.is_empty() {
            return self.response_changes.apply(&mut response.fields, parts);
        }
        // Which rules fit is asked of the response as it came, before any change.
        let fitting: Vec<&Changes> = self
            .response_rules
            .iter()
            .filter(|(rule, _)| rule.when.holds(response.status, &response.fields))
            .map(|(_, changes)| changes)
            .collect();
        self.response_changes.apply(&mut response.fields, parts)?;
        fitting.into_iter().try_for_each(|changes| changes.apply(&mut response.fields, parts))
    }

    /// Whether [`Effective::finish`] has anything to do.
    pub(super) fn changes_responses(&self) -> bool {
        !self.response_changes.is_empty() || !self.response_rules.is_empty()
    }
}

impl Limit {
    fn key(&self, table: &RateTable, request: &Request, client: IpAddr) -> u64 {
        let salt = self.salt;
        match &self.by {
            RateKey::Client => match client {
                IpAddr::V4(v4) => table.key((salt, v4.to_bits())),
                // A client has at least a /64 to choose addresses from.
                IpAddr::V6(v6) => table.key((salt, v6.to_bits() >> 64)),
            },
            RateKey::Header(name) => {
                table.key((salt, request.fields.get_all_named(name.as_str().as_bytes()).next()))
            }
            RateKey::Cookie(wanted) => {
                let found = cookies(&request.fields).find(|(name, _)| *name == wanted.as_bytes());
                table.key((salt, found.map(|(_, value)| value)))
            }
            RateKey::Path => table.key((salt, super::path::normal(request.path()))),
            RateKey::Site => table.key(salt),
        }
    }
}

fn rewritten(rewrite: &Rewrite, target: &str, parts: Option<&Parts>) -> String {
    if let (Some(to), Some(parts)) = (&rewrite.to, parts) {
        let filled = parts.fill(to);
        return if filled.starts_with('/') { filled } else { format!("/{filled}") };
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut path = match &rewrite.strip_prefix {
        Some(prefix) => stripped(path, prefix).to_owned(),
        None => path.to_owned(),
    };
    for (from, to) in &rewrite.replace {
        path = path.replace(from.as_str(), to);
    }
    if let Some(prefix) = &rewrite.add_prefix {
        path.insert_str(0, prefix.strip_suffix('/').filter(|_| path.starts_with('/')).unwrap_or(prefix));
    }
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

/// `path` without `prefix`, if it ends where a segment does. Slashes before a segment are one, as they are where
/// routes are chosen.
fn stripped<'a>(path: &'a str, prefix: &str) -> &'a str {
    let mut rest = path;
    for segment in prefix.split('/').filter(|segment| !segment.is_empty()) {
        let Some(tail) = rest.trim_start_matches('/').strip_prefix(segment) else { return path };
        if !(tail.is_empty() || tail.starts_with('/')) {
            return path;
        }
        rest = tail;
    }
    match (prefix.ends_with('/'), rest.strip_prefix('/')) {
        (true, None) => path,
        (true, Some(rest)) => rest,
        (false, _) => rest,
    }
}

/// Which requests go past the cache.
#[derive(Debug, Default)]
pub(super) struct BypassTest {
    paths: Vec<Matcher>,
    policy: Bypass,
    is_empty: bool,
}

impl BypassTest {
    pub(super) fn new(policy: &Bypass) -> Self {
        let paths = policy.paths.iter().map(Matcher::new).collect();
        BypassTest { paths, policy: policy.clone(), is_empty: policy.is_empty() }
    }

    /// Whether `request`, whose normal path is `path`, goes past the cache.
    pub(super) fn fits(&self, request: &Request, path: &[u8]) -> bool {
        if self.is_empty {
            return false;
        }
        let Bypass { cookies: wanted, headers, query, .. } = &self.policy;
        let has = |globs: &[Glob], name: &[u8]| globs.iter().any(|glob| glob.matches(name));
        self.paths.iter().any(|matcher| matcher.matches(path))
            || headers.iter().any(|n| has_field(&request.fields, n.as_str()))
            || (!wanted.is_empty() && cookies(&request.fields).any(|(name, _)| has(wanted, name)))
            || (!query.is_empty()
                && parameters(request.query().unwrap_or_default()).any(|(name, _)| has(query, &name)))
    }
}

fn has_field(fields: &Fields, name: &str) -> bool {
    fields.get_all_named(name.as_bytes()).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_rewritten_and_queries_stay() {
        let rewrite = |strip: Option<&str>, replace: &[(&str, &str)], add: Option<&str>| Rewrite {
            strip_prefix: strip.map(str::to_owned),
            replace: replace.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            add_prefix: add.map(str::to_owned),
            to: None,
        };
        for (rewrite, target, expected) in [
            (rewrite(Some("/img"), &[], None), "/img/a?b=/img", "/a?b=/img"),
            (rewrite(Some("/img"), &[], None), "/img", "/"),
            (rewrite(Some("/img"), &[], None), "/imgs/a", "/imgs/a"),
            (rewrite(Some("/img/"), &[], None), "/img/a", "/a"),
            (rewrite(Some("/img/"), &[], None), "/img", "/img"),
            (rewrite(Some("/img"), &[], None), "//img/a", "/a"),
            (rewrite(Some("/a/b"), &[], None), "/a//b/c", "/c"),
            (rewrite(Some("/a/b"), &[], None), "/a/bc", "/a/bc"),
            (rewrite(Some("/"), &[], Some("/v")), "/a", "/va"),
            (rewrite(None, &[], Some("/v2")), "/a", "/v2/a"),
            (rewrite(None, &[], Some("/v2/")), "/a", "/v2/a"),
            (rewrite(Some("/img"), &[], Some("/v2")), "/img/a", "/v2/a"),
            (rewrite(None, &[("/old/", "/new/")], None), "/old/a?x", "/new/a?x"),
            (rewrite(None, &[("/a", "")], None), "/a", "/"),
        ] {
            assert_eq!(rewritten(&rewrite, target, None), expected, "{rewrite:?} {target}");
        }
    }
}
