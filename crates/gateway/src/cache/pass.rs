//! Requests that are not answered from the cache: other methods, bypassed ones, those that may not be shared.

use super::fill::Order;
use super::serve::compress_passing;
use super::{Ask, INTERIM_QUEUE, Inner, failed, unreadable};
use selvedge_cache::semantics::{CacheStatus, Forwarded, RequestFacts};
use selvedge_exchange::{Body, Later, Reply, Request, Response, Source};
use selvedge_types::{Method, name};
use std::sync::Arc;
use tokio::sync::mpsc;

impl Inner {
    /// Sends the request to the origin and its response to the client, past the store.
    pub(crate) fn pass_reply(self: &Arc<Self>, ask: Ask, facts: RequestFacts, why: Forwarded) -> Reply {
        let (sender, interim) = mpsc::channel(INTERIM_QUEUE);
        let inner = self.clone();
        let response = Box::pin(async move {
            let Ask { request, rules, origin, .. } = ask;
            let seen = super::copy_of(&request);
            match origin.fetch(request, Some(sender)).await {
                Ok(mut response) => {
                    inner.invalidate(&seen, &facts, &rules, response.status, &response.fields);
                    rules.strip_cookies(&mut response.fields);
                    finish(response, &seen, &rules, why)
                }
                Err(failure) => {
                    inner.metrics.origin_failed(failure.proxy_error);
                    failed(&failure, &rules)
                }
            }
        });
        Reply::Later(Later { response, interim: Some(interim) })
    }

    /// A response that turned out to be for this request alone.
    pub(crate) fn passed(&self, response: Response, order: &Order, why: Forwarded) -> Response {
        finish(response, &order.request, &order.rules, why)
    }

    /// Fetches for one request alone.
    pub(crate) async fn fetch_alone(&self, order: Order, why: Forwarded) -> Response {
        let Order { request, rules, origin, interim, .. } = order;
        let seen = super::copy_of(&request);
        let outcome = origin.fetch(request, interim).await;
        match outcome {
            Ok(response) => finish(response, &seen, &rules, why),
            Err(failure) => failed(&failure, &rules),
        }
    }
}

fn finish(mut response: Response, request: &Request, rules: &super::CacheRules, why: Forwarded) -> Response {
    let done = add_fields(&mut response, request, rules, why);
    if done.is_err() {
        return unreadable();
    }
    response.source =
        if matches!(why, Forwarded::Bypass | Forwarded::Method) { Source::Bypass } else { Source::Miss };
    response
}

fn add_fields(
    response: &mut Response,
    request: &Request,
    rules: &super::CacheRules,
    why: Forwarded,
) -> Result<(), selvedge_types::FieldError> {
    let mut status = Vec::with_capacity(48);
    CacheStatus::forwarded(why).write(&rules.cache_name, &mut status);
    response.fields.add(name::CACHE_STATUS, status)?;
    if !rules.expose_tags {
        response.fields.remove(name::SURROGATE_KEY);
        response.fields.remove(name::CACHE_TAG);
    }
    if request.method != Method::Head && response.tunnel.is_none() && !matches!(response.body, Body::Empty) {
        compress_passing(response, &request.fields, rules)?;
    }
    Ok(())
}
