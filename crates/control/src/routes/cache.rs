//! The cache: counters, a look inside, purges.

use super::parse;
use crate::auth::Caller;
use crate::handles::{Handles, Purge, PurgeScope, StateError};
use crate::problem::Problem;
use crate::wire::{CacheStats, InspectRequest, Inspection, PurgeRequest, Purged};
use axum::extract::State;
use axum::http::Uri;
use axum::{Extension, Json};
use selvedge_rt::OnEnd;
use selvedge_types::resource::{Namespace, Resources, SiteId, SiteName, Text, owner_of_host};
use tokio::sync::oneshot;

/// The longest URL or tag that is taken, in bytes.
const NAME_BYTES_MAX: usize = 8 << 10;
/// How many header fields a request to inspect may have.
const HEADERS_MAX: usize = 100;

/// Fill, and the traffic of each site.
#[utoipa::path(get, path = "/v1/cache/stats", tag = "cache", security(("token" = [])), responses(
    (status = 200, description = "Counters since the node's start", body = CacheStats),
    (status = 401, description = "No valid token", body = Problem)))]
pub(crate) async fn stats(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
) -> Json<CacheStats> {
    Json(visible(handles.cache.stats(), &caller))
}

/// What is stored for a request, and what would happen to it. Nothing is sent anywhere.
#[utoipa::path(post, path = "/v1/cache/inspect", tag = "cache", security(("token" = [])), request_body = InspectRequest, responses(
    (status = 200, description = "What the cache knows", body = Inspection),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 404, description = "No site answers to the URL's host", body = Problem)))]
pub(crate) async fn inspect(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<InspectRequest>,
) -> Result<Json<Inspection>, Problem> {
    if request.headers.len() > HEADERS_MAX {
        return Err(Problem::invalid(format!("more than {HEADERS_MAX} header fields")));
    }
    let (_, host) = check_url(&request.url)?;
    site_of(&handles.state.declared().resources, &host, &caller)?;
    let inspection = handles.cache.inspect(request).await.map_err(Problem::invalid)?;
    // The gateway found the site by itself, perhaps by another revision: what counts is whose answer it is.
    let is_seen = Namespace::parse_text(&inspection.namespace).is_ok_and(|owner| caller.sees(&owner));
    if is_seen { Ok(Json(inspection)) } else { Err(nobody(&host)) }
}

/// Drop from the caches. Written down when this answers; a fetch begun before is not served as fresh after.
#[utoipa::path(post, path = "/v1/cache/purge", tag = "cache", security(("token" = [])), request_body = PurgeRequest, responses(
    (status = 200, description = "It is written down", body = Purged),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "The token does not allow it", body = Problem),
    (status = 404, description = "There is no such site", body = Problem),
    (status = 503, description = "The state takes no changes: purged on this node, but not for good", body = Problem)))]
pub(crate) async fn purge(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<PurgeRequest>,
) -> Result<Json<Purged>, Problem> {
    let resources = handles.state.declared().resources;
    let scope = scope(&request, &resources, &caller)?;
    let (answer, purged) = oneshot::channel();
    let (state, purge) = (handles.state.clone(), Purge { scope, soft: request.soft });
    // It goes on when who asked does not wait: what cannot be written down is purged here all the same.
    handles.tasks.spawn("purge", OnEnd::Forget, async move {
        let _ = answer.send(state.purge(purge).await);
    });
    let lost = |_| StateError::MaybeDurable("the node stops".to_owned());
    let revision = purged.await.map_err(lost)??;
    Ok(Json(Purged { revision }))
}

/// The part of the counters that the caller may see.
pub(crate) fn visible(mut stats: CacheStats, caller: &Caller) -> CacheStats {
    if let Some(only) = &caller.namespace {
        stats.sites.retain(|s| s.namespace == only.as_str());
    }
    stats
}

