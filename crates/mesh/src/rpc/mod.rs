//! Calls between nodes, over links of either kind.
//!
//! ```text
//!   Mesh::call      question ------> Service::answer ------> answer      one message each way
//!   Mesh::download  question ------>                 ------> answer, body
//!   Mesh::upload    question, body >                 ------> answer
//!   Mesh::fetch     a download that goes on where it broke off
//!   Mesh::send_datagram              Service::datagram                   may be lost
//! ```
//! A call is one stream. Its deadline travels as the time that is left; an asker that goes away cancels the
//! work; a peer that asks too much is told so; each message carries a hybrid timestamp. Bulk transfers have a
//! link of their own, so that neither their queue nor their lost packets hold up anything else; within a link
//! the urgent goes first.
//!
//! Any link with a peer serves both directions, whoever made it: a node that cannot be called from outside
//! is reached through the links that it makes.
//!
//! Deliberately absent: retries. Whether to ask again is the caller's to say, and [`CallError`] gives the facts.

mod body;
mod call;
mod fault;
mod fetch;
pub mod frame;
mod gates;
pub mod limits;
mod links;
mod reader;
mod serve;
mod service;

pub use body::Body;
pub use call::{Download, Upload};
pub use fault::{CallError, Failure, Fault, FaultKind, Outcome, Source};
pub use fetch::{Fetch, FetchAt};
pub use service::{Answer, BodySource, Deadline, Priority, Question, Service};

use crate::hybrid::Hybrid;
use frame::Datagram;
use gates::Gates;
use links::Slot;
use selvedge_observe::{Counter, LimitCounters, Registry};
use selvedge_rt::links::{LinkError, Links, Protocol};
use selvedge_rt::{OnEnd, Tasks};
use selvedge_types::{Hlc, HlcError, NodeKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What is spoken in links for calls.
pub const CALLS: Protocol = Protocol { name: "calls", version: 1 };
/// What is spoken in links for bulk transfers.
pub const BULK: Protocol = Protocol { name: "bulk", version: 1 };
/// What a node's links accept.
pub const PROTOCOLS: [Protocol; 2] = [CALLS, BULK];

/// A service of a peer, in the version of its messages that the caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its name: [`limits::NAME_BYTES_MAX`] at most.
    pub service: &'static str,
    /// The version.
    pub version: u16,
}

/// What calls need.
pub struct Options {
    /// The services of this node, by name.
    pub services: BTreeMap<&'static str, Arc<dyn Service>>,
    /// The node's clock.
    pub hybrid: Hybrid,
    /// Where refused timestamps and reached limits are counted.
    pub registry: Registry,
    /// Told of a peer whose timestamp is too far ahead.
    pub clock_ahead: ClockAhead,
}

/// Told of a peer's timestamp that was refused; its message was not.
pub type ClockAhead = Arc<dyn Fn(NodeKey, HlcError) + Send + Sync>;

/// Calls other nodes and answers them. Clones are handles to the same.
#[derive(Clone)]
pub struct Mesh(Arc<Shared>);

pub(crate) struct Shared {
    links: Links,
    services: BTreeMap<&'static str, Arc<dyn Service>>,
    hybrid: Hybrid,
    tasks: Tasks,
    clock_ahead: ClockAhead,
    clocks_refused: Counter,
    limits: LimitCounters,
    peers: Mutex<BTreeMap<NodeKey, Arc<Peer>>>,
}

/// What there is of one peer.
#[derive(Default)]
struct Peer {
    gates: Gates,
    calls: Slot,
    bulk: Slot,
}

impl Mesh {
    /// Serves over `links` until they are closed or `tasks` are told to stop.
    pub fn start(links: Links, options: Options, tasks: &Tasks) -> Self {
        let help = "Timestamps of other nodes that were too far ahead to be taken over";
        let mesh = Mesh(Arc::new(Shared {
            links,
            services: options.services,
            hybrid: options.hybrid,
            tasks: tasks.clone(),
            clock_ahead: options.clock_ahead,
            clocks_refused: options.registry.register("mesh_clocks_refused", help, Counter::default()),
            limits: options.registry.limits(),
            peers: Mutex::default(),
        }));
        tasks.spawn("mesh links", OnEnd::Forget, serve::run(mesh.0.clone()));
        mesh
    }

    /// The links that calls go through.
    pub fn links(&self) -> &Links {
        &self.0.links
    }

    /// Closes all links, and lets go of them: where this node listened another one may.
    pub async fn close(&self) {
        // They are told why before they are dropped, and waited for then.
        tokio::join!(self.0.links.close(), async {
            self.0.peers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
    }

    /// Sends `content` to a service of `peer`, [`limits::DATAGRAM_BYTES_MAX`] bytes at most; it may be lost.
    /// If there is no link, one is made and the datagram waits for it.
    pub fn send_datagram(
        &self,
        peer: NodeKey,
        service: &'static str,
        content: bytes::Bytes,
    ) -> Result<(), Failure> {
        let datagram = Datagram { time: self.0.hybrid.now(), service: service.to_owned(), content };
        let bytes = datagram.encode().map_err(Failure::Question)?;
        if !self.0.links.peers().knows(&peer) {
            return Err(Failure::Link(LinkError::Unknown));
        }
        self.0.datagram(peer, bytes);
        Ok(())
    }

    /// The time to `peer` and back, as the link for calls with it has measured it; nothing while there is none.
    pub fn rtt(&self, peer: &NodeKey) -> Option<Duration> {
        let peers = self.0.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.get(peer).and_then(|peer| peer.calls.rtt())
    }

    /// The node's clock.
    pub(crate) fn hybrid(&self) -> &Hybrid {
        &self.0.hybrid
    }

    /// Cuts a node off: see [`Links::remove`].
    pub fn remove(&self, peer: &NodeKey) {
        self.0.links.remove(peer);
        self.0.peers.lock().unwrap_or_else(PoisonError::into_inner).remove(peer);
    }
}

impl Shared {
    fn peer(&self, key: NodeKey) -> Arc<Peer> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }

    /// Takes over the timestamp of a message.
    fn observe(&self, peer: NodeKey, time: Hlc) {
        if let Err(error) = self.hybrid.observe(time) {
            self.clocks_refused.inc();
            (self.clock_ahead)(peer, error);
        }
    }
}
