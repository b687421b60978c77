//! The origin that `estimate --live --origin` is: it answers as the log says, fresh for the stated time.

use crate::cli::Failure;
use crate::files::{Facts, Plan, Representation, plan};
use bytes::Bytes;
use selvedge_cache::estimate::is_cacheable;
use selvedge_exchange::{Body, BodyError, BodyStream, Frame, Handler, Reply, Request, Response};
use selvedge_gateway::front::{Endpoint, Front, FrontOptions};
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Net, OnEnd, Tasks};
use selvedge_types::resource::Period;
use selvedge_types::{Method, Status, name};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Content is sent in pieces of this size, in bytes.
const PIECE: &[u8] = &[b'x'; 64 << 10];

/// How the request that is under way is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// With this status.
    pub(super) status: Status,
    /// With that many bytes of content.
    pub(super) bytes: u64,
}

/// The origin; it answers every request as it was told last.
#[derive(Clone)]
pub(super) struct StandIn {
    answer: Arc<Mutex<Answer>>,
    ttl: Period,
    clock: Clock,
}

impl StandIn {
    /// An origin whose cacheable answers are fresh for `ttl`.
    pub(super) fn new(ttl: Period) -> Self {
        let answer = Answer { status: Status::OK, bytes: 0 };
        StandIn { answer: Arc::new(Mutex::new(answer)), ttl, clock: Clock::real() }
    }

    /// Says how the next request is answered.
    pub(super) fn expect(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// Listens.
    pub(super) async fn start(&self, listen: SocketAddr, tasks: &Tasks) -> Result<(), Failure> {
        let options = FrontOptions::default();
        let front = Front::new(Arc::new(self.clone()), options, self.clock.clone(), &Registry::default());
        let bound = Net::Real.bind(listen).await;
        let listener = bound.map_err(|e| {
            Failure::failed(format!("cannot be the origin at {listen}"))
                .because(e)
                .next("--origin is the address that the site's manifest names as its origin")
        })?;
        tasks.spawn("origin", OnEnd::Forget, front.serve(listener, Endpoint::default(), tasks.clone()));
        Ok(())
    }

    fn respond(&self, request: &Request, Answer { status, bytes }: Answer) -> Response {
        let etag = format!("\"{bytes:x}\"");
        let there = Representation {
            media_type: "application/octet-stream",
            len: bytes,
            etag: &etag,
            modified: None,
        };
        let facts = Facts { method: &request.method, fields: &request.fields, now: self.clock.wall() };
        let planned = plan(&facts, &there);
        let is_read = matches!(request.method, Method::Get | Method::Head);
        let Plan { status, fields, part } = match status == Status::OK && is_read {
            true => planned,
            false => Plan { status, part: Some(0..bytes), ..planned },
        };
        let mut response = Response::new(status);
        response.fields = fields;
        let control = match is_cacheable(status.code()) {
            true => format!("max-age={}", self.ttl.as_secs()),
            false => "no-store".to_owned(),
        };
        // What is put here is made of visible characters.
        let _ = response.fields.add(name::CACHE_CONTROL, control);
        if let Some(part) = part.filter(|_| request.method != Method::Head && !status.has_no_content()) {
            response.body = Body::Stream(Box::new(Filler { left: part.end - part.start }));
        }
        response
    }
}

impl Handler for StandIn {
    fn handle(&self, request: Request) -> Reply {
        let answer = *self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        Reply::Now(self.respond(&request, answer))
    }
}

/// So many bytes of no meaning.
struct Filler {
    left: u64,
}

impl BodyStream for Filler {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE.len());
        self.left -= len as u64;
        let piece = PIECE.get(..len).filter(|piece| !piece.is_empty());
        Poll::Ready(piece.map(|piece| Ok(Frame::Data(Bytes::from_static(piece)))))
    }

    fn length(&self) -> Option<u64> {
        Some(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_exchange::Client;
    use selvedge_types::UnixMillis;

    #[test]
    fn it_answers_as_it_is_told() {
        let stand_in = StandIn::new(Period::from_secs(60));
        let address = "127.0.0.1:1".parse().unwrap();
        let ask = |status, bytes| {
            let request = Request {
                method: Method::Get,
                scheme: selvedge_types::Scheme::Http,
                authority: "a".into(),
                target: "/".into(),
                version: selvedge_types::Version::Http11,
                fields: Default::default(),
                body: Body::Empty,
                client: Client { addr: address, local: address },
                received: UnixMillis(0),
            };
            let answer = Answer { status: Status::new(status).unwrap(), bytes };
            let response = stand_in.respond(&request, answer);
            let control = response.fields.get_str(name::CACHE_CONTROL).unwrap().to_owned();
            (response.status.code(), response.body.length(), control)
        };
        assert_eq!(ask(200, 10), (200, Some(10), "max-age=60".into()));
        assert_eq!(ask(404, 5), (404, Some(5), "max-age=60".into()));
        assert_eq!(ask(204, 5), (204, Some(0), "max-age=60".into()));
        assert_eq!(ask(500, 5), (500, Some(5), "no-store".into()));
    }
}
