//! Health and metrics.

use crate::auth::Caller;
use crate::handles::Handles;
use crate::problem::Problem;
use crate::wire::Ready;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It does", body = str)))]
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Whether the node is ready to serve.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "It is", body = Ready),
    (status = 503, description = "It is not, and why", body = Ready)))]
pub(crate) async fn ready(State(handles): State<Handles>) -> Response {
    let checks = handles.node.checks();
    let ready = checks.iter().all(|c| c.ok || !c.readiness);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, checks })).into_response()
}

/// Metrics in the Prometheus text format (OpenMetrics).
#[utoipa::path(get, path = "/metrics", tag = "health", security(("token" = [])), responses(
    (status = 200, description = "All metrics", body = str, content_type = "application/openmetrics-text"),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "The token is good for one namespace alone", body = Problem)))]
pub(crate) async fn metrics(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    caller.check_whole("metrics tell of all namespaces")?;
    let registry = handles.registry.clone();
    let text = handles.tasks.blocking("encode metrics", move || registry.encode()).await;
    let text = text.map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", e.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
