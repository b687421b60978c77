//! Leases and sessions over time: grants, renewals, and the entries that end them.

use super::{Effects, Store};
use crate::answer::{Answer, Refusal};
use crate::change::{Change, Position};
use crate::command::Due;
use crate::id::{KeyspaceNumber, LeaseId};
use crate::lease::Lease;
use crate::limits::{Limit, Limits};
use crate::row::{Place, Row};
use crate::txn::within;
use selvedge_types::{Revision, UnixMillis};
use std::collections::BTreeSet;

impl Store {
    pub(super) fn grant(
        &mut self,
        number: KeyspaceNumber,
        lease: Option<LeaseId>,
        ttl_ms: u64,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        let Limits { ttl_ms_min: min, ttl_ms_max: max, leases_max, .. } = self.limits;
        if !(min..=max).contains(&ttl_ms) {
            return Err(Refusal::Ttl { ttl_ms, min, max });
        }
        let keyspace = self.find(number)?;
        within(Limit::Leases, keyspace.leases.len() as u64 + 1, leases_max)?;
        let id = match lease.filter(|id| *id != LeaseId(0)) {
            Some(lease) if keyspace.leases.contains_key(&lease) => {
                return Err(Refusal::LeaseExists { lease });
            }
            Some(lease) => lease,
            None => self.free_lease(number)?,
        };
        let lease = Lease { ttl_ms, renewed: self.now(), keys: BTreeSet::new() };
        self.find_mut(number)?.leases.insert(id, lease);
        self.renew(number, id, effects)
    }

    /// A lease's name that no client has chosen.
    fn free_lease(&mut self, number: KeyspaceNumber) -> Result<LeaseId, Refusal> {
        loop {
            let lease = LeaseId(self.next_number());
            if !self.find(number)?.leases.contains_key(&lease) {
                return Ok(lease);
            }
        }
    }

    pub(super) fn renew(
        &mut self,
        number: KeyspaceNumber,
        id: LeaseId,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        let (now, all_renewed) = (self.now(), self.all_renewed);
        let lease = self.find_mut(number)?.leases.get_mut(&id).ok_or(Refusal::NoLease { lease: id })?;
        let before = lease.deadline(all_renewed);
        lease.renewed = now;
        let (after, ttl_ms) = (lease.deadline(all_renewed), lease.ttl_ms);
        effects.rows.put(&Row::Lease(number, id, (&*lease).into()));
        self.deadlines.remove(&(before, number, id));
        self.deadlines.insert((after, number, id));
        Ok(Answer::Lease { revision: self.revision, lease: id, ttl_ms })
    }

    /// Ends leases that are there: all their keys are deleted in one revision.
    pub(super) fn end_leases(&mut self, leases: &[(KeyspaceNumber, LeaseId)], effects: &mut Effects) {
        let revision = Revision(self.revision.0 + 1);
        let mut changes = Vec::new();
        for (number, id) in leases {
            let Some(keyspace) = self.keyspaces.get_mut(number) else { continue };
            let Some(lease) = keyspace.leases.remove(id) else { continue };
            self.deadlines.remove(&(lease.deadline(self.all_renewed), *number, *id));
            effects.rows.delete(Place::Lease(*number, *id));
            for key in lease.keys {
                let index = u32::try_from(changes.len()).unwrap_or(u32::MAX);
                let position = Position { revision, index };
                changes.push(Change { keyspace: *number, position, key, record: None });
            }
        }
        self.commit(changes, effects);
    }

    pub(super) fn expire(&mut self, due: &Due, effects: &mut Effects) {
        let max = usize::try_from(self.limits.expire_max).unwrap_or(usize::MAX);
        let over = self.over(due.leases.iter().take(max));
        self.end_leases(&over, effects);
        for session in due.sessions.iter().take(max) {
            if self.sessions.is_due(*session, self.now(), &self.limits) {
                self.end_session(*session, effects);
            }
        }
    }

    /// Those leases whose time is over, as many as one revision can end; the others will be due again.
    fn over<'a>(
        &self,
        leases: impl Iterator<Item = &'a (KeyspaceNumber, LeaseId)>,
    ) -> Vec<(KeyspaceNumber, LeaseId)> {
        let mut keys = 0;
        let mut over = Vec::new();
        for (number, id) in leases {
            let lease = self.find(*number).ok().and_then(|k| k.leases.get(id));
            let Some(lease) = lease.filter(|l| l.deadline(self.all_renewed) <= self.now()) else { continue };
            keys += lease.keys.len() as u64;
            if keys > self.limits.changes_max && !over.is_empty() {
                break;
            }
            over.push((*number, *id));
        }
        over
    }

    /// When each lease may be ended.
    pub(crate) fn list_deadlines(&self) -> BTreeSet<(UnixMillis, KeyspaceNumber, LeaseId)> {
        let leases = self.keyspaces.iter().flat_map(|(number, k)| k.leases.iter().map(move |l| (*number, l)));
        leases.map(|(number, (id, lease))| (lease.deadline(self.all_renewed), number, *id)).collect()
    }
}
