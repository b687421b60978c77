//! Users' keyspaces: keys, transactions and sessions. A viewer reads, a deployer writes, in their namespace.

use super::cluster::cluster;
use super::parse;
use crate::auth::Caller;
use crate::handles::Handles;
use crate::kv::{Space, WatchBody};
use crate::problem::Problem;
use crate::wire::{
    KeyspaceResource, KvChanged, KvCompact, KvDelete, KvGrant, KvLease, KvLeaseInfo, KvPut, KvRange, KvRead,
    KvSession, KvTxn, KvTxnDone, KvWatch, KvWatched,
};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use selvedge_types::resource::{KeyspaceId, KeyspaceName, Namespace, Text};
use selvedge_types::token::Role;

/// Namespace and name of a keyspace.
type Which = Path<(String, String)>;

fn space<'a>(handles: &'a Handles, caller: &Caller, which: Which) -> Result<Space<'a>, Problem> {
    let Path((namespace, name)) = which;
    let id = KeyspaceId { namespace: parse::<Namespace>(&namespace)?, name: parse::<KeyspaceName>(&name)? };
    caller.check_namespace(&id.namespace)?;
    if id.namespace.is_systems() {
        return Err(Problem::forbidden("the namespace `selvedge` holds what the cluster keeps for itself"));
    }
    Ok(Space { cluster: cluster(handles)?, id })
}

/// Read keys.
#[utoipa::path(post, path = "/v1/kv/{namespace}/{keyspace}/range", tag = "keyspaces", security(("token" = [])), request_body = KvRange,
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name")),
    responses(
    (status = 200, description = "What is there", body = KvRead),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 410, description = "The revision was compacted", body = Problem),
    (status = 422, description = "It cannot be so, or is beyond a limit", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem)))]
pub(crate) async fn range(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    which: Which,
    Json(asked): Json<KvRange>,
) -> Result<Json<KvRead>, Problem> {
    space(&handles, &caller, which)?.range(asked).await.map(Json)
}

/// Put a key.
#[utoipa::path(post, path = "/v1/kv/{namespace}/{keyspace}/put", tag = "keyspaces", security(("token" = [])), request_body = KvPut,
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name")),
    responses(
    (status = 200, description = "It is on disk at a majority", body = KvChanged),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 409, description = "The quota is used up", body = Problem),
    (status = 413, description = "It is too large", body = Problem),
    (status = 422, description = "It cannot be so, or is beyond a limit", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem),
    (status = 504, description = "Whether it was done is unknown", body = Problem)))]
pub(crate) async fn put(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    which: Which,
    Json(asked): Json<KvPut>,
) -> Result<Json<KvChanged>, Problem> {
    space(&handles, &caller, which)?.put(asked).await.map(Json)
}

/// Delete keys.
#[utoipa::path(post, path = "/v1/kv/{namespace}/{keyspace}/delete", tag = "keyspaces", security(("token" = [])), request_body = KvDelete,
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name")),
    responses(
    (status = 200, description = "They are gone, on disk at a majority", body = KvChanged),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 422, description = "It cannot be so, or is beyond a limit", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem),
    (status = 504, description = "Whether it was done is unknown", body = Problem)))]
pub(crate) async fn delete(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    which: Which,
    Json(asked): Json<KvDelete>,
) -> Result<Json<KvChanged>, Problem> {
    space(&handles, &caller, which)?.delete(asked).await.map(Json)
}

/// Compare, then read and change keys as one. One that changes nothing needs a viewer's token alone.
#[utoipa::path(post, path = "/v1/kv/{namespace}/{keyspace}/txn", tag = "keyspaces", security(("token" = [])), request_body = KvTxn,
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name")),
    responses(
    (status = 200, description = "What was done", body = KvTxnDone),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 409, description = "The quota is used up", body = Problem),
    (status = 410, description = "A revision was compacted", body = Problem),
    (status = 413, description = "It is too large", body = Problem),
    (status = 422, description = "It cannot be so, or is beyond a limit", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem),
    (status = 504, description = "Whether it was done is unknown", body = Problem)))]
pub(crate) async fn txn(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    which: Which,
    Json(asked): Json<KvTxn>,
) -> Result<Json<KvTxnDone>, Problem> {
    if caller.role < Role::Deployer && !asked.reads_alone() {
        let detail = format!(
            "this needs the role {}; the token {:?} has {}",
            Role::Deployer,
            caller.token,
            caller.role
        );
        return Err(Problem::forbidden(detail));
    }
    space(&handles, &caller, which)?.txn(asked).await.map(Json)
}

/// Begin a session: a command that names its place in it is done once, however often it is sent.
#[utoipa::path(post, path = "/v1/kv/{namespace}/{keyspace}/sessions", tag = "keyspaces", security(("token" = [])),
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name")),
    responses(
    (status = 201, description = "It is begun", body = KvSession),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 422, description = "There are too many", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem),
    (status = 504, description = "Whether it was done is unknown", body = Problem)))]
pub(crate) async fn open_session(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    which: Which,
) -> Result<(StatusCode, Json<KvSession>), Problem> {
    let session = space(&handles, &caller, which)?.open_session().await?;
    Ok((StatusCode::CREATED, Json(KvSession { session })))
}

