//! What a transaction would do: evaluated against a keyspace without changing it, so that it can be refused
//! at any point.

use crate::answer::{KeyValue, OpAnswer, RangeAnswer, Refusal, TxnAnswer};
use crate::change::{Change, Position, Record};
use crate::command::{Compare, Delete, Op, Put, PutLease, Range, Relation, Target, Txn, Want};
use crate::id::{KeyspaceNumber, LeaseId};
use crate::key::{Key, KeyRange};
use crate::keyspace::Keyspace;
use crate::limits::{Limit, Limits};
use selvedge_types::Revision;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Where and when something is evaluated.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) keyspace: &'a Keyspace,
    pub(crate) number: KeyspaceNumber,
    pub(crate) limits: &'a Limits,
    /// The present revision.
    pub(crate) current: Revision,
}

/// Checks what of a transaction can be checked without the state.
pub(crate) fn check(txn: &Txn, limits: &Limits) -> Result<(), Refusal> {
    for count in [txn.compare.len(), txn.then.len(), txn.otherwise.len()] {
        within(Limit::Ops, count as u64, limits.ops_max)?;
    }
    check_branch(&txn.then, limits)?;
    check_branch(&txn.otherwise, limits)
}

fn check_branch(ops: &[Op], limits: &Limits) -> Result<(), Refusal> {
    let mut puts = BTreeMap::new();
    for (place, op) in ops.iter().enumerate() {
        let Op::Put(put) = op else { continue };
        if put.key.is_empty() {
            return Err(Refusal::EmptyKey);
        }
        within(Limit::KeyBytes, put.key.len() as u64, limits.key_bytes_max)?;
        let value = put.value.as_ref().map_or(0, |v| v.len());
        within(Limit::ValueBytes, value as u64, limits.value_bytes_max)?;
        if puts.insert(&put.key, place).is_some() {
            return Err(Refusal::Twice { key: put.key.clone() });
        }
    }
    for op in ops {
        let Op::Delete(delete) = op else { continue };
        if let Some(key) = puts.keys().find(|key| delete.keys.contains(key)) {
            return Err(Refusal::Twice { key: (**key).clone() });
        }
    }
    Ok(())
}

/// What a transaction answers, and the changes by which it would make a new revision.
pub(crate) fn evaluate(scene: Scene<'_>, txn: &Txn) -> Result<(TxnAnswer, Vec<Change>), Refusal> {
    let mut work = Work::new(scene);
    let mut succeeded = true;
    for compare in &txn.compare {
        succeeded = succeeded && work.holds(compare)?;
    }
    let ops = if succeeded { &txn.then } else { &txn.otherwise };
    let ops = ops.iter().map(|op| work.operate(op)).collect::<Result<_, _>>()?;
    work.check_room()?;
    Ok((TxnAnswer { revision: work.draft.revision(), succeeded, ops }, work.draft.changes))
}

/// What a range holds.
pub(crate) fn read(scene: Scene<'_>, range: &Range) -> Result<RangeAnswer, Refusal> {
    Work::new(scene).range(range)
}

/// A keyspace with changes on top that are not yet made.
struct Draft<'a> {
    scene: Scene<'a>,
    changes: Vec<Change>,
    /// Where in `changes` each key is.
    places: BTreeMap<Key, usize>,
}

/// What a command has used of its limits.
#[derive(Default)]
struct Used {
    scanned: u64,
    answer_bytes: u64,
    attached: BTreeMap<LeaseId, u64>,
}

struct Work<'a> {
    draft: Draft<'a>,
    used: Used,
}

impl<'a> Draft<'a> {
    /// The revision that is seen: the present one, or the next if there are changes.
    fn revision(&self) -> Revision {
        Revision(self.scene.current.0 + u64::from(!self.changes.is_empty()))
    }

    /// A key as it is now.
    fn get(&self, key: &Key) -> Option<&Change> {
        match self.places.get(key).and_then(|place| self.changes.get(*place)) {
            Some(change) => Some(change).filter(|c| c.record.is_some()),
            None => self.scene.keyspace.latest(key),
        }
    }

