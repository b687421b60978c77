//! Calls of an edge node's users, which a full node answers: the edge node has neither tokens nor most of the state, so
//! it hands on what it is asked, with the token that it came with.
//!
//! What is of the edge node itself (its status, metrics, cache, requests) it answers itself, after it asked a full
//! node whose token it is. That is remembered for a while, so that a node that is cut off can be asked how it is.

use crate::auth::{Caller, bearer, hash};
use crate::handles::{Handles, StateError};
use crate::problem::Problem;
use crate::router::{BODY_BYTES_MAX, REQUEST_TIMEOUT, router};
use crate::wire::Whoami;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as _, Frame};
use hyper::service::Service as _;
use minicbor::{Decode, Encode};
use selvedge_mesh::Mesh;
use selvedge_mesh::rpc::limits::MESSAGE_BYTES_MAX;
use selvedge_mesh::rpc::{
    Answer, BodySource, CallError, Deadline, Download, Fault, FaultKind, Outcome, Priority, Question,
    Service, Target,
};
use selvedge_rt::links::LinkError;
use selvedge_rt::links::side::Boxed;
use selvedge_types::NodeKey;
use selvedge_types::token::Role;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The name of the service.
pub const FORWARD: &str = "api";

const VERSION: u16 = 1;

/// The largest content that is handed on, in bytes: it goes in one message, with its head.
const CONTENT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);

/// Bytes of an answer's piece, and of its length.
const PIECE_BYTES_MAX: usize = 256 << 10;
const LENGTH_BYTES: usize = 4;

/// How often something is sent at least while an answer goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// For how long it is remembered whose token it is, while a full node can be asked, and while none can.
const KNOWN_FOR: Duration = Duration::from_secs(10);
const KNOWN_CUT_OFF_FOR: Duration = Duration::from_secs(3600);

/// Callers that are remembered.
const KNOWN_MAX: usize = 1000;

/// What an edge node answers itself.
const OWN: [&str; 10] = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/openapi.json",
    "/v1/schema",
    "/v1/status",
    "/v1/cache/stats",
    "/v1/cache/inspect",
    "/v1/requests",
];

/// Fields that are of one connection.
static NOT_HANDED_ON: [HeaderName; 4] =
    [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::EXPECT];

type Fields = Vec<(String, Vec<u8>)>;

#[derive(Encode, Decode)]
struct AskForm {
    #[n(0)]
    method: String,
    #[n(1)]
    target: String,
    #[n(2)]
    fields: Fields,
    #[cbor(n(3), with = "minicbor::bytes")]
    content: Vec<u8>,
}

#[derive(Encode, Decode)]
struct ToldForm {
    #[n(0)]
    status: u16,
    #[n(1)]
    fields: Fields,
}

/// Answers for edge nodes. Clones are the same; until it has the API, and on edge nodes, it says "not now".
#[derive(Clone, Default)]
pub struct ForwardService(Arc<OnceLock<Weak<axum::Router>>>);

/// That edge nodes are answered, for as long as this is kept. The service itself keeps nothing: what it answers by has
/// the mesh, which has the service.
pub struct Forwarding {
    _router: Arc<axum::Router>,
}

impl ForwardService {
    /// Answers by these handles from now on. Only the first call counts.
    pub fn serve(&self, handles: Handles) -> Forwarding {
        let router = Arc::new(router(handles).0);
        drop(self.0.set(Arc::downgrade(&router)));
        Forwarding { _router: router }
    }

    async fn pass(&self, message: &[u8]) -> Result<Answer, Fault> {
        let malformed = |text: String| Fault::new(FaultKind::Malformed, text);
        let closed = || Fault::new(FaultKind::NotNow, "the API is not open here");
        let router = self.0.get().and_then(Weak::upgrade).ok_or_else(closed)?;
        let ask: AskForm = minicbor::decode(message).map_err(|error| malformed(error.to_string()))?;
        let mut request = axum::http::Request::builder().method(ask.method.as_str()).uri(ask.target);
        for (name, value) in &ask.fields {
            request = request.header(name, value.as_slice());
        }
        let request = request.body(Body::from(ask.content)).map_err(|error| malformed(error.to_string()))?;
        let service = hyper_util::service::TowerToHyperService::new((*router).clone());
        // It fails at nothing: what goes wrong is in the answer.
        let response = service.call(request).await.unwrap_or_else(|never| match never {});
        let (head, body) = response.into_parts();
        let told = ToldForm { status: head.status.as_u16(), fields: fields(&head.headers) };
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        let message = minicbor::to_vec(told).expect("encoding into memory");
        Ok(Answer { message: message.into(), body: Some(Box::new(Parts::new(body))) })
    }
}

