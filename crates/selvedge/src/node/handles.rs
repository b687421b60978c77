//! The API's narrow handles, over the node's parts.

use super::cluster::Linked;
use super::following::InForce;
use super::listening::Listening;
use super::{Config, chain};
use selvedge_cache::stamps::{PurgeKind, PurgeScope as CacheScope};
use selvedge_control::cluster::{REMOVED, are_as_declared};
use selvedge_control::handles::{
    Answer, CacheHandle, Declared, NodeHandle, Purge, PurgeScope, RequestLine, RequestLines, RequestLog,
    StateHandle, Version,
};
use selvedge_control::{StateError, wire};
use selvedge_exchange::{Body, Client, Request, Source};
use selvedge_gateway::access_log::{Tail, TailItem};
use selvedge_gateway::cache::{Inspected, InspectedObject};
use selvedge_gateway::plane::{DryRun, Plane};
use selvedge_rt::Clock;
use selvedge_state::{Command, Rejection, State, group};
use selvedge_types::manifest::{Manifest, Permissions};
use selvedge_types::plan::Plan;
use selvedge_types::resource::{Namespace, SiteId, Text};
use selvedge_types::token::Token;
use selvedge_types::{Fields, Method, Revision, Scheme, Version as HttpVersion};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

/// How many may follow the live log at once.
const FOLLOWERS_MAX: usize = 64;

/// How long an `apply` waits for this node's gateway, and how often it looks.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The control state, or why there is none.
pub(super) struct ApiState {
    state: Option<State>,
    problem: String,
    plane: Plane,
    in_force: InForce,
}

impl ApiState {
    pub(super) fn new(
        state: Option<State>,
        problem: Option<String>,
        plane: Plane,
        in_force: InForce,
    ) -> Self {
        ApiState { state, problem: problem.unwrap_or_default(), plane, in_force }
    }

    async fn change(&self, command: Command) -> Result<u64, StateError> {
        self.state()?.apply(command).await.map(|revision| revision.0).map_err(translate)
    }

    fn state(&self) -> Result<&State, StateError> {
        self.state.as_ref().ok_or_else(|| StateError::Unavailable(self.problem.clone()))
    }

