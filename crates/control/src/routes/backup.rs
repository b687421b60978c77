//! A backup of everything that the cluster keeps.

use super::cluster::cluster;
use crate::auth::Caller;
use crate::handles::{Handles, StateError};
use crate::kv::form::read_level;
use crate::problem::Problem;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;
use selvedge_rt::Tasks;
use selvedge_state::BackupParts;
use serde::Deserialize;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

/// Which backup is taken.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupOptions {
    /// What of the last changes is in it, as for keys: `linearizable` (the default), `session=REVISION`, `bounded=TIME`
    /// or `local`.
    read: Option<String>,
}

/// Take a backup: sites, settings, tokens and all keyspaces as of now, with everything that was acknowledged before.
/// It comes as one file, which `selvedge up --new --restore FILE` begins a new cluster with.
///
/// `read=local` takes what this node has, without asking others: all that can be had when most voters are lost.
#[utoipa::path(get, path = "/v1/backup", tag = "cluster", security(("token" = [])), params(BackupOptions), responses(
    (status = 200, description = "The backup; one that was cut off has no end, and is refused when it is read",
        body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "The token is for one namespace, or not an admin's", body = Problem),
    (status = 422, description = "There is no such way to read", body = Problem),
    (status = 503, description = "No leader is reached, or backups are being taken already", body = Problem)))]
pub(crate) async fn backup(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Query(options): Query<BackupOptions>,
) -> Result<Response, Problem> {
    caller.check_whole("a backup is of the whole cluster")?;
    let level = read_level(options.read.as_deref())?;
    let cluster = cluster(&handles)?;
    let Ok(permit) = cluster.backups.clone().try_acquire_owned() else {
        let detail = "this node takes as many backups already as it may; try again when one is done";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "limit", detail));
    };
    let parts = cluster.backup(level).await.map_err(|error| match error {
        StateError::Unavailable(why) => StateError::Unavailable(format!(
            "{why}; with `read=local` (`selvedge backup create --read local`) a backup has what this node has seen"
        )),
        other => other,
    })?;
    let body =
        BackupBody { parts: Some(parts), reading: None, tasks: handles.tasks.clone(), _permit: permit };
    let name = "attachment; filename=\"selvedge.backup\"";
    let fields = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CONTENT_DISPOSITION, name)];
    Ok((fields, Body::new(body)).into_response())
}

type Reading = Pin<Box<dyn Future<Output = io::Result<(BackupParts, io::Result<Option<Vec<u8>>>)>> + Send>>;

/// A backup as content: the next part is read when the one before is sent.
struct BackupBody {
    /// Away while a part is read.
    parts: Option<BackupParts>,
    reading: Option<Reading>,
    tasks: Tasks,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for BackupBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(mut parts) = self.parts.take() {
            let tasks = self.tasks.clone();
            self.reading = Some(Box::pin(async move {
                let read = tasks.blocking("backup", move || {
                    let part = parts.next_part().map_err(io::Error::other);
                    (parts, part)
                });
                read.await
            }));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(match read {
            Ok((parts, Ok(Some(part)))) => {
                self.parts = Some(parts);
                Some(Ok(Frame::data(part.into())))
            }
            Ok((_, Ok(None))) => None,
            Ok((_, Err(error))) | Err(error) => {
                tracing::warn!(%error, "a backup breaks off");
                Some(Err(error))
            }
        })
    }
}
