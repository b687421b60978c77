//! Declared resources: what is, what would change, make it so.

use super::parse;
use crate::auth::Caller;
use crate::handles::{Allowed, Declared, Handles, StateError};
use crate::problem::Problem;
use crate::wire::{Applied, Plan, SettingsResource, SiteResource};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use selvedge_types::manifest::Manifest;
use selvedge_types::plan;
use selvedge_types::resource::{HostPattern, Namespace, Resources, Site, SiteId, SiteName};
use selvedge_types::token::Role;
use serde::Deserialize;
use std::collections::BTreeSet;
use tokio::sync::Semaphore;
use utoipa::IntoParams;

/// Manifests that are read at once.
const READ_MAX: usize = 4;

static READING: Semaphore = Semaphore::const_new(READ_MAX);

/// Which resources are listed.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub(crate) struct Filter {
    /// Only those of this namespace.
    namespace: Option<String>,
}

/// The sites.
#[utoipa::path(get, path = "/v1/sites", tag = "resources", security(("token" = [])), params(Filter), responses(
    (status = 200, description = "The sites, by namespace and name", body = Vec<SiteResource>),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem)))]
pub(crate) async fn sites(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<SiteResource>>, Problem> {
    let only = filter.namespace.as_deref().map(parse::<Namespace>).transpose()?;
    let declared = handles.state.declared();
    let shown = |id: &SiteId| caller.sees(&id.namespace) && only.as_ref().is_none_or(|o| *o == id.namespace);
    let sites = declared.resources.sites.iter().filter(|(id, _)| shown(id));
    sites.map(|(id, site)| describe(&declared, id, site)).collect::<Result<_, _>>().map(Json)
}

/// One site.
#[utoipa::path(get, path = "/v1/sites/{namespace}/{name}", tag = "resources", security(("token" = [])),
    params(("namespace" = String, Path, description = "Who owns it"), ("name" = String, Path, description = "Its name")),
    responses(
    (status = 200, description = "The site", body = SiteResource),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace", body = Problem),
    (status = 404, description = "There is no such site", body = Problem)))]
pub(crate) async fn site(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<SiteResource>, Problem> {
    let id = SiteId { namespace: parse::<Namespace>(&namespace)?, name: parse::<SiteName>(&name)? };
    caller.check_namespace(&id.namespace)?;
    let declared = handles.state.declared();
    let site = declared.resources.sites.get(&id);
    let site = site.ok_or_else(|| Problem::not_found(format!("there is no site {id}")))?;
    describe(&declared, &id, site).map(Json)
}

/// The cluster's settings.
#[utoipa::path(get, path = "/v1/settings", tag = "resources", security(("token" = [])), responses(
    (status = 200, description = "The settings", body = SettingsResource),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "The token is good for one namespace alone", body = Problem)))]
pub(crate) async fn settings(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<SettingsResource>, Problem> {
    caller.check_whole("settings belong to the whole cluster")?;
    let declared = handles.state.declared();
    let spec = serde_json::to_value(&declared.resources.settings).map_err(unprintable)?;
    Ok(Json(SettingsResource { revision: declared.revision, spec }))
}

/// What applying a manifest (TOML) would change.
#[utoipa::path(post, path = "/v1/plan", tag = "resources", security(("token" = [])),
    request_body(content = String, content_type = "application/toml"), responses(
    (status = 200, description = "The changes", body = Plan),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace", body = Problem),
    (status = 409, description = "A host belongs to another namespace's site", body = Problem),
    (status = 422, description = "The manifest is wrong; each error is listed", body = Problem)))]
pub(crate) async fn plan(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    text: String,
) -> Result<Json<Plan>, Problem> {
    let manifest = read(text, &caller, &handles).await?;
    if manifest.settings.is_some() {
        // What would change tells what is there.
        caller.check_whole("settings belong to the whole cluster: leave `[settings]` out")?;
    }
    let declared = handles.state.declared();
    let plan = compare(&declared, &manifest, &caller)?;
    Ok(Json(Plan {
        revision: declared.revision,
        changes: plan.changes.into_iter().map(Into::into).collect(),
    }))
}

/// How a manifest is applied.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub(crate) struct ApplyOptions {
    /// Only if this is the revision of the last change to sites or settings, as `plan` told it.
    expected: Option<u64>,
    /// Whether a manifest without sites may delete all sites of its namespace.
    #[serde(default)]
    delete_all: bool,
    /// Whether keyspaces that the manifest leaves out may be deleted, with all that they hold.
    #[serde(default)]
    delete_keyspaces: bool,
}

/// Make what a manifest (TOML) declares. It is on disk when this answers.
#[utoipa::path(post, path = "/v1/apply", tag = "resources", security(("token" = [])), params(ApplyOptions),
    request_body(content = String, content_type = "application/toml"), responses(
    (status = 200, description = "It is so, as of the revision told", body = Applied),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "The token does not allow it", body = Problem),
    (status = 409, description = "Another change came first, a host belongs to another namespace's site, or the manifest would delete all sites or a keyspace and that was not asked for", body = Problem),
    (status = 422, description = "The manifest is wrong; each error is listed", body = Problem),
    (status = 503, description = "The state takes no changes; nothing was changed", body = Problem),
    (status = 504, description = "Whether it was changed is not known", body = Problem)))]