    /// The keys of a range in order, each with what it is now, or was at a revision.
    fn scan<'s>(
        &'s self,
        keys: &'s KeyRange,
        at: Option<Revision>,
    ) -> impl Iterator<Item = (&'s Key, Option<&'s Change>)> {
        let mut below = self.scene.keyspace.scan(keys, at).peekable();
        let above = keys.bounds().filter(|_| at.is_none()).map(|b| self.places.range::<[u8], _>(b));
        let mut above = above.into_iter().flatten().peekable();
        std::iter::from_fn(move || {
            let order = match (below.peek(), above.peek()) {
                (Some((below, _)), Some((above, _))) => below.cmp(above),
                (_, None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            if order == Ordering::Less {
                return below.next();
            }
            if order == Ordering::Equal {
                below.next();
            }
            let (key, place) = above.next()?;
            Some((key, self.changes.get(*place).filter(|c| c.record.is_some())))
        })
    }

    fn change(&mut self, key: Key, record: Option<Record>) -> Result<(), Refusal> {
        let index = u32::try_from(self.changes.len()).unwrap_or(u32::MAX);
        within(Limit::Changes, u64::from(index) + 1, self.scene.limits.changes_max)?;
        let position = Position { revision: Revision(self.scene.current.0 + 1), index };
        if self.places.insert(key.clone(), self.changes.len()).is_some() {
            return Err(Refusal::Twice { key });
        }
        self.changes.push(Change { keyspace: self.scene.number, position, key, record });
        Ok(())
    }
}

impl<'a> Work<'a> {
    fn new(scene: Scene<'a>) -> Self {
        let draft = Draft { scene, changes: Vec::new(), places: BTreeMap::new() };
        Work { draft, used: Used::default() }
    }

    fn limits(&self) -> &'a Limits {
        self.draft.scene.limits
    }

    fn operate(&mut self, op: &Op) -> Result<OpAnswer, Refusal> {
        match op {
            Op::Range(range) => self.range(range).map(OpAnswer::Range),
            Op::Put(put) => self.put(put),
            Op::Delete(delete) => self.delete(delete),
        }
    }

    fn holds(&mut self, compare: &Compare) -> Result<bool, Refusal> {
        let mut absent = true;
        for (_, change) in self.draft.scan(&compare.keys, None) {
            self.used.scan_one(self.draft.scene.limits)?;
            let Some(change) = change else { continue };
            absent = false;
            if !relates(compare, Some(change)) {
                return Ok(false);
            }
        }
        Ok(!absent || relates(compare, None))
    }

    fn range(&mut self, range: &Range) -> Result<RangeAnswer, Refusal> {
        let revision = self.revision_of(range)?;
        let (mut records, mut count, mut next) = (Vec::new(), 0, None);
        for (key, change) in self.draft.scan(&range.keys, range.revision) {
            if self.used.scan_one(self.limits()).is_err() {
                next = Some(key.clone());
                break;
            }
            let Some(change) = change else { continue };
            if range.limit.is_some_and(|limit| count >= limit)
                || !self.used.fits(change, range.want, self.limits())
            {
                next = Some(key.clone());
                break;
            }
            count += 1;
            records.extend(wanted(change, range.want));
        }
        Ok(RangeAnswer { revision, records, count, next })
    }

    fn revision_of(&self, range: &Range) -> Result<Revision, Refusal> {
        let current = self.draft.revision();
        let compacted = self.draft.scene.keyspace.about.compacted;
        match range.revision {
            None => Ok(current),
            Some(revision) if revision > self.draft.scene.current => {
                Err(Refusal::Future { revision, current: self.draft.scene.current })
            }
            Some(revision) if revision < compacted => Err(Refusal::Compacted { revision, compacted }),
            Some(revision) => Ok(revision),
        }
    }

    fn put(&mut self, put: &Put) -> Result<OpAnswer, Refusal> {
        let old = self.draft.get(&put.key).and_then(Change::key_value);
        let no_key = || Refusal::NoKey { key: put.key.clone() };
        let value = match &put.value {
            Some(value) => value.clone(),
            None => old.as_ref().ok_or_else(no_key)?.value.clone(),
        };
        let lease = match put.lease {
            PutLease::Detach => None,
            PutLease::Keep => old.as_ref().ok_or_else(no_key)?.lease,
            PutLease::Attach(lease) => Some(self.attach(lease, old.as_ref())?),
        };
        let (created, version) = match &old {
            Some(old) => (old.created, old.version + 1),
            None => (Revision(self.draft.scene.current.0 + 1), 1),
        };
        self.draft.change(put.key.clone(), Some(Record { value, created, version, lease }))?;
        let previous = old.filter(|_| put.previous);
        self.used.answer(previous.iter(), self.limits())?;
        Ok(OpAnswer::Put { previous })
    }

    /// Checks that a key can be attached to a lease.
    fn attach(&mut self, lease: LeaseId, old: Option<&KeyValue>) -> Result<LeaseId, Refusal> {
        let found = self.draft.scene.keyspace.leases.get(&lease).ok_or(Refusal::NoLease { lease })?;
        if old.and_then(|o| o.lease) != Some(lease) {
            let attached = self.used.attached.entry(lease).or_default();
            *attached += 1;
            let keys = found.keys.len() as u64 + *attached;
            within(Limit::LeaseKeys, keys, self.draft.scene.limits.lease_keys_max)?;
        }
        Ok(lease)
    }

    fn delete(&mut self, delete: &Delete) -> Result<OpAnswer, Refusal> {
        let mut doomed = Vec::new();
        for (_, change) in self.draft.scan(&delete.keys, None) {
            self.used.scan_one(self.draft.scene.limits)?;
            doomed.extend(change.and_then(Change::key_value));
        }
        for old in &doomed {
            self.draft.change(old.key.clone(), None)?;
        }
        let deleted = doomed.len() as u64;
        let previous = if delete.previous { doomed } else { Vec::new() };
        self.used.answer(previous.iter(), self.limits())?;
        Ok(OpAnswer::Delete { deleted, previous })
    }

    /// What is put must fit into the quota; deletions alone are always taken, or nothing could be freed.
    fn check_room(&self) -> Result<(), Refusal> {
        let changes = &self.draft.changes;
        let keyspace = self.draft.scene.keyspace;
        let bytes = keyspace.bytes() + changes.iter().map(Change::cost).sum::<u64>();
        let quota_bytes = keyspace.about.quota_bytes;
        let puts = changes.iter().any(|c| c.record.is_some());
        if puts && bytes > quota_bytes { Err(Refusal::NoSpace { bytes, quota_bytes }) } else { Ok(()) }
    }
}

