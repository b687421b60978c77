//! A store as simple as can be: the whole contents after each revision.

use selvedge_kv::*;
use selvedge_types::{Revision, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

type State = BTreeMap<(KeyspaceNumber, Key), KeyValue>;

/// The reference.
pub(crate) struct Reference {
    /// What there was after each revision.
    states: Vec<State>,
    pub(crate) compacted: BTreeMap<KeyspaceNumber, Revision>,
    leases: BTreeMap<(KeyspaceNumber, LeaseId), (u64, UnixMillis)>,
    all_renewed: UnixMillis,
    history_max: usize,
}

impl Reference {
    pub(crate) fn new(history_max: usize) -> Self {
        Reference {
            states: vec![State::new()],
            compacted: BTreeMap::new(),
            leases: BTreeMap::new(),
            all_renewed: UnixMillis(0),
            history_max,
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.states.len() as u64 - 1)
    }

    /// The keys of a range as of a revision.
    pub(crate) fn read(&self, keyspace: KeyspaceNumber, keys: &KeyRange, at: Revision) -> Vec<KeyValue> {
        within(&self.states[at.0 as usize], keyspace, keys)
    }

    /// What a revision changed: the key, what it was, what it is.
    pub(crate) fn changes(
        &self,
        keyspace: KeyspaceNumber,
        revision: Revision,
    ) -> Vec<(Key, Option<KeyValue>, Option<KeyValue>)> {
        let (before, after) = (&self.states[revision.0 as usize - 1], &self.states[revision.0 as usize]);
        let places: BTreeSet<_> = before.keys().chain(after.keys()).filter(|(k, _)| *k == keyspace).collect();
        let changed = places.into_iter().filter(|place| before.get(place) != after.get(place));
        changed.map(|p| (p.1.clone(), before.get(p).cloned(), after.get(p).cloned())).collect()
    }

    /// Does what a command says, for the commands that are compared.
    pub(crate) fn apply(&mut self, command: &Command, now: UnixMillis) -> Result<Answer, Refusal> {
        match command {
            Command::Txn { keyspace, txn } => {
                let answer = self.transact(*keyspace, txn)?;
                self.trim(*keyspace);
                return Ok(Answer::Txn(answer));
            }
            Command::Compact { keyspace, revision } => {
                let (revision, current, compacted) = (*revision, self.revision(), self.compacted[keyspace]);
                if revision < compacted {
                    return Err(Refusal::Compacted { revision, compacted });
                }
                if revision > current {
                    return Err(Refusal::Future { revision, current });
                }
                self.compacted.insert(*keyspace, revision);
            }
            Command::GrantLease { keyspace, lease: Some(lease), ttl_ms } => {
                if self.leases.contains_key(&(*keyspace, *lease)) {
                    return Err(Refusal::LeaseExists { lease: *lease });
                }
                self.leases.insert((*keyspace, *lease), (*ttl_ms, now));
                return Ok(Answer::Lease { revision: self.revision(), lease: *lease, ttl_ms: *ttl_ms });
            }
            Command::RenewLease { keyspace, lease } => {
                let held = self.leases.get_mut(&(*keyspace, *lease));
                let held = held.ok_or(Refusal::NoLease { lease: *lease })?;
                held.1 = now;
                let ttl_ms = held.0;
                return Ok(Answer::Lease { revision: self.revision(), lease: *lease, ttl_ms });
            }
            Command::RevokeLease { keyspace, lease } => {
                if !self.leases.contains_key(&(*keyspace, *lease)) {
                    return Err(Refusal::NoLease { lease: *lease });
                }
                self.end(&[(*keyspace, *lease)]);
            }
            Command::RenewAllLeases => self.all_renewed = now,
            Command::Expire(due) => {
                let over: Vec<_> = due.leases.iter().copied().filter(|l| self.is_over(l, now)).collect();
                self.end(&over);
            }
            Command::DeclareKeyspace { .. } => self.states.push(self.states.last().unwrap().clone()),
            Command::RemoveKeyspace { keyspace } => {
                let mut state = self.states.last().unwrap().clone();
                state.retain(|(k, _), _| k != keyspace);
                self.states.push(state);
                self.leases.retain(|(k, _), _| k != keyspace);
            }
            other => unreachable!("{other:?} is not compared"),
        }
        Ok(Answer::Done { revision: self.revision() })
    }

    /// The leases that are over.
    pub(crate) fn due(&self, now: UnixMillis) -> Vec<(KeyspaceNumber, LeaseId)> {
        self.leases.keys().copied().filter(|lease| self.is_over(lease, now)).collect()
    }

    fn is_over(&self, lease: &(KeyspaceNumber, LeaseId), now: UnixMillis) -> bool {
        let held = self.leases.get(lease);
        held.is_some_and(|(ttl, at)| (*at).max(self.all_renewed).plus(Duration::from_millis(*ttl)) <= now)
    }

    fn end(&mut self, leases: &[(KeyspaceNumber, LeaseId)]) {
        let mut state = self.states.last().unwrap().clone();
        for lease in leases {
            self.leases.remove(lease);
            state.retain(|(keyspace, _), kv| *keyspace != lease.0 || kv.lease != Some(lease.1));
        }
        if &state != self.states.last().unwrap() {
            self.states.push(state);
        }
        for lease in leases {
            self.trim(lease.0);
        }
    }

    fn trim(&mut self, keyspace: KeyspaceNumber) {
        let kept = |s: &Self| {
            let revisions = s.compacted[&keyspace].0 + 1..=s.revision().0;
            revisions.map(|r| (Revision(r), s.changes(keyspace, Revision(r)).len())).collect::<Vec<_>>()
        };
        while kept(self).iter().map(|(_, changes)| changes).sum::<usize>() > self.history_max {
            let oldest = kept(self).into_iter().find(|(_, changes)| *changes > 0).unwrap().0;
            self.compacted.insert(keyspace, oldest);
        }
    }

    fn transact(&mut self, keyspace: KeyspaceNumber, txn: &Txn) -> Result<TxnAnswer, Refusal> {
        let mut state = self.states.last().unwrap().clone();
        let next = Revision(self.revision().0 + 1);
        let succeeded = txn.compare.iter().all(|compare| holds(&state, keyspace, compare));
        check(&txn.then)?;
        check(&txn.otherwise)?;
        let mut changed = false;
        let mut answers = Vec::new();
        for op in if succeeded { &txn.then } else { &txn.otherwise } {
            answers.push(match op {
                Op::Range(range) => {
                    let now = if changed { next } else { self.revision() };
                    self.range(keyspace, &state, range, now)?
                }
                Op::Put(put) => {
                    changed = true;
                    self.put(keyspace, &mut state, put, next)?
                }
                Op::Delete(delete) => {
                    let previous = within(&state, keyspace, &delete.keys);
                    state.retain(|(k, key), _| *k != keyspace || !delete.keys.contains(key));
                    changed |= !previous.is_empty();
                    let deleted = previous.len() as u64;
                    let previous = if delete.previous { previous } else { Vec::new() };
                    OpAnswer::Delete { deleted, previous }
                }
            });
        }
        if changed {
            self.states.push(state);
        }
        Ok(TxnAnswer { revision: self.revision(), succeeded, ops: answers })
    }

    fn range(
        &self,
        keyspace: KeyspaceNumber,
        state: &State,
        range: &Range,
        now: Revision,
    ) -> Result<OpAnswer, Refusal> {
        let compacted = self.compacted[&keyspace];
        let records = match range.revision {
            Some(revision) if revision > self.revision() => {
                return Err(Refusal::Future { revision, current: self.revision() });
            }
            Some(revision) if revision < compacted => return Err(Refusal::Compacted { revision, compacted }),
            Some(revision) => self.read(keyspace, &range.keys, revision),
            None => within(state, keyspace, &range.keys),
        };
        let limit = range.limit.map_or(usize::MAX, |l| l as usize);
        let next = records.get(limit).map(|kv| kv.key.clone());
        let mut records: Vec<KeyValue> = records.into_iter().take(limit).collect();
        let count = records.len() as u64;
        match range.want {
            Want::All => {}
            Want::Keys => records.iter_mut().for_each(|kv| kv.value = Value::default()),
            Want::Count => records.clear(),
        }
        Ok(OpAnswer::Range(RangeAnswer { revision: range.revision.unwrap_or(now), records, count, next }))
    }

    fn put(
        &self,
        keyspace: KeyspaceNumber,
        state: &mut State,
        put: &Put,
        next: Revision,
    ) -> Result<OpAnswer, Refusal> {
        let old = state.get(&(keyspace, put.key.clone())).cloned();
        let missing = Refusal::NoKey { key: put.key.clone() };
        let value = match &put.value {
            Some(value) => value.clone(),
            None => old.as_ref().ok_or(missing.clone())?.value.clone(),
        };
        let lease = match put.lease {
            PutLease::Detach => None,
            PutLease::Keep => old.as_ref().ok_or(missing)?.lease,
            PutLease::Attach(lease) if self.leases.contains_key(&(keyspace, lease)) => Some(lease),
            PutLease::Attach(lease) => return Err(Refusal::NoLease { lease }),
        };
        let created = old.as_ref().map_or(next, |o| o.created);
        let version = old.as_ref().map_or(0, |o| o.version) + 1;
        let new = KeyValue { key: put.key.clone(), value, created, modified: next, version, lease };
        state.insert((keyspace, put.key.clone()), new);
        Ok(OpAnswer::Put { previous: old.filter(|_| put.previous) })
    }
}

fn within(state: &State, keyspace: KeyspaceNumber, keys: &KeyRange) -> Vec<KeyValue> {
    let meant = state.iter().filter(|((k, key), _)| *k == keyspace && keys.contains(key));
    meant.map(|(_, kv)| kv.clone()).collect()
}

fn check(ops: &[Op]) -> Result<(), Refusal> {
    let puts = || ops.iter().filter_map(|op| if let Op::Put(put) = op { Some(&put.key) } else { None });
    let twice = puts().enumerate().find(|(at, key)| puts().take(*at).any(|other| other == *key));
    if let Some((_, key)) = twice {
        return Err(Refusal::Twice { key: key.clone() });
    }
    let mut keys: Vec<&Key> = puts().collect();
    keys.sort();
    for op in ops {
        let Op::Delete(delete) = op else { continue };
        if let Some(key) = keys.iter().find(|key| delete.keys.contains(key)) {
            return Err(Refusal::Twice { key: (*key).clone() });
        }
    }
    Ok(())
}

fn holds(state: &State, keyspace: KeyspaceNumber, compare: &Compare) -> bool {
    let found = within(state, keyspace, &compare.keys);
    if found.is_empty() {
        let zero = |n: u64| relates(compare.relation, &0, &n);
        return match &compare.target {
            Target::Version(n) => zero(*n),
            Target::Created(r) | Target::Modified(r) => zero(r.0),
            Target::Lease(l) => zero(l.0),
            Target::Value(_) => false,
        };
    }
    found.iter().all(|kv| match &compare.target {
        Target::Version(n) => relates(compare.relation, &kv.version, n),
        Target::Created(r) => relates(compare.relation, &kv.created, r),
        Target::Modified(r) => relates(compare.relation, &kv.modified, r),
        Target::Lease(l) => relates(compare.relation, &kv.lease.unwrap_or_default(), l),
        Target::Value(v) => relates(compare.relation, &kv.value, v),
    })
}

fn relates<T: Ord>(relation: Relation, found: &T, target: &T) -> bool {
    match relation {
        Relation::Equal => found == target,
        Relation::NotEqual => found != target,
        Relation::Less => found < target,
        Relation::Greater => found > target,
    }
}
