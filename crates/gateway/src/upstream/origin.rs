//! A group as the cache sees it.

use super::service::OriginGroup;
use super::{FetchError, FetchOptions};
use crate::cache::origin::{FetchFailure, Origin};
use selvedge_exchange::{Interim, Request, Response};
use std::future::Future;
use std::pin::Pin;
use tokio::sync::mpsc;

impl Origin for OriginGroup {
    fn fetch(
        &self,
        request: Request,
        interim: Option<mpsc::Sender<Interim>>,
    ) -> Pin<Box<dyn Future<Output = Result<Response, FetchFailure>> + Send + '_>> {
        let options = FetchOptions { interim };
        Box::pin(async move { self.fetch(request, options).await.map_err(FetchFailure::from) })
    }
}

impl From<FetchError> for FetchFailure {
    fn from(error: FetchError) -> Self {
        FetchFailure {
            status: error.status,
            proxy_error: error.kind,
            detail: error.detail,
            endpoint: error.endpoint,
            attempts: error.attempts,
        }
    }
}
