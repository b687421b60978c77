//! What a group writes to the node's log. The log adds the group's number and a checksum to each record.

use crate::group::codec::{self, CodecError, EntryForm, LogForm, VoteForm};
use crate::group::id::VoterId;
use crate::group::raft::{Entry, Log, Vote};
use bytes::Bytes;
use minicbor::{Decode, Encode};
use selvedge_types::ClusterId;

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(in crate::group) struct Identity {
    #[n(0)]
    pub(in crate::group) cluster: ClusterId,
    #[n(1)]
    pub(in crate::group) voter: VoterId,
}

/// All there is to know about a log beside its entries. Written first, and anew whenever old files are cut
/// off, so that nothing before it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::group) struct Head {
    pub(in crate::group) identity: Identity,
    pub(in crate::group) vote: Option<Vote>,
    /// The last entry known to be committed.
    pub(in crate::group) committed: Option<Log>,
    /// The last entry that is no longer kept.
    pub(in crate::group) purged: Option<Log>,
}

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    Head(Head),
    Vote(Vote),
    /// An entry; those at its place and after it are gone.
    Entry(Entry),
    /// Entries after that place are gone; all, if it is none.
    Truncated(Option<Log>),
    Committed(Log),
}

#[derive(Encode, Decode)]
struct RecordForm {
    #[n(0)]
    format: u16,
    #[n(1)]
    kind: KindForm,
}

#[derive(Encode, Decode)]
enum KindForm {
    #[n(0)]
    Head {
        #[n(0)]
        identity: Identity,
        #[n(1)]
        vote: Option<VoteForm>,
        #[n(2)]
        committed: Option<LogForm>,
        #[n(3)]
        purged: Option<LogForm>,
    },
    #[n(1)]
    Vote(#[n(0)] VoteForm),
    #[n(2)]
    Entry(#[n(0)] EntryForm),
    #[n(3)]
    Truncated(#[n(0)] Option<LogForm>),
    #[n(4)]
    Committed(#[n(0)] LogForm),
}

impl Record {
    pub(super) fn encode(&self) -> Bytes {
        let kind = match self {
            Record::Head(head) => KindForm::Head {
                identity: head.identity,
                vote: head.vote.as_ref().map(VoteForm::from),
                committed: head.committed.as_ref().map(LogForm::from),
                purged: head.purged.as_ref().map(LogForm::from),
            },
            Record::Vote(vote) => KindForm::Vote(vote.into()),
            Record::Entry(entry) => KindForm::Entry(entry.into()),
            Record::Truncated(after) => KindForm::Truncated(after.as_ref().map(LogForm::from)),
            Record::Committed(log) => KindForm::Committed(log.into()),
        };
        codec::to_bytes(&RecordForm { format: codec::FORMAT, kind }).into()
    }

    /// Never panics.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(match codec::from_bytes::<RecordForm>(bytes)?.kind {
            KindForm::Head { identity, vote, committed, purged } => Record::Head(Head {
                identity,
                vote: vote.map(Vote::from),
                committed: committed.map(Log::from),
                purged: purged.map(Log::from),
            }),
            KindForm::Vote(vote) => Record::Vote(vote.into()),
            KindForm::Entry(entry) => Record::Entry(entry.try_into()?),
            KindForm::Truncated(after) => Record::Truncated(after.map(Log::from)),
            KindForm::Committed(log) => Record::Committed(log.into()),
        })
    }
}

/// Whether a group's record can be read: for fuzzing.
pub fn decode_record(bytes: &[u8]) -> Result<(), CodecError> {
    Record::decode(bytes).map(drop)
}
