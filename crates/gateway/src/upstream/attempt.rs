//! One try: a slot, a connection, an exchange.

use super::connect::{Connected, connect};
use super::endpoint::{Endpoint, Speaks};
use super::error::{FetchError, Stage};
use super::group::Group;
use super::h1::{self, BodyTimes, Broken, OriginTunnel};
use super::hop::strip_response;
use super::http2;
use super::lease::Lease;
use super::outgoing::Outgoing;
use super::upload::Upload;
use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::{Body, Response};
use selvedge_types::resource::OriginProtocol;
use selvedge_types::{Fields, Scheme, Status, Version, name};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// A connection to send over.
enum Line {
    Http1(Box<h1::Conn>),
    Http2(http2::Lent),
}

/// Sends the request to `endpoint` once. `fresh`: not over a connection used before.
pub(super) async fn attempt(
    group: &Arc<Group>,
    endpoint: &Arc<Endpoint>,
    request: &Outgoing<'_>,
    upload: Upload,
    fresh: bool,
) -> Result<Response, Broken> {
    let until = Instant::now().checked_add(request.times.connect).map_or(request.due, |t| t.min(request.due));
    let lease = match Lease::take(group, endpoint, until).await {
        Ok(lease) => lease,
        Err(error) => return Err(Broken { error, upload }),
    };
    let line = match line(group, endpoint, request, fresh, until).await {
        Ok(line) => line,
        Err(error) => return Err(Broken { error, upload }),
    };
    let sent = Instant::now();
    let times = BodyTimes { idle: request.times.idle, due: request.due };
    match line {
        Line::Http1(conn) => {
            let mut answer = h1::exchange(conn, request, upload).await?;
            group.handle_answer(endpoint, answer.head.status, sent.elapsed());
            let (status, version) = (answer.head.status, answer.head.version);
            let fields = std::mem::take(&mut answer.head.fields);
            if status.code() == 101 {
                return Ok(switched(status, fields, OriginTunnel::new(answer.conn, lease)));
            }
            Ok(respond(status, version, fields, h1::content_of(answer, lease, times)))
        }
        Line::Http2(lent) => {
            let answer = http2::exchange(lent, request, upload).await?;
            group.handle_answer(endpoint, answer.status, sent.elapsed());
            let (status, fields, body) = http2::content_of(answer, request.method, lease, times);
            Ok(respond(status, Version::Http2, fields, body))
        }
    }
}

fn respond(status: Status, version: Version, mut fields: Fields, body: Body) -> Response {
    strip_response(&mut fields);
    if !matches!(body, Body::Empty) {
        // The body knows its length; where there is none the field says what GET would have had.
        fields.remove(name::CONTENT_LENGTH);
    }
    Response { fields, body, version, ..Response::new(status) }
}

fn switched(status: Status, mut fields: Fields, tunnel: OriginTunnel) -> Response {
    let upgrade = fields.joined(name::UPGRADE);
    strip_response(&mut fields);
    if let Some(upgrade) = upgrade {
        // Its parts were field values just now.
        let _ = fields.add(name::UPGRADE, upgrade);
    }
    Response { fields, tunnel: Some(Box::new(tunnel)), ..Response::new(status) }
}

async fn line(
    group: &Group,
    endpoint: &Endpoint,
    request: &Outgoing<'_>,
    fresh: bool,
    until: Instant,
) -> Result<Line, FetchError> {
    let upgrade = request.upgrade;
    let needs_http1 = upgrade || request.codings.is_some();
    let may_be_http2 = !needs_http1
        && match group.origin.protocol {
            OriginProtocol::H2 => true,
            OriginProtocol::Auto => {
                endpoint.place.scheme == Scheme::Https && endpoint.speaks() != Speaks::Http1
            }
            OriginProtocol::H1 => false,
        };
    if may_be_http2 {
        return http2_line(group, endpoint, until).await;
    }
    if let Some(conn) = (!fresh && !upgrade).then(|| endpoint.pool.take(Instant::now())).flatten() {
        group.counters().reused.inc();
        return Ok(Line::Http1(conn));
    }
    connect(group, endpoint, needs_http1, until).await.map(|connected| opened(endpoint, connected))
}

/// A stream of a connection that is there, or a connection that all who wait for one share. Once it is known that there
/// is none to be shared each has its own, beside the others.
async fn http2_line(group: &Group, endpoint: &Endpoint, until: Instant) -> Result<Line, FetchError> {
    let take = || {
        let lent = endpoint.http2.take(Instant::now())?;
        group.counters().reused.inc();
        Some(Line::Http2(lent))
    };
    if let Some(line) = take() {
        return Ok(line);
    }
    let Ok(connecting) = timeout_at(until, endpoint.http2.connecting.lock()).await else {
        let detail = "could not be connected to in time";
        return Err(FetchError::new(ProxyError::ConnectionTimeout, Stage::Unsent, detail));
    };
    if let Some(line) = take() {
        return Ok(line);
    }
    let shares = group.origin.protocol == OriginProtocol::H2 || endpoint.speaks() != Speaks::Http1;
    let _connecting = shares.then_some(connecting);
    connect(group, endpoint, false, until).await.map(|connected| opened(endpoint, connected))
}

fn opened(endpoint: &Endpoint, connected: Connected) -> Line {
    match connected {
        Connected::Http1(conn) => Line::Http1(conn),
        Connected::Http2(conn) => Line::Http2(endpoint.http2.put(conn, Instant::now())),
    }
}
