//! Where the cache gets what it does not have.

use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::{Interim, Request, Response};
use selvedge_types::Status;
use std::future::Future;
use std::pin::Pin;
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
    /// What the client gets: 502, 503 or 504.
    pub status: Status,
    /// The error type of RFC 9209.
    pub proxy_error: ProxyError,
    /// What happened, where, for the log and Proxy-Status.
    pub detail: String,
}