    /// Waits until this node goes by what it has seen, and has the keyspaces that are declared, so that who applied it
    /// sees it; not for long.
    async fn in_force(&self) {
        let Some(state) = &self.state else { return };
        // Not every change makes a new snapshot: keyspaces are none of the gateway's.
        let revision = state.snapshots().borrow().revision;
        let followed = async {
            while self.in_force.revision() < revision {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            while !are_as_declared(state).await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // The change is made in any case; the gateway follows when it can.
        let _ = tokio::time::timeout(IN_FORCE_WITHIN, followed).await;
    }

    fn cache_scope(&self, scope: &PurgeScope) -> CacheScope {
        match scope {
            PurgeScope::Site(site) => CacheScope::Site { site: site.to_string() },
            PurgeScope::Tag { namespace, site, tag } => {
                let owner = match site {
                    Some(site) => SiteId { namespace: namespace.clone(), name: site.clone() }.to_string(),
                    None => namespace.to_string(),
                };
                CacheScope::Tag { namespace: owner, tag: tag.clone() }
            }
            PurgeScope::Prefix { site, url } => {
                let path = self.find(url).map(|found| found.ask.request.path().to_owned());
                let plain = || Url::parse(url).map_or_else(|| "/".into(), |u| path_of(&u.target).to_owned());
                CacheScope::Prefix { site: site.to_string(), path: path.unwrap_or_else(plain) }
            }
            PurgeScope::Url { site, url } => {
                let uri = self
                    .find(url)
                    .map(|DryRun { ask, .. }| self.plane.cache().uri_of(&ask.rules, &ask.request));
                let plain = || url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).to_string();
                CacheScope::Url { site: site.to_string(), uri: uri.unwrap_or_else(plain) }
            }
        }
    }

    /// How the gateway sees a plain request for `url`.
    fn find(&self, url: &str) -> Option<DryRun> {
        self.plane.dry_run(Url::parse(url)?.request(Method::Get, Fields::new()))
    }
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

pub(super) fn translate(error: selvedge_state::Error) -> StateError {
    use selvedge_state::Error;
    match &error {
        Error::Rejected(rejection) => refused(rejection),
        Error::Group(group::Error::NoLeader { .. }) => StateError::Unavailable(chain(&error)),
        refused if refused.is_refusal() => StateError::Refused(chain(refused)),
        unknown => StateError::Unknown(chain(unknown)),
    }
}

fn refused(rejection: &Rejection) -> StateError {
    match rejection {
        Rejection::Conflict { expected, current } => {
            StateError::Conflict { expected: expected.0, current: current.0 }
        }
        Rejection::Exists(object) => StateError::Exists(object.to_string()),
        Rejection::NotFound(object) => StateError::NotFound(object.to_string()),
        Rejection::Manifest(error) => StateError::Manifest(error.clone()),
        Rejection::Last(_) | Rejection::TooMany { .. } => StateError::Limit(rejection.to_string()),
        Rejection::NoNode(name) => StateError::NotFound(format!("a node named {name}")),
        Rejection::LastNode(_) => StateError::Limit(rejection.to_string()),
        Rejection::NoCluster => StateError::Unavailable(rejection.to_string()),
        Rejection::Ticket(_) | Rejection::Voters(_) | Rejection::NameTaken(_) => {
            StateError::Invalid(rejection.to_string())
        }
    }
}

/// What to say of a purge that was not written down but is to take effect on this node all the same; fails with
/// the refusal if it breaks a rule and so is not to take effect at all.
fn not_written(error: StateError) -> Result<StateError, StateError> {
    match error {
        StateError::Unavailable(why) | StateError::Refused(why) | StateError::NotDurable(why) => {
            Ok(StateError::NotDurable(why))
        }
        StateError::Unknown(why) | StateError::MaybeDurable(why) => Ok(StateError::MaybeDurable(why)),
        rule @ (StateError::Conflict { .. }
        | StateError::NotFound(_)
        | StateError::Exists(_)
        | StateError::Invalid(_)
        | StateError::Manifest(_)
        | StateError::Limit(_)) => Err(rule),
    }
}

impl StateHandle for ApiState {
    fn declared(&self) -> Declared {
        let Some(state) = &self.state else { return Declared::default() };
        let declared = state.declared();
        let version =
            |v: selvedge_state::Version| Version { generation: v.generation, revision: v.modified.0 };
        Declared {
            // Of an edge node: as of the cluster's.
            revision: declared.revision.max(state.mirrored_revision()).0,
            resources: declared.resources,
            versions: declared.versions.into_iter().map(|(id, v)| (id, version(v))).collect(),
        }
    }

    fn apply(
        &self,
        manifest: Manifest,
        expected: Option<u64>,
        permitted: Permissions,
    ) -> Answer<'_, Result<(u64, Plan), StateError>> {
        let (manifest, expected) = (Box::new(manifest), expected.map(Revision));
        let command = Command::ApplyManifest { manifest, expected, permitted };
        Box::pin(async move {
            let state = self.state()?;
            let (revision, plan) = state.apply_declared(command).await.map_err(translate)?;
            self.in_force().await;
            Ok((revision.0, plan))
        })
    }

    fn purge(&self, purge: Purge) -> Answer<'_, Result<u64, StateError>> {
        let kind = if purge.soft { PurgeKind::Soft } else { PurgeKind::Hard };
        let scope = self.cache_scope(&purge.scope);
        Box::pin(async move {
            let failure = match self.change(Command::Purge { scope: scope.clone(), kind }).await {
                Ok(revision) => return Ok(revision),
                Err(error) => error,
            };
            let failure = not_written(failure)?;
            // Whoever purges wants it gone, and gone too early does no harm.
            self.plane.cache().purge_here(&scope, kind);
            Err(failure)
        })
    }

    fn problem(&self) -> Option<String> {
        match &self.state {
            None => Some(self.problem.clone()),
            // It cannot tell who may ask.
            Some(state) if state.cluster().is_none() && state.tokens().is_empty() => {
                Some("this node has not heard from the other nodes of its cluster yet".to_owned())
            }
            Some(_) => None,
        }
    }

    fn tokens(&self) -> Vec<Token> {
        self.state.as_ref().map(State::tokens).unwrap_or_default()
    }

