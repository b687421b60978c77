//! The cache's driver: shards behind locks, shared fetches, and what follows from each answer.
//!
//! ```text
//! request --look up--> fresh ------------------------------> answered at once
//!                  \-> stale, may be served ---------------> answered at once, revalidated beside it
//!                  \-> stale --join or begin a flight------> validated, replaced, or served stale on failure
//!                  \-> absent --join or begin a flight-----> stored and streamed to all who wait
//!                  \-> not to be cached -------------------> passed to the origin
//! ```

mod ask;
mod beginnings;
mod disk;
mod fill;
mod flight;
mod flights;
mod held;
mod keep;
mod labels;
mod memory;
mod metrics;
mod object;
mod once;
mod operate;
pub mod origin;
mod parts;
mod pass;
mod purge;
mod record;
mod rules;
mod serve;
mod sliced;
#[cfg(test)]
mod tests;

use crate::busy::Busy;
use beginnings::{Beginning, Beginnings};
use fill::{Answer, Fill, Order};
use flight::{Flight, Head, Seat};
use flights::{Flights, Joined};
use held::Held;
use keep::{key_with_credentials, slice_key};
use memory::{Lookup, Memory};
use metrics::{CacheMetrics, Usage};
use object::Object;
use once::Once;
pub use operate::{CacheUsage, Inspected, InspectedObject};
use origin::{FetchFailure, Origin};
use parts::{Missing, Refetch};
pub use purge::Purge;
use record::decode_stamp;
pub use rules::{CacheRules, CompressRules, Refine};
use selvedge_cache::semantics::etag::Validators;
use selvedge_cache::semantics::{
    CacheStatus, Forwarded, KeyHash, MethodClass, ProxyError, ProxyStatus, RequestFacts, Reuse, Span, Stale,
    Target, Vary, reuse,
};
use selvedge_exchange::{Body, Later, Reply, Request, Response, Source};
use selvedge_observe::Registry;
use selvedge_rt::{Clock, OnEnd, Tasks};
use selvedge_store::segments::{DiskTier, Opened};
use selvedge_types::planted::{Bug, is_planted};
use selvedge_types::{Fields, Hlc, HlcClock, Method, Status, UnixMillis, name};
use serve::{Asked, How, Recode, Served};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// How the cache is set up.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// Memory for responses with what is needed to find them, in bytes.
    pub ram_bytes: u64,
    /// A secret of the node's own, kept in its data directory: keys are hashed with it.
    pub secret: [u8; 32],
    /// Decides random choices.
    pub seed: u64,
    /// How many requests may wait for one fetch; more ask the origin themselves.
    pub collapsed_waiters_max: u32,
    /// Memory for the content of large responses under way, in bytes.
    pub response_bytes_max: u64,
    /// How many large fetches may go on to fill the cache when nobody waits for them.
    pub unread_fetches_max: u32,
}

/// A request for the cache, with everything that the site layer decided about it.
pub struct Ask {
    /// The request as it would go to the origin, but for the target, which is the client's: by it content is
    /// kept and purged.
    pub request: Request,
    /// The path and query that the origin will be asked for, where they are others; part of the key.
    pub sent: Option<Arc<str>>,
    /// The rules of its route.
    pub rules: Arc<CacheRules>,
    /// Where the content comes from.
    pub origin: Arc<dyn Origin>,
    /// It goes past the cache.
    pub bypass: bool,
}

/// The cache. Clones share it.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

pub(crate) struct Inner {
    memory: Memory,
    disk: Option<DiskTier>,
    flights: Flights,
    beginnings: Beginnings,
    /// Stretches of stored responses that are being fetched.
    stretches: Once<Result<bytes::Bytes, Missing>>,
    /// Content that is being compressed.
    codings: Once<Option<bytes::Bytes>>,
    clock: Clock,
    hlc: Arc<Mutex<HlcClock>>,
    tasks: Tasks,
    metrics: CacheMetrics,
    collapsed_waiters_max: AtomicU32,
    /// What responses and fetches under way hold.
    held: Held,
    /// Large fetches under way that nobody reads.
    unread: Busy,
    unread_max: AtomicU32,
}

