//! A node's parts in memory, for the API's own tests.

use crate::handles::{
    Answer, CacheHandle, Declared, Handles, NodeHandle, Purge, RequestLine, RequestLines, RequestLog,
    StateError, StateHandle, Version,
};
use crate::router::{Route, router};
use crate::{Secret, wire};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Secrets, Tasks};
use selvedge_types::manifest::{Manifest, Permissions};
use selvedge_types::plan::Plan;
use selvedge_types::resource::{Namespace, SiteId, Text};
use selvedge_types::token::{Role, Token};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tower_service::Service;

#[derive(Default)]
struct Inner {
    declared: Declared,
    tokens: Vec<Token>,
    problem: Option<String>,
    purges: Vec<Purge>,
    lines: VecDeque<RequestLine>,
}

/// A node in memory.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<Inner>>);

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) text: String,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e} in {}", self.text))
    }
}

impl World {
    pub(crate) fn handles(&self) -> Handles {
        Handles {
            state: Arc::new(self.clone()),
            cache: Arc::new(self.clone()),
            requests: Arc::new(self.clone()),
            node: Arc::new(self.clone()),
            cluster: None,
            forwarder: None,
            registry: Registry::default(),
            data: None,
            clock: Clock::real(),
            secrets: Secrets::System,
            tasks: Tasks::real(),
        }
    }

    pub(crate) fn router(&self) -> (Router, Vec<Route>) {
        router(self.handles())
    }

    /// Adds a token and gives its secret.
    pub(crate) fn token(&self, name: &str, role: Role, namespace: Option<&str>) -> String {
        let secret = Secret::generate(&Secrets::System).unwrap();
        let namespace = namespace.map(|n| Namespace::parse_text(n).unwrap());
        let hash = secret.hash();
        let token = Token { name: name.into(), role, namespace, hash, created: Default::default() };
        self.0.lock().unwrap().tokens.push(token);
        secret.reveal().to_owned()
    }

    /// From now on there is no control state.
    pub(crate) fn lose_state(&self, why: &str) {
        let mut inner = self.0.lock().unwrap();
        inner.problem = Some(why.to_owned());
        inner.tokens.clear();
    }

    pub(crate) fn say(&self, namespace: &str, json: &str) {
        let namespace = Namespace::parse_text(namespace).unwrap();
        self.0
            .lock()
            .unwrap()
            .lines
            .push_back(RequestLine::Entry { namespace: Some(namespace), json: json.into() });
    }

    pub(crate) fn miss(&self, count: u64) {
        self.0.lock().unwrap().lines.push_back(RequestLine::Missed(count));
    }

    pub(crate) fn purges(&self) -> Vec<Purge> {
        self.0.lock().unwrap().purges.clone()
    }

    /// Sends a request and waits for the whole answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, secret: &str, body: &str) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        if !secret.is_empty() {
            request = request.header("authorization", format!("Bearer {secret}"));
        }
        if body.starts_with('{') {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router().0.call(request).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answered { status, kind: kind.unwrap_or_default(), text }
    }
}

impl StateHandle for World {
    fn declared(&self) -> Declared {
        self.0.lock().unwrap().declared.clone()
    }

    fn apply(
        &self,
        manifest: Manifest,
        expected: Option<u64>,
        permitted: Permissions,
    ) -> Answer<'_, Result<(u64, Plan), StateError>> {
        let mut inner = self.0.lock().unwrap();
        let current = inner.declared.revision;
        if let Some(expected) = expected.filter(|e| *e != current) {
            return Box::pin(async move { Err(StateError::Conflict { expected, current }) });
        }
        let resources = match manifest.apply_to(&inner.declared.resources, &permitted) {
            Ok(resources) => resources,
            Err(error) => return Box::pin(async { Err(error.into()) }),
        };
        let plan = Plan::between(&inner.declared.resources, &resources);
        let revision = current + 1;
        let versions =
            resources.sites.keys().map(|id: &SiteId| (id.clone(), Version { generation: 1, revision }));
        inner.declared = Declared { revision, versions: versions.collect(), resources: Arc::new(resources) };
        Box::pin(async move { Ok((revision, plan)) })
    }

    fn purge(&self, purge: Purge) -> Answer<'_, Result<u64, StateError>> {
        self.0.lock().unwrap().purges.push(purge);
        Box::pin(async { Ok(7) })
    }

    fn problem(&self) -> Option<String> {
        self.0.lock().unwrap().problem.clone()
    }

    fn tokens(&self) -> Vec<Token> {
        self.0.lock().unwrap().tokens.clone()
    }

    fn find_token(&self, hash: &[u8; 32]) -> Option<Token> {
        let inner = self.0.lock().unwrap();
        inner.tokens.iter().find(|token| crate::is_token_of(token, hash)).cloned()
    }

    fn create_token(&self, token: Token) -> Answer<'_, Result<u64, StateError>> {
        let mut inner = self.0.lock().unwrap();
        if inner.tokens.iter().any(|t| t.name == token.name) {
            return Box::pin(async move { Err(StateError::Exists(format!("token {:?}", token.name))) });
        }
        inner.tokens.push(token);
        Box::pin(async { Ok(1) })
    }

    fn revoke_token(&self, name: String) -> Answer<'_, Result<u64, StateError>> {
        let mut inner = self.0.lock().unwrap();
        if inner.tokens.len() == 1 {
            return Box::pin(async move { Err(StateError::Limit(format!("{name:?} is the last token"))) });
        }
        inner.tokens.retain(|t| t.name != name);
        Box::pin(async { Ok(1) })
    }
}

impl CacheHandle for World {
    fn stats(&self) -> wire::CacheStats {
        let site = |namespace: &str| wire::SiteStats { namespace: namespace.into(), ..Default::default() };
        wire::CacheStats { sites: vec![site("default"), site("team")], ..Default::default() }
    }

    fn inspect(&self, request: wire::InspectRequest) -> Answer<'_, Result<wire::Inspection, String>> {
        Box::pin(async move { Ok(wire::Inspection { key: request.url, ..Default::default() }) })
    }
}

impl RequestLog for World {
    fn follow(&self) -> Option<Box<dyn RequestLines>> {
        Some(Box::new(self.clone()))
    }
}

impl RequestLines for World {
    fn poll_line(&mut self, _: &mut Context<'_>) -> Poll<Option<RequestLine>> {
        Poll::Ready(self.0.lock().unwrap().lines.pop_front())
    }
}

impl NodeHandle for World {
    fn info(&self) -> wire::NodeInfo {
        wire::NodeInfo { name: "n1".into(), ..Default::default() }
    }

    fn problems(&self) -> Vec<String> {
        vec!["listener 192.0.2.1:80: cannot be opened: not there".into()]
    }

    fn checks(&self) -> Vec<wire::Check> {
        let ok = self.0.lock().unwrap().declared.revision > 0;
        vec![wire::Check { name: "snapshot".into(), ok, detail: String::new(), readiness: true }]
    }
}
