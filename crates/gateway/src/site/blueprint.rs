//! A site with its rules and secrets read, from which what holds for a request is made: the site's policies,
//! the route's on top, then those of every rule that fits, in the order written.

use super::cache_rules::{COMBINATIONS_MAX, Layered, Refiner, ResponseRule, SiteNames, origin_of};
use super::combinations::Combinations;
use super::compile::LevelGate;
use super::condition::{RequestCondition, ResponseCondition};
use super::effective::{Action, BypassTest, Effective, Limit};
use super::rate::{Pace, RateTable};
use super::render::Changes;
use crate::cache::Refine;
use selvedge_exchange::Request;
use selvedge_types::resource::{
    CachePolicy, Compression, Destination, OriginName, Policies, Rewrite, Route, Site, UpgradeProtocol,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a site's effective policies are made from.
#[derive(Debug)]
pub(super) struct Blueprint {
    pub(super) names: SiteNames,
    pub(super) site: Site,
    pub(super) site_gate: LevelGate,
    pub(super) route_gates: Vec<LevelGate>,
    pub(super) rules: Vec<SiteRule>,
    /// The place of each of the site's origins in the router's list.
    pub(super) origins: BTreeMap<OriginName, u32>,
}

/// A rule, ready to be asked.
#[derive(Debug)]
pub(super) struct SiteRule {
    request: RequestCondition,
    response: Option<Arc<ResponseRule>>,
    gate: LevelGate,
    name: String,
}

/// Policies on their level.
struct Level<'a> {
    name: &'a str,
    policies: &'a Policies,
    gate: &'a LevelGate,
}

impl SiteRule {
    pub(super) fn new(index: usize, rule: &selvedge_types::resource::Rule, gate: LevelGate) -> Self {
        let name =
            rule.name.as_ref().map_or_else(|| format!(", rule[{index}]"), |name| format!(", rule `{name}`"));
        let response = rule.when.needs_response().then(|| {
            Arc::new(ResponseRule {
                index: u16::try_from(index).unwrap_or(u16::MAX),
                name: name.clone(),
                when: ResponseCondition::new(&rule.when),
                cache: rule.policies.cache.clone(),
                compress: rule.policies.compress.clone(),
            })
        });
        SiteRule { request: RequestCondition::new(&rule.when), response, gate, name }
    }
}

impl Blueprint {
    /// The rules whose conditions on the request hold, without those that have none.
    pub(super) fn fitting(&self, request: &Request, path: &[u8]) -> Vec<u16> {
        let rules = self.rules.iter().zip(0..=u16::MAX).filter(|(rule, _)| !rule.request.is_empty());
        rules.filter(|(rule, _)| rule.request.holds(request, path)).map(|(_, index)| index).collect()
    }

    /// What holds on a route, or without one, when `fitting` rules fit besides those without a condition
    /// on the request.
    pub(super) fn effective(&self, route: Option<usize>, fitting: &[u16], rates: &RateTable) -> Effective {
        let route = route.and_then(|i| Some((i, self.site.route.get(i)?)));
        let route_name = route.map(|(i, r)| format!(", route[{i}] `{}`", join_patterns(r)));
        let mut levels = vec![Level { name: "", policies: &self.site.policies, gate: &self.site_gate }];
        if let (Some((i, route)), Some(name)) = (route, &route_name) {
            let gate = self.route_gates.get(i).unwrap_or(&None);
            levels.push(Level { name, policies: &route.policies, gate });
        }
        let rules = self.site.rule.iter().zip(&self.rules).zip(0..=u16::MAX);
        let fits = |rule: &SiteRule, index: u16| rule.request.is_empty() || fitting.contains(&index);
        let fitting: Vec<_> =
            rules.filter(|((_, rule), index)| fits(rule, *index)).map(|(rule, _)| rule).collect();
        let on_request = fitting.iter().filter(|(_, rule)| rule.response.is_none());
        levels.extend(on_request.map(|(declared, rule)| Level {
            name: &rule.name,
            policies: &declared.policies,
            gate: &rule.gate,
        }));
        let on_response = fitting.iter().filter_map(|(declared, rule)| {
            let mut changes = Changes::default();
            changes.extend(&declared.policies.response_headers);
            Some((rule.response.clone()?, changes))
        });
        self.flatten(&levels, route.map(|(_, r)| r), on_response.collect(), rates)
    }