impl Service for ForwardService {
    fn versions(&self) -> RangeInclusive<u16> {
        VERSION..=VERSION
    }

    fn answer(&self, question: Question) -> Boxed<'_, Result<Answer, Fault>> {
        Box::pin(async move { self.pass(&question.message).await })
    }
}

fn fields(headers: &HeaderMap) -> Fields {
    let all = headers.iter().filter(|(name, _)| !NOT_HANDED_ON.contains(name));
    all.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// An answer's content, for the link: pieces, each after its length in 4 bytes, big endian. An empty one is a sign of
/// life, since who watches may hear nothing for long.
struct Parts {
    body: Body,
    left: Bytes,
}

impl Parts {
    fn new(body: Body) -> Self {
        Parts { body, left: Bytes::new() }
    }

    fn piece(&mut self) -> Bytes {
        let piece = self.left.split_to(self.left.len().min(PIECE_BYTES_MAX));
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&length[..], &piece].concat().into()
    }
}

impl BodySource for Parts {
    fn next(&mut self) -> Boxed<'_, Result<Option<Bytes>, Fault>> {
        Box::pin(async move {
            while self.left.is_empty() {
                let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
                let Ok(frame) = tokio::time::timeout(SIGN_OF_LIFE, frame).await else { break };
                let Some(frame) = frame else { return Ok(None) };
                let frame = frame.map_err(|error| Fault::new(FaultKind::Failed, error.to_string()))?;
                // Trailers, which the API has none of, are left out.
                self.left = frame.into_data().unwrap_or_default();
            }
            Ok(Some(self.piece()))
        })
    }
}

/// An answer's content, from the link.
struct Arriving(Pin<Box<dyn Future<Output = (Pieces, Part)> + Send>>);

type Part = Result<Option<Bytes>, LinkError>;

struct Pieces {
    body: selvedge_mesh::rpc::Body,
    come: BytesMut,
}

