//! How the node is.

use crate::auth::Caller;
use crate::handles::Handles;
use crate::problem::Problem;
use crate::routes::cache::visible;
use crate::wire::Status;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use selvedge_observe::machine::Machine;

/// The node, its cache and traffic, and its machine.
#[utoipa::path(get, path = "/v1/status", tag = "node", security(("token" = [])), responses(
    (status = 200, description = "How it is", body = Status),
    (status = 401, description = "No valid token", body = Problem)))]
pub(crate) async fn status(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Status>, Problem> {
    let data = handles.data.clone();
    let machine = handles.tasks.blocking("read the machine", move || Machine::read(data.as_deref())).await;
    let machine =
        machine.map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", e.to_string()))?;
    Ok(Json(Status {
        node: handles.node.info(),
        revision: handles.state.declared().revision,
        checks: handles.node.checks(),
        problems: problems(&handles, &caller),
        cache: visible(handles.cache.stats(), &caller),
        machine: machine.into(),
        now_ms: handles.clock.wall().0,
    }))
}

/// What does not work here as declared; it may name any site.
pub(crate) fn problems(handles: &Handles, caller: &Caller) -> Vec<String> {
    if caller.namespace.is_some() { Vec::new() } else { handles.node.problems() }
}
