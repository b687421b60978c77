//! The bytes of entries, votes and memberships: CBOR with numbered fields (RFC 8949), for disk and wire.
//!
//! A number is never used again.

use super::id::{Member, VoterId};
use super::proposal::Proposal;
use super::raft::{Entry, LeaderId, Log, Membership, Payload, StoredMembership, Vote};
use bytes::Bytes;
use minicbor::{Decode, Encode};
use std::collections::{BTreeMap, BTreeSet};

/// The format of a group's records, rows and messages.
pub(super) const FORMAT: u16 = 1;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A later version wrote them.
    #[error("written in format {0}, but this version knows {FORMAT}; run a newer version")]
    Format(u16),
    /// They are not what any version writes.
    #[error("not CBOR of a known form: {0}; restore from a backup or a peer")]
    Form(String),
}

/// The bytes of a form.
pub(super) fn to_bytes<T: Encode<()>>(form: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail, and no form refuses to be written.
    let _ = minicbor::encode(form, &mut bytes);
    bytes
}

/// Reads a form that begins with its format's number. Never panics.
pub(super) fn from_bytes<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, CodecError> {
    let form = |e: minicbor::decode::Error| CodecError::Form(e.to_string());
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.array().map_err(form)?;
    let format = decoder.u16().map_err(form)?;
    if format != FORMAT {
        return Err(CodecError::Format(format));
    }
    minicbor::decode(bytes).map_err(form)
}

/// A place in the log, and the leader who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(super) struct LogForm {
    #[n(0)]
    pub(super) term: u64,
    #[n(1)]
    pub(super) leader: VoterId,
    #[n(2)]
    pub(super) index: u64,
}

impl From<&Log> for LogForm {
    fn from(log: &Log) -> Self {
        LogForm { term: log.leader_id.term, leader: log.leader_id.node_id, index: log.index }
    }
}

impl From<LogForm> for Log {
    fn from(form: LogForm) -> Self {
        Log { leader_id: LeaderId { term: form.term, node_id: form.leader }, index: form.index }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct VoteForm {
    #[n(0)]
    term: u64,
    #[n(1)]
    leader: VoterId,
    #[n(2)]
    committed: bool,
}

impl From<&Vote> for VoteForm {
    fn from(vote: &Vote) -> Self {
        VoteForm { term: vote.leader_id.term, leader: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<VoteForm> for Vote {
    fn from(form: VoteForm) -> Self {
        let leader_id = LeaderId { term: form.term, node_id: form.leader };
        Vote { leader_id, committed: form.committed }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct MembershipForm {
    /// The voters: one set, or two while one takes over from the other.
    #[n(0)]
    voters: Vec<BTreeSet<VoterId>>,
    #[n(1)]
    members: BTreeMap<VoterId, Member>,
}

impl From<&Membership> for MembershipForm {
    fn from(membership: &Membership) -> Self {
        MembershipForm {
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        }
    }
}

impl TryFrom<MembershipForm> for Membership {
    type Error = CodecError;

    fn try_from(form: MembershipForm) -> Result<Self, CodecError> {
        if form.voters.is_empty() && form.members.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(form.voters, form.members).map_err(|e| CodecError::Form(e.to_string()))
    }
}

/// A membership and the entry that made it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct StoredMembershipForm {
    #[n(0)]
    log: Option<LogForm>,
    #[n(1)]
    membership: MembershipForm,
}

impl From<&StoredMembership> for StoredMembershipForm {
    fn from(stored: &StoredMembership) -> Self {
        StoredMembershipForm {
            log: stored.log_id().as_ref().map(LogForm::from),
            membership: stored.membership().into(),
        }
    }
}

impl TryFrom<StoredMembershipForm> for StoredMembership {
    type Error = CodecError;

    fn try_from(form: StoredMembershipForm) -> Result<Self, CodecError> {
        Ok(StoredMembership::new(form.log.map(Log::from), form.membership.try_into()?))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct EntryForm {
    #[n(0)]
    log: LogForm,
    #[n(1)]
    payload: PayloadForm,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
enum PayloadForm {
    #[n(0)]
    Blank,
    #[n(1)]
    Command(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    #[n(2)]
    Membership(#[n(0)] MembershipForm),
}

impl From<&Entry> for EntryForm {
    fn from(entry: &Entry) -> Self {
        let payload = match &entry.payload {
            Payload::Blank => PayloadForm::Blank,
            Payload::Normal(proposal) => PayloadForm::Command(proposal.0.to_vec()),
            Payload::Membership(membership) => PayloadForm::Membership(membership.into()),
        };
        EntryForm { log: (&entry.log_id).into(), payload }
    }
}

impl TryFrom<EntryForm> for Entry {
    type Error = CodecError;

    fn try_from(form: EntryForm) -> Result<Self, CodecError> {
        let payload = match form.payload {
            PayloadForm::Blank => Payload::Blank,
            PayloadForm::Command(bytes) => Payload::Normal(Proposal(Bytes::from(bytes))),
            PayloadForm::Membership(membership) => Payload::Membership(membership.try_into()?),
        };
        Ok(Entry { log_id: form.log.into(), payload })
    }
}
