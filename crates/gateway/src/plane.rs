//! The data plane's handler: from a request to a site, the cache, an origin, and back.
//!
//! It follows snapshots: each is compiled aside and put in place at once; requests under way keep the one
//! they began with.

use crate::access_log::AccessLog;
use crate::cache::origin::{FetchFailure, Origin};
use crate::cache::{Ask, Cache};
use crate::site::{About, Outcome, Passage, Router, RouterState, SecretSource, Way};
use crate::traffic::{SiteTraffic, Traffic};
use crate::upstream::{OriginGroup, Upstream};
use arc_swap::ArcSwap;
use bytes::Bytes;
use selvedge_exchange::{Handler, Interim, Later, Reply, Request, Response};
use selvedge_rt::Clock;
use selvedge_types::{Revision, Snapshot, Status, name};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc;

/// What the data plane stands on.
pub struct PlaneParts {
    /// The cache.
    pub cache: Cache,
    /// The client side towards origins.
    pub upstream: Upstream,
    /// The access log.
    pub log: AccessLog,
    /// The sites' counters.
    pub traffic: Traffic,
    /// What outlives a change of the configuration.
    pub state: RouterState,
    /// The node's clock.
    pub clock: Clock,
}

/// The data plane. Clones share it.
#[derive(Clone)]
pub struct Plane(Arc<Shared>);

struct Shared {
    parts: PlaneParts,
    /// Requests that wait for something: an origin, the disk, their client.
    under_way: Arc<()>,
    /// How many of these there may be.
    requests_max: AtomicUsize,
    active: ArcSwap<Active>,
}

/// A snapshot in force.
struct Active {
    revision: Revision,
    router: Router,
    /// In the router's order; what is wrong with a group that cannot be used.
    origins: Vec<Result<Arc<OriginGroup>, String>>,
    traffic: HashMap<Arc<str>, Arc<SiteTraffic>>,
    /// For requests that no site answers.
    nobody: Arc<SiteTraffic>,
}

impl Plane {
    /// A data plane that serves no site yet.
    pub fn new(parts: PlaneParts) -> Self {
        let (router, _) = Router::compile(&Snapshot::default(), parts.state.clone(), &NoSecrets);
        let nobody = parts.traffic.site("");
        let active =
            Active { revision: Revision(0), router, origins: Vec::new(), traffic: HashMap::new(), nobody };
        Plane(Arc::new(Shared {
            parts,
            under_way: Arc::default(),
            requests_max: AtomicUsize::new(usize::MAX),
            active: ArcSwap::from_pointee(active),
        }))
    }

    /// Serves by `snapshot` from now on. Returns what does not work as declared, for the log. Reads files;
    /// must be called on a runtime, where health probes will run.
    pub fn follow(&self, snapshot: &Snapshot, secrets: &dyn SecretSource) -> Vec<String> {
        let parts = &self.0.parts;
        let (router, mut problems) = Router::compile(snapshot, parts.state.clone(), secrets);
        let mut group = |entry: &crate::site::OriginEntry| {
            let name = entry.unique_name();
            let made = authorities(entry.origin.ca.as_deref())
                .and_then(|ca| parts.upstream.group(&name, &entry.origin, ca).map_err(|e| e.to_string()));
            made.map(Arc::new).inspect_err(|problem| problems.push(format!("origin {name}: {problem}")))
        };
        let origins = router.origins().iter().map(&mut group).collect();
        let site = |id: &selvedge_types::resource::SiteId| {
            let name = id.to_string();
            (Arc::from(name.as_str()), parts.traffic.site(&name))
        };
        let active = Active {
            revision: snapshot.revision,
            router,
            origins,
            traffic: snapshot.sites.keys().map(site).collect(),
            nobody: parts.traffic.site(""),
        };
        parts.log.configure(&snapshot.settings.access_log);
        self.0.requests_max.store(snapshot.settings.limits.requests as usize, Relaxed);
        self.0.active.store(Arc::new(active));
        problems
    }

    /// The revision of the snapshot in force.
    pub fn revision(&self) -> Revision {
        self.0.active.load().revision
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.0.parts.cache
    }

    /// The sites' counters.
    pub fn traffic(&self) -> &Traffic {
        &self.0.parts.traffic
    }

    /// The access log.
    pub fn log(&self) -> &AccessLog {
        &self.0.parts.log
    }

    /// What the cache would be asked for a request; none if it would be answered without the cache.
    pub fn dry_run(&self, request: Request) -> Option<Ask> {
        let active = self.0.active.load();
        match active.router.route(request, self.0.parts.clock.monotonic()).outcome {
            Outcome::Answer(_) => None,
            Outcome::Forward(request, passage) => {
                let traffic = active.nobody.clone();
                Some(ask(request, &passage, active.origins.get(passage.origin), traffic))
            }
        }
    }
}

impl Handler for Plane {
    fn refused(&self, request: Request, answer: &mut Response) {
        let begun = self.0.parts.clock.monotonic();
        let line = self.0.parts.log.begin(&request);
        let nobody = self.0.active.load().nobody.clone();
        let response = std::mem::replace(answer, Response::new(Status::BAD_REQUEST));
        *answer = self.done(response, None, &nobody, line, begun);
    }