pub(crate) async fn apply(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Query(options): Query<ApplyOptions>,
    text: String,
) -> Result<Json<Applied>, Problem> {
    let manifest = read(text, &caller, &handles).await?;
    let declared = handles.state.declared();
    let plan = compare(&declared, &manifest, &caller)?;
    let mut expected = options.expected;
    if manifest.sites.is_empty() && !options.delete_all {
        check_keeps_some(&declared.resources, &manifest)?;
        // Of what this node has not heard of yet none may go either.
        expected = Some(expected.unwrap_or(declared.revision).min(declared.revision));
    }
    if caller.namespace.is_some() && takes_hosts(&declared.resources, &manifest) {
        // Nor may a host be taken that another has, as this node has not heard yet.
        expected = Some(expected.unwrap_or(declared.revision).min(declared.revision));
    }
    let set = caller.namespace.is_none() && caller.role >= Role::Admin;
    let allowed = Allowed { set, delete_keyspaces: options.delete_keyspaces };
    let revision = handles.state.apply(manifest, expected, allowed).await?;
    tracing::info!(revision, changes = plan.changes.len(), by = caller.token, "manifest applied");
    let warnings = super::status::problems(&handles, &caller);
    Ok(Json(Applied { revision, changes: plan.changes.into_iter().map(Into::into).collect(), warnings }))
}

/// A manifest that declares no site is more often a generator's failure than a wish to delete everything.
fn check_keeps_some(now: &Resources, manifest: &Manifest) -> Result<(), Problem> {
    let lost = now.sites.keys().filter(|id| id.namespace == manifest.namespace).count();
    if lost == 0 {
        return Ok(());
    }
    let detail = format!(
        "the manifest declares no site: applying it would delete all sites of the namespace {} ({lost}); nothing \
         was changed; say `delete_all=true` (`selvedge apply --delete-all`) if that is meant",
        manifest.namespace
    );
    Err(Problem::new(axum::http::StatusCode::CONFLICT, "deletes-all", detail))
}

async fn read(text: String, caller: &Caller, handles: &Handles) -> Result<Manifest, Problem> {
    let unread =
        |e: &dyn std::fmt::Display| StateError::Unavailable(format!("the manifest was not read: {e}"));
    // Large ones take a while: the runtime that keeps the cluster together must not wait for them.
    let _turn = READING.acquire().await.map_err(|e| unread(&e))?;
    let parse = move || Manifest::parse("manifest", &text);
    let parsed = handles.tasks.blocking("read a manifest", parse).await.map_err(|e| unread(&e))?;
    let manifest = parsed.map_err(|errors| Problem::manifest(errors.0.iter().map(Into::into).collect()))?;
    caller.check_namespace(&manifest.namespace)?;
    Ok(manifest)
}

fn compare(declared: &Declared, manifest: &Manifest, caller: &Caller) -> Result<plan::Plan, Problem> {
    let conflict = |detail| Problem::new(axum::http::StatusCode::CONFLICT, "host", detail);
    let wanted = manifest.apply_to(&declared.resources).map_err(|taken| {
        conflict(if caller.sees(&taken.owner.namespace) {
            taken.to_string()
        } else {
            format!(
                "`{}` of the site `{}` already belongs to another namespace; leave it out",
                taken.host, taken.site
            )
        })
    })?;
    if caller.namespace.is_some() {
        check_hosts(&declared.resources, manifest).map_err(conflict)?;
    }
    Ok(plan::Plan::between(&declared.resources, &wanted))
}

/// Whether a manifest has hosts that its namespace has not had.
fn takes_hosts(now: &Resources, manifest: &Manifest) -> bool {
    let own = own_hosts(now, manifest);
    manifest.sites.values().flat_map(|site| site.hosts.iter()).any(|host| !own.contains(host))
}

fn own_hosts<'a>(now: &'a Resources, manifest: &Manifest) -> BTreeSet<&'a HostPattern> {
    let own = now.sites.iter().filter(|(id, _)| id.namespace == manifest.namespace);
    own.flat_map(|(_, site)| site.hosts.iter()).collect()
}

/// Whoever may act in one namespace alone takes no host from below another's wildcard, nor all that nobody has.
fn check_hosts(now: &Resources, manifest: &Manifest) -> Result<(), String> {
    let own = own_hosts(now, manifest);
    let others = now.sites.iter().filter(|(id, _)| id.namespace != manifest.namespace);
    let wildcards: Vec<&HostPattern> = others
        .flat_map(|(_, site)| site.hosts.iter())
        .filter(|host| matches!(host, HostPattern::Below(_)))
        .collect();
    for (name, site) in &manifest.sites {
        for host in site.hosts.iter().filter(|host| !own.contains(host)) {
            let is_taken = match host {
                HostPattern::Any => true,
                HostPattern::Exact(name) | HostPattern::Below(name) => {
                    wildcards.iter().any(|w| w.matches(name))
                }
            };
            if is_taken {
                return Err(format!(
                    "`{host}` of the site `{name}` is not for this namespace alone to take: it is, or may be, another's; \
                     a token for the whole cluster can declare it"
                ));
            }
        }
    }
    Ok(())
}

fn describe(declared: &Declared, id: &SiteId, site: &Site) -> Result<SiteResource, Problem> {
    let version = declared.versions.get(id).copied().unwrap_or_default();
    Ok(SiteResource {
        namespace: id.namespace.to_string(),
        name: id.name.to_string(),
        generation: version.generation,
        revision: version.revision,
        spec: serde_json::to_value(site).map_err(unprintable)?,
    })
}

fn unprintable(e: serde_json::Error) -> Problem {
    Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "failed", e.to_string())
}
