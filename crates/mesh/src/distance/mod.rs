//! Distance between nodes that are near each other: what a node sends takes its time, and peers can be cut off.
//!
//! ```text
//!   rpc, members --> at_distance(Links) --delayed--> Links of an endpoint --> peer
//!                          | Distances: for each peer, how long the way is, and whether it is cut
//! ```
//! For small worlds on one machine, without any right over its network. Each end delays what it sends, so both have to
//! know the way. A cut holds in both directions if one end knows of it: datagrams are lost, streams wait, and what is not
//! mended within [`IDLE_MAX`] is lost as between machines that do not hear each other. Bandwidth has no limit.

mod link;
mod stream;

use link::DistantLink;
use selvedge_rt::Tasks;
use selvedge_rt::links::side::{Boxed, LinksSide};
use selvedge_rt::links::{CONNECT_MAX, IDLE_MAX, Link, LinkError, Links, Protocol};
use selvedge_types::NodeKey;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The longest way in one direction.
pub const DELAY_MAX: Duration = Duration::from_secs(1);

/// The way to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// How long what is sent takes: half the round trip. More than [`DELAY_MAX`] counts as that.
    pub delay: Duration,
    /// Whether nothing gets through, in either direction.
    pub cut: bool,
}

/// The ways to all peers; those that are not named are as short as they are. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Distances(watch::Sender<Ways>);

type Ways = BTreeMap<NodeKey, Way>;

impl Distances {
    /// Has these ways in place of the former ones, at once and in all links.
    pub fn set(&self, ways: BTreeMap<NodeKey, Way>) {
        self.0.send_replace(ways);
    }

    fn path(&self, peer: NodeKey) -> Path {
        Path { ways: self.0.subscribe(), peer, lost: Arc::default() }
    }
}

/// `links` at these distances. `tasks` own what is on its way: when they are told to stop, it is lost.
pub fn at_distance(links: Links, distances: Distances, tasks: &Tasks) -> Links {
    let peers = links.peers().clone();
    Links::new(Arc::new(Distant { near: links, distances, tasks: tasks.clone() }), peers)
}

struct Distant {
    near: Links,
    distances: Distances,
    tasks: Tasks,
}

impl Distant {
    /// A handshake takes a round trip, and the word that one is let in another.
    async fn try_connect(&self, peer: NodeKey, protocols: &[Protocol]) -> Result<Link, LinkError> {
        let mut path = self.distances.path(peer);
        path.open().await?;
        let delay = path.delay();
        tokio::time::sleep(delay * 3).await;
        let made = self.near.connect(peer, protocols).await;
        tokio::time::sleep(delay).await;
        Ok(DistantLink::begin(made?, path, &self.tasks))
    }
}

impl LinksSide for Distant {
    fn local(&self) -> NodeKey {
        self.near.local()
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.near.addresses()
    }

    fn connect<'a>(&'a self, peer: NodeKey, protocols: &'a [Protocol]) -> Boxed<'a, Result<Link, LinkError>> {
        Box::pin(async move {
            let unreachable =
                || LinkError::Unreachable { addresses: self.near.peers().addresses(&peer).len() };
            let connecting = tokio::time::timeout(CONNECT_MAX, self.try_connect(peer, protocols));
            connecting.await.unwrap_or_else(|_| Err(unreachable()))
        })
    }

    fn accept(&self) -> Boxed<'_, Option<Link>> {
        Box::pin(async {
            loop {
                let link = self.near.accept().await?;
                let path = self.distances.path(link.peer());
                // One that comes over a cut way is dropped: its packets would not have arrived.
                if !path.is_cut() {
                    return Some(DistantLink::begin(link, path, &self.tasks));
                }
            }
        })
    }

    fn cut(&self, peer: &NodeKey) {
        self.near.remove(peer);
    }

    fn close(&self) -> Boxed<'_, ()> {
        Box::pin(self.near.close())
    }
}

/// What a link and its streams know of their way.
#[derive(Clone)]
struct Path {
    ways: watch::Receiver<Ways>,
    peer: NodeKey,
    /// Whether the link was lost to a cut.
    lost: Arc<AtomicBool>,
}

impl Path {
    fn now(&self) -> Way {
        way(&self.ways.borrow(), &self.peer)
    }

    fn delay(&self) -> Duration {
        self.now().delay.min(DELAY_MAX)
    }

    fn is_cut(&self) -> bool {
        self.now().cut
    }

    /// When what is sent now arrives.
    fn due(&self) -> Instant {
        Instant::now() + self.delay()
    }

    /// Waits until something that is due then arrives.
    async fn arrive(&mut self, due: Instant) -> Result<(), LinkError> {
        tokio::time::sleep_until(due).await;
        self.open().await
    }

    /// Waits until the way is not cut; an error when that takes so long that the link is lost. Cancel-safe.
    async fn open(&mut self) -> Result<(), LinkError> {
        match tokio::time::timeout(IDLE_MAX, self.until(false)).await {
            Ok(()) => Ok(()),
            Err(_) => {
                self.lost.store(true, Ordering::Relaxed);
                Err(LinkError::Lost)
            }
        }
    }

    /// Resolves when the way was cut so long that the link is lost. Cancel-safe.
    async fn lost(&mut self) {
        loop {
            self.until(true).await;
            if self.open().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the way is cut, or is not.
    async fn until(&mut self, cut: bool) {
        let peer = self.peer;
        if self.ways.wait_for(|ways| way(ways, &peer).cut == cut).await.is_err() {
            // Nobody can change it any more.
            std::future::pending::<()>().await;
        }
    }

    /// What an end is told of an error: whom a cut parts, neither hears the other close the link.
    fn told(&self, error: LinkError) -> LinkError {
        let lost = self.lost.load(Ordering::Relaxed);
        match error {
            LinkError::Closed(_) if lost => LinkError::Lost,
            LinkError::ClosedByPeer(_) if lost || self.is_cut() => LinkError::Lost,
            other => other,
        }
    }
}

fn way(ways: &Ways, peer: &NodeKey) -> Way {
    ways.get(peer).copied().unwrap_or_default()
}