    fn find_token(&self, hash: &[u8; 32]) -> Option<Token> {
        self.state.as_ref()?.find_token(|token| selvedge_control::is_token_of(token, hash))
    }

    fn create_token(&self, token: Token) -> Answer<'_, Result<u64, StateError>> {
        Box::pin(self.change(Command::CreateToken(token)))
    }

    fn revoke_token(&self, name: String) -> Answer<'_, Result<u64, StateError>> {
        Box::pin(self.change(Command::RevokeToken { name }))
    }
}

/// The cache.
pub(super) struct ApiCache {
    pub(super) plane: Plane,
    pub(super) disk_capacity: u64,
    /// Why the disk tier could not be opened, if it could not.
    pub(super) disk_problem: Option<String>,
}

impl CacheHandle for ApiCache {
    fn stats(&self) -> wire::CacheStats {
        let usage = self.plane.cache().usage();
        let sites = self.plane.traffic().counts();
        wire::CacheStats {
            ram: wire::Tier {
                objects: usage.ram_objects,
                bytes: usage.ram_bytes,
                capacity: usage.ram_capacity,
                evictions: usage.evictions,
                problem: None,
            },
            disk: wire::Tier {
                objects: usage.disk_objects,
                bytes: usage.disk_bytes,
                capacity: self.disk_capacity,
                evictions: usage.disk_evictions,
                problem: self.disk_problem.clone().or_else(|| self.plane.cache().disk_problem()),
            },
            purges: usage.purges,
            sites: sites.iter().filter(|s| !s.site.is_empty()).map(site_stats).collect(),
        }
    }

    fn inspect(&self, request: wire::InspectRequest) -> Answer<'_, Result<wire::Inspection, String>> {
        Box::pin(async move {
            let url = Url::parse(&request.url).ok_or("the URL is not an http or https one")?;
            let method = request.method.as_deref().unwrap_or("GET");
            let method = Method::parse(method.as_bytes()).ok_or("the method is not a token")?;
            let mut fields = Fields::new();
            for (name, value) in &request.headers {
                fields.append(name.as_bytes(), value.as_bytes()).map_err(|e| format!("{name}: {e}"))?;
            }
            let Some(DryRun { ask, is_answered_here }) = self.plane.dry_run(url.request(method, fields))
            else {
                return Err("no site answers to it, or its path can be read in more than one way".into());
            };
            if is_answered_here {
                return Err(
                    "the gateway answers it itself: a redirect or a fixed response of its route".into()
                );
            }
            let rules = ask.rules.clone();
            let found = self.plane.cache().inspect(ask).await;
            Ok(inspection(&rules.site, &rules.described, found))
        })
    }
}

fn inspection(site: &str, described: &str, found: Inspected) -> wire::Inspection {
    let (namespace, name) = site.split_once('/').unwrap_or(("default", site));
    let mut rules = vec![wire::Rule {
        about: "rules".into(),
        source: described.into(),
        effect: "these levels of the manifest hold for the request".into(),
    }];
    if let Some(stored) = &found.stored {
        rules.push(wire::Rule {
            about: "freshness".into(),
            source: stored.lifetime_rule.into(),
            effect: format!(
                "fresh for {:.0} s in all",
                stored.age.as_secs_f64() + stored.fresh_for_ms as f64 / 1e3
            ),
        });
    }
    wire::Inspection {
        namespace: namespace.into(),
        site: name.into(),
        route: described.into(),
        key: found.key,
        decision: found.decision.into(),
        reason: found.reason,
        entries: found.stored.into_iter().map(entry).collect(),
        rules,
    }
}

fn entry(stored: InspectedObject) -> wire::Entry {
    let state = match (stored.purged, stored.fresh_for_ms > 0) {
        (true, _) => "soft-purged",
        (false, true) => "fresh",
        (false, false) => "stale",
    };
    wire::Entry {
        matches: true,
        tier: if stored.in_memory { "ram".into() } else { "disk".into() },
        status: stored.status,
        age: stored.age.as_secs_f64(),
        fresh_for: stored.fresh_for_ms as f64 / 1e3,
        stored_bytes: stored.stored,
        total_bytes: Some(stored.length),
        vary: stored.vary,
        etag: stored.etag,
        tags: stored.tags,
        state: state.into(),
    }
}