impl Pieces {
    fn take(&mut self) -> Result<Option<Bytes>, LinkError> {
        while let Some(length) = self.come.first_chunk::<LENGTH_BYTES>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > PIECE_BYTES_MAX {
                return Err(LinkError::Lost);
            }
            if self.come.len() < LENGTH_BYTES + length {
                break;
            }
            self.come.advance(LENGTH_BYTES);
            if length > 0 {
                return Ok(Some(self.come.split_to(length).freeze()));
            }
        }
        Ok(None)
    }

    async fn next(&mut self) -> Part {
        loop {
            if let Some(piece) = self.take()? {
                return Ok(Some(piece));
            }
            match self.body.next().await? {
                Some(bytes) => self.come.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

async fn part(mut pieces: Pieces) -> (Pieces, Part) {
    let part = pieces.next().await;
    (pieces, part)
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = LinkError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let (pieces, come) = std::task::ready!(self.0.as_mut().poll(cx));
        self.0 = Box::pin(part(pieces));
        Poll::Ready(come.map(|bytes| bytes.map(Frame::data)).transpose())
    }
}

/// The way of an edge node to full ones. Clones are the same.
#[derive(Clone)]
pub struct Forwarder(Arc<Inner>);

struct Inner {
    mesh: Mesh,
    sources: Box<dyn Fn() -> Vec<NodeKey> + Send + Sync>,
    known: Mutex<BTreeMap<[u8; 32], (Instant, Caller)>>,
}

impl Forwarder {
    /// Asks those that `sources` names, in that order.
    pub fn new(mesh: Mesh, sources: impl Fn() -> Vec<NodeKey> + Send + Sync + 'static) -> Self {
        Forwarder(Arc::new(Inner { mesh, sources: Box::new(sources), known: Mutex::default() }))
    }

    /// Who sent `headers`, if they have `role`.
    pub(crate) async fn authorize(&self, headers: &HeaderMap, role: Role) -> Result<Caller, Problem> {
        let authorization = headers.get(header::AUTHORIZATION);
        let Some(secret) = authorization.and_then(|value| bearer(value.as_bytes())) else {
            return Err(Problem::unauthorized("this needs a token: send Authorization: Bearer SECRET"));
        };
        let key = hash(secret);
        let known = self.known().get(&key).cloned();
        let is_since =
            |time: Duration| known.clone().filter(|(since, _)| since.elapsed() < time).map(|(_, c)| c);
        let caller = match is_since(KNOWN_FOR) {
            Some(caller) => caller,
            None => match self.ask_whose(headers).await {
                Err(problem) if problem.status() == StatusCode::SERVICE_UNAVAILABLE => {
                    is_since(KNOWN_CUT_OFF_FOR).ok_or(problem)?
                }
                Err(problem) => {
                    self.known().remove(&key);
                    return Err(problem);
                }
                Ok(caller) => {
                    self.remember(key, &caller);
                    caller
                }
            },
        };
        caller.check_role(role)?;
        Ok(caller)
    }

    fn remember(&self, key: [u8; 32], caller: &Caller) {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            let oldest = known.iter().min_by_key(|(_, (since, _))| *since).map(|(key, _)| *key);
            if let Some(key) = oldest {
                known.remove(&key);
            }
        }
        known.insert(key, (Instant::now(), caller.clone()));
    }

    async fn ask_whose(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = axum::http::Uri::from_static("/v1/whoami");
        if let Some(authorization) = headers.get(header::AUTHORIZATION) {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        let response = self.pass(request).await?;
        let status = response.status();
        let text = axum::body::to_bytes(response.into_body(), 64 << 10).await.unwrap_or_default();
        let strange = || Problem::new(StatusCode::BAD_GATEWAY, "failed", "a full node answered strangely");
        if status != StatusCode::OK {
            return Err(serde_json::from_slice(&text).unwrap_or_else(|_| strange()));
        }
        let whoami: Whoami = serde_json::from_slice(&text).map_err(|_| strange())?;
        Caller::try_from(whoami).map_err(|_| strange())
    }

    /// Has a full node answer.
    pub(crate) async fn pass(&self, request: Request) -> Result<Response, Problem> {
        let (head, body) = request.into_parts();
        let content = axum::body::to_bytes(body, CONTENT_BYTES_MAX.min(BODY_BYTES_MAX)).await;
        let content = content.map_err(|_| {
            let text = format!(
                "the request's content is larger than the {} MiB that an edge node hands on; ask a node that is none",
                CONTENT_BYTES_MAX >> 20
            );
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid", text)
        })?;
        let ask = AskForm {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            fields: fields(&head.headers),
            content: content.into(),
        };
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        let message = Bytes::from(minicbor::to_vec(ask).expect("encoding into memory"));
        let is_safe = head.method == Method::GET;
        let mut last = "no node of the cluster that is no edge node is known here".to_owned();
        for source in (self.0.sources)() {
            match self.ask(source, message.clone()).await {
                Ok(answer) => return respond(answer),
                Err(error) if is_safe || error.outcome() == Outcome::NotDone => last = error.to_string(),
                Err(error) => {
                    let text = format!("whether it was done is not known: {error}");
                    return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "unknown", text));
                }
            }
        }
        let why = format!("this is an edge node, and no other node can be asked now: {last}");
        Err(StateError::Unavailable(why).into())
    }

    async fn ask(&self, source: NodeKey, message: Bytes) -> Result<Download, CallError> {
        let target = Target { service: FORWARD, version: VERSION };
        let deadline = Deadline::after(REQUEST_TIMEOUT);
        self.0.mesh.download(source, target, message, deadline, Priority::Normal).await
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<[u8; 32], (Instant, Caller)>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn respond(answer: Download) -> Result<Response, Problem> {
    let strange = || Problem::new(StatusCode::BAD_GATEWAY, "failed", "a full node answered strangely");
    let pieces = Pieces { body: answer.body, come: BytesMut::new() };
    let told: ToldForm = minicbor::decode(&answer.message).map_err(|_| strange())?;
    let mut response = Response::new(Body::new(Arriving(Box::pin(part(pieces)))));
    *response.status_mut() = StatusCode::from_u16(told.status).map_err(|_| strange())?;
    for (name, value) in told.fields {
        let name = HeaderName::try_from(name).map_err(|_| strange())?;
        response.headers_mut().append(name, HeaderValue::try_from(value).map_err(|_| strange())?);
    }
    Ok(response)
}

/// On an edge node, hands on what is not its own to answer.
pub(crate) async fn hand_on(State(handles): State<Handles>, request: Request, next: Next) -> Response {
    match &handles.forwarder {
        Some(forwarder) if !OWN.contains(&request.uri().path()) => {
            forwarder.pass(request).await.unwrap_or_else(IntoResponse::into_response)
        }
        _ => next.run(request).await,
    }
}
