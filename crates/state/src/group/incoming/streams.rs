//! Streams of entries: put into their order, and given on without waiting for the disk between them.
//!
//! ```text
//!   number 3, 2, 1 --> waiting --1, 2, 3--> consensus --> flushed 1, 2, 3 --> answers
//! ```
//! A member has one stream; a later one ends the one before. What comes twice is taken twice, which changes
//! nothing. Who waits for what never comes is given up by the deadline of its message.

use crate::group::core::Core;
use crate::group::id::VoterId;
use crate::group::raft::Types;
use crate::group::wire::Order;
use futures_util::StreamExt;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use selvedge_rt::OnEnd;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Members whose streams are kept.
const STREAMS_MAX: usize = 64;

/// Messages of a stream that wait for those before them.
const WAITING_MAX: usize = 256;

type Answer = oneshot::Sender<StreamAppendResult<Types>>;
type Numbered = (AppendEntriesRequest<Types>, Answer);

/// The streams of all members.
#[derive(Default)]
pub(in crate::group) struct Streams(Mutex<BTreeMap<VoterId, Stream>>);

/// What becomes of a message.
enum Placed {
    /// It is taken in its order.
    InOrder(oneshot::Receiver<StreamAppendResult<Types>>),
    /// It was taken before.
    Again(AppendEntriesRequest<Types>),
}

struct Stream {
    id: u64,
    next: u64,
    waiting: BTreeMap<u64, Numbered>,
    feed: mpsc::UnboundedSender<Numbered>,
}

impl Streams {
    /// Takes a message at its place; none if that does not come to be.
    pub(in crate::group) async fn take(
        &self,
        core: &Core,
        from: VoterId,
        order: Order,
        rpc: AppendEntriesRequest<Types>,
    ) -> Option<StreamAppendResult<Types>> {
        match self.place(core, from, order, rpc)? {
            Placed::InOrder(answered) => answered.await.ok(),
            Placed::Again(rpc) => {
                let (previous, last) = (rpc.prev_log_id, super::last_of(&rpc));
                let done = core.raft.append_entries(rpc).await.ok()?;
                Some(done.into_stream_result(previous, last))
            }
        }
    }

    fn place(
        &self,
        core: &Core,
        from: VoterId,
        order: Order,
        rpc: AppendEntriesRequest<Types>,
    ) -> Option<Placed> {
        let mut streams = self.streams();
        if streams.get(&from).is_none_or(|stream| stream.id < order.stream) {
            if streams.len() >= STREAMS_MAX && !streams.contains_key(&from) {
                streams.pop_first();
            }
            streams.insert(from, Stream::start(core, order.stream));
        }
        let stream = streams.get_mut(&from).filter(|stream| stream.id == order.stream)?;
        if order.number < stream.next {
            return Some(Placed::Again(rpc));
        }
        let (answer, answered) = oneshot::channel();
        stream.put(order.number, (rpc, answer))?;
        Some(Placed::InOrder(answered))
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<VoterId, Stream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn start(core: &Core, id: u64) -> Self {
        // Bounded by the sender's pipeline and by WAITING_MAX.
        let (feed, fed) = mpsc::unbounded_channel();
        let answers = Arc::<Mutex<VecDeque<Answer>>>::default();
        let waiting = answers.clone();
        let input = futures_util::stream::unfold(fed, move |mut fed: mpsc::UnboundedReceiver<Numbered>| {
            let waiting = waiting.clone();
            async move {
                let (rpc, answer) = fed.recv().await?;
                waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer);
                Some((rpc, fed))
            }
        });
        let mut results = Box::pin(core.raft.stream_append(input));
        let tasks = core.tasks.clone();
        let work = core.scoped(async move {
            loop {
                let next = tokio::select! {
                    biased;
                    next = results.next() => next,
                    // Who feeds it may hold the group for longer.
                    () = tasks.stopped() => return,
                };
                let Some(Ok(result)) = next else { return };
                let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                // Who no longer waits does not want to know.
                let _ = answer.map(|answer| answer.send(result));
            }
        });
        core.tasks.spawn("group stream", OnEnd::Forget, work);
        Stream { id, next: 0, waiting: BTreeMap::new(), feed }
    }

    /// Takes a message, and gives on what is now in order.
    fn put(&mut self, number: u64, message: Numbered) -> Option<()> {
        if self.waiting.len() >= WAITING_MAX {
            return None;
        }
        self.waiting.insert(number, message);
        while let Some(message) = self.waiting.remove(&self.next) {
            self.feed.send(message).ok()?;
            self.next += 1;
        }
        Some(())
    }
}
