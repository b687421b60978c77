//! A fetch: choose an endpoint, try, and try again where that is safe.

use super::attempt::attempt;
use super::balance::EndpointId;
use super::endpoint::Endpoint;
use super::error::{FetchError, Side, Stage};
use super::group::Group;
use super::h1::Broken;
use super::hop::{Wishes, strip_request};
use super::outgoing::Outgoing;
use super::retry::{Case, Verdict, decide};
use super::upload::Upload;
use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::{Body, Fetched, Interim, Request, Response};
use selvedge_types::resource::OriginHost;
use selvedge_types::{FieldError, name};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// How a request is sent.
#[derive(Debug, Default)]
pub struct FetchOptions {
    /// Where interim responses other than 100 go. What does not fit at once is dropped.
    pub interim: Option<mpsc::Sender<Interim>>,
}

/// Fetches from `group`. Dropping the future gives the request up.
pub(super) async fn fetch(
    group: &Arc<Group>,
    request: Request,
    options: FetchOptions,
) -> Result<Response, FetchError> {
    let due = Instant::now().checked_add(group.times.total);
    let due = due.ok_or_else(|| internal("the total time is too long"))?;
    let found = timeout_at(due, group.endpoints()).await;
    let late = || FetchError::new(ProxyError::DnsTimeout, Stage::Unsent, "looking names up took too long");
    let result = match found.unwrap_or_else(|_| Err(late())) {
        Ok(_) => Fetch::new(group, request, options, due)?.run().await,
        Err(error) => Err(error),
    };
    match &result {
        Ok(_) => group.handle_fetched(),
        Err(error) => {
            group.counters().count_error(error.kind);
            group.handle_unanswered(error);
        }
    }
    result
}

struct Fetch<'a> {
    group: &'a Arc<Group>,
    request: Request,
    wishes: Wishes,
    expects_continue: bool,
    interim: Option<mpsc::Sender<Interim>>,
    due: Instant,
    tried: Vec<EndpointId>,
    had_free: bool,
    attempts: u32,
}

impl<'a> Fetch<'a> {
    fn new(
        group: &'a Arc<Group>,
        mut request: Request,
        options: FetchOptions,
        due: Instant,
    ) -> Result<Self, FetchError> {
        let wishes = strip_request(&mut request.fields);
        if let Some(upgrade) = &wishes.upgrade {
            request.fields.set(name::UPGRADE, upgrade).map_err(bad_field)?;
        }
        // Content that is here already needs no consent.
        let expects_continue = matches!(request.body, Body::Stream(_))
            && request.fields.has_member(name::EXPECT, "100-continue");
        if !expects_continue {
            request.fields.remove(name::EXPECT);
        }
        let (interim, tried) = (options.interim, Vec::new());
        Ok(Fetch {
            group,
            request,
            wishes,
            expects_continue,
            interim,
            due,
            tried,
            had_free: false,
            attempts: 0,
        })
    }

    async fn run(&mut self) -> Result<Response, FetchError> {
        let mut upload = Upload::new(std::mem::take(&mut self.request.body));
        let mut fresh = false;
        loop {
            let Some(endpoint) = self.group.pick(&self.tried) else {
                let detail = "there is no origin";
                return Err(FetchError::new(ProxyError::DestinationUnavailable, Stage::Unsent, detail));
            };
            self.attempts += 1;
            let began = Instant::now();
            let Broken { mut error, upload: rest } = match self.try_once(&endpoint, upload, fresh).await {
                Ok(mut response) => {
                    response.fetched = Some(self.fetched(&endpoint, began));
                    return Ok(response);
                }
                Err(broken) => broken,
            };
            error.endpoint = Some(endpoint.label());
            error.attempts = self.attempts;
            self.note(&endpoint, &error);
            let verdict = self.judge(&endpoint, &error, rest.is_repeatable());
            if verdict == Verdict::GiveUp || Instant::now() >= self.due {
                return Err(error);
            }
            tracing::debug!(origin = self.group.name, %error, "a request is sent again");
            self.group.counters().retries.inc();
            fresh = verdict == Verdict::Free;
            upload = rest.rewind();
        }
    }

    fn fetched(&self, endpoint: &Endpoint, began: Instant) -> Arc<Fetched> {
        Arc::new(Fetched {
            endpoint: Some(endpoint.label()),
            first_byte: Some(began.elapsed()),
            attempts: self.attempts,
            trouble: None,
        })
    }

    async fn try_once(
        &mut self,
        endpoint: &Arc<Endpoint>,
        upload: Upload,
        fresh: bool,
    ) -> Result<Response, Broken> {
        let authority = match &self.group.origin.host {
            OriginHost::Fixed(host) => host,
            OriginHost::Request if !self.request.authority.is_empty() => self.request.authority.as_str(),
            OriginHost::Request | OriginHost::Target => &endpoint.place.authority,
        };
        if let Err(error) = self.request.fields.set(name::HOST, authority) {
            return Err(Broken { error: bad_field(error), upload });
        }
        let outgoing = Outgoing {
            method: &self.request.method,
            scheme: endpoint.place.scheme,
            authority,
            target: &self.request.target,
            fields: &self.request.fields,
            upgrade: self.wishes.upgrade.is_some(),
            codings: self.wishes.codings.as_deref(),
            wants_trailers: self.wishes.trailers,
            expects_continue: self.expects_continue,
            interim: &self.interim,
            times: &self.group.times,
            due: self.due,
        };
        attempt(self.group, endpoint, &outgoing, upload, fresh).await
    }

    /// Counts a failure against the endpoint if it is to blame.
    fn note(&self, endpoint: &Endpoint, error: &FetchError) {
        if error.side() == Side::Origin && error.stage != Stage::Stale {
            self.group.handle_failure(endpoint);
        }
    }

    fn judge(&mut self, endpoint: &Endpoint, error: &FetchError, is_repeatable: bool) -> Verdict {
        let mut tried = self.tried.clone();
        tried.push(endpoint.id);
        let case = Case {
            is_idempotent: self.request.method.is_idempotent(),
            is_repeatable,
            has_other: self.group.has_other(&tried),
            had_free: self.had_free,
        };
        match decide(error, case) {
            Verdict::Free => self.had_free = true,
            Verdict::Charged if self.tried.len() >= usize::from(self.group.origin.retry.attempts) => {
                return Verdict::GiveUp;
            }
            Verdict::Charged if !self.group.may_retry() => return Verdict::GiveUp,
            Verdict::Charged => {
                self.tried = tried;
                return Verdict::Charged;
            }
            Verdict::GiveUp => return Verdict::GiveUp,
        }
        Verdict::Free
    }
}

fn internal(detail: &str) -> FetchError {
    FetchError::new(ProxyError::ProxyInternalError, Stage::Unsent, detail)
}

fn bad_field(error: FieldError) -> FetchError {
    internal(&format!("the request's head cannot be made: {error}"))
}
