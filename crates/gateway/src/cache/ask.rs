//! Asking the origin, and what every answer of it goes through.

use super::origin::{FetchFailure, Origin};
use super::rules::CacheRules;
use selvedge_cache::semantics::ProxyError;
use selvedge_cache::semantics::via::add_via;
use selvedge_exchange::{Interim, Request, Response};
use selvedge_types::{Status, name};
use tokio::sync::mpsc;

/// Sends `request` to the origin. An answer that does not fit it is a failure: a part (206) of which nobody asked
/// for one would be taken for all of the content (RFC 9110 section 15.3.7).
pub(super) async fn ask_origin(
    origin: &dyn Origin,
    rules: &CacheRules,
    request: Request,
    interim: Option<mpsc::Sender<Interim>>,
) -> Result<Response, FetchFailure> {
    let may_be_part = request.fields.contains(name::RANGE);
    let mut response = origin.fetch(request, interim).await?;
    if response.status == Status::PARTIAL_CONTENT && !may_be_part {
        return Err(FetchFailure {
            status: Status::BAD_GATEWAY,
            proxy_error: ProxyError::HttpProtocolError,
            detail: "the origin answered with a part (206) where all was asked for".into(),
        });
    }
    // Without it the response is whole nonetheless.
    let _ = add_via(&mut response.fields, response.version, &rules.cache_name);
    Ok(response)
}