/// How many interim responses may wait for a slow client; more are dropped.
const INTERIM_QUEUE: usize = 8;
/// How often a request looks again when what it waited for turns out to be another variant.
const ATTEMPTS: usize = 3;

impl Cache {
    /// A cache with nothing in memory, over what `disk` has. `hlc` orders its fetches and purges, and is the
    /// one that stamps purges: it goes on from what the disk has. Its background work belongs to `tasks`.
    pub fn new(
        options: &CacheOptions,
        disk: Option<DiskTier>,
        clock: Clock,
        hlc: Arc<Mutex<HlcClock>>,
        tasks: Tasks,
        registry: &Registry,
    ) -> Self {
        let memory = Memory::new(options.ram_bytes, options.seed, options.secret);
        if let Some(disk) = &disk {
            recover(disk.opened(), &memory, &hlc);
        }
        let cache = Cache(Arc::new(Inner {
            disk,
            memory,
            flights: Flights::default(),
            beginnings: Beginnings::default(),
            stretches: Once::default(),
            codings: Once::default(),
            clock,
            hlc,
            tasks,
            metrics: CacheMetrics::register(registry),
            collapsed_waiters_max: AtomicU32::new(options.collapsed_waiters_max),
            held: Held::new(options.response_bytes_max),
            unread: Busy::default(),
            unread_max: AtomicU32::new(options.unread_fetches_max),
        }));
        registry.register_collector(Box::new(Usage(cache.clone())));
        cache
    }

    /// Answers a request, at once if it can be from memory.
    pub fn handle(&self, ask: Ask) -> Reply {
        let inner = &self.0;
        let facts = RequestFacts::parse(
            &ask.request.method,
            &ask.request.fields,
            ask.rules.freshness.client_directives,
        );
        match pass_reason(&ask, &facts) {
            Some(why) => inner.pass_reply(ask, facts, why),
            None => inner.answer(ask, facts),
        }
    }
}

/// Takes over what was purged before a restart and is known from the disk tier alone.
fn recover(opened: &Opened, memory: &Memory, hlc: &Mutex<HlcClock>) {
    for (scope, kind, at) in opened.stamps.iter().map(decode_stamp) {
        memory.stamps.purge(scope, kind, at);
    }
    memory.stamps.raise_floor(opened.floor);
    if is_planted(Bug::ClockForgotten) {
        return;
    }
    // One's own reading is never too far ahead.
    let _ = hlc.lock().unwrap_or_else(PoisonError::into_inner).observe(opened.newest, opened.newest.millis());
}

/// Why a request has nothing to look for in the cache.
fn pass_reason(ask: &Ask, facts: &RequestFacts) -> Option<Forwarded> {
    if ask.bypass || !ask.rules.enabled || ask.request.fields.contains(name::UPGRADE) {
        return Some(Forwarded::Bypass);
    }
    if !facts.method.may_use_stored() {
        return Some(Forwarded::Method);
    }
    (facts.origin_conditional || !matches!(ask.request.body, Body::Empty)).then_some(Forwarded::Request)
}

impl Inner {
    fn answer(self: &Arc<Self>, ask: Ask, facts: RequestFacts) -> Reply {
        let now = self.clock.wall();
        let (primary, uri) = self.primary_key(&ask);
        match self.look_up(&ask.rules.site, primary, &uri, ask.request.path(), &ask.request.fields) {
            Lookup::Object { object, key, purged } => {
                self.note_hit(key, object.stored_bytes());
                self.answer_stored(ask, facts, primary, (key, object, purged), now, Source::Memory)
            }
            Lookup::Absent { key, varies } => {
                if let Some(at) = self.on_disk(key) {
                    return self.answer_from_disk(ask, facts, primary, uri, (key, at), varies);
                }
                let why = if varies { Forwarded::VaryMiss } else { Forwarded::UriMiss };
                self.answer_absent(ask, facts, primary, key, why)
            }
            Lookup::Pass(until) if until > now && !facts.directives.only_if_cached => {
                self.alone_reply(ask, facts, primary, Forwarded::UriMiss)
            }
            Lookup::Pass(_) => self.answer_absent(ask, facts, primary, primary, Forwarded::UriMiss),
        }
    }

