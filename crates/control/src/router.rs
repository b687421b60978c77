//! The table of routes: one place that says for each who may use it.

use crate::auth::{Caller, authorize};
use crate::forward::hand_on;
use crate::handles::{Handles, StateError};
use crate::problem::Problem;
use crate::routes;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use selvedge_types::token::Role;
use std::time::Duration;

/// The largest request content, in bytes: a manifest.
pub(crate) const BODY_BYTES_MAX: usize = selvedge_types::manifest::MAX_MANIFEST_BYTES;
/// How long a request may take until its answer begins.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a refusal's text is passed on, in bytes.
const REASON_BYTES_MAX: usize = 4096;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everyone: it tells nothing that is worth keeping.
    Open,
    /// Bearers of a token with this role at least.
    Token(Role),
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// In lowercase, as in an OpenAPI document.
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
}

/// Collects the table and the router together, so that they cannot differ.
struct Table {
    handles: Handles,
    router: Router<Handles>,
    routes: Vec<Route>,
}

impl Table {
    fn add<H, T>(&mut self, method: &'static str, path: &'static str, access: Access, handler: H)
    where
        H: Handler<T, Handles>,
        T: 'static,
    {
        let filter = match method {
            "post" => MethodFilter::POST,
            "delete" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        let mut route: MethodRouter<Handles> = on(filter, handler);
        if let Access::Token(role) = access {
            let state = (self.handles.clone(), role);
            route = route.route_layer(middleware::from_fn_with_state(state, check_token));
        }
        let router = std::mem::take(&mut self.router);
        self.router = router.route(path, route);
        self.routes.push(Route { method, path, access });
    }
}

/// The router, and the table it was made from.
pub(crate) fn router(handles: Handles) -> (Router, Vec<Route>) {
    use Access::{Open, Token};
    let (viewer, deployer, admin) = (Token(Role::Viewer), Token(Role::Deployer), Token(Role::Admin));
    let mut table = Table { handles: handles.clone(), router: Router::new(), routes: Vec::new() };
    table.add("get", "/", Open, routes::page::dashboard);
    table.add("get", "/healthz", Open, routes::health::live);
    table.add("get", "/readyz", Open, routes::health::ready);
    table.add("get", "/metrics", viewer, routes::health::metrics);
    table.add("get", "/v1/openapi.json", Open, routes::page::openapi);
    table.add("get", "/v1/schema", Open, routes::page::schema);
    table.add("get", "/v1/status", viewer, routes::status::status);
    table.add("get", "/v1/sites", viewer, routes::resources::sites);
    table.add("get", "/v1/sites/{namespace}/{name}", viewer, routes::resources::site);
    table.add("get", "/v1/settings", viewer, routes::resources::settings);
    table.add("post", "/v1/plan", viewer, routes::resources::plan);
    table.add("post", "/v1/apply", deployer, routes::resources::apply);
    table.add("get", "/v1/cache/stats", viewer, routes::cache::stats);
    table.add("post", "/v1/cache/inspect", viewer, routes::cache::inspect);
    table.add("post", "/v1/cache/purge", deployer, routes::cache::purge);
    table.add("get", "/v1/requests", viewer, routes::requests::follow);
    table.add("get", "/v1/nodes", viewer, routes::cluster::nodes);
    table.add("post", "/v1/nodes/{name}/drain", admin, routes::cluster::drain);
    table.add("post", "/v1/nodes/{name}/undrain", admin, routes::cluster::undrain);
    table.add("delete", "/v1/nodes/{name}", admin, routes::cluster::remove);
    table.add("get", "/v1/rollout", viewer, routes::cluster::rollout);
    table.add("get", "/v1/pops", viewer, routes::cluster::pops);
    table.add("get", "/v1/voters", viewer, routes::cluster::voters);
    table.add("post", "/v1/voters", admin, routes::cluster::choose_voters);
    table.add("post", "/v1/leader", admin, routes::cluster::choose_leader);
    table.add("get", "/v1/keyspaces", viewer, routes::kv::list);
    table.add("post", "/v1/kv/{namespace}/{keyspace}/range", viewer, routes::kv::range);
    table.add("post", "/v1/kv/{namespace}/{keyspace}/put", deployer, routes::kv::put);
    table.add("post", "/v1/kv/{namespace}/{keyspace}/delete", deployer, routes::kv::delete);
    table.add("post", "/v1/kv/{namespace}/{keyspace}/txn", viewer, routes::kv::txn);
    table.add("post", "/v1/kv/{namespace}/{keyspace}/watch", viewer, routes::kv::watch);
    table.add("post", "/v1/kv/{namespace}/{keyspace}/compact", deployer, routes::kv::compact);
    table.add("post", "/v1/kv/{namespace}/{keyspace}/sessions", deployer, routes::kv::open_session);
    table.add("get", "/v1/kv/{namespace}/{keyspace}/leases", viewer, routes::kv::leases);
    table.add("post", "/v1/kv/{namespace}/{keyspace}/leases", deployer, routes::kv::grant_lease);
    table.add(
        "post",
        "/v1/kv/{namespace}/{keyspace}/leases/{lease}/renew",
        deployer,
        routes::kv::renew_lease,
    );
    table.add("delete", "/v1/kv/{namespace}/{keyspace}/leases/{lease}", deployer, routes::kv::revoke_lease);
    table.add("get", "/v1/backup", admin, routes::backup::backup);
    table.add("get", "/v1/tickets", admin, routes::cluster::tickets);
    table.add("post", "/v1/tickets", admin, routes::cluster::create_ticket);
    table.add("delete", "/v1/tickets/{id}", admin, routes::cluster::revoke_ticket);
    table.add("get", "/v1/whoami", viewer, routes::tokens::whoami);
    table.add("get", "/v1/tokens", admin, routes::tokens::list);
    table.add("post", "/v1/tokens", admin, routes::tokens::create);
    table.add("delete", "/v1/tokens/{name}", admin, routes::tokens::revoke);
    let router = table
        .router
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(handles.clone(), hand_on))
        .layer(middleware::from_fn(finish))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(handles);
    (router, table.routes)
}

