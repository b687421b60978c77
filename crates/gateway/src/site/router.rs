//! From a request to what is done with it.

use super::answer::{Refusal, fixed, options, redirect};
use super::auth::Gate;
use super::blueprint::{Blueprint, SiteRule};
use super::body::limited;
use super::cache_rules::{SiteNames, keys_by_uri};
use super::compile::{CompiledSite, LevelGate, Match};
use super::effective::{Action, Effective};
use super::entrance::Entrance;
use super::forwarded::{Identity, Trusted, Way};
use super::hosts::HostTable;
use super::path::normal;
use super::rate::{RateTable, TooMany};
use super::render::Parts;
use super::request_id::{RequestId, RequestIds};
use super::secrets::SecretSource;
use crate::cache::CacheRules;
use selvedge_exchange::{Request, Response};
use selvedge_types::resource::{Origin, OriginName, Policies, Site, SiteId};
use selvedge_types::{FieldError, Method, Scheme, Snapshot, Status, name};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What outlives a change of the configuration.
#[derive(Debug, Clone)]
pub struct RouterState {
    /// What tells this cluster from others: letters and digits. Kept in the data directory.
    pub cluster: Arc<str>,
    /// Gives requests their ids.
    pub ids: Arc<RequestIds>,
    /// What rate limits remember.
    pub rates: Arc<RateTable>,
}

/// A snapshot made ready for requests. Immutable; a new snapshot gives a new router.
#[derive(Debug)]
pub struct Router {
    hosts: HostTable,
    sites: Vec<CompiledSite>,
    origins: Vec<OriginEntry>,
    trusted: Trusted,
    identity: Arc<Identity>,
    state: RouterState,
}

/// A group of origin servers of a site.
#[derive(Debug, Clone)]
pub struct OriginEntry {
    /// Whose it is.
    pub site: SiteId,
    /// Its name there.
    pub name: OriginName,
    /// How it is described.
    pub origin: Origin,
}

impl OriginEntry {
    /// A name that no other group of the node has.
    pub fn unique_name(&self) -> String {
        format!("{}:{}", self.site, self.name)
    }
}

/// A request with what was decided about it.
#[derive(Debug)]
pub struct Routed {
    /// For the access log and metrics.
    pub about: About,
    /// What is done.
    pub outcome: Outcome,
}

/// What the access log and metrics want to know of a request.
#[derive(Debug, Clone)]
pub struct About {
    /// The site that answers, `namespace/name`; none if no site does.
    pub site: Option<Arc<str>>,
    /// The client's address, through proxies that are believed.
    pub client: IpAddr,
    /// The request's id.
    pub id: RequestId,
    /// Why it was refused, if it was.
    pub refusal: Option<Refusal>,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Outcome {
    /// It is answered here.
    Answer(Response),
    /// It goes to the cache, and from there to an origin.
    Forward(Request, Passage),
}

/// What goes with a request to the cache and its origin, and back with the response.
#[derive(Debug, Clone)]
pub struct Passage {
    /// The rules of its route for the cache.
    pub rules: Arc<CacheRules>,
    /// Whether it goes past the cache.
    pub bypass: bool,
    /// The place of its origin in [`Router::origins`].
    pub origin: usize,
    /// The path and query that the origin is asked for, where a rewrite makes them others than the client's.
    pub sent: Option<Arc<str>>,
    /// What the origin is told of the way it took.
    pub way: Way,
    /// The route's changes to responses, if it makes any.
    pub changes: Option<ResponseChanges>,
}

/// What a route changes about the response to a request.
#[derive(Debug, Clone)]
pub struct ResponseChanges {
    effective: Arc<Effective>,
    parts: Option<Arc<Parts>>,
}

impl ResponseChanges {
    fn of(effective: Arc<Effective>, parts: Option<Arc<Parts>>) -> Option<Self> {
        effective.changes_responses().then_some(ResponseChanges { effective, parts })
    }