    /// Answers with a stored response, of which it is known under which key it is and since when a soft purge
    /// covers it, if one does.
    fn answer_stored(
        self: &Arc<Self>,
        ask: Ask,
        facts: RequestFacts,
        primary: KeyHash,
        (key, object, purged): (KeyHash, Object, Option<Hlc>),
        now: UnixMillis,
        tier: Source,
    ) -> Reply {
        let object = match purged {
            Some(_) => object.with(object.freshness_since(purged, now)),
            None => object,
        };
        let (how, refresh) = match reuse(&object.freshness, &facts, now) {
            Reuse::Fresh { age, ttl_left } => {
                let ttl = i64::try_from(ttl_left.as_secs()).unwrap_or(i64::MAX);
                (How { status: CacheStatus::hit(ttl), age: Some(age), source: tier }, false)
            }
            Reuse::Stale(stale) => {
                let ttl = i64::try_from(stale.staleness.as_secs()).unwrap_or(i64::MAX);
                let how = How { status: CacheStatus::hit(-ttl), age: Some(stale.age), source: Source::Stale };
                (how, stale.revalidate_in_background)
            }
            Reuse::GatewayTimeout => return Reply::Now(only_if_cached()),
            Reuse::Revalidate(why) => {
                let forwarded = if why.is_by_request() { Forwarded::Request } else { Forwarded::Stale };
                if ask.request.method == Method::Head {
                    return self.pass_beside(ask, facts, forwarded, Some((key, object)));
                }
                return self.fetch_reply(ask, facts, primary, key, Some((key, object)), forwarded);
            }
        };
        if refresh {
            self.refresh(&ask, facts, primary, key, &object);
        }
        let refetch = Refetch::of_stored(&ask, &object, key);
        if let (Some(from), Some(layout)) = (&refetch, object.layout())
            && let Some(gap) = self.first_missing(key, layout, &ask.request.fields, &facts)
        {
            return self.complete(ask, facts, primary, (key, object), from.clone(), gap);
        }
        let asked = Asked {
            method: ask.request.method,
            fields: ask.request.fields,
            facts,
            rules: ask.rules,
            now,
            refetch,
        };
        match self.serve(&object, key, &asked, how, Recode::Ask) {
            Ok(Served::Ready(response)) => Reply::Now(response),
            Ok(Served::Compress { coding, key: coded, content }) => {
                let inner = self.clone();
                let (ttl, age, source) = (how.status.ttl, how.age, how.source);
                Reply::later(async move {
                    let coded = inner.compressed(coding, coded, content).await;
                    let how = How { status: CacheStatus::hit(ttl.unwrap_or(0)), age, source };
                    inner.served(&object, key, &asked, how, coded)
                })
            }
            Err(_) => {
                // What is stored was valid when it was: it cannot be trusted any more.
                self.forget(key);
                Reply::Now(unreadable())
            }
        }
    }

    /// Fetches the first stretch that is missing of a stored response, then answers from it.
    fn complete(
        self: &Arc<Self>,
        ask: Ask,
        facts: RequestFacts,
        primary: KeyHash,
        (key, object): (KeyHash, Object),
        from: Arc<Refetch>,
        gap: Span,
    ) -> Reply {
        if facts.directives.only_if_cached {
            return Reply::Now(only_if_cached());
        }
        let inner = self.clone();
        Reply::later(async move {
            match inner.fetch_span(&from, gap).await {
                Ok(_) => {}
                Err(Missing::Changed) => {
                    return inner.answer_absent(ask, facts, primary, key, Forwarded::Partial).wait().await;
                }
                // What is stored is as good as it was.
                Err(Missing::Failed(failure)) => return failed(&failure, &ask.rules.cache_name),
            }
            let now = inner.clock.wall();
            let asked = Asked {
                method: ask.request.method,
                fields: ask.request.fields,
                facts,
                rules: ask.rules,
                now,
                refetch: Some(from),
            };
            let mut status = CacheStatus::forwarded(Forwarded::Partial);
            status.forward_status = Some(Status::PARTIAL_CONTENT);
            status.stored = true;
            let how = How { status, age: Some(object.freshness.age(now)), source: Source::Miss };
            inner.served(&object, key, &asked, how, None)
        })
    }

