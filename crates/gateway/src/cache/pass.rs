//! Requests that nobody waits with: other methods, bypassed ones, those for parts of what is not stored, and
//! those whose answers were not shareable the last time.

use super::ask::ask_origin;
use super::beginnings::Beginning;
use super::fill::{Answer, NewResponse, Order, Received};
use super::held::{Held, Hold, PIECE};
use super::keep::Keeper;
use super::object::{Content, Draft, Object, Stored};
use super::origin::FetchFailure;
use super::parts::{PartKeeper, without_range};
use super::serve::{How, NoMemory, Recode, Served, compress_passing};
use super::{Ask, INTERIM_QUEUE, Inner, failed, unreadable};
use bytes::Bytes;
use selvedge_cache::semantics::stored::{Stored as StoredView, Update, update_from_head};
use selvedge_cache::semantics::{
    CacheStatus, ContentRange, Failure, Forwarded, KeyHash, MethodClass, ProxyError, RequestFacts, Storable,
    Times, Vary, on_error, storable_fields,
};
use selvedge_exchange::{Body, BodyError, BodyStream, Frame, Later, Reply, Request, Response, Source};
use selvedge_types::{FieldError, Fields, Hlc, Method, Status, name};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

impl Inner {
    /// Sends the request to the origin and its response to the client, past the store.
    pub(crate) fn pass_reply(self: &Arc<Self>, ask: Ask, facts: RequestFacts, why: Forwarded) -> Reply {
        self.pass_beside(ask, facts, why, None)
    }

    /// The same; a HEAD's answer brings the stored response under that key up to date.
    pub(crate) fn pass_beside(
        self: &Arc<Self>,
        ask: Ask,
        facts: RequestFacts,
        why: Forwarded,
        stored: Option<(KeyHash, Object)>,
    ) -> Reply {
        let (sender, interim) = mpsc::channel(INTERIM_QUEUE);
        let inner = self.clone();
        let response = Box::pin(async move {
            let (primary, uri) = inner.primary_key(&ask);
            let Ask { request, rules, origin, .. } = ask;
            let seen = super::copy_of(&request);
            let order =
                Order { request: seen, facts, rules, origin, primary, stored: stored.clone(), interim: None };
            let beginning = inner.begin(primary);
            let requested = inner.clock.wall();
            match ask_origin(&*order.origin, &order.rules, request, Some(sender)).await {
                Ok(response) => {
                    let times = Times { requested, responded: inner.clock.wall() };
                    inner.take_passing(&order, &uri, response, times, (&beginning, why))
                }
                Err(failure) => inner.without_origin(&order, failure, why),
            }
        });
        Reply::Later(Later { response, interim: Some(interim) })
    }

    /// What follows from a response that passes, for what is stored; and the answer to the client.
    fn take_passing(
        self: &Arc<Self>,
        order: &Order,
        uri: &str,
        mut response: Response,
        times: Times,
        (beginning, why): (&Beginning, Forwarded),
    ) -> Response {
        let Order { request, facts, rules, .. } = order;
        let started = beginning.at();
        let may_store = facts.method == MethodClass::Post
            && why == Forwarded::Method
            && !self.was_purged(order, uri, &response.fields, started);
        self.invalidate(order, beginning, response.status, &response.fields);
        if self.hold_passing(&mut response, &request.method).is_err() {
            return self.no_memory(&rules.cache_name);
        }
        let mut status = CacheStatus::forwarded(why);
        if let Some((key, object)) = &order.stored
            && let Some(stale) =
                on_error(&object.freshness, facts, times.responded, Failure::Status(response.status))
        {
            status.forward_status = Some(response.status);
            let asked = super::asked_by(order, times.responded);
            let mut hidden = self.stale_answer(object, *key, &asked, &stale, status);
            hidden.fetched = response.fetched;
            return hidden;
        }
        if may_store {
            // It is younger than the invalidation that it caused itself.
            // Only a part could be misstated, and none is stored of a POST.
            status.stored = self.tee(order, &mut response, times, self.begin(order.primary)).unwrap_or(false);
        }
        if let (Some((key, object)), Method::Head) = (&order.stored, &request.method)
            && let Some(fresh) = self.update_by_head(order, *key, object, &response, times, started)
        {
            return self.answer_updated(order, *key, &fresh, response.status, times, status);
        }
        rules.strip_cookies(&mut response.fields);
        finish(response, request, rules, status)
    }