    /// Makes the changes to the response on its way to the client.
    ///
    /// # Errors
    /// When the header section becomes too large.
    pub fn make(&self, response: &mut Response) -> Result<(), FieldError> {
        self.effective.finish(response, self.parts.as_deref())
    }
}

impl Router {
    /// Who this gateway is in what it sends.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Makes `snapshot` ready, reading the secrets it refers to; runs when a configuration changes, not on a
    /// request's path. Gives with it what does not work as declared, for the log: a secret that cannot be
    /// read lets nobody in.
    pub fn compile(
        snapshot: &Snapshot,
        state: RouterState,
        secrets: &dyn SecretSource,
    ) -> (Self, Vec<String>) {
        let identity =
            Identity { name: snapshot.settings.name.as_str().into(), cluster: state.cluster.clone() };
        let mut router = Router {
            hosts: HostTable::default(),
            sites: Vec::with_capacity(snapshot.sites.len()),
            origins: Vec::new(),
            trusted: Trusted {
                networks: snapshot.settings.trusted_proxies.clone(),
                field: snapshot.settings.trusted_proxy_field,
            },
            identity: Arc::new(identity),
            state,
        };
        let mut problems = Vec::new();
        for (id, site) in &snapshot.sites {
            router.add(id, site, secrets, &mut problems);
        }
        (router, problems)
    }

    /// Every group of origin servers, in the order that [`Passage::origin`] counts.
    pub fn origins(&self) -> &[OriginEntry] {
        &self.origins
    }

    /// Takes a request in: gives its path the form by which all that follows goes, and takes off what is of the
    /// client's connection alone, and what the client may not say about itself.
    pub fn enter(&self, request: &mut Request) -> Entrance {
        Entrance::new(request, &self.trusted, self.state.ids.draw())
    }

    /// Decides about a `request` that was taken in. `now` is monotonic.
    pub fn route(&self, mut request: Request, entrance: Entrance, now: Duration) -> Routed {
        let Entrance { origination, id, refusal } = entrance;
        request.scheme = origination.scheme;
        let way = Way { identity: self.identity.clone(), origination, id, field: self.trusted.field };
        let mut about = About { site: None, client: origination.client, id, refusal: None };
        let outcome = match refusal.map_or_else(|| self.site_for(&mut request), Err) {
            Ok(Found::Site(site)) => {
                about.site = Some(site.blueprint.names.site.clone());
                self.serve(site, request, way, now)
            }
            Ok(Found::Here(response)) => Ok(Outcome::Answer(response)),
            Err(refusal) => Err(refusal.into()),
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(Refused(why, adjust)) => {
                about.refusal = Some(why);
                let mut response = why.response(&self.identity, about.id);
                adjust.into_iter().for_each(|adjust| adjust(&mut response));
                Outcome::Answer(response)
            }
        };
        Routed { about, outcome }
    }

    /// What the cache would be asked for a request that was taken in, whoever may make it: nothing is refused,
    /// answered or counted. None if no site answers to it, or its path can be read in more than one way.
    pub fn find(&self, mut request: Request, entrance: Entrance) -> Option<(Request, Passage)> {
        let Entrance { origination, id, refusal } = entrance;
        let site = self.sites.get(self.hosts.find(request.host())? as usize)?;
        let way = Way { identity: self.identity.clone(), origination, id, field: self.trusted.field };
        let Holding { effective, parts, bypass } = self.holding(site, &request, &way);
        let sent = effective.prepare(&mut request, parts.as_deref()).ok()?;
        let origin = match effective.action {
            Action::Origin(place) => place as usize,
            // Beyond every list: the gateway answers itself.
            Action::Redirect { .. } | Action::Respond(..) | Action::Nothing => usize::MAX,
        };
        let rules = effective.rules.clone();
        let changes = ResponseChanges::of(effective, parts);
        let passage = Passage { rules, bypass, origin, sent, way, changes };
        refusal.is_none().then_some((request, passage))
    }