    /// An answer from a stored response as it is, or with its content as it was just compressed.
    fn served(
        self: &Arc<Self>,
        object: &Object,
        key: KeyHash,
        asked: &Asked,
        how: How<'_>,
        coded: Option<bytes::Bytes>,
    ) -> Response {
        match self.serve(object, key, asked, how, Recode::Done(coded)) {
            Ok(Served::Ready(response)) => response,
            _ => unreadable(),
        }
    }

    fn answer_absent(
        self: &Arc<Self>,
        ask: Ask,
        facts: RequestFacts,
        primary: KeyHash,
        key: KeyHash,
        why: Forwarded,
    ) -> Reply {
        if facts.directives.only_if_cached {
            return Reply::Now(only_if_cached());
        }
        if facts.method == MethodClass::Head {
            return self.pass_reply(ask, facts, why);
        }
        if facts.range || facts.directives.no_store {
            return self.alone_reply(ask, facts, primary, why);
        }
        self.fetch_reply(ask, facts, primary, key, None, why)
    }

    /// Revalidates beside an answer that was served stale, unless that is under way.
    fn refresh(
        self: &Arc<Self>,
        ask: &Ask,
        facts: RequestFacts,
        primary: KeyHash,
        key: KeyHash,
        object: &Object,
    ) {
        // What is stored is a GET's, whatever asked now.
        let facts =
            RequestFacts { authorization: facts.authorization, ..RequestFacts::plain(MethodClass::Get) };
        let listed = flight_key(key, &facts);
        if self.is_passed(listed, &facts) {
            return;
        }
        let Some(flight) = self.flights.begin(listed, || self.begin(primary)) else { return };
        let order = Order {
            request: Request { method: Method::Get, ..copy_of(&ask.request) },
            facts,
            rules: ask.rules.clone(),
            origin: ask.origin.clone(),
            primary,
            stored: Some((key, object.clone())),
            interim: None,
        };
        let (private, _) = oneshot::channel();
        let fill = Fill::new(self.clone(), order, listed, flight);
        self.tasks.spawn("cache refresh", OnEnd::Forget, fill.run(private));
    }

    fn fetch_reply(
        self: &Arc<Self>,
        ask: Ask,
        facts: RequestFacts,
        primary: KeyHash,
        key: KeyHash,
        stored: Option<(KeyHash, Object)>,
        why: Forwarded,
    ) -> Reply {
        let (sender, interim) = mpsc::channel(INTERIM_QUEUE);
        let order = Order {
            request: ask.request,
            facts,
            rules: ask.rules,
            origin: ask.origin,
            primary,
            stored,
            interim: Some(sender),
        };
        let response = Box::pin(self.clone().fetch(order, key, why));
        Reply::Later(Later { response, interim: Some(interim) })
    }

    /// Waits for a fetch of what `order` says, one's own or another's.
    async fn fetch(self: Arc<Self>, mut order: Order, mut key: KeyHash, why: Forwarded) -> Response {
        for _ in 0..ATTEMPTS {
            let listed = flight_key(key, &order.facts);
            let (seat, lead) = match self.join(&order, listed) {
                Joined::Lead(seat) => (seat, true),
                Joined::Follow(seat) => (seat, false),
                Joined::Alone => break,
            };
            let (private, own) = oneshot::channel();
            if lead {
                let theirs = Order {
                    request: copy_of(&order.request),
                    rules: order.rules.clone(),
                    origin: order.origin.clone(),
                    stored: order.stored.clone(),
                    interim: order.interim.take(),
                    ..order
                };
                let fill = Fill::new(self.clone(), theirs, listed, seat.flight().clone());
                self.tasks.spawn("cache fill", OnEnd::Forget, fill.run(private));
            }
            match seat.head().await {
                // Purged since the fetch began, maybe before this request came.
                Head::Shared(_) if !lead && self.is_outdated(&order, seat.flight()) => order.stored = None,
                Head::Shared(answer) if !lead && self.is_out_of_reach(&answer, &seat) => break,
                Head::Shared(answer) => match self.response_for(&answer, seat, &order, key, why, lead) {
                    Ok(response) => return response,
                    Err(variant) => {
                        // It is another variant than this request gets.
                        order.stored = None;
                        key = variant;
                        if let Some(response) = self.stored_meanwhile(&order, why) {
                            return response;
                        }
                    }
                },
                Head::Released if lead => {
                    return match own.await {
                        Ok(response) => self.passed(response, &order, why),
                        Err(_) => failed(&interrupted(), &order.rules.cache_name),
                    };
                }
                Head::Released => break,
            }
        }
        self.fetch_alone(order, why).await
    }

