//! One link: a QUIC connection.

use super::error::link_error;
use super::registry::{Said, close};
use super::stream::{Receiver, Sender};
use bytes::Bytes;
use iroh::endpoint::{Connection, ConnectionError, SendDatagramError};
use selvedge_rt::links::side::{Boxed, LinkSide};
use selvedge_rt::links::{Code, LinkError, Protocol, RecvStream, SendStream};
use selvedge_types::NodeKey;
use std::time::Duration;

pub(super) struct QuicLink {
    conn: Connection,
    said: Said,
    peer: NodeKey,
    protocol: Protocol,
}

impl QuicLink {
    pub(super) fn new(conn: Connection, said: Said, peer: NodeKey, protocol: Protocol) -> Self {
        QuicLink { conn, said, peer, protocol }
    }

    fn error(&self, error: &ConnectionError) -> LinkError {
        link_error(error, Some(&self.said))
    }

    fn streams(
        &self,
        (send, recv): (iroh::endpoint::SendStream, iroh::endpoint::RecvStream),
    ) -> (SendStream, RecvStream) {
        let (sender, receiver) =
            (Sender::new(send, self.said.clone()), Receiver::new(recv, self.said.clone()));
        (SendStream::new(Box::new(sender)), RecvStream::new(Box::new(receiver)))
    }
}

impl LinkSide for QuicLink {
    fn peer(&self) -> NodeKey {
        self.peer
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn open(&self) -> Boxed<'_, Result<(SendStream, RecvStream), LinkError>> {
        Box::pin(async {
            self.conn.open_bi().await.map(|pair| self.streams(pair)).map_err(|e| self.error(&e))
        })
    }

    fn accept(&self) -> Boxed<'_, Result<(SendStream, RecvStream), LinkError>> {
        Box::pin(async {
            self.conn.accept_bi().await.map(|pair| self.streams(pair)).map_err(|e| self.error(&e))
        })
    }

    fn send_datagram(&self, bytes: Bytes) -> Result<(), LinkError> {
        let length = bytes.len();
        self.conn.send_datagram(bytes).map_err(|error| match error {
            SendDatagramError::ConnectionLost(error) => self.error(&error),
            SendDatagramError::TooLarge => LinkError::DatagramTooLarge { bytes: length },
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => LinkError::Lost,
        })
    }

    fn recv_datagram(&self) -> Boxed<'_, Result<Bytes, LinkError>> {
        Box::pin(async { self.conn.read_datagram().await.map_err(|e| self.error(&e)) })
    }

    fn rtt(&self) -> Option<Duration> {
        let paths = self.conn.paths();
        paths.iter().find(|path| path.is_selected()).map(|path| path.rtt())
    }

    fn close(&self, code: Code) {
        if self.conn.close_reason().is_none() {
            close(&self.conn, &self.said, code);
        }
    }

    fn closed(&self) -> Boxed<'_, LinkError> {
        Box::pin(async { self.error(&self.conn.closed().await) })
    }

    fn close_reason(&self) -> Option<LinkError> {
        self.conn.close_reason().map(|why| self.error(&why))
    }
}
