//! Authenticated links between nodes: streams and datagrams to a node's key.
//!
//! ```text
//!   Links (one a node) --connect--> Link --open--> (SendStream, RecvStream), each way
//!         \-----------accept------> Link           send_datagram, recv_datagram
//! ```
//! The real side is `mesh` (QUIC through iroh), the other `sim::SimLinks`; one contract suite holds both to
//! what is said here. They meet the handles through the small traits in [`side`], because what is real here
//! is a large dependency that nothing below `mesh` should compile.
//!
//! What a link promises: the peer holds the private key of [`Link::peer`], is in the same cluster, was in
//! the table of peers when the link was made, and is still. Streams are reliable and in order, each by itself;
//! a stream that was not finished never looks finished. Datagrams arrive whole, or not at all, or twice.

mod error;
mod peers;
pub mod side;
mod stream;

pub use error::{Code, LinkError};
pub use peers::{ADDRESSES_MAX, Peers};
pub use stream::{RecvStream, SendStream};

use bytes::Bytes;
use selvedge_types::{ClusterId, NodeKey};
use side::{LinkSide, LinksSide};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The most bytes of a datagram. Fits the smallest packet that QUIC allows (RFC 9000, section 14), with the
/// headers around it.
pub const DATAGRAM_BYTES_MAX: usize = 1100;
/// How many streams that the peer opened may be open in a link; the peer's next [`Link::open`] waits.
pub const STREAMS_MAX: u32 = 256;
/// How many links a node has with one peer; the oldest one goes for the next.
pub const LINKS_PER_PEER_MAX: usize = 8;
/// How many links a node has with all peers; more are refused.
pub const LINKS_MAX: usize = 4096;
/// How long a link may hear nothing from its peer before it is lost. Both ends send a sign of life every
/// [`KEEP_ALIVE`].
pub const IDLE_MAX: Duration = Duration::from_secs(6);
/// How often an idle link sends a sign of life.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// How long [`Links::connect`] tries.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How many bytes of a stream may wait for their reader; its writer waits then.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// What is spoken in a link: chosen when it is made, among what both ends know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Protocol {
    /// Its name: lower-case letters, digits and `-`.
    pub name: &'static str,
    /// Its version: a later one is preferred.
    pub version: u16,
}

/// What a node's links need to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose nodes may link.
    pub cluster: ClusterId,
    /// What is spoken in links that others make.
    pub accepts: Vec<Protocol>,
    /// Who may link, and where they are.
    pub peers: Peers,
}

/// One node's links with others. Clones are handles to the same.
#[derive(Clone)]
pub struct Links {
    side: Arc<dyn LinksSide>,
    peers: Peers,
}

impl Links {
    /// A handle to `side`, which asks `peers` whom to let in.
    pub fn new(side: Arc<dyn LinksSide>, peers: Peers) -> Self {
        Links { side, peers }
    }

    /// This node's key.
    pub fn local(&self) -> NodeKey {
        self.side.local()
    }

    /// Where this node can be reached, as far as it knows itself.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.side.addresses()
    }

    /// Who may link, and where they are: peers can be added and addresses learnt at any time. Whom to cut
    /// off goes through [`Links::remove`].
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Makes a link with `peer` that speaks the latest of `protocols` that both know. Done when the peer has
    /// let this node in. Takes [`CONNECT_MAX`] at most; dropping the future gives the attempt up.
    pub async fn connect(&self, peer: NodeKey, protocols: &[Protocol]) -> Result<Link, LinkError> {
        if !self.peers.knows(&peer) {
            return Err(LinkError::Unknown);
        }
        self.side.connect(peer, protocols).await
    }

    /// The next link that a peer made; none once these links are closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Link> {
        self.side.accept().await
    }

    /// Forgets `peer` and closes all links with it at once. It is refused until it is allowed again.
    pub fn remove(&self, peer: &NodeKey) {
        self.peers.remove(peer);
        self.side.cut(peer);
    }

    /// Closes all links, tells their peers, and takes no more. Waits a few round trips at most.
    pub async fn close(&self) {
        self.side.close().await;
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Links({:?})", self.local())
    }
}

/// A link with one peer. Clones are handles to the same; when the last is dropped and all its streams are,
/// the link closes.
#[derive(Clone)]
pub struct Link(Arc<dyn LinkSide>);

impl Link {
    /// A handle to `side`.
    pub fn new(side: Arc<dyn LinkSide>) -> Self {
        Link(side)
    }

    /// Whether both are handles to one link.
    pub fn is(&self, other: &Link) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Who is at the other end.
    pub fn peer(&self) -> NodeKey {
        self.0.peer()
    }

    /// What is spoken.
    pub fn protocol(&self) -> Protocol {
        self.0.protocol()
    }

    /// Opens a stream in each direction. The peer sees them once something was sent. Waits while the peer
    /// allows no more than [`STREAMS_MAX`]. Cancel-safe.
    pub async fn open(&self) -> Result<(SendStream, RecvStream), LinkError> {
        self.0.open().await
    }

    /// The next pair of streams that the peer opened. Cancel-safe.
    pub async fn accept(&self) -> Result<(SendStream, RecvStream), LinkError> {
        self.0.accept().await
    }

    /// Sends a datagram of [`DATAGRAM_BYTES_MAX`] at most, which may be lost; datagrams go before streams.
    pub fn send_datagram(&self, bytes: Bytes) -> Result<(), LinkError> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(LinkError::DatagramTooLarge { bytes: bytes.len() });
        }
        self.0.send_datagram(bytes)
    }

    /// The next datagram from the peer; the oldest are dropped when nobody reads. Cancel-safe.
    pub async fn recv_datagram(&self) -> Result<Bytes, LinkError> {
        self.0.recv_datagram().await
    }

    /// The present estimate of the time to the peer and back.
    pub fn rtt(&self) -> Option<Duration> {
        self.0.rtt()
    }

    /// Closes the link at once; the peer is told `code`.
    pub fn close(&self, code: Code) {
        self.0.close(code);
    }

    /// Why the link closed, once it has. Cancel-safe.
    pub async fn closed(&self) -> LinkError {
        self.0.closed().await
    }

    /// Why the link closed, if it has.
    pub fn close_reason(&self) -> Option<LinkError> {
        self.0.close_reason()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?}, {}/{})", self.peer(), self.protocol().name, self.protocol().version)
    }
}