/// Watch keys: a line of JSON for each batch of events, from a revision on, without a gap; at least one every 10 s.
#[utoipa::path(post, path = "/v1/kv/{namespace}/{keyspace}/watch", tag = "keyspaces", security(("token" = [])), request_body = KvWatch,
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name")),
    responses(
    (status = 200, description = "Lines, until the client goes or a line says why it ends", body = KvWatched, content_type = "application/x-ndjson"),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 422, description = "It cannot be so, or is beyond a limit", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem)))]
pub(crate) async fn watch(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    which: Which,
    Json(asked): Json<KvWatch>,
) -> Result<Response, Problem> {
    let subscription = space(&handles, &caller, which)?.watch(asked, &handles.registry.limits()).await?;
    let body = Body::new(WatchBody::new(subscription, handles.tasks.clone()));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Give up the history before a revision.
#[utoipa::path(post, path = "/v1/kv/{namespace}/{keyspace}/compact", tag = "keyspaces", security(("token" = [])), request_body = KvCompact,
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name")),
    responses(
    (status = 200, description = "It is gone", body = KvChanged),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 422, description = "It cannot be so, or is beyond a limit", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem),
    (status = 504, description = "Whether it was done is unknown", body = Problem)))]
pub(crate) async fn compact(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    which: Which,
    Json(asked): Json<KvCompact>,
) -> Result<Json<KvChanged>, Problem> {
    space(&handles, &caller, which)?.compact(asked).await.map(Json)
}

/// Make a lease: keys that are put with it end with it.
#[utoipa::path(post, path = "/v1/kv/{namespace}/{keyspace}/leases", tag = "keyspaces", security(("token" = [])), request_body = KvGrant,
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name")),
    responses(
    (status = 200, description = "It is made", body = KvLease),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 409, description = "There is one already", body = Problem),
    (status = 422, description = "It cannot be so, or is beyond a limit", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem),
    (status = 504, description = "Whether it was done is unknown", body = Problem)))]
pub(crate) async fn grant_lease(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    which: Which,
    Json(asked): Json<KvGrant>,
) -> Result<Json<KvLease>, Problem> {
    space(&handles, &caller, which)?.grant_lease(asked).await.map(Json)
}

/// Which leases to begin with.
#[derive(Debug, Clone, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeasesQuery {
    /// The first number wanted; all from the first if absent.
    #[serde(default)]
    from: u64,
}

/// The leases of a keyspace, by number: 1,000 and 2 MiB of keys at most, one at least; the rest from the number after the last.
#[utoipa::path(get, path = "/v1/kv/{namespace}/{keyspace}/leases", tag = "keyspaces", security(("token" = [])),
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name"), LeasesQuery),
    responses(
    (status = 200, description = "The leases", body = Vec<KvLeaseInfo>),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem)))]
pub(crate) async fn leases(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    which: Which,
    Query(query): Query<LeasesQuery>,
) -> Result<Json<Vec<KvLeaseInfo>>, Problem> {
    space(&handles, &caller, which)?.leases(query.from, handles.clock.wall()).await.map(Json)
}

/// Let a lease live for its whole time again.
#[utoipa::path(post, path = "/v1/kv/{namespace}/{keyspace}/leases/{lease}/renew", tag = "keyspaces", security(("token" = [])),
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name"),
        ("lease" = u64, Path, description = "The lease's number")),
    responses(
    (status = 200, description = "It is renewed", body = KvLease),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem),
    (status = 504, description = "Whether it was done is unknown", body = Problem)))]
pub(crate) async fn renew_lease(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name, lease)): Path<(String, String, u64)>,
) -> Result<Json<KvLease>, Problem> {
    space(&handles, &caller, Path((namespace, name)))?.renew_lease(lease).await.map(Json)
}

/// End a lease, and delete the keys that end with it.
#[utoipa::path(delete, path = "/v1/kv/{namespace}/{keyspace}/leases/{lease}", tag = "keyspaces", security(("token" = [])),
    params(("namespace" = String, Path, description = "Who owns the keyspace"), ("keyspace" = String, Path, description = "Its name"),
        ("lease" = u64, Path, description = "The lease's number")),
    responses(
    (status = 200, description = "It is ended", body = KvChanged),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not this token's namespace or role", body = Problem),
    (status = 404, description = "There is no such keyspace", body = Problem),
    (status = 503, description = "No majority or leader is reached; nothing was changed", body = Problem),
    (status = 504, description = "Whether it was done is unknown", body = Problem)))]
pub(crate) async fn revoke_lease(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name, lease)): Path<(String, String, u64)>,
) -> Result<Json<KvChanged>, Problem> {
    space(&handles, &caller, Path((namespace, name)))?.revoke_lease(lease).await.map(Json)
}

/// The keyspaces.
#[utoipa::path(get, path = "/v1/keyspaces", tag = "keyspaces", security(("token" = [])), responses(
    (status = 200, description = "Those that the token may see, by name", body = Vec<KeyspaceResource>),
    (status = 401, description = "No valid token", body = Problem),
    (status = 503, description = "The control state is not open here", body = Problem)))]
pub(crate) async fn list(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<KeyspaceResource>>, Problem> {
    let mut keyspaces = cluster(&handles)?.keyspaces().await?;
    keyspaces.retain(|space| {
        Namespace::parse_text(&space.namespace).is_ok_and(|namespace| caller.sees(&namespace))
    });
    Ok(Json(keyspaces))
}