    fn add(&mut self, id: &SiteId, site: &Site, secrets: &dyn SecretSource, problems: &mut Vec<String>) {
        let mut gate = |policies: &Policies| -> LevelGate {
            let auth = policies.auth.as_ref()?;
            Some(Arc::new(Gate::new(auth, secrets, &mut |what| problems.push(format!("site {id}: {what}")))))
        };
        let mut origins = BTreeMap::new();
        for (name, origin) in site.all_origins() {
            origins.insert(name.clone(), u32::try_from(self.origins.len()).unwrap_or(u32::MAX));
            self.origins.push(OriginEntry { site: id.clone(), name, origin: origin.clone() });
        }
        let blueprint = Blueprint {
            names: SiteNames {
                namespace: id.namespace.as_str().into(),
                site: id.to_string().into(),
                cache: self.identity.name.clone(),
                keys_by_uri: keys_by_uri(site),
            },
            site_gate: gate(&site.policies),
            route_gates: site.route.iter().map(|route| gate(&route.policies)).collect(),
            rules: site
                .rule
                .iter()
                .enumerate()
                .map(|(i, r)| SiteRule::new(i, r, gate(&r.policies)))
                .collect(),
            site: site.clone(),
            origins,
        };
        let place = u32::try_from(self.sites.len()).unwrap_or(u32::MAX);
        site.hosts.iter().for_each(|host| self.hosts.insert(host, place));
        self.sites.push(CompiledSite::new(blueprint, &self.state.rates));
    }

    /// The site that answers to the request's host, or an answer that needs none.
    fn site_for(&self, request: &mut Request) -> Result<Found<'_>, Refusal> {
        if matches!(request.method, Method::Connect | Method::Trace) {
            return Err(Refusal::Method);
        }
        if self.identity.is_in(&request.fields) {
            return Err(Refusal::Loop);
        }
        if request.fields.contains(name::EXPECT) && !is_expectable(request) {
            return Err(Refusal::Expectation);
        }
        if request.method == Method::Options && ends_here(request)? {
            return options().map(Found::Here).map_err(|_| Refusal::HeaderTooLarge);
        }
        let place = self.hosts.find(request.host()).ok_or(Refusal::UnknownHost)?;
        self.sites.get(place as usize).map(Found::Site).ok_or(Refusal::UnknownHost)
    }

    fn serve(
        &self,
        site: &CompiledSite,
        mut request: Request,
        way: Way,
        now: Duration,
    ) -> Result<Outcome, Refused> {
        let Holding { effective, parts, bypass } = self.holding(site, &request, &way);
        self.admit(&effective, &request, way.client(), now)?;
        if site.blueprint.site.force_https && request.scheme == Scheme::Http {
            let location = format!("https://{}{}", request.host(), request.target);
            return Ok(Outcome::Answer(redirect(308, &location)?));
        }
        // Nobody is asked for credentials in cleartext where that is not wanted.
        check_credentials(&effective, &request)?;
        let parts_here = parts.as_deref();
        let origin = match (&effective.action, parts_here) {
            (Action::Origin(place), _) => *place as usize,
            (Action::Redirect { status, location }, Some(parts)) => {
                return finished(redirect(*status, &parts.fill(location))?, &effective, parts);
            }
            (Action::Respond(respond, changes), Some(parts)) => {
                let mut response = fixed(respond)?;
                changes.apply(&mut response.fields, Some(parts))?;
                return finished(response, &effective, parts);
            }
            (Action::Nothing | Action::Redirect { .. } | Action::Respond(..), _) => {
                return Err(Refusal::NoOrigin.into());
            }
        };
        if let Some(limit) = site.blueprint.site.max_body {
            let body = std::mem::take(&mut request.body);
            request.body = limited(body, limit.get()).map_err(|_| Refusal::BodyTooLarge)?;
        }
        let sent = effective.prepare(&mut request, parts_here)?;
        let rules = effective.rules.clone();
        let changes = ResponseChanges::of(effective, parts);
        let passage = Passage { rules, bypass, origin, sent, way, changes };
        Ok(Outcome::Forward(request, passage))
    }