    /// The answer to a request for something large while responses hold as much memory as they may.
    pub(crate) fn no_memory(&self, cache: &str) -> Response {
        self.metrics.response_memory_limit_reached();
        let text = "Too much is being sent to slow clients. Try again soon.\n";
        let mut response = Response::text(Status::SERVICE_UNAVAILABLE, text);
        let error = ProxyError::HttpRequestDenied;
        let mut value = Vec::with_capacity(64);
        ProxyStatus { error, received_status: None, details: None }.write(cache, &mut value);
        // All values are made of visible characters.
        let _ = response.fields.add(name::PROXY_STATUS, value);
        let _ = response.fields.add(name::CACHE_CONTROL, "no-store");
        let _ = response.fields.add(name::RETRY_AFTER, "1");
        response
    }

    fn join(&self, order: &Order, key: KeyHash) -> Joined {
        if !order.rules.collapse || self.is_passed(key, &order.facts) || is_planted(Bug::FetchedByEach) {
            return Joined::Lead(Flight::new(self.begin(order.primary)).seat());
        }
        let is_outdated = |flight: &Flight<Answer>| self.is_outdated(order, flight);
        let seats_max = self.collapsed_waiters_max.load(Relaxed);
        // What comes of `no-store` is for the one who said it: it may wait for others, not they for it.
        let open = !order.facts.directives.no_store;
        let begin = || self.begin(order.primary);
        let joined = self.flights.join(key, seats_max, open, begin, is_outdated);
        if matches!(joined, Joined::Alone) {
            self.metrics.waiters_limit_reached();
        }
        joined
    }

    /// Whether those who bring credentials do not wait for each other, for what they got was not to be shared; `key` is
    /// their flight's. For all others the look-up finds that.
    fn is_passed(&self, key: KeyHash, facts: &RequestFacts) -> bool {
        let noted = || self.memory.peek(key);
        facts.authorization
            && matches!(noted(), Some(object::Stored::Pass(until)) if until > self.clock.wall())
    }

    /// Whether a purge covers what a flight brings for this request.
    fn is_outdated(&self, order: &Order, flight: &Flight<Answer>) -> bool {
        let stamps = &self.memory.stamps;
        if !stamps.may_cover(flight.began()) || is_planted(Bug::FetchJoinedAcrossPurge) {
            return false;
        }
        let uri = uri_of(&order.rules, &order.request);
        let scopes = stamps.hasher.of_uri(&order.rules.site, without_scheme(&uri), order.request.path());
        stamps.covering(scopes.chain(flight.labels().iter().copied()), flight.began()).is_some()
    }

    /// Whether the content's beginning was let go, is not stored any more and cannot be told from another's.
    fn is_out_of_reach(&self, answer: &Answer, seat: &Seat<Answer>) -> bool {
        let Answer::New(new) = answer else { return false };
        let Some(layout) = new.layout().filter(|_| seat.is_behind()) else { return false };
        let first = slice_key(new.key, layout.id, 0);
        let is_stored = self.memory.peek(first).is_some() || self.on_disk(first).is_some();
        !is_stored && Validators::of(&new.fields, self.clock.wall()).strong().is_none()
    }

