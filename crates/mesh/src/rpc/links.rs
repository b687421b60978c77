//! The links that calls go through: one of each kind with each peer, made when it is needed.

use super::limits::{DATAGRAMS_WAITING_MAX, REDIAL_AFTER};
use super::{BULK, CALLS, Peer, Priority, Shared, serve};
use bytes::Bytes;
use selvedge_rt::OnEnd;
use selvedge_rt::links::{Code, Link, LinkError, Protocol};
use selvedge_types::NodeKey;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The place of a link.
#[derive(Default)]
pub(super) struct Slot(Mutex<Now>);

#[derive(Default)]
struct Now {
    link: Option<Link>,
    /// The last time that a call in it was answered.
    heard: Option<Instant>,
    /// The link that is being made: how that ends.
    making: Option<Making>,
    /// The last time that nobody answered.
    failed: Option<(Instant, LinkError)>,
    /// Datagrams for the link that is being made.
    waiting: VecDeque<Bytes>,
}

type Made = Result<Link, LinkError>;
type Making = watch::Receiver<Option<Made>>;

impl Slot {
    /// Puts a link in place: the latest that was made is the one most likely to work.
    fn put(&self, link: &Link) {
        let waiting = {
            let mut now = self.now();
            now.link = Some(link.clone());
            now.heard = None;
            now.failed = None;
            std::mem::take(&mut now.waiting)
        };
        // Datagrams may be lost.
        waiting.into_iter().for_each(|bytes| drop(link.send_datagram(bytes)));
    }

    /// The time to the peer and back, as the link has it.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.now().open()?.rtt()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    /// The link, if it is there and open.
    fn open(&self) -> Option<Link> {
        self.link.clone().filter(|link| link.close_reason().is_none())
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
    /// The link of that kind with a peer, made if it is not there. It is made by a task of its own: those who
    /// ask may have less time than that takes. Cancel-safe.
    pub(super) async fn link(self: &Arc<Self>, key: NodeKey, protocol: Protocol) -> Made {
        let peer = self.peer(key);
        let mut making = {
            let mut now = peer.slot(protocol).now();
            if let Some(link) = now.open() {
                return Ok(link);
            }
            self.making(&mut now, key, protocol)?
        };
        let made = making.wait_for(Option::is_some).await.map(|made| made.clone());
        made.ok().flatten().unwrap_or(Err(LinkError::Lost))
    }

    /// The making of a link, which is begun if it is not under way and did not fail just now.
    fn making(
        self: &Arc<Self>,
        now: &mut Now,
        key: NodeKey,
        protocol: Protocol,
    ) -> Result<Making, LinkError> {
        if let Some(making) = &now.making {
            return Ok(making.clone());
        }
        if let Some((at, error)) = &now.failed
            && at.elapsed() < REDIAL_AFTER
        {
            return Err(error.clone());
        }
        let (made, making) = watch::channel(None);
        now.making = Some(making.clone());
        let shared = self.clone();
        self.tasks.spawn("mesh connect", OnEnd::Forget, async move {
            let protocols = [protocol];
            let result = tokio::select! {
                result = shared.links.connect(key, &protocols) => result,
                () = shared.tasks.stopped() => Err(LinkError::Closed(Code::STOPPING)),
            };
            if let Ok(link) = &result {
                shared.take(link);
            }
            let peer = shared.peer(key);
            let mut now = peer.slot(protocol).now();
            now.making = None;
            if let Err(error) = &result {
                now.waiting.clear();
                let again = matches!(error, LinkError::Unreachable { .. });
                now.failed = again.then(|| (Instant::now(), error.clone()));
            }
            made.send_replace(Some(result));
        });
        Ok(making)
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

    /// Takes note that a call in a link was answered.
    pub(super) fn heard(&self, link: &Link) {
        let peer = self.peer(link.peer());
        let mut now = peer.slot(link.protocol()).now();
        if now.link.as_ref().is_some_and(|other| other.is(link)) {
            now.heard = Some(Instant::now());
        }
    }

    /// Takes a link out of its place, so that the next call makes another, if it has answered nothing since
    /// then: else it is the service that takes long.
    pub(super) fn doubt(&self, link: &Link, since: Instant) {
        let peer = self.peer(link.peer());
        let mut now = peer.slot(link.protocol()).now();
        let is_here = now.link.as_ref().is_some_and(|other| other.is(link));
        if is_here && now.heard.is_none_or(|heard| heard < since) {
            now.link = None;
        }
    }

    /// Sends a datagram, at once or when there is a link.
    pub(super) fn datagram(self: &Arc<Self>, key: NodeKey, bytes: Bytes) {
        let peer = self.peer(key);
        let mut now = peer.calls.now();
        if let Some(link) = now.open() {
            drop(now);
            // It may be lost anyway.
            let _ = link.send_datagram(bytes);
            return;
        }
        if now.waiting.len() >= DATAGRAMS_WAITING_MAX {
            now.waiting.pop_front();
            self.limits.reached("mesh_datagrams_waiting");
        }
        now.waiting.push_back(bytes);
        if self.making(&mut now, key, CALLS).is_err() {
            now.waiting.clear();
        }
    }
}
