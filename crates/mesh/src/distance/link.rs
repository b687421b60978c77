//! One link over a distance.

use super::Path;
use super::stream::{Receiver, Sender};
use bytes::Bytes;
use selvedge_rt::links::side::{Boxed, LinkSide};
use selvedge_rt::links::{Code, Link, LinkError, Protocol, RecvStream, SendStream};
use selvedge_rt::{OnEnd, Tasks};
use selvedge_types::NodeKey;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How many datagrams of a link are on their way; more are lost.
const DATAGRAMS_MAX: usize = 1024;

pub(super) struct DistantLink {
    near: Link,
    path: Path,
    tasks: Tasks,
    datagrams: mpsc::Sender<(Instant, Bytes)>,
}

impl DistantLink {
    /// The link `near`, at a distance from now on.
    pub(super) fn begin(near: Link, path: Path, tasks: &Tasks) -> Link {
        let (datagrams, sent) = mpsc::channel(DATAGRAMS_MAX);
        let carrying = carry(near.clone(), sent, path.clone(), tasks.clone());
        tasks.spawn("distant link", OnEnd::Forget, carrying);
        Link::new(Arc::new(DistantLink { near, path, tasks: tasks.clone(), datagrams }))
    }

    fn streams(&self, (send, recv): (SendStream, RecvStream)) -> (SendStream, RecvStream) {
        let sender = Sender::begin(send, self.near.clone(), self.path.clone(), &self.tasks);
        let receiver = Receiver::new(recv, self.path.clone());
        (SendStream::new(Box::new(sender)), RecvStream::new(Box::new(receiver)))
    }
}

/// Sends datagrams on when they are due, and ends a link that was cut for too long. Ends when nobody holds the link.
async fn carry(near: Link, mut sent: mpsc::Receiver<(Instant, Bytes)>, path: Path, tasks: Tasks) {
    let mut cut = path.clone();
    let mut lost = pin!(cut.lost());
    loop {
        tokio::select! {
            next = sent.recv() => match next {
                Some((due, bytes)) => {
                    tokio::time::sleep_until(due).await;
                    if !path.is_cut() {
                        // It may be lost anyway.
                        let _ = near.send_datagram(bytes);
                    }
                }
                None => return,
            },
            () = &mut lost => {
                near.close(Code::DONE);
                return;
            }
            _ = near.closed() => return,
            () = tasks.stopped() => return,
        }
    }
}

impl LinkSide for DistantLink {
    fn peer(&self) -> NodeKey {
        self.near.peer()
    }

    fn protocol(&self) -> Protocol {
        self.near.protocol()
    }

    fn open(&self) -> Boxed<'_, Result<(SendStream, RecvStream), LinkError>> {
        Box::pin(async {
            let opened = self.near.open().await.map_err(|error| self.path.told(error))?;
            Ok(self.streams(opened))
        })
    }

    fn accept(&self) -> Boxed<'_, Result<(SendStream, RecvStream), LinkError>> {
        Box::pin(async {
            let accepted = self.near.accept().await.map_err(|error| self.path.told(error))?;
            Ok(self.streams(accepted))
        })
    }

    fn send_datagram(&self, bytes: Bytes) -> Result<(), LinkError> {
        match self.close_reason() {
            Some(why) => Err(why),
            None => {
                // One too many is lost.
                let _ = self.datagrams.try_send((self.path.due(), bytes));
                Ok(())
            }
        }
    }

    fn recv_datagram(&self) -> Boxed<'_, Result<Bytes, LinkError>> {
        Box::pin(async {
            loop {
                let received = self.near.recv_datagram().await;
                let bytes = received.map_err(|error| self.path.told(error))?;
                if !self.path.is_cut() {
                    return Ok(bytes);
                }
            }
        })
    }

    fn rtt(&self) -> Option<Duration> {
        Some(self.near.rtt()? + self.path.delay() * 2)
    }

    fn close(&self, code: Code) {
        self.near.close(code);
    }

    fn closed(&self) -> Boxed<'_, LinkError> {
        Box::pin(async { self.path.told(self.near.closed().await) })
    }

    fn close_reason(&self) -> Option<LinkError> {
        self.near.close_reason().map(|why| self.path.told(why))
    }
}
