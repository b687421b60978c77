//! Messages of the consensus library out to other members.

use super::caller::{CallError, Caller};
use super::codec::{EntryForm, LogForm, StoredMembershipForm, VoteForm};
use super::id::{Member, VoterId};
use super::links::LinkError;
use super::machine::{Place, Snapshot};
use super::raft::{LeaderId, Log, Types, Vote};
use super::wire::{Order, Reply, Request};
use futures_util::stream::{BoxStream, StreamExt};
use futures_util::{Stream, future::BoxFuture};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use selvedge_rt::Tasks;
use selvedge_types::planted::{Bug, is_planted};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long a member may take to make a snapshot its state.
const INSTALL_MAX: Duration = Duration::from_secs(120);

/// How long a part of a snapshot may be on its way.
const CHUNK_MAX: Duration = Duration::from_secs(5);

pub(super) struct Network {
    pub(super) caller: Arc<Caller>,
    pub(super) tasks: Tasks,
}

/// One member as the library reaches it.
#[derive(Clone)]
pub(super) struct Peer {
    caller: Arc<Caller>,
    tasks: Tasks,
    id: VoterId,
    member: Member,
    /// Whether what is appended comes in order: a heartbeat needs none.
    ordered: bool,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: VoterId, node: &Member) -> Peer {
        let (caller, tasks) = (self.caller.clone(), self.tasks.clone());
        Peer { caller, tasks, id: target, member: node.clone(), ordered: true }
    }

    async fn new_heartbeat_client(&mut self, target: VoterId, node: &Member) -> Peer {
        Peer { ordered: false, ..self.new_client(target, node).await }
    }
}

type Rpc<T> = Result<T, RPCError<Types>>;

impl Peer {
    async fn call(&self, request: Request, deadline: Duration) -> Rpc<Reply> {
        self.caller.call(self.id, &self.member, request, deadline).await.map_err(|error| match error {
            CallError::Link(LinkError::Unreachable) | CallError::Form | CallError::Fault(_) => {
                RPCError::Unreachable(Unreachable::new(&error))
            }
            CallError::Link(LinkError::Lost) => RPCError::Network(NetworkError::new(&error)),
        })
    }

    async fn append(
        &self,
        order: Option<Order>,
        rpc: AppendEntriesRequest<Types>,
    ) -> Rpc<StreamAppendResult<Types>> {
        let last = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
        let request = Request::Append {
            order,
            vote: (&rpc.vote).into(),
            previous: rpc.prev_log_id.as_ref().map(LogForm::from),
            entries: rpc.entries.iter().map(EntryForm::from).collect(),
            committed: rpc.leader_commit.as_ref().map(LogForm::from),
        };
        let options = &self.caller.options;
        let deadline = if order.is_some() { options.append_timeout } else { options.heartbeat };
        match self.call(request, deadline).await {
            Ok(Reply::Appended(log)) => Ok(Ok(log.map(Log::from))),
            Ok(Reply::Conflict(log)) => Ok(Err(StreamAppendError::Conflict(log.into()))),
            Ok(Reply::Higher(vote)) => Ok(Err(StreamAppendError::HigherVote(vote.into()))),
            Err(_) if is_planted(Bug::CommittedWithoutQuorum) => Ok(Ok(last)),
            Ok(_) => Err(unexpected()),
            Err(error) => Err(error),
        }
    }

    async fn ask_for_vote(
        &self,
        rpc: VoteRequest<Types>,
        pre: bool,
        deadline: Duration,
    ) -> Rpc<VoteResponse<Types>> {
        let request = Request::Vote {
            vote: (&rpc.vote).into(),
            last: rpc.last_log_id.as_ref().map(LogForm::from),
            transfer: rpc.leadership_transfer,
            pre,
        };
        match self.call(request, deadline).await? {
            Reply::Voted { vote, last, granted } => {
                Ok(VoteResponse::new(Vote::from(vote), last.map(Log::from), granted))
            }
            _ => Err(unexpected()),
        }
    }

    async fn send_snapshot(&self, vote: Vote, snapshot: SnapshotOf) -> Result<Vote, StreamingError<Types>> {
        let meta = &snapshot.meta;
        let Some(of) = meta.last_log_id.as_ref().map(LogForm::from) else { return Ok(vote) };
        let membership = StoredMembershipForm::from(&meta.last_membership);
        let offer = Request::Offer { vote: (&vote).into(), of, membership };
        let wanted = match self.call(offer, CHUNK_MAX).await? {
            Reply::Next(number) => number,
            Reply::Higher(higher) => return Ok(higher.into()),
            _ => return Err(unexpected().into()),
        };
        let (mut number, mut from) = (0, Some(Place::start()));
        while let Some(place) = from.take() {
            let (rows, next) = self.page(&snapshot.snapshot, place).await?;
            from = next;
            if number < wanted && from.is_some() {
                number += 1;
                continue;
            }
            let last = from.is_none();
            let rows = rows.into_iter().map(Into::into).collect();
            let deadline = if last { INSTALL_MAX } else { CHUNK_MAX };
            match self.call(Request::Chunk { of, number, rows, last }, deadline).await? {
                Reply::Next(wanted) if wanted == number + 1 => number = wanted,
                Reply::Installed(vote) | Reply::Higher(vote) => return Ok(vote.into()),
                _ => return Err(unexpected().into()),
            }
        }
        Err(unexpected().into())
    }

    async fn page(
        &self,
        snapshot: &Snapshot,
        place: Place,
    ) -> Result<(Vec<super::image::Row>, Option<Place>), StreamingError<Types>> {
        let (snapshot, bytes) = (snapshot.clone(), self.caller.options.snapshot_chunk_bytes);
        let read = self.tasks.blocking("group snapshot", move || snapshot.page(&place, bytes)).await;
        let failed = |error: &(dyn std::error::Error + 'static)| {
            StreamingError::Network(NetworkError::from_string(error))
        };
        read.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

fn unexpected() -> RPCError<Types> {
    RPCError::Network(NetworkError::from_string("the member answered something else than was asked"))
}

type SnapshotOf = openraft::Snapshot<LeaderId, VoterId, Member, Snapshot>;

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<Types>> {
        Ok(self.append(None, rpc).await?.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<Types>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let stream = self.ordered.then(|| self.caller.next_stream());
        let (peer, pipeline) = (self.clone(), self.caller.options.pipeline_max.max(1));
        let answers = input.zip(futures_util::stream::iter(0..)).map(move |(rpc, number)| {
            let (peer, order) = (peer.clone(), stream.map(|stream| Order { stream, number }));
            async move { peer.append(order, rpc).await }
        });
        let answers: BoxStream<'s, _> = Box::pin(answers.buffered(pipeline));
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Rpc<VoteResponse<Types>> {
        self.ask_for_vote(rpc, false, option.hard_ttl()).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Rpc<VoteResponse<Types>> {
        self.ask_for_vote(rpc, true, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => sent.map(SnapshotResponse::new),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Types>> {
        let request = Request::Transfer {
            from: VoteForm::from(req.from_leader()),
            to: *req.to_node_id(),
            last: req.last_log_id().map(LogForm::from),
        };
        match self.call(request, option.hard_ttl()).await? {
            Reply::Done => Ok(Ok(())),
            _ => Err(unexpected()),
        }
    }
}
