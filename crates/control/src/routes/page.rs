//! The dashboard and the documents that describe the API.

use crate::{dashboard, openapi};
use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// The dashboard.
#[utoipa::path(get, path = "/", tag = "pages", responses((status = 200, description = "An HTML page", body = str, content_type = "text/html")))]
pub(crate) async fn dashboard() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, dashboard::POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, dashboard::PAGE).into_response()
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "pages", responses((status = 200, description = "An OpenAPI document", body = Object)))]
pub(crate) async fn openapi() -> Json<Value> {
    Json(openapi::document())
}

/// The manifest's JSON Schema.
#[utoipa::path(get, path = "/v1/schema", tag = "pages", responses((status = 200, description = "A JSON Schema, draft 2020-12", body = Object)))]
pub(crate) async fn schema() -> Json<Value> {
    Json(selvedge_types::manifest::schema().clone())
}
