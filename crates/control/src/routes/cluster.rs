//! Nodes, PoPs, voters and tickets. They belong to no namespace: only tokens for all of them may change them.

use crate::auth::Caller;
use crate::cluster::Cluster;
use crate::handles::{Handles, StateError};
use crate::problem::Problem;
use crate::wire::{
    ChooseLeader, ChooseVoters, ClusterNode, CreateTicket, NewTicket, PopInfo, RolloutNode, TicketInfo,
    Voters,
};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use selvedge_mesh::ticket::{NodeRole, TTL};
use std::time::Duration;

pub(super) fn cluster(handles: &Handles) -> Result<&Cluster, Problem> {
    let gone = || StateError::Unavailable("the control state could not be opened on this node".into()).into();
    handles.cluster.as_ref().ok_or_else(gone)
}

/// The nodes of the cluster.
#[utoipa::path(get, path = "/v1/nodes", tag = "cluster", security(("token" = [])), responses(
    (status = 200, description = "The nodes, by name", body = Vec<ClusterNode>),
    (status = 401, description = "No valid token", body = Problem),
    (status = 503, description = "The control state is not open here", body = Problem)))]
pub(crate) async fn nodes(State(handles): State<Handles>) -> Result<Json<Vec<ClusterNode>>, Problem> {
    Ok(Json(cluster(&handles)?.nodes()))
}

/// Which revision, and for how long it is waited for.
#[derive(Debug, Clone, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutQuery {
    /// The revision.
    revision: u64,
    /// How long it is waited for, in milliseconds: up to 20,000.
    #[serde(default)]
    wait_ms: u64,
}

/// How far each node is with a revision of sites and settings.
#[utoipa::path(get, path = "/v1/rollout", tag = "cluster", security(("token" = [])), params(RolloutQuery), responses(
    (status = 200, description = "The nodes, by name", body = Vec<RolloutNode>),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 503, description = "The control state is not open here", body = Problem)))]
pub(crate) async fn rollout(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<RolloutQuery>,
) -> Result<Json<Vec<RolloutNode>>, Problem> {
    let patience = Duration::from_millis(query.wait_ms.min(ROLLOUT_WAIT_MAX_MS)) + ROLLOUT_ANSWER;
    let mut nodes = cluster(&handles)?.rollout(query.revision, patience).await;
    if caller.namespace.is_some() {
        // They may name any site.
        nodes.iter_mut().filter(|node| node.revision > 0).for_each(|node| node.problems.clear());
    }
    Ok(Json(nodes))
}

/// The longest that a node is waited for.
const ROLLOUT_WAIT_MAX_MS: u64 = 20_000;

/// How long it may take to ask a node that need not wait.
const ROLLOUT_ANSWER: Duration = Duration::from_secs(2);

/// The points of presence.
#[utoipa::path(get, path = "/v1/pops", tag = "cluster", security(("token" = [])), responses(
    (status = 200, description = "The points of presence, by name", body = Vec<PopInfo>),
    (status = 401, description = "No valid token", body = Problem),
    (status = 503, description = "The control state is not open here", body = Problem)))]
pub(crate) async fn pops(State(handles): State<Handles>) -> Result<Json<Vec<PopInfo>>, Problem> {
    Ok(Json(cluster(&handles)?.pops()))
}

/// Who decides about the control state.
#[utoipa::path(get, path = "/v1/voters", tag = "cluster", security(("token" = [])), responses(
    (status = 200, description = "Who votes, leads and follows", body = Voters),
    (status = 401, description = "No valid token", body = Problem),
    (status = 503, description = "The control state is not open here", body = Problem)))]
pub(crate) async fn voters(State(handles): State<Handles>) -> Result<Json<Voters>, Problem> {
    Ok(Json(cluster(&handles)?.voters()))
}

/// Choose who votes.
#[utoipa::path(post, path = "/v1/voters", tag = "cluster", security(("token" = [])), request_body = ChooseVoters, responses(
    (status = 200, description = "They vote", body = Voters),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token for all namespaces", body = Problem),
    (status = 404, description = "There is no such node", body = Problem),
    (status = 422, description = "These cannot be the voters", body = Problem),
    (status = 503, description = "No change can be made now", body = Problem),
    (status = 504, description = "The choice is not in force yet, or whether it was made is unknown", body = Problem)))]
pub(crate) async fn choose_voters(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Json(wanted): Json<ChooseVoters>,
) -> Result<Json<Voters>, Problem> {
    caller.check_whole("the voters")?;
    tracing::info!(voters = ?wanted.voters, by = caller.token, "voters chosen");
    Ok(Json(cluster(&handles)?.choose_voters(wanted.voters).await?))
}

