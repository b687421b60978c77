//! Where the datagrams of other nodes' membership arrive.

use super::limits::INBOX_MAX;
use crate::rpc::{Answer, Fault, FaultKind, Question, Service};
use bytes::Bytes;
use selvedge_observe::{LimitCounters, Registry};
use selvedge_rt::links::side::Boxed;
use selvedge_types::NodeKey;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The name of the service that takes them.
pub const SERVICE: &str = "members";

/// What arrived and was not read yet: for [`super::Members::start`].
pub struct Inbox {
    pub(super) letters: mpsc::Receiver<Letter>,
}

pub(super) struct Letter {
    pub(super) from: NodeKey,
    pub(super) bytes: Bytes,
}

impl Inbox {
    /// An empty one, and the service to register as [`SERVICE`] before the mesh starts.
    pub fn new(registry: &Registry) -> (Arc<dyn Service>, Self) {
        let (sender, letters) = mpsc::channel(INBOX_MAX);
        (Arc::new(Door { sender, limits: registry.limits() }), Inbox { letters })
    }
}

struct Door {
    sender: mpsc::Sender<Letter>,
    limits: LimitCounters,
}

impl Service for Door {
    fn versions(&self) -> RangeInclusive<u16> {
        1..=1
    }

    fn answer(&self, _: Question) -> Boxed<'_, Result<Answer, Fault>> {
        Box::pin(async { Err(Fault::new(FaultKind::Refused, "membership speaks in datagrams alone")) })
    }

    fn datagram(&self, from: NodeKey, bytes: Bytes) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(Letter { from, bytes }) {
            self.limits.reached("mesh_membership_waiting");
        }
    }
}
