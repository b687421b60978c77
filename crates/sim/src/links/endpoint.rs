//! One node's links.

use super::SimMesh;
use super::link::SimLink;
use super::wait::{Step, until};
use selvedge_rt::links::side::{Boxed, LinksSide};
use selvedge_rt::links::{CONNECT_MAX, Code, Link, LinkError, Protocol};
use selvedge_types::NodeKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long a first packet is waited for before it is sent again.
const RETRY: Duration = Duration::from_millis(200);

pub(super) struct SimEndpoint {
    pub(super) mesh: SimMesh,
    pub(super) key: NodeKey,
    pub(super) life: u64,
    pub(super) notify: Arc<Notify>,
    pub(super) address: SocketAddr,
}

impl SimEndpoint {
    /// One handshake, if its packets get through.
    async fn attempt(&self, peer: NodeKey, protocols: &[Protocol]) -> Option<Result<Link, LinkError>> {
        let there = self.arrival(self.key, peer)?;
        self.sleep_until(there).await;
        let judged = {
            let state = self.mesh.state();
            state.judge(self.key, peer, protocols)?
        };
        let back = self.arrival(peer, self.key)?;
        self.sleep_until(back).await;
        let now = self.mesh.now();
        let made = judged.and_then(|protocol| {
            self.mesh.state().link((self.key, self.life), peer, protocol, now).ok_or(LinkError::Lost)
        });
        Some(made.map(|(id, notify)| Link::new(Arc::new(SimLink::new(self.mesh.clone(), id, 0, notify)))))
    }

    fn arrival(&self, from: NodeKey, to: NodeKey) -> Option<Duration> {
        let now = self.mesh.now();
        self.mesh.state().packet_arrives(from, to, now)
    }

    async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep(at.saturating_sub(self.mesh.now())).await;
    }
}

impl LinksSide for SimEndpoint {
    fn local(&self) -> NodeKey {
        self.key
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    fn connect<'a>(&'a self, peer: NodeKey, protocols: &'a [Protocol]) -> Boxed<'a, Result<Link, LinkError>> {
        Box::pin(async move {
            let end = self.mesh.now() + CONNECT_MAX;
            let known = self.mesh.state().known_addresses(self.key, peer);
            if !known.contains(&self.mesh.state().address_of(peer)) {
                tokio::time::sleep(if known.is_empty() { Duration::ZERO } else { CONNECT_MAX }).await;
                return Err(LinkError::Unreachable { addresses: known.len() });
            }
            while self.mesh.now() < end {
                if let Some(result) = self.attempt(peer, protocols).await {
                    return result;
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(LinkError::Unreachable { addresses: known.len() })
        })
    }

    fn accept(&self) -> Boxed<'_, Option<Link>> {
        Box::pin(async move {
            let accepted = until(&self.mesh, self.key, &self.notify, |state, now| {
                match state.next_link(self.key, self.life, now) {
                    Ok(Some(found)) => Step::Done(Some(found)),
                    Ok(None) => Step::Done(None),
                    Err(at) => Step::Wait(at),
                }
            });
            let (id, notify) = accepted.await?;
            Some(Link::new(Arc::new(SimLink::new(self.mesh.clone(), id, 1, notify))))
        })
    }

    fn cut(&self, peer: &NodeKey) {
        let now = self.mesh.now();
        self.mesh.state().close_all(self.key, Some(peer), Code::REFUSED, now);
    }

    fn close(&self) -> Boxed<'_, ()> {
        let now = self.mesh.now();
        let mut state = self.mesh.state();
        state.close_all(self.key, None, Code::STOPPING, now);
        state.stop_listening(self.key, self.life, now);
        Box::pin(std::future::ready(()))
    }
}