    /// The answer to a HEAD whose response brought the stored one up to date: what GET would have now.
    fn answer_updated(
        self: &Arc<Self>,
        order: &Order,
        key: KeyHash,
        fresh: &Object,
        told: Status,
        times: Times,
        mut status: CacheStatus<'_>,
    ) -> Response {
        let now = times.responded;
        status.forward_status = Some(told);
        status.stored = true;
        status.ttl = Some(fresh.freshness.ttl_left_ms(now) / 1000);
        let how = How { status, age: Some(fresh.freshness.age(now)), source: Source::Revalidated };
        match self.serve(fresh, key, &super::asked_by(order, now), how, Recode::Done(None)) {
            Ok(Served::Ready(response)) => response,
            _ => unreadable(),
        }
    }

    /// Whether a purge came, since a fetch began, that covers its response.
    fn was_purged(&self, order: &Order, uri: &str, response: &Fields, started: Hlc) -> bool {
        let stamps = &self.memory.stamps;
        let labels = self.labels(order, &order.rules, response).unwrap_or_default();
        let scopes =
            stamps.hasher.of_uri(&order.rules.site, super::without_scheme(uri), order.request.path());
        stamps.covering(scopes.chain(labels.iter().copied()), started).is_some()
    }

    /// A response that turned out to be for this request alone.
    pub(crate) fn passed(&self, mut response: Response, order: &Order, why: Forwarded) -> Response {
        if self.hold_passing(&mut response, &order.request.method).is_err() {
            return self.no_memory(&order.rules.cache_name);
        }
        finish(response, &order.request, &order.rules, CacheStatus::forwarded(why))
    }

    /// As [`Inner::fetch_alone`], for a request that is not waited with from the start.
    pub(crate) fn alone_reply(
        self: &Arc<Self>,
        ask: Ask,
        facts: RequestFacts,
        primary: KeyHash,
        why: Forwarded,
    ) -> Reply {
        let (sender, interim) = mpsc::channel(INTERIM_QUEUE);
        let Ask { request, rules, origin, .. } = ask;
        let order = Order { request, facts, rules, origin, primary, stored: None, interim: Some(sender) };
        let response = Box::pin(self.clone().fetch_alone(order, why));
        Reply::Later(Later { response, interim: Some(interim) })
    }

    /// Fetches for one request alone, with its own conditions and range; keeps what may be kept as it passes.
    pub(crate) async fn fetch_alone(self: Arc<Self>, mut order: Order, why: Forwarded) -> Response {
        let beginning = self.begin(order.primary);
        let requested = self.clock.wall();
        let request = super::copy_of(&order.request);
        let interim = order.interim.take();
        match ask_origin(&*order.origin, &order.rules, request, interim).await {
            Ok(mut response) => {
                let times = Times { requested, responded: self.clock.wall() };
                if self.hold_passing(&mut response, &order.request.method).is_err() {
                    return self.no_memory(&order.rules.cache_name);
                }
                let mut status = CacheStatus::forwarded(why);
                match self.tee(&order, &mut response, times, beginning) {
                    Ok(stored) => status.stored = stored,
                    Err(failure) => {
                        self.metrics.origin_failed(failure.proxy_error);
                        return failed(&failure, &order.rules.cache_name);
                    }
                }
                finish(response, &order.request, &order.rules, status)
            }
            Err(failure) => self.without_origin(&order, failure, why),
        }
    }

    /// What a request gets whose fetch failed.
    fn without_origin(self: &Arc<Self>, order: &Order, failure: FetchFailure, why: Forwarded) -> Response {
        let now = self.clock.wall();
        match (self.fall_back(order, failure, now), &order.stored) {
            (Answer::Stale { object, stale, fetched, .. }, Some((key, _))) => {
                let status = CacheStatus::forwarded(why);
                let asked = super::asked_by(order, now);
                let mut response = self.stale_answer(&object, *key, &asked, &stale, status);
                response.fetched = fetched;
                response
            }
            (Answer::Failed(failure), _) => failed(&failure, &order.rules.cache_name),
            _ => unreadable(),
        }
    }