fn site_stats(counts: &selvedge_gateway::traffic::SiteCounts) -> wire::SiteStats {
    let (namespace, site) = counts.site.split_once('/').unwrap_or(("default", &counts.site));
    let by = |source: Source| counts.by_source.get(source as usize).copied().unwrap_or(0);
    wire::SiteStats {
        namespace: namespace.into(),
        site: site.into(),
        requests: counts.by_source.iter().sum(),
        hits_ram: by(Source::Memory),
        hits_disk: by(Source::Disk),
        stale: by(Source::Stale),
        misses: by(Source::Miss) + by(Source::Revalidated) + by(Source::Collapsed),
        bypassed: by(Source::Bypass),
        answered: by(Source::Local),
        errors: counts.errors,
        sent_bytes: counts.sent_bytes,
        origin_bytes: counts.origin_bytes,
        origin_errors: counts.origin_errors,
    }
}

/// The live log.
pub(super) struct ApiRequests {
    plane: Plane,
    followers: std::sync::Arc<()>,
}

impl ApiRequests {
    pub(super) fn new(plane: Plane) -> Self {
        ApiRequests { plane, followers: std::sync::Arc::default() }
    }
}

impl RequestLog for ApiRequests {
    fn follow(&self) -> Option<Box<dyn RequestLines>> {
        if std::sync::Arc::strong_count(&self.followers) > FOLLOWERS_MAX {
            return None;
        }
        let tail = self.plane.log().follow();
        Some(Box::new(Follower { next: Box::pin(next(tail)), _place: self.followers.clone() }))
    }
}

type Next = Pin<Box<dyn Future<Output = (Tail, Option<TailItem>)> + Send>>;

struct Follower {
    next: Next,
    _place: std::sync::Arc<()>,
}

async fn next(mut tail: Tail) -> (Tail, Option<TailItem>) {
    let item = tail.next().await;
    (tail, item)
}

impl RequestLines for Follower {
    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<RequestLine>> {
        let (tail, item) = std::task::ready!(self.next.as_mut().poll(cx));
        self.next = Box::pin(next(tail));
        Poll::Ready(item.map(|item| match item {
            TailItem::Missed(count) => RequestLine::Missed(count),
            TailItem::Line(line) => {
                RequestLine::Entry { namespace: namespace_of(&line), json: line.to_string() }
            }
        }))
    }
}

/// Whose request a line of the log tells of: `"site":"namespace/name"` in it, if a site answers to its host.
fn namespace_of(line: &str) -> Option<Namespace> {
    let (_, rest) = line.split_once("\"site\":\"")?;
    Namespace::parse_text(rest.split_once('/')?.0).ok()
}

/// The node.
pub(super) struct ApiNode {
    pub(super) config: Config,
    pub(super) listening: Listening,
    pub(super) api: SocketAddr,
    pub(super) in_force: InForce,
    pub(super) clock: Clock,
    pub(super) started: Duration,
    pub(super) linked: Linked,
    pub(super) state: Option<State>,
    /// Why there is no state, if there is none.
    pub(super) state_problem: Option<String>,
}

impl NodeHandle for ApiNode {
    fn info(&self) -> wire::NodeInfo {
        let texts = |addrs: Vec<SocketAddr>| addrs.iter().map(ToString::to_string).collect();
        wire::NodeInfo {
            name: self.config.name.clone(),
            role: self.linked.role.to_string(),
            pop: self.config.pop.to_string(),
            region: self.config.region.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            http: texts(self.listening.addresses(false)),
            https: texts(self.listening.addresses(true)),
            api: self.api.to_string(),
            uptime: self.clock.monotonic().saturating_sub(self.started).as_secs(),
            snapshot: self.in_force.cluster_revision().0,
        }
    }

