//! Where the cache gets what it does not have.

use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::{BodyError, Fetched, Interim, Request, Response, Trouble};
use selvedge_types::Status;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Asks an origin. The seam between the cache and the upstream pools.
pub trait Origin: Send + Sync + 'static {
    /// Sends `request` and returns the final response with its content still to come. Interim responses
    /// go to `interim`, if there is one, and are dropped when it is full. Dropping the future gives up.
    fn fetch(
        &self,
        request: Request,
        interim: Option<mpsc::Sender<Interim>>,
    ) -> Pin<Box<dyn Future<Output = Result<Response, FetchFailure>> + Send + '_>>;
}

/// Why no usable response came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct FetchFailure {
    /// What the client gets: 502, 503 or 504; a 4xx if it is at fault.
    pub status: Status,
    /// The error type of RFC 9209.
    pub proxy_error: ProxyError,
    /// What happened, for the log alone: it may name addresses.
    pub detail: String,
    /// The endpoint asked last, if one was chosen.
    pub endpoint: Option<Arc<str>>,
    /// How often the request was sent or tried to be; 0 if that is not known.
    pub attempts: u32,
}

impl FetchFailure {
    /// A failure with the status that belongs to `error`.
    pub fn new(error: ProxyError, detail: impl Into<String>) -> Self {
        let (status, detail) = (error.status(), detail.into());
        FetchFailure { status, proxy_error: error, detail, endpoint: None, attempts: 0 }
    }

    /// What clients are told: nothing of what is behind the gateway.
    pub(crate) fn told(&self) -> &'static str {
        match (self.proxy_error, self.status.code()) {
            (ProxyError::HttpRequestError, 408) => "The request's content did not come in time.",
            (ProxyError::HttpRequestError, 413) => "The request's content is too large.",
            (ProxyError::HttpRequestError, 431) => "The request's header is too large.",
            (ProxyError::HttpRequestError, _) => "The request's content is malformed or not complete.",
            (error, _) => error.describe(),
        }
    }

    /// What the operator is told.
    pub(crate) fn fetched(&self) -> Arc<Fetched> {
        let trouble = Trouble { error: self.proxy_error.as_str(), detail: self.detail.clone() };
        Arc::new(Fetched {
            endpoint: self.endpoint.clone(),
            first_byte: None,
            attempts: self.attempts,
            trouble: Some(trouble),
        })
    }
}

/// A response whose content broke off or is malformed.
impl From<&BodyError> for FetchFailure {
    fn from(error: &BodyError) -> Self {
        let kind = match error {
            BodyError::Incomplete => ProxyError::HttpResponseIncomplete,
            BodyError::Malformed(_) => ProxyError::HttpResponseTransferCoding,
            BodyError::TooLarge { .. } => ProxyError::HttpResponseBodySize,
            BodyError::TimedOut => ProxyError::HttpResponseTimeout,
            BodyError::Gone(_) => ProxyError::ProxyInternalResponse,
        };
        FetchFailure::new(kind, format!("the answer's content: {error}"))
    }
}
