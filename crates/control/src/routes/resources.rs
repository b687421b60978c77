//! Declared resources: what is, what would change, make it so.

use super::parse;
use crate::auth::Caller;
use crate::handles::{Declared, Handles, StateError};
use crate::problem::Problem;
use crate::wire::{Applied, Plan, SettingsResource, SiteResource};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use selvedge_types::manifest::{Manifest, Permissions};
use selvedge_types::plan;
use selvedge_types::resource::{Namespace, Site, SiteId, SiteName};
use selvedge_types::token::Role;
use serde::Deserialize;
use tokio::sync::Semaphore;
use utoipa::IntoParams;

/// Manifests that are read at once.
const READ_MAX: usize = 4;

static READING: Semaphore = Semaphore::const_new(READ_MAX);

/// Which resources are listed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
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
    let permitted = Permissions { any_host: caller.namespace.is_none(), ..Permissions::ALL };
    let wanted = manifest.apply_to(&declared.resources, &permitted).map_err(StateError::from)?;
    let plan = plan::Plan::between(&declared.resources, &wanted);
    Ok(Json(Plan {
        revision: declared.revision,
        changes: plan.changes.into_iter().map(Into::into).collect(),
    }))
}

/// How a manifest is applied.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
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
    let is_root = caller.namespace.is_none();
    let permitted = Permissions {
        settings: is_root && caller.role >= Role::Admin,
        any_host: is_root,
        delete_all: options.delete_all,
        delete_keyspaces: options.delete_keyspaces,
    };
    let (revision, plan) = handles.state.apply(manifest, options.expected, permitted).await?;
    tracing::info!(revision, changes = plan.changes.len(), by = caller.token, "manifest applied");
    let warnings = super::status::problems(&handles, &caller);
    Ok(Json(Applied { revision, changes: plan.changes.into_iter().map(Into::into).collect(), warnings }))
}

async fn read(text: String, caller: &Caller, handles: &Handles) -> Result<Manifest, Problem> {
    let unread =
        |e: &dyn std::fmt::Display| StateError::Unavailable(format!("the manifest was not read: {e}"));
    // Large ones take a while: the runtime that keeps the cluster together must not wait for them.
    let turn = READING.acquire().await.map_err(|e| unread(&e))?;
    let parse = move || {
        // It goes on when its client leaves.
        let _turn = turn;
        Manifest::parse("manifest", &text)
    };
    let parsed = handles.tasks.blocking("read a manifest", parse).await.map_err(|e| unread(&e))?;
    let manifest = parsed.map_err(|errors| Problem::manifest(errors.0.iter().map(Into::into).collect()))?;
    caller.check_namespace(&manifest.namespace)?;
    Ok(manifest)
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