    fn checks(&self) -> Vec<wire::Check> {
        let problem = self.state_problem.clone().or_else(|| self.state.as_ref()?.problem());
        let state = match problem {
            None if self.linked.is_edge() => self.check_mirrored(),
            None => check("state", true, "takes changes".into()),
            Some(problem) => check("state", false, problem),
        };
        let serves = format!("serves by revision {}", self.in_force.cluster_revision());
        let gateway = wire::Check { readiness: true, ..check("gateway", true, serves) };
        let mut checks = vec![gateway, state];
        if self.is_drained() {
            let detail = "drained: new requests should go to other nodes".to_owned();
            checks.push(wire::Check { readiness: true, ..check("drain", false, detail) });
        }
        if self.linked.refused.load(Ordering::Relaxed) {
            checks.push(check("cluster", false, REMOVED.to_owned()));
        }
        checks
    }

    fn problems(&self) -> Vec<String> {
        self.in_force.problems()
    }
}

fn check(name: &str, ok: bool, detail: String) -> wire::Check {
    wire::Check { name: name.to_owned(), ok, detail, readiness: false }
}

impl ApiNode {
    /// Whether an edge node hears of changes.
    fn check_mirrored(&self) -> wire::Check {
        match self.in_force.mirrored().and_then(|mirrored| mirrored.source) {
            Some(source) => {
                let nodes = self.state.as_ref().map(State::nodes).unwrap_or_default();
                let name = nodes.get(&source).map_or_else(|| source.to_string(), |node| node.name.clone());
                check("state", true, format!("an edge node: it follows {name}"))
            }
            None => {
                let why = "an edge node, cut off: no node with the control state can be reached; what was declared \
                           before is served";
                check("state", false, why.to_owned())
            }
        }
    }

    fn is_drained(&self) -> bool {
        let nodes = self.state.as_ref().map(State::nodes).unwrap_or_default();
        nodes.get(&self.linked.key).is_some_and(|node| node.draining)
    }
}

/// An http or https URL, as far as a request needs it.
struct Url {
    scheme: Scheme,
    authority: String,
    target: String,
}

impl Url {
    fn parse(text: &str) -> Option<Url> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        let slash = if target.starts_with('/') { "" } else { "/" };
        let valid = !authority.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic());
        valid.then(|| Url {
            scheme,
            authority: authority.to_ascii_lowercase(),
            target: format!("{slash}{target}"),
        })
    }

    fn request(self, method: Method, fields: Fields) -> Request {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        Request {
            method,
            scheme: self.scheme,
            authority: self.authority,
            target: self.target,
            version: HttpVersion::Http11,
            fields,
            body: Body::Empty,
            client: Client { addr: nobody, local: nobody },
            received: selvedge_types::UnixMillis(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_requests_name_them() {
        for (text, expect) in [
            ("http://a.example", Some(("a.example", "/"))),
            ("HTTPS://A.example:8443/x?y=1#z", Some(("a.example:8443", "/x?y=1"))),
            ("http://a?q", Some(("a", "/?q"))),
            ("ftp://a/", None),
            ("a.example/x", None),
            ("http:///x", None),
            ("http://a/ b", None),
        ] {
            let url = Url::parse(text);
            let found = url.as_ref().map(|u| (u.authority.as_str(), u.target.as_str()));
            assert_eq!(found, expect, "{text}");
        }
    }

    #[test]
    fn a_purge_takes_effect_here_unless_it_breaks_a_rule() {
        use selvedge_state::Error;
        let full = Error::Group(group::Error::Full);
        assert!(matches!(not_written(translate(full)), Ok(StateError::NotDurable(_))));
        assert!(matches!(not_written(translate(Error::Closed)), Ok(StateError::NotDurable(_))));
        assert!(matches!(not_written(translate(Error::Stopped)), Ok(StateError::MaybeDurable(_))));
        let none = StateError::Unavailable("damaged".into());
        assert!(matches!(not_written(none), Ok(StateError::NotDurable(_))));
        let rule = translate(Error::Rejected(Rejection::NoNode("x".into())));
        assert!(matches!(not_written(rule), Err(StateError::NotFound(_))));
    }

    #[test]
    fn a_log_line_belongs_to_its_sites_namespace() {
        let of = |line| namespace_of(line).map(|namespace| namespace.to_string());
        assert_eq!(of(r#"{"site":"shop/web","x":1}"#).as_deref(), Some("shop"));
        assert_eq!(of(r#"{"x":1}"#), None);
    }
}