    /// What holds for the request.
    fn holding(&self, site: &CompiledSite, request: &Request, way: &Way) -> Holding {
        let path = normal(request.path());
        let Match { effective, rest } = site.find(request, &path, &self.state.rates);
        let names = &site.blueprint.names;
        let parts = effective
            .need_parts
            .then(|| Arc::new(Parts::of(request, rest, way.client(), way.id, names.site.clone())));
        let bypass = effective.bypass.fits(request, &path);
        Holding { effective, parts, bypass }
    }

    /// Asks whether the client may ask this now, whoever it is, and counts the request.
    fn admit(
        &self,
        effective: &Effective,
        request: &Request,
        client: IpAddr,
        now: Duration,
    ) -> Result<(), Refused> {
        if !effective.admits_address(client) {
            return Err(Refusal::Address.into());
        }
        let counted = effective.count(&self.state.rates, request, client, now);
        counted.map_err(|(status, wait)| refused_rate(status, wait))
    }
}

/// What holds for a request.
struct Holding {
    effective: Arc<Effective>,
    parts: Option<Arc<Parts>>,
    bypass: bool,
}

enum Found<'a> {
    Site(&'a CompiledSite),
    Here(Response),
}

/// Why a request does not pass, and what the response says beyond that.
struct Refused(Refusal, Option<Adjust>);

type Adjust = Box<dyn FnOnce(&mut Response)>;

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Refused(why, None)
    }
}

impl From<FieldError> for Refused {
    fn from(_: FieldError) -> Self {
        Refusal::HeaderTooLarge.into()
    }
}

fn refused_rate(status: u16, TooMany(wait): TooMany) -> Refused {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let adjust = move |response: &mut Response| {
        response.status = Status::new(status).unwrap_or(response.status);
        // Digits are always a valid value.
        let _ = response.fields.add(name::RETRY_AFTER, seconds.to_string());
    };
    Refused(Refusal::Rate, Some(Box::new(adjust)))
}

fn check_credentials(effective: &Effective, request: &Request) -> Result<(), Refused> {
    match effective.gate.as_ref().filter(|gate| !gate.admits(&request.fields)) {
        Some(gate) => Err(refused_credentials(gate)),
        None => Ok(()),
    }
}

fn refused_credentials(gate: &Arc<Gate>) -> Refused {
    let gate = gate.clone();
    let adjust = move |response: &mut Response| {
        // The realm was checked when the manifest was read.
        let _ = gate.challenge(&mut response.fields);
    };
    Refused(Refusal::Credentials, Some(Box::new(adjust)))
}

fn finished(mut response: Response, effective: &Effective, parts: &Parts) -> Result<Outcome, Refused> {
    effective.finish(&mut response, Some(parts))?;
    Ok(Outcome::Answer(response))
}

/// Only `100-continue` can be met (RFC 9110 section 10.1.1).
fn is_expectable(request: &Request) -> bool {
    request.fields.members(name::EXPECT).all(|member| member.eq_ignore_ascii_case(b"100-continue"))
}

/// Whether OPTIONS is meant for the gateway itself (RFC 9110 sections 7.6.2 and 9.3.7); else counts one hop.
fn ends_here(request: &mut Request) -> Result<bool, Refusal> {
    if request.target == "*" {
        return Ok(true);
    }
    let Some(hops) = request.fields.get_str(name::MAX_FORWARDS).and_then(|v| v.parse::<u64>().ok()) else {
        return Ok(false);
    };
    let Some(left) = hops.checked_sub(1) else { return Ok(true) };
    request.fields.set(name::MAX_FORWARDS, left.to_string()).map_err(|_| Refusal::HeaderTooLarge)?;
    Ok(false)
}
