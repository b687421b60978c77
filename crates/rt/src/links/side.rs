//! What a real or simulated transport offers to the handles.

use super::{Code, Link, LinkError, Protocol, RecvStream, SendStream};
use bytes::Bytes;
use selvedge_types::NodeKey;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// What asynchronous calls return.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A node's links: see [`super::Links`].
pub trait LinksSide: Send + Sync {
    /// The node's key.
    fn local(&self) -> NodeKey;
    /// Where it listens.
    fn addresses(&self) -> Vec<SocketAddr>;
    /// Makes a link with a peer that the table has.
    fn connect<'a>(&'a self, peer: NodeKey, protocols: &'a [Protocol]) -> Boxed<'a, Result<Link, LinkError>>;
    /// The next link that a peer made.
    fn accept(&self) -> Boxed<'_, Option<Link>>;
    /// Closes all links with a peer, with [`Code::REFUSED`].
    fn cut(&self, peer: &NodeKey);
    /// Closes all links, with [`Code::STOPPING`].
    fn close(&self) -> Boxed<'_, ()>;
}

/// One link: see [`Link`].
pub trait LinkSide: Send + Sync {
    /// Who is at the other end.
    fn peer(&self) -> NodeKey;
    /// What is spoken.
    fn protocol(&self) -> Protocol;
    /// Opens streams.
    fn open(&self) -> Boxed<'_, Result<(SendStream, RecvStream), LinkError>>;
    /// The next streams that the peer opened.
    fn accept(&self) -> Boxed<'_, Result<(SendStream, RecvStream), LinkError>>;
    /// Sends a datagram of a size that is allowed.
    fn send_datagram(&self, bytes: Bytes) -> Result<(), LinkError>;
    /// The next datagram.
    fn recv_datagram(&self) -> Boxed<'_, Result<Bytes, LinkError>>;
    /// The estimate of the round-trip time.
    fn rtt(&self) -> Option<Duration>;
    /// Closes it.
    fn close(&self, code: Code);
    /// Why it closed, once it has.
    fn closed(&self) -> Boxed<'_, LinkError>;
    /// Why it closed, if it has.
    fn close_reason(&self) -> Option<LinkError>;
}

/// The sending end of a stream: see [`SendStream`], which keeps it from being used after its end.
pub trait SendSide: Send {
    /// Takes at least one byte off the front of `chunk`, which is not empty.
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<Result<(), LinkError>>;
    /// Says that all was sent.
    fn finish(&mut self) -> Result<(), LinkError>;
    /// Breaks the stream off.
    fn reset(&mut self, code: Code);
    /// Sets its place among the streams of its link.
    fn set_priority(&mut self, priority: i32);
    /// The reader's reason to want no more, or why the link closed; [`LinkError::Ended`] once the peer has it all.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<LinkError>;
}

/// The receiving end of a stream: see [`RecvStream`].
pub trait RecvSide: Send {
    /// The next bytes, `max` at most and at least one; none at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, LinkError>>;
    /// Whether what was not read is the end alone, and that is there. Asked last: what else there is may be lost.
    fn is_at_end(&mut self) -> bool {
        false
    }
    /// Tells the sender that no more is wanted.
    fn stop(&mut self, code: Code);
}
