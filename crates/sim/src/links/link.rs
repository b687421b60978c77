//! One end of a link.

use super::SimMesh;
use super::stream::streams;
use super::wait::{Step, until};
use bytes::Bytes;
use selvedge_rt::links::side::{Boxed, LinkSide};
use selvedge_rt::links::{Code, LinkError, Protocol, RecvStream, SendStream};
use selvedge_types::NodeKey;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The handle of an end: `side` 0 made the link, 1 accepted it.
pub(super) struct SimLink {
    pub(super) end: Arc<EndHandle>,
    peer: NodeKey,
    protocol: Protocol,
}

/// Shared by the link's handle and its streams': when the last goes, the link closes.
pub(super) struct EndHandle {
    pub(super) mesh: SimMesh,
    pub(super) id: u64,
    pub(super) side: usize,
    pub(super) key: NodeKey,
    pub(super) notify: Arc<Notify>,
}

impl SimLink {
    pub(super) fn new(mesh: SimMesh, id: u64, side: usize, notify: Arc<Notify>) -> Self {
        let (key, peer, protocol) = mesh.state().who(id, side);
        SimLink { end: Arc::new(EndHandle { mesh, id, side, key, notify }), peer, protocol }
    }
}

impl Drop for EndHandle {
    fn drop(&mut self) {
        let now = self.mesh.now();
        self.mesh.state().drop_end(self.id, self.side, now);
    }
}

impl LinkSide for SimLink {
    fn peer(&self) -> NodeKey {
        self.peer
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn open(&self) -> Boxed<'_, Result<(SendStream, RecvStream), LinkError>> {
        Box::pin(async move {
            let EndHandle { mesh, id, side, key, notify } = &*self.end;
            let opened = until(mesh, *key, notify, |state, now| state.open_stream(*id, *side, now)).await?;
            Ok(streams(&self.end, opened))
        })
    }

    fn accept(&self) -> Boxed<'_, Result<(SendStream, RecvStream), LinkError>> {
        Box::pin(async move {
            let EndHandle { mesh, id, side, key, notify } = &*self.end;
            let accepted =
                until(mesh, *key, notify, |state, now| state.accept_stream(*id, *side, now)).await?;
            Ok(streams(&self.end, accepted))
        })
    }

    fn send_datagram(&self, bytes: Bytes) -> Result<(), LinkError> {
        let now = self.end.mesh.now();
        self.end.mesh.state().send_datagram(self.end.id, self.end.side, bytes, now)
    }

    fn recv_datagram(&self) -> Boxed<'_, Result<Bytes, LinkError>> {
        Box::pin(async move {
            let EndHandle { mesh, id, side, key, notify } = &*self.end;
            until(mesh, *key, notify, |state, now| state.recv_datagram(*id, *side, now)).await
        })
    }

    fn rtt(&self) -> Option<Duration> {
        self.end.mesh.state().rtt(self.end.id)
    }

    fn close(&self, code: Code) {
        let now = self.end.mesh.now();
        self.end.mesh.state().close(self.end.id, self.end.side, code, now);
    }

    fn closed(&self) -> Boxed<'_, LinkError> {
        Box::pin(async move {
            let EndHandle { mesh, id, side, key, notify } = &*self.end;
            until(mesh, *key, notify, |state, now| match state.check(*id, *side, now) {
                Err(why) => Step::Done(why),
                Ok(at) => Step::Wait(at),
            })
            .await
        })
    }

    fn close_reason(&self) -> Option<LinkError> {
        let now = self.end.mesh.now();
        self.end.mesh.state().check(self.end.id, self.end.side, now).err()
    }
}
