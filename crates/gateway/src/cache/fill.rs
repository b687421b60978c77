//! Fetching what the cache does not have, once for all who ask meanwhile, and keeping it.

use super::Inner;
use super::ask::ask_origin;
use super::flight::{Flight, Head, Room};
use super::held::PIECE;
use super::keep::Keeper;
use super::object::{Layout, Object, Stored};
use super::origin::{FetchFailure, Origin};
use super::rules::CacheRules;
use crate::busy::Place;
use selvedge_cache::semantics::stored::{Stored as StoredView, Update, Updated};
use selvedge_cache::semantics::{
    self, Failure, Freshness, Judgement, KeyHash, NotStored, RequestFacts, Stale, Storable, Times, Vary,
    judge, on_error,
};
use selvedge_cache::stamps::ScopeHash;
use selvedge_exchange::{Body, BodyError, Fetched, Frame, Interim, Request, Response};
use selvedge_types::{Fields, Hlc, Method, Status, UnixMillis, name};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a fetch led to, for all who wait for it.
pub(crate) enum Answer {
    /// A new response, whose content follows.
    New(Box<NewResponse>),
    /// The stored response, which the origin says is still good.
    Revalidated { object: Object, fetched: Option<Arc<Fetched>> },
    /// The stored response, although asking for a new one failed.
    Stale { object: Object, stale: Stale, status: Option<Status>, fetched: Option<Arc<Fetched>> },
    /// No answer, and nothing to fall back on.
    Failed(FetchFailure),
}

/// The head of a new response that all who wait may use.
pub(crate) struct NewResponse {
    pub(crate) status: Status,
    /// Without what belongs to the connection it came by, and what the origin does not want reused.
    pub(crate) fields: Fields,
    /// With the latter, for the one who asked (RFC 9111 section 5.2.2.4); none if there is no such field.
    pub(crate) own_fields: Option<Fields>,
    pub(crate) length: Option<u64>,
    /// What came of asking for it.
    pub(crate) fetched: Option<Arc<Fetched>>,
    pub(crate) freshness: Freshness,
    /// The number of the content, if it is stored.
    pub(crate) content_id: Option<u64>,
    /// What it varies on, if it is stored.
    pub(crate) vary: Vary,
    /// The variant that it is.
    pub(crate) key: KeyHash,
    pub(crate) rules: Arc<CacheRules>,
}

impl NewResponse {
    /// Whether it may be more than what each reader may hold.
    pub(crate) fn is_large(&self) -> bool {
        self.length.is_none_or(|length| length > PIECE)
    }

    /// Where its slices are, if it is kept; its length is the most there is while that is not known.
    pub(crate) fn layout(&self) -> Option<Layout> {
        Some(Layout {
            id: self.content_id?,
            length: self.length.unwrap_or(u64::MAX),
            slice_bytes: self.rules.slice_bytes.max(1),
        })
    }
}

/// What to fetch, and how to keep it.
pub(crate) struct Order {
    pub(crate) request: Request,
    pub(crate) facts: RequestFacts,
    pub(crate) rules: Arc<CacheRules>,
    pub(crate) origin: Arc<dyn Origin>,
    /// The key without Vary.
    pub(crate) primary: KeyHash,
    /// The stored response to validate, and its key.
    pub(crate) stored: Option<(KeyHash, Object)>,
    pub(crate) interim: Option<mpsc::Sender<Interim>>,
}

/// Gets a response that may not be shared to the one who asked first.
pub(crate) type Private = oneshot::Sender<Response>;

/// A fetch that others may wait for.
pub(crate) type SharedFlight = Arc<Flight<Answer>>;

/// For how long requests for something that was not storable do not wait for each other.
const PASS_TIME: Duration = Duration::from_secs(60);

/// After so many bytes others get their turn.
const TURN_BYTES: u64 = 256 << 10;

/// How often a fetch that nobody reads looks, while its origin sends nothing, whether it may go on.
const UNREAD_CHECK: Duration = Duration::from_secs(1);

/// A flight on the list of those to be joined. Takes it off, whatever ends its fetch.
struct Listed {
    inner: Arc<Inner>,
    /// What it is for.
    key: KeyHash,
    flight: SharedFlight,
}

impl Listed {
    /// Nothing of the content is stored: whoever comes from now on needs a fetch of its own.
    fn keep_nothing(&self) {
        self.flight.keep_nothing();
        self.inner.flights.remove(self.key, &self.flight);
    }

    /// Ends the content. Whoever comes from now on finds what was stored of it.
    fn land(&self, outcome: Result<Option<Fields>, BodyError>) {
        self.inner.flights.remove(self.key, &self.flight);
        self.flight.land(outcome);
    }

