//! The consensus library's types as this module uses them; none leaves it.

use super::id::{Member, VoterId};
use super::proposal::{Applied, Proposal};
use openraft::impls::TokioRuntime;
use openraft::{EntryPayload, LogId};
use openraft_rt::deterministic_rng::DeterministicRng;

/// Its runtime: tokio, with all randomness from a seed of ours.
pub(super) type Runtime = DeterministicRng<TokioRuntime>;

openraft::declare_raft_types!(
    /// What the library is made of here.
    pub(super) Types:
        D = Proposal,
        R = Applied,
        NodeId = VoterId,
        Node = Member,
        AsyncRuntime = Runtime,
);

pub(super) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, VoterId>;
pub(super) type Log = LogId<LeaderId>;
pub(super) type Vote = openraft::Vote<LeaderId>;
pub(super) type Payload = EntryPayload<Proposal, VoterId, Member>;
pub(super) type Entry = openraft::Entry<LeaderId, Payload>;
pub(super) type Membership = openraft::Membership<VoterId, Member>;
pub(super) type StoredMembership = openraft::StoredMembership<LeaderId, VoterId, Member>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, VoterId, Member>;
