//! The live log of requests.

use crate::auth::Caller;
use crate::handles::{Handles, RequestLine, RequestLines};
use crate::problem::Problem;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;
use selvedge_types::resource::Namespace;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// How much is put into one piece, in bytes, when lines come faster than they are sent.
const PIECE_BYTES: usize = 32 << 10;

/// Follow requests as they are answered: one JSON object a line, as in the access log. A line
/// `{"missed": N}` stands for N requests that came faster than they could be told of.
#[utoipa::path(get, path = "/v1/requests", tag = "node", security(("token" = [])), responses(
    (status = 200, description = "Lines, until the client goes", body = str, content_type = "application/x-ndjson"),
    (status = 401, description = "No valid token", body = Problem),
    (status = 503, description = "Too many follow already", body = Problem)))]
pub(crate) async fn follow(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let Some(lines) = handles.requests.follow() else {
        let detail = "too many clients follow the requests already; try again when one has gone";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "limit", detail));
    };
    let tasks = handles.tasks.clone();
    let stopping = Box::pin(async move { tasks.stopped().await });
    let body = Body::new(LineBody { lines, caller, stopping, done: false });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Lines as content: what is there is sent at once, as one piece.
struct LineBody {
    lines: Box<dyn RequestLines>,
    caller: Caller,
    /// Resolves when the node stops; followers then end instead of holding it.
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    done: bool,
}

impl LineBody {
    /// What is for no site is for those alone who see all.
    fn sees(&self, namespace: Option<&Namespace>) -> bool {
        match namespace {
            Some(namespace) => self.caller.sees(namespace),
            None => self.caller.namespace.is_none(),
        }
    }

    fn push(&self, line: RequestLine, out: &mut Vec<u8>) {
        match line {
            RequestLine::Entry { namespace, json } if self.sees(namespace.as_ref()) => {
                out.extend_from_slice(json.as_bytes());
                out.push(b'\n');
            }
            RequestLine::Entry { .. } => {}
            RequestLine::Missed(count) => {
                out.extend_from_slice(format!("{{\"missed\":{count}}}\n").as_bytes())
            }
        }
    }
}

impl http_body::Body for LineBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut piece = Vec::new();
        self.done |= self.stopping.as_mut().poll(cx).is_ready();
        while !self.done && piece.len() < PIECE_BYTES {
            match self.lines.poll_line(cx) {
                Poll::Ready(Some(line)) => self.push(line, &mut piece),
                Poll::Ready(None) => self.done = true,
                Poll::Pending => break,
            }
        }
        if !piece.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(piece.into()))));
        }
        if self.done { Poll::Ready(None) } else { Poll::Pending }
    }
}