    /// Moves content from the origin to those who read, and to where it is kept. It is stored before its last
    /// bytes are passed on: whoever has all of a response finds it in the cache.
    async fn pump(&self, mut body: Body, mut keeper: Option<Keeper>) -> Result<Option<Fields>, BodyError> {
        let held = &self.inner.held;
        let mut left = body.length();
        let (mut came, mut moved) = (0, 0);
        let mut unread = None;
        let mut trailers = None;
        loop {
            let room = self.flight.room(held).await;
            match room {
                Room::Wanted => unread = None,
                Room::Scarce => {
                    keeper = None;
                    self.keep_nothing();
                    continue;
                }
                Room::Unread if keeper.is_none() && left != Some(0) => {
                    return Err(BodyError::Gone("nobody waits for it"));
                }
                // Of unknown length, as much is expected as came already.
                Room::Unread if left.unwrap_or(came) <= PIECE => {}
                Room::Unread => unread = Some(self.go_on_unread(unread)?),
            }
            if moved >= TURN_BYTES {
                moved = 0;
                tokio::task::yield_now().await;
            }
            let Some(frame) = self.next_frame(&mut body, room).await else { continue };
            match frame {
                Some(Ok(Frame::Data(data))) => {
                    let length = data.len() as u64;
                    // Most come in one piece, and are stored with it.
                    let is_all = came == 0 && left == Some(length) && length <= PIECE;
                    let data = if is_all { data } else { held.count(data) };
                    (came, moved) = (came + length, moved + length);
                    match keeper.as_mut().map(|keeper| keeper.push(data.clone())) {
                        Some(Ok(stored_up_to)) => self.flight.kept_up_to(stored_up_to),
                        Some(Err(_)) => {
                            keeper = None;
                            self.keep_nothing();
                        }
                        None => {}
                    }
                    left = left.map(|left| left.saturating_sub(length));
                    if let Some(keeper) = keeper.take_if(|_| left == Some(0)) {
                        keeper.finish();
                    }
                    self.flight.push(data);
                }
                Some(Ok(Frame::Trailers(fields))) => trailers = Some(fields),
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        if let Some(keeper) = keeper {
            keeper.finish();
        }
        Ok(trailers)
    }

    /// What the origin sends next; none if it is time to see who reads first. Cancel-safe.
    async fn next_frame(&self, body: &mut Body, room: Room) -> Option<Option<Result<Frame, BodyError>>> {
        if room == Room::Unread {
            return tokio::time::timeout(UNREAD_CHECK, body.frame()).await.ok();
        }
        poll_fn(|cx| match body.poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => self.flight.poll_unread(cx).map(|()| None),
        })
        .await
    }

    /// A place among the fetches that fill the cache although nobody reads, the one had already if there is one.
    fn go_on_unread(&self, place: Option<Place>) -> Result<Place, BodyError> {
        if self.inner.held.is_scarce() {
            return Err(BodyError::Gone("nobody waits for it, and memory is scarce"));
        }
        place.or_else(|| self.inner.unread.admit(self.inner.unread_max.load(Relaxed))).ok_or_else(|| {
            self.inner.metrics.unread_limit_reached();
            BodyError::Gone("nobody waits for it, and too many go on like that")
        })
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // The first of each counts: these only matter if the fetch was cut short.
        self.flight.publish(Head::Released);
        self.land(Err(BodyError::Incomplete));
    }
}

/// A fetch for all who are in the seats of a flight. Runs as a task of its own: the one who asked first may
/// leave, the others stay.
pub(crate) struct Fill {
    order: Order,
    to: Listed,
}

impl Fill {
    /// What `order` says, for `flight`, which is listed under `key`.
    pub(crate) fn new(inner: Arc<Inner>, order: Order, key: KeyHash, flight: SharedFlight) -> Self {
        Fill { order, to: Listed { inner, key, flight } }
    }

    /// Fetches what was ordered, and tells those in the flight.
    pub(crate) async fn run(mut self, private: Private) {
        let inner = self.to.inner.clone();
        let requested = inner.clock.wall();
        let request = outgoing(&self.order);
        let interim = self.order.interim.take();
        let outcome = ask_origin(&*self.order.origin, &self.order.rules, request, interim).await;
        let times = Times { requested, responded: inner.clock.wall() };
        match outcome {
            Err(failure) => self.share(inner.fall_back(&self.order, failure, times.responded)),
            Ok(response) => self.receive(response, times, private).await,
        }
    }

    fn share(&self, answer: Answer) {
        self.to.flight.publish(Head::Shared(Arc::new(answer)));
    }

