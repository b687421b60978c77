//! A snapshot as it arrives: in parts, each once; what was there before a link broke need not come again.

use super::Answered;
use crate::group::codec::{LogForm, StoredMembershipForm, VoteForm};
use crate::group::core::Core;
use crate::group::image::Row;
use crate::group::machine::Snapshot;
use crate::group::raft::{Log, SnapshotMeta, StoredMembership, Vote};
use crate::group::wire::{Fault, Reply, RowForm};
use openraft::async_runtime::WatchReceiver;
use std::sync::PoisonError;

/// The snapshot that is arriving; there is one at most.
pub(in crate::group) struct Arriving {
    of: LogForm,
    vote: Vote,
    membership: StoredMembership,
    next: u64,
    rows: Vec<Row>,
}

impl Core {
    pub(super) fn take_offer(
        &self,
        vote: VoteForm,
        of: LogForm,
        membership: StoredMembershipForm,
    ) -> Answered {
        let vote = Vote::from(vote);
        let known = self.raft.metrics().borrow_watched().vote;
        if known > vote {
            return Ok(Reply::Higher((&known).into()));
        }
        let membership = StoredMembership::try_from(membership).map_err(refused)?;
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        match arriving.as_mut().filter(|arriving| arriving.of == of && arriving.membership == membership) {
            Some(arriving) => {
                arriving.vote = vote;
                Ok(Reply::Next(arriving.next))
            }
            None => {
                *arriving = Some(Arriving { of, vote, membership, next: 0, rows: Vec::new() });
                Ok(Reply::Next(0))
            }
        }
    }

    pub(super) async fn take_chunk(
        &self,
        of: LogForm,
        number: u64,
        rows: Vec<RowForm>,
        last: bool,
    ) -> Answered {
        let rows = rows.into_iter().map(Row::try_from).collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let whole = {
            let mut guard = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
            let arriving = guard.as_mut().filter(|arriving| arriving.of == of);
            let Some(arriving) = arriving else {
                return Err(Fault::Refused("that snapshot was not offered, or another came".to_owned()));
            };
            if number == arriving.next {
                arriving.next += 1;
                arriving.rows.extend(rows);
            }
            if !last || number + 1 != arriving.next {
                return Ok(Reply::Next(arriving.next));
            }
            guard.take()
        };
        let Some(Arriving { of, vote, membership, rows, .. }) = whole else {
            return Err(Fault::Refused("that snapshot was not offered".to_owned()));
        };
        let meta = SnapshotMeta { last_log_id: Some(Log::from(of)), last_membership: membership };
        let snapshot = openraft::Snapshot { meta, snapshot: Snapshot::of_rows(rows) };
        let done = self.raft.install_full_snapshot(vote, snapshot).await;
        let done = done.map_err(|error| Fault::Stopped(error.to_string()))?;
        Ok(Reply::Installed((&done.vote).into()))
    }
}

fn refused(error: crate::group::codec::CodecError) -> Fault {
    Fault::Refused(error.to_string())
}
