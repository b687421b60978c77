//! Messages in: each is checked, and given to whom it concerns.

mod snapshot;
mod streams;

pub(super) use snapshot::Arriving;
pub(super) use streams::Streams;

use super::codec::{FORMAT, LogForm, VoteForm};
use super::core::Core;
use super::id::VoterId;
use super::raft::{Log, Types, Vote};
use super::wire::{Fault, Hint, Message, Order, Reply, Request, Response};
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest,
};

type Answered = Result<Reply, Fault>;

impl Core {
    /// Answers a message.
    pub(super) async fn answer(&self, node: &str, message: &[u8]) -> Bytes {
        let reply = match self.check(node, message) {
            Ok(message) => {
                self.caller.time.observe(message.time);
                self.reply(message.from, message.request).await
            }
            Err(fault) => Err(fault),
        };
        Response { format: FORMAT, time: self.caller.time.tick(), reply }.encode()
    }

    fn check(&self, node: &str, bytes: &[u8]) -> Result<Message, Fault> {
        let message = Message::decode(bytes).map_err(|error| Fault::Refused(error.to_string()))?;
        let refuse = |what: String| Err(Fault::Refused(what));
        if message.cluster != self.caller.cluster {
            return refuse(format!("it is of cluster {}, not {}", message.cluster, self.caller.cluster));
        }
        if message.group != self.caller.options.group.0 {
            return refuse(format!("it is for group {}, which is not here", message.group));
        }
        if message.to != self.me() {
            return refuse(format!("it is for member {}, and this is {}", message.to, self.me()));
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        // Who is not known here may be a member all the same: this node may lag.
        let sender = metrics.membership_config.get_node(&message.from);
        if sender.is_some_and(|sender| sender.node != node) {
            return refuse(format!("member {} is not node {node}", message.from));
        }
        Ok(message)
    }

    async fn reply(&self, from: VoterId, request: Request) -> Answered {
        match request {
            Request::Append { order, vote, previous, entries, committed } => {
                let entries = entries.into_iter().map(TryInto::try_into).collect::<Result<_, _>>();
                let rpc = AppendEntriesRequest {
                    vote: vote.into(),
                    prev_log_id: previous.map(Log::from),
                    entries: entries.map_err(|e: super::codec::CodecError| Fault::Refused(e.to_string()))?,
                    leader_commit: committed.map(Log::from),
                };
                let taken = self.take_append(from, order, rpc).await;
                if matches!(taken, Ok(Reply::Appended(_))) {
                    self.note_leader();
                }
                taken
            }
            Request::Vote { vote, last, transfer, pre } => {
                let mut rpc = VoteRequest::new(vote.into(), last.map(Log::from));
                rpc.leadership_transfer = transfer;
                self.take_vote(rpc, pre).await
            }
            Request::Transfer { from, to, last } => self.take_transfer(from, to, last).await,
            Request::Offer { vote, of, membership } => self.take_offer(vote, of, membership),
            Request::Chunk { of, number, rows, last } => self.take_chunk(of, number, rows, last).await,
            Request::Propose { call, command } => {
                let answered = self.propose_for_other(command, call).await;
                match answered {
                    Ok(answer) => Ok(Reply::Answered(Ok(answer))),
                    Err(super::error::Error::Refused(refusal)) => Ok(Reply::Answered(Err(refusal))),
                    Err(error) => Err(self.fault(error)),
                }
            }
            Request::ReadIndex { lease } => {
                self.read_index_here(lease).await.map(Reply::ReadAt).map_err(|error| self.fault(error))
            }
            Request::Last => Ok(Reply::Last(self.log.memory().last().as_ref().map(LogForm::from))),
            Request::Change(change) => {
                self.change_here(change).await.map(|()| Reply::Done).map_err(|error| self.fault(error))
            }
        }
    }

    /// A fault that says who leads, if that is what is wrong.
    fn fault(&self, error: super::error::Error) -> Fault {
        match Fault::from(error) {
            Fault::NotLeader(_) => Fault::NotLeader(self.leader().map(|(id, member)| Hint { id, member })),
            fault => fault,
        }
    }

    async fn take_append(
        &self,
        from: VoterId,
        order: Option<Order>,
        rpc: AppendEntriesRequest<Types>,
    ) -> Answered {
        let Some(order) = order else {
            let (previous, last) = (rpc.prev_log_id, last_of(&rpc));
            let done = self.raft.append_entries(rpc).await.map_err(|e| Fault::Stopped(e.to_string()))?;
            return Ok(appended(done.into_stream_result(previous, last)));
        };
        let limit = self.caller.options.append_timeout;
        let done = tokio::time::timeout(limit, self.streams.take(self, from, order, rpc)).await;
        let lost = || Fault::Refused("what came before it did not arrive".to_owned());
        done.ok().flatten().map(appended).ok_or_else(lost)
    }

    async fn take_vote(&self, rpc: VoteRequest<Types>, pre: bool) -> Answered {
        if !self.is_trusted() {
            let vote = self.raft.metrics().borrow_watched().vote;
            let last = self.log.memory().last();
            let last = last.as_ref().map(LogForm::from);
            return Ok(Reply::Voted { vote: (&vote).into(), last, granted: false });
        }
        let voted = if pre { self.raft.pre_vote(rpc).await } else { self.raft.vote(rpc).await };
        let voted = voted.map_err(|e| Fault::Stopped(e.to_string()))?;
        let last = voted.last_log_id.as_ref().map(LogForm::from);
        Ok(Reply::Voted { vote: (&voted.vote).into(), last, granted: voted.vote_granted })
    }

    async fn take_transfer(&self, from: VoteForm, to: VoterId, last: Option<LogForm>) -> Answered {
        if !self.is_trusted() {
            return Err(Fault::NotCaughtUp(self.me()));
        }
        let request = TransferLeaderRequest::new(Vote::from(from), to, last.map(Log::from));
        let done = self.raft.handle_transfer_leader(request).await;
        let done = done.map_err(|e| Fault::Stopped(e.to_string()))?;
        done.map(|()| Reply::Done).map_err(|e| Fault::Refused(e.to_string()))
    }
}

fn last_of(rpc: &AppendEntriesRequest<Types>) -> Option<Log> {
    rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id)
}

fn appended(result: StreamAppendResult<Types>) -> Reply {
    match result {
        Ok(log) => Reply::Appended(log.as_ref().map(LogForm::from)),
        Err(StreamAppendError::Conflict(log)) => Reply::Conflict((&log).into()),
        Err(StreamAppendError::HigherVote(vote)) => Reply::Higher((&vote).into()),
    }
}