    async fn receive(mut self, response: Response, times: Times, private: Private) {
        let Some((key, object)) = self.order.stored.clone() else {
            return self.take_new(response, times, private).await;
        };
        let began = self.to.flight.began();
        match self.to.inner.validated(&self.order, key, &object, &response, times, began) {
            Validated::Use(answer) => self.to.flight.publish(Head::Shared(answer)),
            Validated::Unknown if response.status == Status::NOT_MODIFIED => {
                // It confirms something else than what is stored here: ask again without conditions.
                if !self.order.facts.is_personal() {
                    self.to.inner.forget(key);
                }
                self.order.stored = None;
                self.ask_again(private).await;
            }
            Validated::Unknown => self.take_new(response, times, private).await,
        }
    }

    async fn ask_again(self, private: Private) {
        let requested = self.to.inner.clock.wall();
        let Order { origin, rules, .. } = &self.order;
        match ask_origin(&**origin, rules, outgoing(&self.order), None).await {
            Ok(response) => {
                let times = Times { requested, responded: self.to.inner.clock.wall() };
                self.take_new(response, times, private).await;
            }
            Err(failure) => self.share(Answer::Failed(failure)),
        }
    }

    /// Shares a new response with all who wait, or hands it to the one who asked first.
    async fn take_new(self, mut response: Response, times: Times, private: Private) {
        let Fill { order, to } = &self;
        let Listed { inner, key, flight } = to;
        let rules = order.rules.for_response(response.status, &response.fields);
        rules.strip_cookies(&mut response.fields);
        let Received { judgement, labels } = inner.receive_response(order, &rules, &response, times);
        let labels = labels.filter(|_| judgement.verdict == Ok(Storable::Whole));
        if labels.is_none() && !is_shareable_error(&order.request, &response, &judgement) {
            inner.note_pass(order, *key, response.status, times.responded);
            // Whoever asked first may have left; then nobody wants the answer.
            let _ = private.send(response);
            return flight.publish(Head::Released);
        }
        let fields = semantics::storable_fields(&response.fields, &judgement.omit, times.responded);
        let own_fields = (!judgement.omit.is_empty())
            .then(|| semantics::storable_fields(&response.fields, &[], times.responded));
        let vary = inner.with_known_languages(order.primary, judgement.vary);
        let variant = inner.variant(order.primary, &vary, &order.request.fields);
        let began = flight.began();
        let new = NewResponse {
            status: response.status,
            fields,
            own_fields,
            length: response.body.length(),
            fetched: response.fetched,
            freshness: judgement.freshness,
            content_id: labels.as_ref().map(|_| began.to_bits()),
            vary,
            key: variant,
            rules,
        };
        let mut keeper = labels.map(|labels| {
            flight.label(&labels);
            Keeper::new(inner.clone(), order.primary, &new, labels, began)
        });
        if keeper.is_none() {
            to.keep_nothing();
        }
        if let Some(keeper) = keeper.take_if(|_| new.length == Some(0)) {
            keeper.finish();
        }
        self.share(Answer::New(Box::new(new)));
        // What was ordered is not needed any more.
        let Fill { to, .. } = self;
        let outcome = to.pump(response.body, keeper).await;
        to.land(outcome);
    }
}

impl Inner {
    /// The stored response if it may stand in for a fetch that failed.
    pub(crate) fn fall_back(&self, order: &Order, mut failure: FetchFailure, now: UnixMillis) -> Answer {
        self.metrics.origin_failed(failure.proxy_error);
        let Some((_, object)) = &order.stored else { return Answer::Failed(failure) };
        if let Some(stale) = on_error(&object.freshness, &order.facts, now, Failure::Unreachable) {
            let fetched = Some(failure.fetched());
            return Answer::Stale { object: object.clone(), stale, status: None, fetched };
        }
        if object.freshness.must_revalidate {
            // RFC 9111 section 5.2.2.2: the error is then 504.
            failure.status = Status::GATEWAY_TIMEOUT;
        }
        Answer::Failed(failure)
    }

