//! Users' keyspaces: keys, transactions and sessions. A viewer reads, a deployer writes, in their namespace.

use super::parse;
use crate::auth::Caller;
use crate::handles::{Handles, StateError};
use crate::kv::Space;
use crate::problem::Problem;
use crate::wire::{KvChanged, KvDelete, KvPut, KvRange, KvRead, KvSession, KvTxn, KvTxnDone};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use selvedge_types::resource::{KeyspaceId, KeyspaceName, Namespace};
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
    let gone = || StateError::Unavailable("the control state could not be opened on this node".into());
    let cluster = handles.cluster.as_ref().ok_or_else(gone)?;
    Ok(Space { cluster, id })
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
        let detail = format!("this needs the role {}; the token {:?} has {}", Role::Deployer, caller.token, caller.role);
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
