//! Links over QUIC, by iroh: one endpoint a node.
//!
//! What iroh can do and this does not let it: relays, port mapping, publishing or looking up addresses, DNS.
//! It sends packets to the addresses in the table of peers, to those that a peer itself names once it was let
//! in, and to nobody else; a test watches the process's sockets.
//!
//! Who is let in is decided when the TLS handshake has proven the key and before anything that the peer sent
//! is read; the cluster's id is in the protocol names (ALPN) that the handshake agrees on. The first thing in
//! a link is a byte from the end that accepted it: so the other knows that it was let in.

mod accept;
mod error;
mod limits;
mod link;
mod registry;
mod stream;

use crate::identity::Identity;
use accept::Acceptor;
use error::{connect_error, link_error};
use iroh::dns::{DnsResolver, NameserverConfig};
use iroh::endpoint::{
    BindOpts, ConnectOptions, Connection, IdleTimeout, PortmapperConfig, QuicTransportConfig, RecvStream,
    VarInt, presets,
};
use iroh::{EndpointAddr, PublicKey, TransportAddr};
use link::QuicLink;
use registry::Registry;
use selvedge_rt::links::side::{Boxed, LinksSide};
use selvedge_rt::links::{
    CONNECT_MAX, Code, IDLE_MAX, KEEP_ALIVE, Link, LinkError, Links, Options, Protocol, STREAM_WINDOW_BYTES,
    STREAMS_MAX,
};
use selvedge_rt::{Clock, OnEnd, Tasks};
use selvedge_types::{ClusterId, NodeKey};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};

pub use limits::{
    ACCEPT_QUEUE, DATAGRAM_BUFFER_BYTES, HANDSHAKE_BURST, HANDSHAKE_MAX, HANDSHAKES_MAX,
    HANDSHAKES_PER_SECOND_MAX, LINK_WINDOW_BYTES,
};

/// What the end that accepts a link sends first.
const WELCOME: u8 = 1;
/// The one stream in one direction: for the welcome.
const ONE_WAY_STREAMS: u32 = 1;

/// How long closed sockets are waited for: whoever listens next may want the same addresses.
const FREE_MAX: Duration = Duration::from_secs(1);
/// How often it is looked whether they are gone.
const FREE_LOOK: Duration = Duration::from_millis(2);

/// Why a node has no links.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No address was given.
    #[error("no address to listen on for the mesh; name one, such as 0.0.0.0:7071")]
    NoAddress,
    /// An address cannot be listened on.
    #[error("cannot listen on {addresses:?} for the mesh: {reason}; is another node running here?")]
    Listen {
        /// The addresses.
        addresses: Vec<SocketAddr>,
        /// The system's reason.
        reason: String,
    },
}

/// The real side of [`Links`].
pub struct Endpoint {
    key: NodeKey,
    /// None once it is closed: its sockets are as long as the last handle.
    iroh: RwLock<Option<iroh::Endpoint>>,
    options: Options,
    registry: Arc<Registry>,
    accepted: Mutex<mpsc::Receiver<Link>>,
}