    /// What an answer to a validating request means for the stored response.
    fn validated(
        &self,
        order: &Order,
        key: KeyHash,
        object: &Object,
        response: &Response,
        times: Times,
        started: Hlc,
    ) -> Validated {
        if response.status != Status::NOT_MODIFIED {
            let failure = Failure::Status(response.status);
            return match on_error(&object.freshness, &order.facts, times.responded, failure) {
                Some(stale) => Validated::Use(Arc::new(Answer::Stale {
                    object: object.clone(),
                    stale,
                    status: Some(response.status),
                    fetched: response.fetched.clone(),
                })),
                None => Validated::Unknown,
            };
        }
        let Ok(old) = object.fields() else { return Validated::Unknown };
        let rules = order.rules.for_response(object.status, &old);
        let view = StoredView {
            request: &order.facts,
            target: super::target_of(&order.request),
            status: object.status,
            fields: &old,
        };
        match semantics::update_from_304(view, &response.fields, times, &rules.freshness) {
            Update::Mismatch => Validated::Unknown,
            Update::Fresh(updated) => {
                let object = self.freshen(&order.facts, key, object, &updated, started);
                let fetched = response.fetched.clone();
                Validated::Use(Arc::new(Answer::Revalidated { object, fetched }))
            }
        }
    }

    /// Puts a stored response's new fields and facts in its place. If they may not be stored it goes, unless that
    /// may be owed to the request that asked, of which `facts` tell: then it stays as it was.
    pub(crate) fn freshen(
        &self,
        facts: &RequestFacts,
        key: KeyHash,
        object: &Object,
        updated: &Updated,
        started: Hlc,
    ) -> Object {
        let fresh = object.freshened(updated.fields.pack(), updated.judgement.freshness, started).store();
        if updated.judgement.is_storable() {
            self.put(key, Stored::Object(fresh.clone()));
        } else if !facts.is_personal() {
            self.forget(key);
        }
        fresh
    }

    /// Remembers that responses to a flight's key are not shared. What is stored under it goes if it was replaced by one
    /// that may not be stored, but stays when asking failed.
    fn note_pass(&self, order: &Order, key: KeyHash, status: Status, now: UnixMillis) {
        let replaces = order.stored.is_none() || status.is_success();
        let tells_of_others = !order.facts.directives.no_store && order.request.method == Method::Get;
        if tells_of_others && replaces {
            self.forget(key);
            if order.rules.collapse {
                self.keep_in_memory(key, Stored::Pass(now.plus(PASS_TIME)));
            }
        }
    }
}

/// What is known of a response that has come.
pub(crate) struct Received {
    pub(crate) judgement: Judgement,
    /// What it can be purged by; none if it must not be stored.
    pub(crate) labels: Option<Box<[ScopeHash]>>,
}

impl Inner {
    /// Decides whether and how a response is stored.
    pub(crate) fn receive_response(
        &self,
        order: &Order,
        rules: &CacheRules,
        response: &Response,
        times: Times,
    ) -> Received {
        let received = semantics::Received {
            request: &order.facts,
            target: super::target_of(&order.request),
            status: response.status,
            fields: &response.fields,
            times,
        };
        let judgement = judge(received, &rules.freshness);
        let fits = response.body.length().is_none_or(|n| n <= rules.object_bytes_max);
        let may_store = rules.enabled && fits && judgement.is_storable() && response.tunnel.is_none();
        let labels = if may_store { self.labels(order, rules, &response.fields) } else { None };
        Received { judgement, labels }
    }
}

enum Validated {
    Use(Arc<Answer>),
    /// It is a response of its own, or does not fit what is stored.
    Unknown,
}

/// Whether an error that is not stored may yet answer all who wait, so that a failing origin is not asked by
/// each of them. One that may tell of the one who asked first is for nobody else.
fn is_shareable_error(request: &Request, response: &Response, judgement: &Judgement) -> bool {
    if request.fields.contains(name::COOKIE) || request.fields.contains(name::AUTHORIZATION) {
        return false;
    }
    let personal = matches!(
        judgement.verdict,
        Err(NotStored::Private
            | NotStored::NoStore
            | NotStored::RequestNoStore
            | NotStored::Authorization
            | NotStored::SetCookie
            | NotStored::VaryStar)
    );
    response.status.is_server_error() && !personal
}

/// The request as it goes to the origin: for all of the representation, or to validate what is stored.
fn outgoing(order: &Order) -> Request {
    let from = &order.request;
    let mut fields = from.fields.clone();
    let stored = order.stored.as_ref().and_then(|(_, object)| object.fields().ok());
    semantics::add_validators(&mut fields, &stored.unwrap_or_default());
    if fields.contains(name::ACCEPT_ENCODING) {
        let normalized = semantics::AcceptEncoding::of(&fields).normalized();
        fields.remove(name::ACCEPT_ENCODING);
        // A constant value is always valid.
        let _ = normalized.map(|value| fields.add(name::ACCEPT_ENCODING, value));
    }
    Request {
        method: Method::Get,
        scheme: from.scheme,
        authority: from.authority.clone(),
        target: from.target.clone(),
        version: from.version,
        fields,
        body: Body::Empty,
        client: from.client,
        received: from.received,
    }
}