    fn handle(&self, request: Request) -> Reply {
        let parts = &self.0.parts;
        let begun = parts.clock.monotonic();
        let mut line = parts.log.begin(&request);
        let active = self.0.active.load();
        let routed = active.router.route(request, begun);
        if let Some(line) = &mut line {
            line.routed(&routed.about);
        }
        let traffic = active.traffic_of(&routed.about);
        let (request, passage) = match routed.outcome {
            Outcome::Answer(response) => {
                return Reply::Now(self.done(response, None, &traffic, line, begun));
            }
            Outcome::Forward(request, passage) => (request, passage),
        };
        let ask = ask(request, &passage, active.origins.get(passage.origin), traffic.clone());
        match parts.cache.handle(ask) {
            Reply::Now(response) => Reply::Now(self.done(response, Some(&passage), &traffic, line, begun)),
            Reply::Later(_) if Arc::strong_count(&self.0.under_way) > self.0.requests_max.load(Relaxed) => {
                parts.traffic.requests_limit_reached();
                Reply::Now(self.done(too_many_requests(), None, &traffic, line, begun))
            }
            Reply::Later(Later { response, interim }) => {
                let plane = self.clone();
                let place = self.0.under_way.clone();
                let response = Box::pin(async move {
                    let response = response.await;
                    drop(place);
                    plane.done(response, Some(&passage), &traffic, line, begun)
                });
                Reply::Later(Later { response, interim })
            }
        }
    }
}

impl Plane {
    /// The last touches to a response: the route's changes, the counters, the log.
    fn done(
        &self,
        mut response: Response,
        passage: Option<&Passage>,
        traffic: &Arc<SiteTraffic>,
        line: Option<crate::access_log::Entry>,
        begun: Duration,
    ) -> Response {
        if let Some(passage) = passage.filter(|p| p.changes_responses())
            && passage.finish(&mut response).is_err()
        {
            response =
                Response::text(Status::INTERNAL_SERVER_ERROR, "the response's header became too large\n");
        }
        let status = response.status.code();
        response.finish = Some(traffic.answered(status, response.source, begun, &self.0.parts.clock));
        if let Some(line) = line {
            line.attach(&mut response);
        }
        response
    }
}

impl Active {
    fn traffic_of(&self, about: &About) -> Arc<SiteTraffic> {
        let site = about.site.as_ref().and_then(|site| self.traffic.get(site));
        site.unwrap_or(&self.nobody).clone()
    }
}

/// RFC 9110 section 15.6.4.
fn too_many_requests() -> Response {
    let mut response =
        Response::text(Status::SERVICE_UNAVAILABLE, "this node answers as many requests as it may\n");
    // Constant values are always valid.
    let _ = response.fields.add(name::RETRY_AFTER, "1");
    let _ = response.fields.add(name::PROXY_STATUS, "selvedge; error=proxy_internal_error");
    response
}

fn ask(
    request: Request,
    passage: &Passage,
    group: Option<&Result<Arc<OriginGroup>, String>>,
    traffic: Arc<SiteTraffic>,
) -> Ask {
    let group = match group {
        Some(Ok(group)) => Ok(group.clone()),
        Some(Err(problem)) => Err(problem.clone()),
        None => Err("the origin is not configured".into()),
    };
    let origin = Arc::new(OriginOnTheWay { group, way: passage.way.clone(), traffic });
    Ask { request, rules: passage.rules.clone(), origin, bypass: passage.bypass }
}

/// An origin for one request, which is told of the way the request took.
struct OriginOnTheWay {
    group: Result<Arc<OriginGroup>, String>,
    way: Way,
    traffic: Arc<SiteTraffic>,
}

impl Origin for OriginOnTheWay {
    fn fetch(
        &self,
        mut request: Request,
        interim: Option<mpsc::Sender<Interim>>,
    ) -> Pin<Box<dyn Future<Output = Result<Response, FetchFailure>> + Send + '_>> {
        use selvedge_cache::semantics::ProxyError;
        let fail = |error: ProxyError, detail: String| {
            let failure = FetchFailure { status: error.status(), proxy_error: error, detail };
            Box::pin(async { Err(failure) })
        };
        let group = match &self.group {
            Ok(group) => group,
            Err(problem) => return fail(ProxyError::ProxyConfigurationError, problem.clone()),
        };
        if self.way.describe(&mut request).is_err() {
            return fail(ProxyError::HttpRequestError, "the request's header became too large".into());
        }
        Box::pin(async move {
            let fetched = Origin::fetch(&**group, request, interim).await;
            let mut response = fetched.inspect_err(|_| self.traffic.origin_failed())?;
            response.body = self.traffic.counted(std::mem::take(&mut response.body));
            Ok(response)
        })
    }
}

/// The authorities in the file that an origin names.
fn authorities(path: Option<&str>) -> Result<Option<Bytes>, String> {
    path.map(|path| std::fs::read(path).map(Bytes::from).map_err(|e| format!("cannot read {path}: {e}")))
        .transpose()
}

/// For a plane without sites.
struct NoSecrets;
impl SecretSource for NoSecrets {
    fn read(&self, _: &selvedge_types::resource::SecretRef) -> Result<Vec<u8>, String> {
        Err("there are no secrets".into())
    }
}