    /// The response that a flight's answer means for this request, or the key of the variant that it gets.
    fn response_for(
        self: &Arc<Self>,
        answer: &Answer,
        seat: Seat<Answer>,
        order: &Order,
        key: KeyHash,
        why: Forwarded,
        lead: bool,
    ) -> Result<Response, KeyHash> {
        let now = self.clock.wall();
        let mut asked = asked_by(order, now);
        let mut status = CacheStatus::forwarded(why);
        status.collapsed = !lead;
        let (mut response, fetched) = match answer {
            Answer::Failed(failure) => return Ok(failed(failure, &order.rules.cache_name)),
            Answer::New(new) => {
                // What is not stored may be another's variant as well (RFC 9111 section 4.1).
                if !lead {
                    let own = self.variant(order.primary, &new.vary, &order.request.fields);
                    if own != new.key {
                        return Err(own);
                    }
                }
                status.stored = new.content_id.is_some();
                status.ttl = status.stored.then(|| new.freshness.ttl_left_ms(now) / 1000);
                let age = new.freshness.age(now);
                let source = if lead { Source::Miss } else { Source::Collapsed };
                // What the origin just made has no Age (RFC 9111 section 5.1), unless it said one.
                let how = How { status, age: (age.as_secs() > 0 || !lead).then_some(age), source };
                if new.is_large() {
                    asked.refetch = Refetch::of_new(order, new);
                }
                let response = self.serve_new(new, seat, &asked, how, lead);
                (response.unwrap_or_else(|_| unreadable()), &new.fetched)
            }
            Answer::Revalidated { object, fetched } => {
                status.forward_status = Some(Status::NOT_MODIFIED);
                status.stored = true;
                status.ttl = Some(object.freshness.ttl_left_ms(now) / 1000);
                let how = How { status, age: Some(object.freshness.age(now)), source: Source::Revalidated };
                (self.served(object, key, &asked, how, None), fetched)
            }
            Answer::Stale { object, stale, status: origin, fetched } => {
                status.forward_status = *origin;
                (self.stale_answer(object, key, &asked, stale, status), fetched)
            }
        };
        response.fetched.clone_from(fetched);
        Ok(response)
    }

    fn stale_answer(
        self: &Arc<Self>,
        object: &Object,
        key: KeyHash,
        asked: &Asked,
        stale: &Stale,
        mut status: CacheStatus<'_>,
    ) -> Response {
        status.ttl = Some(object.freshness.ttl_left_ms(asked.now) / 1000);
        let how = How { status, age: Some(stale.age), source: Source::Stale };
        self.served(object, key, asked, how, None)
    }

    /// The answer from memory to a request that waited for another variant.
    fn stored_meanwhile(self: &Arc<Self>, order: &Order, why: Forwarded) -> Option<Response> {
        let now = self.clock.wall();
        let request = &order.request;
        let uri = uri_of(&order.rules, request);
        let found = self.look_up(&order.rules.site, order.primary, &uri, request.path(), &request.fields);
        let Lookup::Object { object, key, purged: None } = found else { return None };
        let Reuse::Fresh { age, ttl_left } = reuse(&object.freshness, &order.facts, now) else { return None };
        let mut status = CacheStatus::forwarded(why);
        status.collapsed = true;
        status.ttl = i64::try_from(ttl_left.as_secs()).ok();
        let how = How { status, age: Some(age), source: Source::Collapsed };
        Some(self.served(&object, key, &asked_by(order, now), how, None))
    }

    /// The key of a request, and the URI in it.
    pub(crate) fn primary_key(&self, ask: &Ask) -> (KeyHash, String) {
        let Ask { request, rules, sent, .. } = ask;
        let mut text = Vec::with_capacity(request.target.len() + request.authority.len() + 16);
        let sent = sent.as_ref().map(|sent| sent.as_bytes());
        rules.key_rule().write(target_of(request), &request.fields, sent, &mut text);
        let key = self.memory.key(&text);
        text.truncate(selvedge_cache::semantics::key::uri_of_key(&text).len());
        // Targets and authorities are ASCII.
        (key, String::from_utf8(text).unwrap_or_default())
    }

