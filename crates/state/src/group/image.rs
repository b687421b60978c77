//! A group's store as of one moment, to be kept elsewhere; and a member that begins with one.

use super::error::{Error, OpenError};
use super::id::Member;
use super::log::{self, Head, Identity};
use super::machine::{self, Place, Snapshot, StateMachine};
use super::options::Options;
use super::raft::{LeaderId, Log, Membership, StoredMembership, Vote};
use super::{LOG, Level, TABLES};
use crate::group::core::Core;
use openraft::vote::RaftLeaderId;
use selvedge_kv::{Store, Table};
use selvedge_rt::{Disk, Rng};
use selvedge_store::engine;
use selvedge_types::{ClusterId, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Where the log of a member that begins with a store goes on: what came before is in the store.
const FIRST_INDEX: u64 = 1;
const FIRST_TERM: u64 = 1;

/// Bytes of a page of an image, about: a row that is larger is in one of its own.
const PAGE_BYTES: usize = 1 << 20;

/// A store that does not change, read page by page.
pub struct Image {
    snapshot: Snapshot,
    revision: Revision,
    next: Option<Place>,
}

/// A row of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its table.
    pub table: Table,
    /// Its key.
    pub key: Vec<u8>,
    /// What it holds.
    pub value: Vec<u8>,
}

impl Image {
    /// As of which revision it is.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The next rows; none after the last. Blocking.
    pub fn page(&mut self) -> Result<Option<Vec<Row>>, engine::Error> {
        let Some(place) = self.next.take() else { return Ok(None) };
        let (rows, next) = self.snapshot.page(&place, PAGE_BYTES)?;
        self.next = next;
        Ok(Some(rows))
    }
}

impl Core {
    pub(super) async fn image(&self, level: Level, deadline: Duration) -> Result<Image, Error> {
        self.read(level, deadline, |_| ()).await?;
        let stopped = |why: String| Error::Stopped { why };
        let taken = self.raft.with_state_machine(|machine: &mut StateMachine| Box::pin(machine.image()));
        let taken = taken.await.map_err(|error| stopped(error.to_string()))?;
        let (snapshot, revision) = taken.map_err(|error| Error::NoImage { why: error.to_string() })?;
        Ok(Image { snapshot, revision, next: Some(Place::start()) })
    }
}

/// Makes the one member of a new group, whose store is that one, where nothing is or an earlier attempt was cut off.
/// Whoever is added to it gets the store as a snapshot. Blocking.
pub fn begin_with(
    disk: &Disk,
    options: &Options,
    cluster: ClusterId,
    member: Member,
    store: &Store,
    rng: &mut Rng,
) -> Result<(), OpenError> {
    let voter = log::fresh_voter(rng);
    let last = Log::new(LeaderId::new(FIRST_TERM, voter), FIRST_INDEX);
    let voters = Membership::new(vec![BTreeSet::from([voter])], BTreeMap::from([(voter, member)]));
    let voters = voters.map_err(|error| OpenError::Options(error.to_string()))?;
    let membership = StoredMembership::new(Some(last), voters);
    let tables = disk.subdir(TABLES)?;
    log::give_up(&tables)?;
    machine::begin_with(&tables, options, store, last, &membership)?;
    // The log comes last: with it, all is there.
    let log = disk.subdir(LOG)?;
    log::give_up(&log)?;
    let head = Head {
        identity: Identity { cluster, voter },
        vote: Some(Vote::new(FIRST_TERM, voter)),
        committed: Some(last),
        purged: Some(last),
    };
    log::begin_with(log, options, head)
}