fn scope(request: &PurgeRequest, resources: &Resources, caller: &Caller) -> Result<PurgeScope, Problem> {
    let PurgeRequest { url, prefix, tag, all, .. } = request;
    match (url, prefix, tag, all) {
        (Some(url), None, None, false) => {
            let (url, host) = check_url(url)?;
            Ok(PurgeScope::Url { site: site_of(resources, &host, caller)?, url })
        }
        (None, Some(prefix), None, false) => {
            let (url, host) = check_url(prefix)?;
            check_prefix(prefix)?;
            Ok(PurgeScope::Prefix { site: site_of(resources, &host, caller)?, url })
        }
        (None, None, Some(tag), false) => tag_scope(request, tag, resources, caller),
        (None, None, None, true) => {
            let name = request.site.as_deref().ok_or_else(|| Problem::invalid("`all` needs `site`"))?;
            Ok(PurgeScope::Site(named_site(request, name, resources, caller)?))
        }
        _ => Err(Problem::invalid("name exactly one of `url`, `prefix`, `tag`, and `all` with `site`")),
    }
}

fn tag_scope(
    request: &PurgeRequest,
    tag: &str,
    resources: &Resources,
    caller: &Caller,
) -> Result<PurgeScope, Problem> {
    let is_tag = !tag.is_empty() && tag.len() <= NAME_BYTES_MAX && tag.bytes().all(|b| b.is_ascii_graphic());
    if !is_tag {
        return Err(Problem::invalid("a tag is made of visible ASCII characters, without spaces"));
    }
    let namespace = namespace(request, caller)?;
    let site = match &request.site {
        Some(name) => Some(named_site(request, name, resources, caller)?.name),
        None => None,
    };
    Ok(PurgeScope::Tag { namespace, site, tag: tag.to_owned() })
}

fn namespace(request: &PurgeRequest, caller: &Caller) -> Result<Namespace, Problem> {
    let namespace = match (&request.namespace, &caller.namespace) {
        (Some(text), _) => parse::<Namespace>(text)?,
        (None, Some(only)) => only.clone(),
        (None, None) => Namespace::default(),
    };
    caller.check_namespace(&namespace)?;
    Ok(namespace)
}

fn named_site(
    request: &PurgeRequest,
    name: &str,
    resources: &Resources,
    caller: &Caller,
) -> Result<SiteId, Problem> {
    let id = match name.contains('/') {
        true => parse::<SiteId>(name)?,
        false => SiteId { namespace: namespace(request, caller)?, name: parse::<SiteName>(name)? },
    };
    caller.check_namespace(&id.namespace)?;
    if !resources.sites.contains_key(&id) {
        return Err(Problem::not_found(format!("there is no site {id}")));
    }
    Ok(id)
}

/// Checks an absolute http or https URL; gives it back, with its host in lowercase and without port.
fn check_url(text: &str) -> Result<(String, String), Problem> {
    let wrong = || Problem::invalid(format!("{text:?} is not a URL such as https://docs.example.com/a/b"));
    if text.len() > NAME_BYTES_MAX {
        return Err(Problem::invalid(format!("the URL is longer than {NAME_BYTES_MAX} bytes")));
    }
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.host().filter(|h| is_http && !h.is_empty()).ok_or_else(wrong)?;
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(wrong());
    }
    Ok((text.to_owned(), host.to_ascii_lowercase()))
}

/// Prefixes are whole path segments: what reads like a pattern would drop nothing.
fn check_prefix(url: &str) -> Result<(), Problem> {
    if !url.contains(['*', '?', '#']) {
        return Ok(());
    }
    let detail = format!(
        "{url:?} is not a prefix: a prefix is a URL's whole path segments, without `*` and query, and means that \
         path and all below it"
    );
    Err(Problem::invalid(detail))
}

/// The site that answers to `host`.
fn site_of(resources: &Resources, host: &str, caller: &Caller) -> Result<SiteId, Problem> {
    let hosts = resources.sites.iter().flat_map(|(id, site)| site.hosts.iter().map(move |h| (h, id)));
    match owner_of_host(host, hosts) {
        Some(id) if caller.sees(&id.namespace) => Ok(id.clone()),
        _ => Err(nobody(host)),
    }
}

