//! Taking links that others make.

use super::limits::Rate;
use super::link::QuicLink;
use super::registry::Registry;
use super::{HANDSHAKE_MAX, HANDSHAKES_MAX, WELCOME, spoken};
use iroh::endpoint::{Connection, Incoming, VarInt};
use selvedge_rt::links::{Code, Link, Options};
use selvedge_rt::{Clock, OnEnd, Tasks};
use selvedge_types::NodeKey;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

#[derive(Clone)]
pub(super) struct Acceptor {
    pub(super) iroh: iroh::Endpoint,
    pub(super) options: Options,
    pub(super) registry: Arc<Registry>,
    pub(super) ready: mpsc::Sender<Link>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
}

impl Acceptor {
    /// Runs until the endpoint is closed or its tasks are told to stop.
    pub(super) async fn run(self) {
        let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let mut rate = Rate::new();
        while let Some(incoming) = self.next().await {
            match places.clone().try_acquire_owned() {
                Ok(place) if rate.allows(self.clock.monotonic()) => {
                    let crowded = places.available_permits() < HANDSHAKES_MAX / 2;
                    self.begin(incoming, place, crowded);
                }
                _ => incoming.ignore(),
            }
        }
        // Closed on purpose, or told to stop: either way this task's end is no failure.
        let (is_closed, tasks) = (self.iroh.is_closed(), self.tasks.clone());
        drop(self);
        if is_closed {
            tasks.stopped().await;
        }
    }

    async fn next(&self) -> Option<Incoming> {
        tokio::select! {
            incoming = self.iroh.accept() => incoming,
            () = self.tasks.stopped() => None,
        }
    }

    fn begin(&self, incoming: Incoming, place: OwnedSemaphorePermit, crowded: bool) {
        if self.registry.is_full() {
            incoming.refuse();
        } else if crowded && !incoming.remote_addr_validated() {
            // Fails for validated addresses alone.
            let _ = incoming.retry();
        } else {
            let acceptor = self.clone();
            self.tasks.spawn("mesh handshake", OnEnd::Forget, async move {
                let _held = place;
                // Who fails here is told by QUIC, if anybody.
                let _ = tokio::time::timeout(HANDSHAKE_MAX, acceptor.welcome(incoming)).await;
            });
        }
    }

    /// The whole handshake; nothing that the peer sent is read in it.
    async fn welcome(&self, incoming: Incoming) -> Option<()> {
        let conn = incoming.accept().ok()?.await.ok()?;
        let peer = NodeKey::from_bytes(*conn.remote_id().as_bytes());
        if !self.options.peers.knows(&peer) {
            tracing::warn!(%peer, "a node that this one does not know was refused");
            refuse(&conn, Code::REFUSED);
            return None;
        }
        let protocol = spoken(&self.options.cluster, &self.options.accepts, &conn)?;
        let Ok(slot) = self.ready.try_reserve() else {
            refuse(&conn, Code::OVERLOADED);
            return None;
        };
        self.registry.make_room(&peer);
        let (conn, said) = self.registry.add(peer, conn);
        // Removed between the first question and now: whoever removed it saw no link to close.
        if !self.options.peers.knows(&peer) {
            self.registry.cut(&peer, Code::REFUSED);
            return None;
        }
        let mut hello = conn.open_uni().await.ok()?;
        hello.write_all(&[WELCOME]).await.ok()?;
        hello.finish().ok()?;
        slot.send(Link::new(Arc::new(QuicLink::new(conn, said, peer, protocol))));
        Some(())
    }
}

fn refuse(conn: &Connection, code: Code) {
    conn.close(VarInt::from_u32(code.0), b"");
}
