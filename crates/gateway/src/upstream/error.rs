//! Why a fetch failed: for which reason, on which side, and whether trying again could help.

use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::BodyError;
use selvedge_types::Status;
use std::fmt;
use std::sync::Arc;

/// Where an error has its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// With the client that sent the request.
    Client,
    /// Here.
    Gateway,
    /// With the origin, or on the way to it.
    Origin,
}

/// How far a request had come when it failed, which decides whether it may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The origin cannot have acted on it: it was not sent, or the origin said that it did not look at it.
    Unsent,
    /// Sent over a connection used before, which turned out to be closed.
    Stale,
    /// Sent, but there was no answer.
    Unanswered,
    /// Sent, and the answer did not come in time or was malformed.
    Answered,
}

/// Why a fetch failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchError {
    /// The reason (RFC 9209 section 2.3).
    pub kind: ProxyError,
    /// The status to answer with.
    pub status: Status,
    /// How far the request came.
    pub stage: Stage,
    /// The endpoint that the last try went to, if one was chosen.
    pub endpoint: Option<Arc<str>>,
    /// How often the request was sent, or tried to be.
    pub attempts: u32,
    /// What happened, in words.
    pub detail: String,
}

impl FetchError {
    pub(super) fn new(kind: ProxyError, stage: Stage, detail: impl Into<String>) -> Self {
        let status = kind.status();
        FetchError { kind, status, stage, endpoint: None, attempts: 0, detail: detail.into() }
    }

    /// The client's content broke off while it was sent.
    pub(super) fn of_content(error: &BodyError, stage: Stage) -> Self {
        let code = match error {
            // RFC 9110 section 15.5.9.
            BodyError::TimedOut => 408,
            BodyError::TooLarge { .. } => 413,
            BodyError::Incomplete | BodyError::Malformed(_) | BodyError::Gone(_) => 400,
        };
        let detail = format!("the request's content broke off: {error}");
        let status = Status::new(code).unwrap_or(Status::BAD_REQUEST);
        FetchError { status, ..FetchError::new(ProxyError::HttpRequestError, stage, detail) }
    }

    /// Whose fault it is.
    pub fn side(&self) -> Side {
        match self.kind {
            ProxyError::HttpRequestError => Side::Client,
            ProxyError::ConnectionLimitReached | ProxyError::ProxyInternalError => Side::Gateway,
            _ => Side::Origin,
        }
    }

    /// Whether the same request might succeed a little later. What was tried again already was not enough.
    pub fn may_pass(&self) -> bool {
        self.side() != Side::Client && self.kind != ProxyError::ProxyInternalError
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "origin {endpoint}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl std::error::Error for FetchError {}
