//! Opens connections: TCP, TLS, and the protocol that was agreed on.

use super::endpoint::{Endpoint, Speaks};
use super::error::{FetchError, Stage};
use super::group::Group;
use super::h1;
use super::http2;
use super::io::Io;
use super::tls;
use selvedge_cache::semantics::ProxyError;
use selvedge_rt::Stream;
use selvedge_types::Scheme;
use selvedge_types::resource::OriginProtocol;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// While an endpoint's other address is left to try, the first one has this long, and half the time there is at most.
const FIRST_ADDRESS_TIME: Duration = Duration::from_secs(1);

/// A new connection.
pub(super) enum Connected {
    Http1(Box<h1::Conn>),
    Http2(http2::Conn),
}

/// Connects to `endpoint`, `until` at the latest. Dropping the future gives the attempt up.
pub(super) async fn connect(
    group: &Group,
    endpoint: &Endpoint,
    http1_only: bool,
    until: Instant,
) -> Result<Connected, FetchError> {
    endpoint.pool.make_room();
    let late = |_| {
        let detail = "could not be connected to in time";
        FetchError::new(ProxyError::ConnectionTimeout, Stage::Unsent, detail)
    };
    timeout_at(until, connect_now(group, endpoint, http1_only, until)).await.unwrap_or_else(|e| Err(late(e)))
}

async fn connect_now(
    group: &Group,
    endpoint: &Endpoint,
    http1_only: bool,
    until: Instant,
) -> Result<Connected, FetchError> {
    let stream = connect_tcp(group, endpoint, until).await?;
    group.counters().opened.inc();
    let is_http2 = |agreed: bool| agreed && !http1_only;
    let (io, http2) = match endpoint.place.scheme {
        Scheme::Http => (Io::Plain(stream), is_http2(group.origin.protocol == OriginProtocol::H2)),
        Scheme::Https => {
            let stream = connect_tls(group, endpoint, stream, http1_only).await?;
            let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            if !http1_only {
                endpoint.set_speaks(if agreed { Speaks::Http2 } else { Speaks::Http1 });
            }
            // Without an agreement an origin that must speak HTTP/2 is taken at its word.
            let agreed = agreed || group.origin.protocol == OriginProtocol::H2;
            (Io::Tls(Box::new(stream)), is_http2(agreed))
        }
    };
    if http2 {
        return http2::Conn::open(io, &group.seams.tasks).await.map(Connected::Http2);
    }
    Ok(Connected::Http1(h1::Conn::new(io)))
}

/// Tries the endpoint's addresses in turn.
async fn connect_tcp(group: &Group, endpoint: &Endpoint, until: Instant) -> Result<Stream, FetchError> {
    let (first, other) = endpoint.addrs();
    let Some(other) = other else {
        return group.seams.net.connect(first).await.map_err(|e| refused(first, &e));
    };
    let first_time = FIRST_ADDRESS_TIME.min(until.saturating_duration_since(Instant::now()) / 2);
    if let Ok(Ok(stream)) = timeout(first_time, group.seams.net.connect(first)).await {
        endpoint.prefer(first);
        return Ok(stream);
    }
    let stream = group.seams.net.connect(other).await.map_err(|e| refused(other, &e))?;
    endpoint.prefer(other);
    Ok(stream)
}

fn refused(addr: SocketAddr, error: &io::Error) -> FetchError {
    let kind = match error.kind() {
        ErrorKind::ConnectionRefused => ProxyError::ConnectionRefused,
        ErrorKind::TimedOut => ProxyError::ConnectionTimeout,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
            ProxyError::DestinationIpUnroutable
        }
        _ => ProxyError::ConnectionRefused,
    };
    FetchError::new(kind, Stage::Unsent, format!("connecting to {addr}: {error}"))
}

async fn connect_tls(
    group: &Group,
    endpoint: &Endpoint,
    stream: Stream,
    http1_only: bool,
) -> Result<tokio_rustls::client::TlsStream<Stream>, FetchError> {
    let (Some(tls), Some(name)) = (&group.tls, endpoint.place.server_name.clone()) else {
        let detail = "its name cannot be verified in TLS: set `sni`";
        return Err(FetchError::new(ProxyError::TlsProtocolError, Stage::Unsent, detail));
    };
    let config = if http1_only { &tls.http1 } else { &tls.usual };
    let connecting = TlsConnector::from(config.clone()).connect(name, stream);
    connecting.await.map_err(|e| FetchError::new(tls::kind_of(&e), Stage::Unsent, format!("TLS: {e}")))
}