/// Choose who leads.
#[utoipa::path(post, path = "/v1/leader", tag = "cluster", security(("token" = [])), request_body = ChooseLeader, responses(
    (status = 200, description = "It leads", body = Voters),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token for all namespaces", body = Problem),
    (status = 404, description = "There is no such node", body = Problem),
    (status = 422, description = "It does not vote", body = Problem),
    (status = 503, description = "No change can be made now", body = Problem),
    (status = 504, description = "It does not lead yet", body = Problem)))]
pub(crate) async fn choose_leader(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Json(wanted): Json<ChooseLeader>,
) -> Result<Json<Voters>, Problem> {
    caller.check_whole("the leader")?;
    Ok(Json(cluster(&handles)?.choose_leader(&wanted.leader).await?))
}

/// Have a node take no new work.
#[utoipa::path(post, path = "/v1/nodes/{name}/drain", tag = "cluster", security(("token" = [])),
    params(("name" = String, Path, description = "The node's name")), responses(
    (status = 204, description = "It is drained"),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token for all namespaces", body = Problem),
    (status = 404, description = "There is no such node", body = Problem),
    (status = 503, description = "No change can be made now", body = Problem)))]
pub(crate) async fn drain(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    set_draining(&handles, &caller, name, true).await
}

/// Have a node take work again.
#[utoipa::path(post, path = "/v1/nodes/{name}/undrain", tag = "cluster", security(("token" = [])),
    params(("name" = String, Path, description = "The node's name")), responses(
    (status = 204, description = "It takes work"),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token for all namespaces", body = Problem),
    (status = 404, description = "There is no such node", body = Problem),
    (status = 503, description = "No change can be made now", body = Problem)))]
pub(crate) async fn undrain(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    set_draining(&handles, &caller, name, false).await
}

async fn set_draining(
    handles: &Handles,
    caller: &Caller,
    name: String,
    draining: bool,
) -> Result<StatusCode, Problem> {
    caller.check_whole("a node")?;
    cluster(handles)?.drain(name, draining).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a node out of the cluster, for good.
#[utoipa::path(delete, path = "/v1/nodes/{name}", tag = "cluster", security(("token" = [])),
    params(("name" = String, Path, description = "The node's name")), responses(
    (status = 204, description = "It is no node of the cluster any more"),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token for all namespaces", body = Problem),
    (status = 404, description = "There is no such node", body = Problem),
    (status = 409, description = "It is the last one", body = Problem),
    (status = 503, description = "No change can be made now", body = Problem)))]
pub(crate) async fn remove(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.check_whole("a node")?;
    tracing::info!(node = name, by = caller.token, "node removed");
    cluster(&handles)?.remove(name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The tickets, without their secrets.
#[utoipa::path(get, path = "/v1/tickets", tag = "cluster", security(("token" = [])), responses(
    (status = 200, description = "The tickets, the newest first", body = Vec<TicketInfo>),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token for all namespaces", body = Problem),
    (status = 503, description = "The control state is not open here", body = Problem)))]
pub(crate) async fn tickets(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<TicketInfo>>, Problem> {
    caller.check_whole("tickets")?;
    Ok(Json(cluster(&handles)?.tickets()))
}

/// Make a ticket. Its text is in the answer, and nowhere else.
#[utoipa::path(post, path = "/v1/tickets", tag = "cluster", security(("token" = [])), request_body = CreateTicket, responses(
    (status = 201, description = "It is made", body = NewTicket),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token for all namespaces", body = Problem),
    (status = 409, description = "There are too many", body = Problem),
    (status = 422, description = "No ticket can be so", body = Problem),
    (status = 503, description = "No change can be made now", body = Problem)))]
pub(crate) async fn create_ticket(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Json(wanted): Json<CreateTicket>,
) -> Result<(StatusCode, Json<NewTicket>), Problem> {
    caller.check_whole("a ticket")?;
    let ttl = wanted.ttl.map_or(TTL, Duration::from_secs);
    let role = wanted.role.map_or(NodeRole::Voter, NodeRole::from);
    let (info, ticket) = cluster(&handles)?.issue_ticket(role, wanted.uses.unwrap_or(1), ttl).await?;
    tracing::info!(ticket = info.id, uses = info.uses, by = caller.token, "ticket made");
    Ok((StatusCode::CREATED, Json(NewTicket { info, ticket })))
}

/// Take a ticket back: it lets nobody in any more.
#[utoipa::path(delete, path = "/v1/tickets/{id}", tag = "cluster", security(("token" = [])),
    params(("id" = String, Path, description = "The ticket's id, or how it begins")), responses(
    (status = 204, description = "It is revoked"),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token for all namespaces", body = Problem),
    (status = 404, description = "There is no such ticket", body = Problem),
    (status = 422, description = "Several begin so", body = Problem),
    (status = 503, description = "No change can be made now", body = Problem)))]
pub(crate) async fn revoke_ticket(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.check_whole("a ticket")?;
    cluster(&handles)?.revoke_ticket(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
