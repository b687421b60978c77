//! What happened in the cluster.

use super::cluster::cluster;
use crate::auth::Caller;
use crate::cluster::{EventLines, LIMIT_MAX, Wanted};
use crate::handles::Handles;
use crate::problem::Problem;
use crate::wire::{EventLine, EventList};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http_body::Frame;
use selvedge_types::Hlc;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// How many events are told unless it is said.
const LIMIT: usize = 1_000;

/// Which events.
#[derive(Debug, Clone, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Those after this one, by its `at`: the first ones. Without it, and without `since_ms`, the last ones.
    after: Option<String>,
    /// Those from that time on, in milliseconds since 1970.
    since_ms: Option<u64>,
    /// How many: 1,000 unless it is said, 10,000 at most.
    limit: Option<usize>,
    /// Only those of these kinds, separated by commas.
    kind: Option<String>,
    /// Only those that this node told, or that are about it.
    node: Option<String>,
}

impl EventsQuery {
    fn after(&self) -> Result<Option<Hlc>, Problem> {
        let wrong = || Problem::invalid("`after` is the `at` of an event: 16 hexadecimal digits");
        let bits = self.after.as_deref().map(|text| u64::from_str_radix(text, 16).map_err(|_| wrong()));
        let since = self.since_ms.map(|ms| Hlc::from_bits((ms.min((1 << 48) - 1) << 16).saturating_sub(1)));
        Ok(bits.transpose()?.map(Hlc::from_bits).max(since))
    }

    fn wanted(&self, caller: &Caller) -> Wanted {
        let kinds = self.kind.as_deref().unwrap_or_default().split(',').map(str::trim);
        Wanted {
            kinds: kinds.filter(|kind| !kind.is_empty()).map(str::to_owned).collect(),
            node: self.node.clone(),
            namespace: caller.namespace.clone(),
        }
    }
}

/// What happened in the cluster, in causal order, as the nodes tell that are reached. A token for one namespace is told of
/// that namespace alone.
#[utoipa::path(get, path = "/v1/events", tag = "cluster", security(("token" = [])), params(EventsQuery), responses(
    (status = 200, description = "The events, and the nodes that were not reached", body = EventList),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 503, description = "The control state is not open here", body = Problem)))]
pub(crate) async fn events(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventList>, Problem> {
    let (after, wanted) = (query.after()?, query.wanted(&caller));
    let limit = query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    Ok(Json(cluster(&handles)?.events(after, limit, &wanted).await))
}

/// Follow what happens in the cluster: one JSON object a line. An event of a node that was reached late comes late.
#[utoipa::path(get, path = "/v1/events/follow", tag = "cluster", security(("token" = [])), params(EventsQuery),
    responses(
    (status = 200, description = "Lines, until the client goes", body = EventLine,
        content_type = "application/x-ndjson"),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 503, description = "The control state is not open here, or too many follow already", body = Problem)))]
pub(crate) async fn follow(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Problem> {
    let cluster = cluster(&handles)?;
    let after = query.after()?.unwrap_or_else(|| Hlc::from_bits(handles.clock.wall().0 << 16));
    let Some(lines) = cluster.follow_events(after, query.wanted(&caller), &handles.tasks) else {
        let detail = "too many clients follow the events at this node already; ask another node";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "limit", detail));
    };
    let fields = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((fields, Body::new(LinesBody(lines))).into_response())
}

struct LinesBody(EventLines);

impl http_body::Body for LinesBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line: Option<EventLine> = ready!(self.0.poll_recv(cx));
        Poll::Ready(line.map(|line| {
            // No type here refuses to be written.
            let mut text = serde_json::to_vec(&line).unwrap_or_default();
            text.push(b'\n');
            Ok(Frame::data(text.into()))
        }))
    }
}
