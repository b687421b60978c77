//! Errors as problem details (RFC 9457).

use crate::handles::StateError;
use crate::wire::ManifestProblem;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use selvedge_types::manifest::ApplyError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not answered as asked (RFC 9457). Sent as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is: a word that programs can go by.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request, in words.
    detail: String,
    /// Each thing that is wrong with a manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ManifestProblem>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Problem {
            kind: kind.to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// The request itself is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    /// The manifest is wrong.
    pub fn manifest(errors: Vec<ManifestProblem>) -> Self {
        let count = errors.len();
        let detail = match errors.first() {
            Some(first) if count == 1 => format!("the manifest has an error: {}", first.message),
            _ => format!("the manifest has {count} errors"),
        };
        Problem { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "manifest", detail) }
    }

    /// Nothing is there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// No token, or none that is known.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// The token does not allow it.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What kind of problem it is.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What is wrong, in words.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Each thing that is wrong with a manifest.
    pub fn errors(&self) -> &[ManifestProblem] {
        &self.errors
    }
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        let (status, kind) = match &error {
            StateError::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
            StateError::Exists(_) => (StatusCode::CONFLICT, "exists"),
            StateError::Limit(_) => (StatusCode::CONFLICT, "limit"),
            StateError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
            StateError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            StateError::Manifest(error) => match error {
                ApplyError::Settings => (StatusCode::FORBIDDEN, "forbidden"),
                ApplyError::NoSites { .. } => (StatusCode::CONFLICT, "deletes-all"),
                ApplyError::Keyspaces { .. } => (StatusCode::CONFLICT, "deletes-keyspaces"),
                ApplyError::Host { .. } | ApplyError::ForeignHost { .. } => (StatusCode::CONFLICT, "host"),
            },
            StateError::Refused(_) => (StatusCode::INSUFFICIENT_STORAGE, "refused"),
            StateError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            StateError::NotDurable(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-durable"),
            StateError::MaybeDurable(_) | StateError::Unknown(_) => (StatusCode::GATEWAY_TIMEOUT, "unknown"),
        };
        Problem::new(status, kind, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"selvedge\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
