//! Commands into the log.

use super::Core;
use crate::group::error::Error;
use crate::group::proposal::Proposal;
use crate::group::wire::{Reply, Request};
use openraft::errors::{ClientWriteError, RaftError};
use selvedge_kv::{Answer, Call, Command, Entry};
use selvedge_mesh::rpc::limits::MESSAGE_BYTES_MAX;
use selvedge_store::wal::PAYLOAD_BYTES_MAX;
use std::time::Duration;

/// The most bytes of a command: so that its record fits the log, and a message to others.
const COMMAND_BYTES_MAX: usize = least(PAYLOAD_BYTES_MAX, MESSAGE_BYTES_MAX) - OVERHEAD;

/// What becomes of a command that was accepted before it was known that there is no room.
const FULL_SINCE: &str = "the leader's disk is full, and it may be done when there is space";

/// Bytes of a record or message that are not the command's.
const OVERHEAD: usize = 1024;

const fn least(one: usize, other: usize) -> usize {
    if one < other { one } else { other }
}

impl Core {
    /// Has a command done, wherever the leader is.
    pub(in crate::group) async fn propose(
        &self,
        command: Command,
        call: Option<Call>,
        deadline: Duration,
    ) -> Result<Answer, Error> {
        let max = self.caller.options.proposals_max;
        let permit = tokio::time::timeout(deadline, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Error::Busy { max }) };
        let request = Request::Propose { call, command: command.clone() };
        let here = || self.propose_here(command.clone(), call);
        let take = |reply| match reply {
            Reply::Answered(answer) => Some(answer.map_err(Error::Refused)),
            _ => None,
        };
        self.by_leader(&request, call.is_some(), deadline, here, take).await
    }

    /// Has a command of another node done if this one leads: as many at once as of its own, no more.
    pub(in crate::group) async fn propose_for_other(
        &self,
        command: Command,
        call: Option<Call>,
    ) -> Result<Answer, Error> {
        let max = self.caller.options.proposals_max;
        let _permit = self.foreign_permits.try_acquire().map_err(|_| Error::Busy { max })?;
        self.propose_here(command, call).await
    }

    /// Has a command done if this node leads.
    pub(in crate::group) async fn propose_here(
        &self,
        command: Command,
        call: Option<Call>,
    ) -> Result<Answer, Error> {
        self.check_running()?;
        if self.log.health().is_full() {
            return Err(Error::Full);
        }
        let entry = Entry { time: self.caller.time.tick(), call, command };
        let bytes = entry.encode();
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(Error::TooLarge { bytes: bytes.len(), max: COMMAND_BYTES_MAX });
        }
        let health = self.log.health();
        let written = tokio::select! {
            biased;
            written = self.raft.client_write(Proposal(bytes.into())) => written,
            () = health.waits_for_room() => return Err(Error::Unknown { why: FULL_SINCE }),
        };
        match written {
            Ok(written) => match written.data.0 {
                Some(answer) => Ok(answer?),
                None => Err(Error::Unknown { why: "the entry was not the command" }),
            },
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                Err(Error::NoLeader { waited: Duration::ZERO })
            }
            Err(RaftError::APIError(_)) => Err(Error::Unknown { why: "the leader changed" }),
            Err(RaftError::Fatal(_)) => Err(Error::Unknown { why: "the store stopped" }),
        }
    }
}