fn nobody(host: &str) -> Problem {
    Problem::not_found(format!("no site answers to {host:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::manifest::{Manifest, Permissions};
    use selvedge_types::token::Role;

    fn resources() -> Resources {
        let text = "[site.docs]\nhosts = [\"docs.example.com\"]\norigin = \"http://127.0.0.1:1\"\n\
                    [site.rest]\nhosts = [\"*.example.com\"]\norigin = \"http://127.0.0.1:1\"\n";
        let team = "namespace = \"team\"\n[site.all]\nhosts = [\"*.com\"]\norigin = \"http://127.0.0.1:1\"\n";
        let apply = |text, now: &Resources| {
            Manifest::parse("m", text).unwrap().apply_to(now, &Permissions::ALL).unwrap()
        };
        apply(team, &apply(text, &Resources::default()))
    }

    fn caller(namespace: Option<&str>) -> Caller {
        let namespace = namespace.map(|n| Namespace::parse_text(n).unwrap());
        Caller { token: "t".into(), role: Role::Deployer, namespace }
    }

    #[test]
    fn a_purge_names_one_thing() {
        let some = |s: &str| Some(s.to_owned());
        let url = PurgeRequest { url: some("https://docs.example.com/a"), ..Default::default() };
        let prefix = PurgeRequest { prefix: some("http://x.EXAMPLE.com/"), ..Default::default() };
        let tag = PurgeRequest { tag: some("news"), ..Default::default() };
        let site = PurgeRequest { all: true, site: some("docs"), ..Default::default() };
        let scope_of = |r: &PurgeRequest, c| scope(r, &resources(), &c).map_err(|p| p.status().as_u16());
        let id = |n: &str| SiteId::parse_text(n).unwrap();
        let expected = PurgeScope::Url { site: id("docs"), url: "https://docs.example.com/a".into() };
        assert_eq!(scope_of(&url, caller(None)), Ok(expected));
        let expected = PurgeScope::Prefix { site: id("rest"), url: "http://x.EXAMPLE.com/".into() };
        assert_eq!(scope_of(&prefix, caller(None)), Ok(expected));
        let expected = PurgeScope::Tag { namespace: Namespace::default(), site: None, tag: "news".into() };
        assert_eq!(scope_of(&tag, caller(None)), Ok(expected));
        assert_eq!(scope_of(&site, caller(None)), Ok(PurgeScope::Site(id("docs"))));
    }

    #[test]
    fn unclear_or_foreign_purges_are_refused() {
        let some = |s: &str| Some(s.to_owned());
        let default = PurgeRequest::default;
        for (request, namespace, status) in [
            (default(), None, 400),
            (PurgeRequest { all: true, ..default() }, None, 400),
            (PurgeRequest { url: some("http://a/"), tag: some("x"), ..default() }, None, 400),
            (PurgeRequest { prefix: some("http://docs.example.com/a*"), ..default() }, None, 400),
            (PurgeRequest { prefix: some("http://docs.example.com/a?b"), ..default() }, None, 400),
            (PurgeRequest { url: some("/only/path"), ..default() }, None, 400),
            (PurgeRequest { url: some("ftp://docs.example.com/"), ..default() }, None, 400),
            (PurgeRequest { url: some("http://u@docs.example.com/"), ..default() }, None, 400),
            (PurgeRequest { tag: some("a b"), ..default() }, None, 400),
            (PurgeRequest { url: some("http://other.org/"), ..default() }, None, 404),
            (PurgeRequest { url: some("http://docs.example.com/"), ..default() }, Some("team"), 404),
            (PurgeRequest { url: some("http://docs.example.com./"), ..default() }, Some("team"), 404),
            (PurgeRequest { all: true, site: some("none"), ..default() }, None, 404),
            (PurgeRequest { all: true, site: some("default/docs"), ..default() }, Some("team"), 403),
            (PurgeRequest { tag: some("x"), namespace: some("default"), ..default() }, Some("team"), 403),
        ] {
            let refused = scope(&request, &resources(), &caller(namespace)).unwrap_err();
            assert_eq!(refused.status().as_u16(), status, "{request:?}");
        }
    }
}
