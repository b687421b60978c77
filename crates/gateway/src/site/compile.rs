//! From a site's declaration to what its requests are held to.

use super::auth::Gate;
use super::blueprint::Blueprint;
use super::combinations::Combinations;
use super::effective::Effective;
use super::pattern::Matcher;
use super::rate::RateTable;
use selvedge_exchange::Request;
use selvedge_types::Method;
use selvedge_types::resource::Route;
use std::sync::Arc;

/// A site, ready for requests.
#[derive(Debug)]
pub(super) struct CompiledSite {
    pub(super) blueprint: Blueprint,
    routes: Vec<CompiledRoute>,
    /// For requests that fit no route.
    fallback: CompiledRoute,
}

/// A route, ready for requests.
#[derive(Debug)]
struct CompiledRoute {
    patterns: Vec<Matcher>,
    methods: Vec<Method>,
    /// Its place in the site's list; none for the fallback.
    index: Option<usize>,
    /// For requests that fit no rule with a condition on the request.
    plain: Arc<Effective>,
    /// For those that fit these.
    made: Combinations<Effective>,
}

/// How many combinations of rules are kept for one route; others are made for each request.
const COMBINATIONS_MAX: usize = 256;

/// What holds for a request.
pub(super) struct Match<'a> {
    pub(super) effective: Arc<Effective>,
    /// What the last `*` of the route's pattern stands for.
    pub(super) rest: &'a [u8],
}

impl CompiledSite {
    pub(super) fn new(blueprint: Blueprint, rates: &RateTable) -> Self {
        let make = |index: Option<usize>, route: Option<&Route>| CompiledRoute {
            patterns: route.into_iter().flat_map(|r| r.path.iter()).map(Matcher::new).collect(),
            methods: route.map_or_else(Vec::new, |r| r.methods.clone()),
            index,
            plain: Arc::new(blueprint.effective(index, &[], rates)),
            made: Combinations::new(COMBINATIONS_MAX),
        };
        let routes = blueprint.site.route.iter().enumerate();
        let routes = routes.map(|(i, route)| make(Some(i), Some(route))).collect();
        let fallback = make(None, None);
        CompiledSite { routes, fallback, blueprint }
    }

    /// What holds for `request`, whose normal path is `path`.
    pub(super) fn find<'a>(&self, request: &Request, path: &'a [u8], rates: &RateTable) -> Match<'a> {
        let found =
            self.routes.iter().find_map(|route| route.fits(request, path).map(|m| (route, m.rest(path))));
        let (route, rest) = found.unwrap_or((&self.fallback, path));
        let rules = self.blueprint.fitting(request, path);
        let effective = if rules.is_empty() {
            route.plain.clone()
        } else {
            route.made.get(&rules, || self.blueprint.effective(route.index, &rules, rates))
        };
        Match { effective, rest }
    }
}

impl CompiledRoute {
    fn fits(&self, request: &Request, path: &[u8]) -> Option<&Matcher> {
        if !self.methods.is_empty() && !self.methods.contains(&request.method) {
            return None;
        }
        self.patterns.iter().find(|matcher| matcher.matches(path))
    }
}

/// The secrets of one level.
pub(super) type LevelGate = Option<Arc<Gate>>;
