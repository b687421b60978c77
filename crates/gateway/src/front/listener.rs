//! From a listening socket to connections that are served.

use super::connection::{Front, Link, within};
use super::counters::Cause;
use super::http1;
use super::http2;
use super::proxy_protocol::{self, HEADER_BYTES_MAX};
use super::rewind::Rewind;
use super::tls::Tls;
use selvedge_exchange::Client;
use selvedge_rt::{Listener, OnEnd, Stream, Tasks};
use selvedge_types::Scheme;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// How the connections of a listener begin.
#[derive(Clone, Default)]
pub struct Endpoint {
    /// Encrypted by this, or in cleartext.
    pub tls: Option<Tls>,
    /// Each connection begins with a PROXY protocol header. Only for a port that nothing but a load balancer
    /// can reach: whoever connects says who it is.
    pub proxy_protocol: bool,
}

/// How long to wait when the machine has no descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Front {
    /// Accepts connections until `tasks` are told to stop, and serves each in a task of theirs on this
    /// thread's runtime. Idle connections then close; others end their exchanges, within
    /// [`Timeouts::drain`](super::Timeouts::drain).
    pub async fn serve(self: Arc<Self>, listener: Listener, endpoint: Endpoint, tasks: Tasks) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = tasks.stopped() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, &listener, &endpoint, &tasks),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted for now");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(
        self: &Arc<Self>,
        stream: Stream,
        peer: SocketAddr,
        listener: &Listener,
        endpoint: &Endpoint,
        tasks: &Tasks,
    ) {
        let limits = &self.options.connections;
        let admitted = self.admission.admit(limits).and_then(|mut place| {
            if !endpoint.proxy_protocol {
                place.name_client(peer.ip(), limits)?;
            }
            Ok(place)
        });
        let place = match admitted {
            Ok(place) => place,
            Err(cause) => {
                self.counters.cut(cause);
                return;
            }
        };
        let local = stream.local_addr().or_else(|| listener.local_addr().ok()).unwrap_or(peer);
        let link = Link::new(self.clone(), Client { addr: peer, local }, tasks.clone(), place);
        let endpoint = endpoint.clone();
        tasks.spawn("client connection", OnEnd::Forget, begin(stream, link, endpoint));
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted)
}

/// What stands before HTTP: the PROXY header, the TLS handshake.
async fn begin(stream: Stream, mut link: Link, endpoint: Endpoint) {
    let mut io = Rewind::new(Vec::new(), stream);
    if endpoint.proxy_protocol {
        match Box::pin(read_proxy_header(io, &mut link)).await {
            Some(after) => io = after,
            None => return,
        }
    }
    let Some(tls) = endpoint.tls else {
        return http1::serve(io, link, true).await;
    };
    // What a handshake needs is given back when it is over: a connection is idle for most of its life.
    let begun = Box::pin(begin_tls(io, link, tls)).await;
    if let Some(serving) = begun {
        serving.await;
    }
}

/// Shakes hands; what then serves the connection, if it succeeds.
async fn begin_tls(io: Rewind<Stream>, mut link: Link, tls: Tls) -> Option<Serving> {
    let limit = link.front.options.timeouts.handshake;
    let io = match within(limit, tls.accept(io)).await {
        Some(Ok(io)) => io,
        Some(Err(error)) => {
            tracing::debug!(client = %link.client.addr, %error, "TLS handshake failed");
            link.count(Cause::Tls);
            return None;
        }
        None => {
            link.count(Cause::HandshakeTimeout);
            return None;
        }
    };
    link.scheme = Scheme::Https;
    Some(if Tls::speaks_http2(&io) {
        Box::pin(http2::serve(io, link))
    } else {
        Box::pin(http1::serve(io, link, false))
    })
}

/// A connection being served.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Reads the PROXY header and takes the client's address from it; None if the connection is not to be served.
async fn read_proxy_header(mut io: Rewind<Stream>, link: &mut Link) -> Option<Rewind<Stream>> {
    let limit = link.front.options.timeouts.handshake;
    let read = async {
        let mut buf = Vec::with_capacity(256);
        loop {
            if let Some((proxied, used)) = proxy_protocol::parse(&buf).map_err(|_| Cause::ProxyHeader)? {
                return Ok((proxied, buf.split_off(used)));
            }
            let room = HEADER_BYTES_MAX.saturating_sub(buf.len()).max(1) as u64;
            match (&mut io).take(room).read_buf(&mut buf).await {
                Ok(0) | Err(_) => return Err(Cause::ProxyHeader),
                Ok(_) => {}
            }
        }
    };
    let (proxied, rest) = match within(limit, read).await.unwrap_or(Err(Cause::HandshakeTimeout)) {
        Ok(read) => read,
        Err(cause) => {
            link.count(cause);
            return None;
        }
    };
    if let Some(proxied) = proxied {
        link.client = Client { addr: proxied.source, local: proxied.destination };
        let front = link.front.clone();
        if let Err(cause) = link.place.name_client(proxied.source.ip(), &front.options.connections) {
            link.count(cause);
            return None;
        }
    }
    Some(Rewind::put_back(rest, io))
}
