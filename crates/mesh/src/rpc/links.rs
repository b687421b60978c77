//! The links that calls go through: one of each kind with each peer, made when it is needed.

use super::limits::{DATAGRAMS_WAITING_MAX, REDIAL_AFTER};
use super::{BULK, CALLS, Peer, Priority, Shared, serve};
use bytes::Bytes;
use selvedge_rt::OnEnd;
use selvedge_rt::links::{Link, LinkError, Protocol};
use selvedge_types::NodeKey;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The place of a link.
#[derive(Default)]
pub(super) struct Slot {
    now: Mutex<Now>,
    /// Held by who makes the link: the last time that nobody answered.
    making: tokio::sync::Mutex<Option<(Instant, LinkError)>>,
}

#[derive(Default)]
struct Now {
    link: Option<Link>,
    /// Datagrams for the link that is being made.
    waiting: VecDeque<Bytes>,
    making: bool,
}

impl Slot {
    /// The link, if it is there and open.
    fn open(&self) -> Option<Link> {
        self.now().link.clone().filter(|link| link.close_reason().is_none())
    }

    /// Puts a link in place: the latest that was made is the one most likely to work.
    fn put(&self, link: &Link) {
        let waiting = {
            let mut now = self.now();
            now.link = Some(link.clone());
            now.making = false;
            std::mem::take(&mut now.waiting)
        };
        // Datagrams may be lost.
        waiting.into_iter().for_each(|bytes| drop(link.send_datagram(bytes)));
    }

    /// The time to the peer and back, as the link has it.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.now().link.as_ref().filter(|link| link.close_reason().is_none())?.rtt()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    pub(super) fn slot(&self, protocol: Protocol) -> &Slot {
        if protocol == BULK { &self.bulk } else { &self.calls }
    }
}

/// In which kind of link a call goes.
pub(super) fn protocol(priority: Priority) -> Protocol {
    if priority == Priority::Bulk { BULK } else { CALLS }
}

impl Shared {
    /// The link of that kind with a peer, made if it is not there. Of many who ask, one makes it.
    pub(super) async fn link(self: &Arc<Self>, key: NodeKey, protocol: Protocol) -> Result<Link, LinkError> {
        let peer = self.peer(key);
        let slot = peer.slot(protocol);
        if let Some(link) = slot.open() {
            return Ok(link);
        }
        let mut failed = slot.making.lock().await;
        if let Some(link) = slot.open() {
            return Ok(link);
        }
        match &*failed {
            Some((at, error)) if at.elapsed() < REDIAL_AFTER => return Err(error.clone()),
            _ => {}
        }
        match self.links.connect(key, &[protocol]).await {
            Ok(link) => {
                *failed = None;
                self.take(&link);
                Ok(link)
            }
            Err(error) => {
                let again = matches!(error, LinkError::Unreachable { .. });
                *failed = again.then(|| (Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Puts a new link in place and serves its peer's questions.
    pub(super) fn take(self: &Arc<Self>, link: &Link) {
        self.peer(link.peer()).slot(link.protocol()).put(link);
        self.tasks.spawn("mesh link", OnEnd::Forget, serve::link(self.clone(), link.clone()));
        if link.protocol() == CALLS {
            let datagrams = serve::datagrams(self.clone(), link.clone());
            self.tasks.spawn("mesh datagrams", OnEnd::Forget, datagrams);
        }
    }

    /// Takes a link out of its place, so that the next call makes another: it did not answer.
    pub(super) fn doubt(&self, link: &Link) {
        let peer = self.peer(link.peer());
        let mut now = peer.slot(link.protocol()).now();
        if now.link.as_ref().is_some_and(|other| other.is(link)) {
            now.link = None;
        }
    }

    /// Sends a datagram, at once or when there is a link.
    pub(super) fn datagram(self: &Arc<Self>, key: NodeKey, bytes: Bytes) {
        let peer = self.peer(key);
        if let Some(link) = peer.calls.open() {
            // It may be lost anyway.
            let _ = link.send_datagram(bytes);
            return;
        }
        let mut now = peer.calls.now();
        if now.waiting.len() >= DATAGRAMS_WAITING_MAX {
            now.waiting.pop_front();
            self.limits.reached("mesh_datagrams_waiting");
        }
        now.waiting.push_back(bytes);
        if std::mem::replace(&mut now.making, true) {
            return;
        }
        drop(now);
        let shared = self.clone();
        self.tasks.spawn("mesh connect", OnEnd::Forget, async move {
            if shared.link(key, CALLS).await.is_err() {
                let peer = shared.peer(key);
                let mut now = peer.calls.now();
                now.making = false;
                now.waiting.clear();
            }
        });
    }
}
