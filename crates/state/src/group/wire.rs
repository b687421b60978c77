//! What members say to each other: CBOR with numbered fields (RFC 8949), none of them ever used again.
//!
//! Each message carries its format, the cluster, the group, who it is from and for, and the sender's time.

use super::codec::{self, CodecError, EntryForm, LogForm, StoredMembershipForm, VoteForm};
use super::error::Error;
use super::id::{Member, VoterId};
use super::image::Row;
use bytes::Bytes;
use minicbor::{Decode, Encode};
use selvedge_kv::{Answer, Call, Command, Refusal, Table};
use selvedge_mesh::rpc::Priority;
use selvedge_types::{ClusterId, Hlc};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(super) struct Message {
    #[n(0)]
    pub(super) format: u16,
    #[n(1)]
    pub(super) cluster: ClusterId,
    #[n(2)]
    pub(super) group: u32,
    #[n(3)]
    pub(super) from: VoterId,
    #[n(4)]
    pub(super) to: VoterId,
    /// The sender's time.
    #[n(5)]
    pub(super) time: Hlc,
    #[n(6)]
    pub(super) request: Request,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(super) struct Response {
    #[n(0)]
    pub(super) format: u16,
    /// The answering node's time.
    #[n(1)]
    pub(super) time: Hlc,
    #[n(2)]
    pub(super) reply: Result<Reply, Fault>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(super) enum Request {
    /// Entries from the leader, or only its heartbeat.
    #[n(0)]
    Append {
        /// Which stream of them, and which place in it: they are taken in that order. None for a heartbeat.
        #[n(0)]
        order: Option<Order>,
        #[n(1)]
        vote: VoteForm,
        #[n(2)]
        previous: Option<LogForm>,
        #[n(3)]
        entries: Vec<EntryForm>,
        #[n(4)]
        committed: Option<LogForm>,
    },
    /// A candidate asks for a vote.
    #[n(1)]
    Vote {
        #[n(0)]
        vote: VoteForm,
        #[n(1)]
        last: Option<LogForm>,
        /// The leader wants it.
        #[n(2)]
        transfer: bool,
        /// Only whether it would be given.
        #[n(3)]
        pre: bool,
    },
    /// The leader wants another to lead.
    #[n(2)]
    Transfer {
        #[n(0)]
        from: VoteForm,
        #[n(1)]
        to: VoterId,
        #[n(2)]
        last: Option<LogForm>,
    },
    /// A snapshot is at hand.
    #[n(3)]
    Offer {
        #[n(0)]
        vote: VoteForm,
        #[n(1)]
        of: LogForm,
        #[n(2)]
        membership: StoredMembershipForm,
    },
    /// A part of the snapshot offered.
    #[n(4)]
    Chunk {
        #[n(0)]
        of: LogForm,
        #[n(1)]
        number: u64,
        #[n(2)]
        rows: Vec<RowForm>,
        #[n(3)]
        last: bool,
    },
    /// A command for the leader to put into the log.
    #[n(5)]
    Propose {
        #[n(0)]
        call: Option<Call>,
        #[n(1)]
        command: Command,
    },
    /// Up to where a read must see.
    #[n(6)]
    ReadIndex {
        /// The leader's lease is enough.
        #[n(0)]
        lease: bool,
    },
    /// The last entry of the log.
    #[n(7)]
    Last,
    /// A change of the members, or of the leader.
    #[n(8)]
    Change(#[n(0)] Change),
}

impl Request {
    /// How urgent it is. What clients wait for must not take the places of what keeps a leader leading, nor
    /// a snapshot those of anything else.
    pub(super) fn priority(&self) -> Priority {
        match self {
            Request::Append { .. } | Request::Vote { .. } | Request::Transfer { .. } | Request::Last => {
                Priority::Consensus
            }
            Request::Propose { .. } | Request::ReadIndex { .. } | Request::Change(_) => Priority::Normal,
            Request::Offer { .. } | Request::Chunk { .. } => Priority::Bulk,
        }
    }
}

/// A place in a stream of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Order {
    /// Counted up by the sender.
    #[n(0)]
    pub(super) stream: u64,
    /// From 0.
    #[n(1)]
    pub(super) number: u64,
}

/// A change of who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    /// A node follows from now on, without a vote.
    #[n(0)]
    AddLearner {
        /// Who.
        #[n(0)]
        id: VoterId,
        /// What is known of it.
        #[n(1)]
        member: Member,
    },
    /// These vote, and no others: in one joint change, once those who are new are caught up. Those who no
    /// longer vote go on as learners.
    #[n(1)]
    SetVoters(#[n(0)] BTreeSet<VoterId>),
    /// A learner takes part no longer.
    #[n(2)]
    Remove(#[n(0)] VoterId),
    /// Another voter leads.
    #[n(3)]
    TransferLeader(#[n(0)] VoterId),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(super) enum Reply {
    /// All entries are on disk, up to this one.
    #[n(0)]
    Appended(#[n(0)] Option<LogForm>),
    /// The entry before them is not there.
    #[n(1)]
    Conflict(#[n(0)] LogForm),
    /// Another leader is known.
    #[n(2)]
    Higher(#[n(0)] VoteForm),
    #[n(3)]
    Voted {
        #[n(0)]
        vote: VoteForm,
        #[n(1)]
        last: Option<LogForm>,
        #[n(2)]
        granted: bool,
    },
    #[n(4)]
    Done,
    /// The part of a snapshot that is wanted next.
    #[n(5)]
    Next(#[n(0)] u64),
    /// The snapshot is the state.
    #[n(6)]
    Installed(#[n(0)] VoteForm),
    #[n(7)]
    Answered(#[n(0)] Result<Answer, Refusal>),
    /// The place after the last entry that a read must see.
    #[n(8)]
    ReadAt(#[n(0)] u64),
    #[n(9)]
    Last(#[n(0)] Option<LogForm>),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(super) enum Fault {
    /// Another leads, maybe this one. Nothing was done.
    #[n(0)]
    NotLeader(#[n(0)] Option<Hint>),
    #[n(1)]
    Busy(#[n(0)] u64),
    #[n(2)]
    Full,
    #[n(3)]
    Unknown,
    #[n(4)]
    Stopped(#[n(0)] String),
    /// The message is for another, or out of its order.
    #[n(5)]
    Refused(#[n(0)] String),
    #[n(6)]
    NotCaughtUp(#[n(0)] VoterId),
    #[n(7)]
    NoMember(#[n(0)] VoterId),
    #[n(8)]
    ChangeInProgress,
    #[n(9)]
    Membership(#[n(0)] String),
    #[n(10)]
    TooLarge {
        #[n(0)]
        bytes: u64,
        #[n(1)]
        max: u64,
    },
}

/// Who may lead.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Hint {
    #[n(0)]
    pub(super) id: VoterId,
    #[n(1)]
    pub(super) member: Member,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct RowForm {
    #[n(0)]
    table: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    value: Vec<u8>,
}

impl From<Row> for RowForm {
    fn from(row: Row) -> Self {
        let table = Table::ALL.iter().position(|table| *table == row.table).unwrap_or_default();
        RowForm { table: u8::try_from(table).unwrap_or(u8::MAX), key: row.key, value: row.value }
    }
}

impl TryFrom<RowForm> for Row {
    type Error = CodecError;

    fn try_from(form: RowForm) -> Result<Self, CodecError> {
        let table = Table::ALL.get(usize::from(form.table)).copied();
        let table = table.ok_or_else(|| CodecError::Form(format!("table number {}", form.table)))?;
        Ok(Row { table, key: form.key, value: form.value })
    }
}

impl Message {
    pub(super) fn encode(&self) -> Bytes {
        codec::to_bytes(self).into()
    }

    /// Never panics.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::from_bytes(bytes)
    }
}

impl Response {
    pub(super) fn encode(&self) -> Bytes {
        codec::to_bytes(self).into()
    }

    /// Never panics.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::from_bytes(bytes)
    }
}

/// Whether bytes are a message or an answer: for fuzzing.
pub fn decode_message(bytes: &[u8]) -> Result<(), CodecError> {
    Message::decode(bytes).map(drop).or_else(|_| Response::decode(bytes).map(drop))
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::NoLeader { .. } => Fault::NotLeader(None),
            Error::Busy { max } => Fault::Busy(max as u64),
            Error::Full => Fault::Full,
            Error::Unknown { .. } => Fault::Unknown,
            Error::Stopped { why } => Fault::Stopped(why),
            Error::NotCaughtUp { member } => Fault::NotCaughtUp(member),
            Error::NoMember { member } => Fault::NoMember(member),
            Error::ChangeInProgress => Fault::ChangeInProgress,
            Error::Membership(why) => Fault::Membership(why),
            Error::TooLarge { bytes, max } => Fault::TooLarge { bytes: bytes as u64, max: max as u64 },
            Error::Refused(_) | Error::Behind { .. } | Error::NoImage { .. } | Error::Message(_) => {
                Fault::Refused(error.to_string())
            }
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotLeader(_) => Error::NoLeader { waited: std::time::Duration::ZERO },
            Fault::Busy(max) => Error::Busy { max: usize::try_from(max).unwrap_or(usize::MAX) },
            Fault::Full => Error::Full,
            Fault::Unknown => Error::Unknown { why: "the leader does not know" },
            Fault::Stopped(why) => Error::Stopped { why },
            Fault::Refused(why) => Error::Message(why),
            Fault::NotCaughtUp(member) => Error::NotCaughtUp { member },
            Fault::NoMember(member) => Error::NoMember { member },
            Fault::ChangeInProgress => Error::ChangeInProgress,
            Fault::Membership(why) => Error::Membership(why),
            Fault::TooLarge { bytes, max } => {
                let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
                Error::TooLarge { bytes: count(bytes), max: count(max) }
            }
        }
    }
}