    fn variant(&self, primary: KeyHash, vary: &Vary, fields: &Fields) -> KeyHash {
        match vary {
            Vary::On(names) => self.memory.variant_key(primary, names, fields),
            Vary::None | Vary::Star => primary,
        }
    }

    /// What a response varies on, with the languages that earlier responses to the key were in.
    fn with_known_languages(&self, primary: KeyHash, vary: Vary) -> Vary {
        match (vary, self.memory.peek(primary)) {
            (Vary::On(names), Some(object::Stored::Varies(known))) => Vary::On(names.joined(&known)),
            (vary, _) => vary,
        }
    }

    /// Notes that a fetch for a primary key begins.
    pub(crate) fn begin(&self, primary: KeyHash) -> Beginning {
        self.beginnings.begin(self.tick(), primary)
    }

    /// A reading of the clock that orders fetches and purges.
    pub(crate) fn tick(&self) -> Hlc {
        let now = self.clock.wall();
        self.hlc.lock().unwrap_or_else(PoisonError::into_inner).tick(now)
    }
}

/// Under which key a request's fetch is listed for others to join.
fn flight_key(key: KeyHash, facts: &RequestFacts) -> KeyHash {
    if facts.authorization { key_with_credentials(key) } else { key }
}

pub(crate) fn asked_by(order: &Order, now: UnixMillis) -> Asked {
    Asked {
        method: order.request.method.clone(),
        fields: order.request.fields.clone(),
        facts: order.facts,
        rules: order.rules.clone(),
        now,
        refetch: None,
    }
}

pub(crate) fn target_of(request: &Request) -> Target<'_> {
    Target {
        scheme: request.scheme,
        authority: request.authority.as_bytes(),
        path_and_query: request.target.as_bytes(),
    }
}

/// The URI in a request's key.
fn uri_of(rules: &CacheRules, request: &Request) -> String {
    let mut uri = Vec::with_capacity(request.target.len() + request.authority.len() + 16);
    rules.key_rule().write_uri(target_of(request), &mut uri);
    // Targets and authorities are ASCII.
    String::from_utf8(uri).unwrap_or_default()
}

fn without_scheme(uri: &str) -> &str {
    uri.split_once("://").map_or(uri, |(_, rest)| rest)
}

/// The request without its content, which those that are looked for in the cache do not have.
fn copy_of(request: &Request) -> Request {
    Request {
        method: request.method.clone(),
        scheme: request.scheme,
        authority: request.authority.clone(),
        target: request.target.clone(),
        version: request.version,
        fields: request.fields.clone(),
        body: Body::Empty,
        client: request.client,
        received: request.received,
    }
}

/// RFC 9111 section 5.2.1.7.
fn only_if_cached() -> Response {
    Response::text(Status::GATEWAY_TIMEOUT, "not in the cache, and the request says only-if-cached\n")
}

pub(crate) fn unreadable() -> Response {
    Response::text(Status::INTERNAL_SERVER_ERROR, "a stored response could not be read\n")
}

fn interrupted() -> FetchFailure {
    let error = selvedge_cache::semantics::ProxyError::ProxyInternalResponse;
    FetchFailure::new(error, "the fetch was interrupted")
}

/// The answer when there is none from the origin (RFC 9209), from the cache called `name`. It names nothing of what
/// is behind the gateway; the operator reads that in the access log.
pub(crate) fn failed(failure: &FetchFailure, name: &str) -> Response {
    let text = format!("{}: {}\n", failure.status.reason(), failure.told());
    let mut response = Response::text(failure.status, text);
    response.fetched = Some(failure.fetched());
    let status = selvedge_cache::semantics::ProxyStatus {
        error: failure.proxy_error,
        received_status: None,
        details: None,
    };
    let mut value = Vec::with_capacity(64);
    status.write(name, &mut value);
    // Both values are made of visible characters.
    let _ = response.fields.add(selvedge_types::name::PROXY_STATUS, value);
    let _ = response.fields.add(selvedge_types::name::CACHE_CONTROL, "no-store");
    response
}