    /// Has the response's content counted while it is here, unless it is small. One to a GET is refused when there is
    /// no room for it; what another asked for may have been done.
    fn hold_passing(&self, response: &mut Response, method: &Method) -> Result<(), NoMemory> {
        let length = response.body.length();
        let is_small = length.is_some_and(|length| length <= PIECE);
        if is_small || response.tunnel.is_some() || *method == Method::Head {
            return Ok(());
        }
        // What has no known length may be a stream of events, which mostly holds nothing.
        let place = length.and_then(|_| self.held.admit());
        if *method == Method::Get && place.is_none() && (length.is_some() || self.held.is_full()) {
            return Err(NoMemory);
        }
        let body = std::mem::take(&mut response.body);
        response.body = Body::Stream(Box::new(Passing { body, held: self.held.clone(), _place: place }));
        Ok(())
    }

    /// Has the response's content kept as it passes, if it may be; says so. An error if it is a part whose
    /// length is not the one that it states.
    fn tee(
        self: &Arc<Self>,
        order: &Order,
        response: &mut Response,
        times: Times,
        beginning: Beginning,
    ) -> Result<bool, FetchFailure> {
        let started = beginning.at();
        let rules = order.rules.for_response(response.status, &response.fields);
        rules.strip_cookies(&mut response.fields);
        let Received { judgement, labels } = self.receive_response(order, &rules, response, times);
        let (Ok(storable), Some(labels)) = (judgement.verdict, labels) else { return Ok(false) };
        let fields = storable_fields(&response.fields, &judgement.omit, times.responded);
        let vary = self.with_known_languages(order.primary, judgement.vary);
        let key = self.variant(order.primary, &vary, &order.request.fields);
        let keeper = match storable {
            Storable::Whole => {
                let new = NewResponse {
                    status: response.status,
                    fields,
                    length: response.body.length(),
                    freshness: judgement.freshness,
                    content_id: Some(started.to_bits()),
                    own_fields: None,
                    fetched: None,
                    vary,
                    key,
                    rules,
                };
                Some(Tee::Whole(Box::new(Keeper::new(self.clone(), order.primary, &new, labels, started))))
            }
            Storable::Part(range) => {
                if response.body.length().is_some_and(|length| length != range.span.len()) {
                    return Err(misstated(range));
                }
                let draft = Draft {
                    fields: without_range(fields),
                    content: Content::Whole(Box::default()),
                    freshness: judgement.freshness,
                    fetched: started,
                    content_id: started.to_bits(),
                    labels,
                    status: response.status,
                };
                let kept = self.keep_part(order, response, draft, key, range, times);
                if let (Vary::On(names), true) = (vary, kept.is_some()) {
                    self.put(order.primary, Stored::Varies(Arc::new(names)));
                }
                kept.map(Tee::Part)
            }
        };
        let Some(keeper) = keeper else { return Ok(false) };
        let body = std::mem::take(&mut response.body);
        let left = body.length();
        let mut kept = Kept { body, keeper: Some(keeper), left, _beginning: beginning };
        if left == Some(0) {
            // No part is empty.
            let _ = kept.finish();
        }
        response.body = Body::Stream(Box::new(kept));
        Ok(true)
    }

    /// RFC 9111 section 4.3.5. The stored response, if it was brought up to date.
    fn update_by_head(
        &self,
        order: &Order,
        key: KeyHash,
        object: &Object,
        response: &Response,
        times: Times,
        started: Hlc,
    ) -> Option<Object> {
        let fields = object.fields().ok()?;
        let facts = RequestFacts { method: MethodClass::Get, ..order.facts };
        let view = StoredView {
            request: &facts,
            target: super::target_of(&order.request),
            status: object.status,
            fields: &fields,
        };
        match update_from_head(view, response.status, &response.fields, times, &order.rules.freshness) {
            Update::Fresh(updated) => {
                let fresh = self.freshen(&facts, key, object, &updated, started);
                updated.judgement.is_storable().then_some(fresh)
            }
            Update::Mismatch => {
                if response.status.is_success() && !facts.is_personal() {
                    let stale = object.freshness.made_stale(times.responded);
                    self.put(key, Stored::Object(object.with(stale)));
                }
                None
            }
        }
    }
}