    fn flatten(
        &self,
        levels: &[Level<'_>],
        route: Option<&Route>,
        response_rules: Vec<(Arc<ResponseRule>, Changes)>,
        rates: &RateTable,
    ) -> Effective {
        let mut layered = Layered {
            described: format!("site `{}`", self.names.site),
            cache: CachePolicy::default(),
            compress: Compression::default(),
            origin: origin_of(route),
        };
        let action = self.action(route);
        let (mut request_changes, mut response_changes) = (Changes::default(), Changes::default());
        let (mut access, mut gate, mut rewrite, mut limits) = (None, None, None, Vec::new());
        let mut upgrade = None;
        for Level { name, policies, gate: level_gate } in levels {
            layered.apply(name, &policies.cache, &policies.compress);
            request_changes.extend(&policies.request_headers);
            response_changes.extend(&policies.response_headers);
            access = policies.access.clone().or(access);
            gate = (*level_gate).clone().or(gate);
            rewrite = policies.rewrite.clone().or(rewrite);
            upgrade = policies.upgrade.clone().or(upgrade);
            limits.extend(policies.rate_limit.iter().enumerate().map(|(i, limit)| Limit {
                by: limit.by.clone(),
                pace: Pace::new(limit),
                status: limit.status,
                salt: rates.key((&*self.names.site, *name, i)),
            }));
        }
        let filled = |rewrite: &Rewrite| rewrite.to.is_some();
        let need_parts = request_changes.need_parts()
            || response_changes.need_parts()
            || response_rules.iter().any(|(_, changes)| changes.need_parts())
            || rewrite.as_ref().is_some_and(filled)
            || matches!(action, Action::Redirect { .. } | Action::Respond(..));
        Effective {
            rules: Arc::new(layered.rules(&self.names, self.refiner(&layered, &response_rules))),
            action,
            access,
            gate,
            limits,
            strip_cookies: layered.cache.strip_request_cookies,
            bypass: BypassTest::new(&layered.cache.bypass),
            rewrite,
            upgrade: upgrade.unwrap_or_else(|| vec![UpgradeProtocol::websocket()]),
            request_changes,
            response_changes,
            response_rules: response_rules.into_iter().filter(|(_, changes)| !changes.is_empty()).collect(),
            need_parts,
        }
    }

    fn refiner(
        &self,
        base: &Layered,
        response_rules: &[(Arc<ResponseRule>, Changes)],
    ) -> Option<Arc<dyn Refine>> {
        if response_rules.is_empty() {
            return None;
        }
        let rules = response_rules.iter().map(|(rule, _)| rule.clone()).collect();
        Some(Arc::new(Refiner {
            names: self.names.clone(),
            base: base.clone(),
            rules,
            made: Combinations::new(COMBINATIONS_MAX),
        }))
    }

    fn action(&self, route: Option<&Route>) -> Action {
        let origin =
            |name: &OriginName| self.origins.get(name).map_or(Action::Nothing, |i| Action::Origin(*i));
        let Some(route) = route else { return origin(&OriginName::default()) };
        if let Some(redirect) = &route.redirect {
            return Action::Redirect { status: redirect.status, location: redirect.location.clone() };
        }
        if let Some(respond) = &route.respond {
            let mut changes = Changes::default();
            changes.extend(&respond.headers);
            return Action::Respond(respond.clone(), changes);
        }
        match &route.to {
            Some(Destination::Origin(name)) => origin(name),
            None => origin(&OriginName::default()),
        }
    }
}

fn join_patterns(route: &Route) -> String {
    route.path.iter().map(|p| p.as_str()).collect::<Vec<_>>().join("`, `")
}
