//! The data plane's handler: from a request to a site, the cache, an origin, and back.
//!
//! It follows snapshots: each is compiled aside and put in place at once; requests under way keep the one
//! they began with.

use crate::access_log::{AccessLog, Entry};
use crate::busy::Busy;
use crate::cache::origin::{FetchFailure, Origin};
use crate::cache::{Ask, Cache};
use crate::site::{About, Outcome, Passage, Refusal, Router, RouterState, SecretSource, Way};
use crate::traffic::{Asked, SiteTraffic, Traffic};
use crate::upstream::{OriginGroup, Upstream};
use arc_swap::ArcSwap;
use bytes::Bytes;
use selvedge_exchange::{Handler, Interim, Later, Reply, Request, Response};
use selvedge_observe::LimitCounters;
use selvedge_rt::{Clock, read_operator_file};
use selvedge_types::resource::Limits;
use selvedge_types::{Revision, Snapshot, Status};
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
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
    /// Counts requests that are refused because too many are being answered.
    pub limits: LimitCounters,
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
    active: ArcSwap<Active>,
    busy: Busy,
}

/// What would become of a request that may pass.
pub struct DryRun {
    /// What the cache would be asked.
    pub ask: Ask,
    /// A redirect or a fixed response answers it, so that the cache is not asked.
    pub is_answered_here: bool,
}

/// A snapshot in force.
struct Active {
    revision: Revision,
    /// How many requests may be answered at once.
    requests_max: u32,
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
        let active = Active {
            revision: Revision(0),
            requests_max: Limits::default().requests,
            router,
            origins: Vec::new(),
            traffic: HashMap::new(),
            nobody,
        };
        Plane(Arc::new(Shared { parts, active: ArcSwap::from_pointee(active), busy: Busy::default() }))
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
            requests_max: snapshot.settings.limits.requests,
            router,
            origins,
            traffic: snapshot.sites.keys().map(site).collect(),
            nobody: parts.traffic.site(""),
        };
        parts.log.configure(&snapshot.settings.access_log);
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

    /// What the cache would be asked for a request, whoever may make it; nothing is sent, refused or counted.
    /// None if no site answers to it, or its path can be read in more than one way.
    pub fn dry_run(&self, mut request: Request) -> Option<DryRun> {
        let active = self.0.active.load();
        let entrance = active.router.enter(&mut request);
        let (request, passage) = active.router.find(request, entrance)?;
        let group = active.origins.get(passage.origin);
        let is_answered_here = group.is_none();
        Some(DryRun { ask: ask(request, &passage, group, active.nobody.clone()), is_answered_here })
    }
}

impl Handler for Plane {
    fn refused(&self, request: Request, answer: &mut Response) {
        let parts = &self.0.parts;
        let begun = parts.clock.monotonic();
        let line = parts.log.begin(&request, begun);
        let asked = self.0.active.load().nobody.asked(begun, &parts.clock, None);
        let response = std::mem::replace(answer, Response::new(Status::BAD_REQUEST));
        *answer = self.done(response, None, Answering { asked, line });
    }

    fn handle(&self, mut request: Request) -> Reply {
        let parts = &self.0.parts;
        let begun = parts.clock.monotonic();
        let active = self.0.active.load();
        let mut entrance = active.router.enter(&mut request);
        let place = self.0.busy.admit(active.requests_max);
        if place.is_none() {
            parts.limits.reached("requests");
            entrance.refuse(Refusal::Busy);
        }
        let mut line = parts.log.begin(&request, begun);
        let routed = active.router.route(request, entrance, begun);
        if let Some(line) = &mut line {
            line.routed(&routed.about);
        }
        let traffic = active.traffic_of(&routed.about);
        let answering = Answering { asked: traffic.asked(begun, &parts.clock, place), line };
        let (request, passage) = match routed.outcome {
            Outcome::Answer(response) => return Reply::Now(self.done(response, None, answering)),
            Outcome::Forward(request, passage) => (request, passage),
        };
        let ask = ask(request, &passage, active.origins.get(passage.origin), traffic);
        match parts.cache.handle(ask) {
            Reply::Now(response) => Reply::Now(self.done(response, Some(&passage), answering)),
            Reply::Later(Later { response, interim }) => {
                let plane = self.clone();
                let response = Box::pin(async move { plane.done(response.await, Some(&passage), answering) });
                Reply::Later(Later { response, interim })
            }
        }
    }
}

/// What is kept of a request until it is answered. Dropped before, as when its client leaves, it is counted and
/// logged as unanswered.
struct Answering {
    asked: Asked,
    line: Option<Entry>,
}

impl Plane {
    /// The last touches to a response: the route's changes, the counters, the log.
    fn done(&self, mut response: Response, passage: Option<&Passage>, answering: Answering) -> Response {
        let Answering { asked, line } = answering;
        if let Some(passage) = passage.filter(|p| p.changes_responses())
            && passage.finish(&mut response).is_err()
        {
            response =
                Response::text(Status::INTERNAL_SERVER_ERROR, "the response's header became too large\n");
        }
        response.finish = Some(asked.answered(response.status.code(), response.source));
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
    let sent = passage.sent.clone();
    let origin = Arc::new(OriginOnTheWay { group, way: passage.way.clone(), sent: sent.clone(), traffic });
    Ask { request, sent, rules: passage.rules.clone(), origin, bypass: passage.bypass }
}

/// An origin for one request, which is told of the way the request took.
struct OriginOnTheWay {
    group: Result<Arc<OriginGroup>, String>,
    way: Way,
    /// The path and query to ask for, where they are others than the client's.
    sent: Option<Arc<str>>,
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
        if let Some(sent) = &self.sent {
            request.target = sent.as_ref().into();
        }
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

/// The largest file of authorities that is read, in bytes: some four times a system's whole bundle.
const AUTHORITIES_BYTES_MAX: u64 = 1 << 20;

/// The authorities in the file that an origin names.
fn authorities(path: Option<&str>) -> Result<Option<Bytes>, String> {
    let read = |path: &str| {
        let read = read_operator_file(Path::new(path), AUTHORITIES_BYTES_MAX);
        read.map(Bytes::from).map_err(|e| format!("cannot read {path}: {e}"))
    };
    path.map(read).transpose()
}

/// For a plane without sites.
struct NoSecrets;
impl SecretSource for NoSecrets {
    fn read(&self, _: &selvedge_types::resource::SecretRef) -> Result<Vec<u8>, String> {
        Err("there are no secrets".into())
    }
}