impl Endpoint {
    /// Listens on `addresses` (UDP; port 0 picks a free one) as the node with that identity. Tasks that
    /// accept links end with `tasks`, or when the links are closed.
    pub async fn bind(
        identity: &Identity,
        addresses: &[SocketAddr],
        options: Options,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Links, BindError> {
        if addresses.is_empty() {
            return Err(BindError::NoAddress);
        }
        let alpns = alpns(&options);
        let iroh = listen(identity, addresses, alpns)
            .await
            .map_err(|reason| BindError::Listen { addresses: addresses.to_vec(), reason })?;
        let registry = Arc::new(Registry::default());
        let (ready, accepted) = mpsc::channel(ACCEPT_QUEUE);
        let acceptor = Acceptor {
            iroh: iroh.clone(),
            options: options.clone(),
            registry: registry.clone(),
            ready,
            clock: clock.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn("mesh accept", OnEnd::Essential, acceptor.run());
        let peers = options.peers.clone();
        let (key, iroh) = (identity.key(), RwLock::new(Some(iroh)));
        let endpoint = Endpoint { key, iroh, options, registry, accepted: Mutex::new(accepted) };
        Ok(Links::new(Arc::new(endpoint), peers))
    }

    fn iroh(&self) -> Option<iroh::Endpoint> {
        self.iroh.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn try_connect(&self, peer: NodeKey, protocols: &[Protocol]) -> Result<Link, LinkError> {
        let known = self.options.peers.addresses(&peer);
        let unreachable = LinkError::Unreachable { addresses: known.len() };
        let (Ok(id), false) = (PublicKey::from_bytes(peer.as_bytes()), known.is_empty()) else {
            return Err(unreachable);
        };
        let connect = async {
            let conn = self.dial(id, &known, protocols).await?;
            let mut welcome = conn.accept_uni().await.map_err(|e| refusal(link_error(&e, None)))?;
            read_welcome(&mut welcome, &conn).await?;
            self.admit(peer, conn, protocols)
        };
        tokio::time::timeout(CONNECT_MAX, connect).await.unwrap_or(Err(unreachable))
    }

    async fn dial(
        &self,
        id: PublicKey,
        known: &[SocketAddr],
        protocols: &[Protocol],
    ) -> Result<Connection, LinkError> {
        let mut names = protocols.iter().map(|protocol| alpn(&self.options.cluster, *protocol));
        let first = names.next().ok_or(LinkError::NoProtocol)?;
        let options = ConnectOptions::new()
            .with_transport_config(transport(ONE_WAY_STREAMS))
            .with_additional_alpns(names.collect());
        let address = EndpointAddr::from_parts(id, known.iter().map(|address| TransportAddr::Ip(*address)));
        let iroh = self.iroh().ok_or(LinkError::Unreachable { addresses: known.len() })?;
        let connecting = iroh.connect_with_opts(address, &first, options).await;
        let failed = |error| connect_error(&error, known.len());
        connecting.map_err(|e| failed(e.into()))?.await.map_err(|e| failed(e.into()))
    }

    /// Takes a link over, unless its peer was removed meanwhile.
    fn admit(&self, peer: NodeKey, conn: Connection, protocols: &[Protocol]) -> Result<Link, LinkError> {
        let protocol = spoken(&self.options.cluster, protocols, &conn).ok_or(LinkError::NoProtocol);
        let (conn, said) = self.registry.add(peer, conn);
        if !self.options.peers.knows(&peer) {
            self.registry.cut(&peer, Code::REFUSED);
            return Err(LinkError::Unknown);
        }
        Ok(Link::new(Arc::new(QuicLink::new(conn, said, peer, protocol?))))
    }
}

impl LinksSide for Endpoint {
    fn local(&self) -> NodeKey {
        self.key
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let Some(iroh) = self.iroh() else { return Vec::new() };
        let bound = iroh.bound_sockets();
        if bound.iter().any(|address| address.ip().is_unspecified()) {
            iroh.addr().ip_addrs().copied().collect()
        } else {
            bound
        }
    }

    fn connect<'a>(&'a self, peer: NodeKey, protocols: &'a [Protocol]) -> Boxed<'a, Result<Link, LinkError>> {
        Box::pin(self.try_connect(peer, protocols))
    }

    fn accept(&self) -> Boxed<'_, Option<Link>> {
        Box::pin(async { self.accepted.lock().await.recv().await })
    }

    fn cut(&self, peer: &NodeKey) {
        self.registry.cut(peer, Code::REFUSED);
    }

    fn close(&self) -> Boxed<'_, ()> {
        Box::pin(async {
            self.registry.close(Code::STOPPING);
            let iroh = self.iroh.write().unwrap_or_else(PoisonError::into_inner).take();
            let addresses = iroh.as_ref().map(iroh::Endpoint::bound_sockets).unwrap_or_default();
            if let Some(iroh) = iroh {
                iroh.close().await;
            }
            // Whoever waits for the next link lets go of what is there.
            if let Ok(mut accepted) = self.accepted.try_lock() {
                accepted.close();
                while accepted.try_recv().is_ok() {}
            }
            // Nothing more can be done here if others hold on to links.
            let _ = tokio::time::timeout(FREE_MAX, until_free(&addresses)).await;
        })
    }
}

/// The name by which the handshake agrees on a protocol: of this cluster and no other.
fn alpn(cluster: &ClusterId, protocol: Protocol) -> Vec<u8> {
    format!("selvedge/{cluster}/{}/{}", protocol.name, protocol.version).into_bytes()
}

/// What is accepted, the latest first: the handshake takes the first that the caller knows too.
fn alpns(options: &Options) -> Vec<Vec<u8>> {
    let mut accepts = options.accepts.clone();
    accepts.sort_by_key(|protocol| std::cmp::Reverse(protocol.version));
    accepts.into_iter().map(|protocol| alpn(&options.cluster, protocol)).collect()
}

/// The protocol that was agreed on.
fn spoken(cluster: &ClusterId, protocols: &[Protocol], conn: &Connection) -> Option<Protocol> {
    protocols.iter().find(|protocol| alpn(cluster, **protocol) == conn.alpn()).copied()
}

/// Waits until an endpoint's sockets are gone. They are closed on another thread once the last handle is dropped, and
/// nobody is told.
#[allow(clippy::disallowed_methods)] // only to see whether it is possible, and closed at once
async fn until_free(addresses: &[SocketAddr]) {
    for address in addresses {
        while std::net::UdpSocket::bind(address).is_err() {
            tokio::time::sleep(FREE_LOOK).await;
        }
    }
}

async fn listen(
    identity: &Identity,
    addresses: &[SocketAddr],
    alpns: Vec<Vec<u8>>,
) -> Result<iroh::Endpoint, String> {
    // Asked by nobody, as there are no relays; if it were, it would ask a port where nobody answers.
    let nowhere = NameserverConfig::udp(IpAddr::V4(Ipv4Addr::LOCALHOST)).with_port(9);
    let resolver = DnsResolver::builder().add_nameserver_config(nowhere).disable_fallback().build();
    let mut builder = iroh::Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .clear_relay_transports()
        .clear_address_lookup()
        .portmapper_config(PortmapperConfig::Disabled)
        .dns_resolver(resolver)
        .secret_key(identity.secret().clone())
        .transport_config(transport(0))
        .alpns(alpns);
    for address in addresses {
        builder = builder.bind_addr_with_opts(*address, BindOpts::default()).map_err(|e| e.to_string())?;
    }
    builder.bind().await.map_err(|e| format!("{e:#}"))
}

fn transport(one_way_streams: u32) -> QuicTransportConfig {
    let idle = IdleTimeout::try_from(IDLE_MAX).ok();
    QuicTransportConfig::builder()
        .max_idle_timeout(idle)
        .default_path_max_idle_timeout(IDLE_MAX)
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(one_way_streams))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(LINK_WINDOW_BYTES))
        .send_window(u64::from(LINK_WINDOW_BYTES))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .build()
}

async fn read_welcome(stream: &mut RecvStream, conn: &Connection) -> Result<(), LinkError> {
    let mut byte = [0];
    match stream.read_exact(&mut byte).await {
        Ok(()) if byte == [WELCOME] => Ok(()),
        Ok(()) => Err(LinkError::NoProtocol),
        Err(_) => Err(conn.close_reason().map_or(LinkError::Lost, |why| refusal(link_error(&why, None)))),
    }
}

/// What closes a link before it is welcomed is a refusal.
fn refusal(error: LinkError) -> LinkError {
    match error {
        LinkError::ClosedByPeer(code) => LinkError::Refused(code),
        other => other,
    }
}