fn misstated(range: ContentRange) -> FetchFailure {
    let stated = range.span.len();
    let detail = format!("the origin's content is not the {stated} bytes that its Content-Range states");
    FetchFailure::new(ProxyError::HttpResponseIncomplete, detail)
}

/// Content that is counted as it passes.
struct Passing {
    body: Body,
    held: Held,
    _place: Option<Hold>,
}

impl BodyStream for Passing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        Poll::Ready(match ready!(self.body.poll_frame(cx)) {
            Some(Ok(Frame::Data(data))) => Some(Ok(Frame::Data(self.held.count(data)))),
            other => other,
        })
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

enum Tee {
    Whole(Box<Keeper>),
    Part(PartKeeper),
}

/// Content that is kept as it passes, and stored before its last bytes are passed on.
struct Kept {
    body: Body,
    keeper: Option<Tee>,
    /// How many bytes are to come, if that is known.
    left: Option<u64>,
    _beginning: Beginning,
}

impl Kept {
    fn keep(&mut self, data: &Bytes) -> Result<(), BodyError> {
        match &mut self.keeper {
            Some(Tee::Whole(keeper)) => {
                let goes_on = keeper.push(data.clone()).is_ok() && !keeper.is_burden();
                if !goes_on {
                    self.keeper = None;
                }
            }
            Some(Tee::Part(keeper)) => keeper.push(data.clone())?,
            None => {}
        }
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        if self.left == Some(0) { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), BodyError> {
        match self.keeper.take() {
            Some(Tee::Whole(keeper)) => keeper.finish(),
            Some(Tee::Part(keeper)) if !keeper.is_complete() => return Err(BodyError::Incomplete),
            Some(Tee::Part(_)) | None => {}
        }
        Ok(())
    }
}

impl BodyStream for Kept {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let frame = ready!(self.body.poll_frame(cx));
        let kept = match &frame {
            Some(Ok(Frame::Data(data))) => self.keep(data),
            Some(Ok(Frame::Trailers(_))) | None => self.finish(),
            Some(Err(error)) => Err(error.clone()),
        };
        Poll::Ready(match kept {
            Ok(()) => frame,
            Err(error) => {
                self.keeper = None;
                Some(Err(error))
            }
        })
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

fn finish(
    mut response: Response,
    request: &Request,
    rules: &super::CacheRules,
    status: CacheStatus<'_>,
) -> Response {
    if add_fields(&mut response, request, rules, status).is_err() {
        return unreadable();
    }
    let past = matches!(status.forwarded, Some(Forwarded::Bypass | Forwarded::Method));
    response.source = if past { Source::Bypass } else { Source::Miss };
    response
}

fn add_fields(
    response: &mut Response,
    request: &Request,
    rules: &super::CacheRules,
    status: CacheStatus<'_>,
) -> Result<(), FieldError> {
    let mut text = Vec::with_capacity(48);
    status.write(&rules.cache_name, &mut text);
    response.fields.add(name::CACHE_STATUS, text)?;
    hide_directions(&mut response.fields, rules);
    if request.method != Method::Head && response.tunnel.is_none() && !matches!(response.body, Body::Empty) {
        compress_passing(response, &request.fields, rules)?;
    }
    Ok(())
}

/// Takes off what the origin says to caches like this one only.
pub(crate) fn hide_directions(fields: &mut Fields, rules: &super::CacheRules) {
    fields.remove(name::SURROGATE_CONTROL);
    if !rules.expose_tags {
        fields.remove(name::SURROGATE_KEY);
        fields.remove(name::CACHE_TAG);
    }
}
