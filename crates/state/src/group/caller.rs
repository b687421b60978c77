//! Messages out: what every one of them carries.

use super::codec::FORMAT;
use super::id::{Member, VoterId};
use super::links::{LinkError, Links};
use super::options::Options;
use super::wire::{Fault, Message, Reply, Request, Response};
use selvedge_rt::Clock;
use selvedge_types::{ClusterId, Hlc, HlcClock};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the member answered in a way that this version does not know")]
    Form,
    #[error("the member refuses: {0:?}")]
    Fault(Fault),
}

/// Time as it goes into messages and comes out of them.
#[derive(Clone)]
pub(super) struct Time {
    pub(super) clock: Clock,
    pub(super) hlc: Arc<Mutex<HlcClock>>,
}

impl Time {
    pub(super) fn tick(&self) -> Hlc {
        self.hlc.lock().unwrap_or_else(PoisonError::into_inner).tick(self.clock.wall())
    }

    /// Takes a time over, unless it is too far ahead; what came with it counts in any case.
    pub(super) fn observe(&self, time: Hlc) {
        // The link that carried it tells of one that is refused.
        let _ = self.hlc.lock().unwrap_or_else(PoisonError::into_inner).observe(time, self.clock.wall());
    }
}

/// Sends messages of one member.
pub(super) struct Caller {
    pub(super) cluster: ClusterId,
    pub(super) me: VoterId,
    pub(super) options: Options,
    pub(super) links: Arc<dyn Links>,
    pub(super) time: Time,
    pub(super) streams: AtomicU64,
}

impl Caller {
    pub(super) async fn call(
        &self,
        to: VoterId,
        member: &Member,
        request: Request,
        deadline: Duration,
    ) -> Result<Reply, CallError> {
        let priority = request.priority();
        let message = Message {
            format: FORMAT,
            cluster: self.cluster,
            group: self.options.group.0,
            from: self.me,
            to,
            time: self.time.tick(),
            request,
        };
        // Lost is what a link says that does not keep to the deadline itself.
        let call = self.links.call(member, message.encode(), deadline, priority);
        let answer = tokio::time::timeout(deadline, call).await.map_err(|_| LinkError::Lost)??;
        let response = Response::decode(&answer).map_err(|_| CallError::Form)?;
        self.time.observe(response.time);
        response.reply.map_err(CallError::Fault)
    }

    /// A stream's number. Never given twice, also not by another process: it begins with the time.
    pub(super) fn next_stream(&self) -> u64 {
        let least = self.time.tick().to_bits();
        let next = self.streams.load(Ordering::Relaxed).saturating_add(1).max(least);
        self.streams.fetch_max(next, Ordering::Relaxed).max(next)
    }
}