impl Used {
    fn scan_one(&mut self, limits: &Limits) -> Result<(), Refusal> {
        self.scanned += 1;
        within(Limit::Scan, self.scanned, limits.scan_max)
    }

    /// Whether a key fits into the answer; if so it is counted. One always does.
    fn fits(&mut self, change: &Change, want: Want, limits: &Limits) -> bool {
        let bytes = match want {
            Want::All => change.key.len() + change.record.as_ref().map_or(0, |r| r.value.len()),
            Want::Keys => change.key.len(),
            Want::Count => 0,
        } as u64;
        let fits = self.answer_bytes == 0 || self.answer_bytes + bytes <= limits.answer_bytes_max;
        self.answer_bytes += if fits { bytes } else { 0 };
        fits
    }

    fn answer<'k>(
        &mut self,
        records: impl Iterator<Item = &'k KeyValue>,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        for record in records {
            let others = self.answer_bytes;
            self.answer_bytes += record.bytes();
            if others > 0 {
                within(Limit::AnswerBytes, self.answer_bytes, limits.answer_bytes_max)?;
            }
        }
        Ok(())
    }
}

fn wanted(change: &Change, want: Want) -> Option<KeyValue> {
    match want {
        Want::All => change.key_value(),
        Want::Keys => change.key_value().map(|kv| KeyValue { value: Default::default(), ..kv }),
        Want::Count => None,
    }
}

fn relates(compare: &Compare, change: Option<&Change>) -> bool {
    let record = change.and_then(|c| c.record.as_ref());
    let order = match &compare.target {
        Target::Version(version) => record.map_or(0, |r| r.version).cmp(version),
        Target::Created(revision) => record.map_or(Revision(0), |r| r.created).cmp(revision),
        Target::Modified(revision) => {
            change.filter(|_| record.is_some()).map_or(Revision(0), |c| c.position.revision).cmp(revision)
        }
        Target::Lease(lease) => record.and_then(|r| r.lease).unwrap_or_default().cmp(lease),
        Target::Value(value) => match record {
            Some(record) => record.value.cmp(value),
            None => return false,
        },
    };
    match compare.relation {
        Relation::Equal => order == Ordering::Equal,
        Relation::NotEqual => order != Ordering::Equal,
        Relation::Less => order == Ordering::Less,
        Relation::Greater => order == Ordering::Greater,
    }
}

pub(crate) fn within(limit: Limit, found: u64, max: u64) -> Result<(), Refusal> {
    if found > max { Err(Refusal::Limit { limit, found, max }) } else { Ok(()) }
}