async fn check_token(
    State((handles, role)): State<(Handles, Role)>,
    mut request: Request,
    next: Next,
) -> Response {
    let checked = match &handles.forwarder {
        Some(forwarder) => {
            // A copy: a request cannot be looked at by two threads.
            let headers = request.headers().clone();
            forwarder.authorize(&headers, role).await
        }
        None => check_here(&handles, &request, role),
    };
    match checked {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn check_here(handles: &Handles, request: &Request, role: Role) -> Result<Caller, Problem> {
    if let Some(problem) = handles.state.problem() {
        return Err(StateError::Unavailable(problem).into());
    }
    let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    authorize(authorization, |hash| handles.state.find_token(hash), role)
}

/// Bounds the time, and says what holds for every answer.
async fn finish(request: Request, next: Next) -> Response {
    let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "unknown",
            "no answer came in time; whether a change was made is not known",
        )
        .into_response(),
    };
    if is_plain_error(&response) {
        response = explain(response).await;
    }
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Refusals by the framework (content that is no JSON, too large, a parameter that is no number) are text.
fn is_plain_error(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let status = response.status();
    (status.is_client_error() || status.is_server_error())
        && (kind.is_empty() || kind.starts_with(b"text/plain"))
}

async fn explain(response: Response) -> Response {
    let status = response.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!("the request's content is larger than the {} MiB allowed", BODY_BYTES_MAX >> 20);
        return Problem::new(status, "invalid", detail).into_response();
    }
    let text = axum::body::to_bytes(response.into_body(), REASON_BYTES_MAX).await.unwrap_or_default();
    Problem::new(status, "invalid", String::from_utf8_lossy(&text)).into_response()
}

async fn nothing(request: Request) -> Problem {
    let path = request.uri().path();
    Problem::not_found(format!("there is nothing at {path}; /v1/openapi.json lists what there is"))
}

async fn wrong_method(request: Request) -> Problem {
    let detail = format!("{} is not possible here", request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail)
}
