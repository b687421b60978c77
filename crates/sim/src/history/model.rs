//! What a transaction does, written down a second time, as simply as can be.

use selvedge_kv::{
    Compare, Key, KeyRange, KeyValue, Op, OpAnswer, Put, PutLease, RangeAnswer, Relation, Target, Txn,
    TxnAnswer, Want,
};
use selvedge_types::Revision;
use std::collections::BTreeMap;

/// The keys at one revision.
pub(super) type State = BTreeMap<Key, KeyValue>;

/// What a revision does: each key and what it becomes.
pub(super) type Changes = BTreeMap<Key, Option<KeyValue>>;

/// How far answers are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// In everything.
    Exactly,
    /// In all but revisions.
    WithoutRevisions,
}

/// What a transaction did.
pub(super) struct Done {
    succeeded: bool,
    ops: Vec<DoneOp>,
    pub(super) changes: Changes,
}

enum DoneOp {
    Range(Vec<KeyValue>),
    Put(Option<KeyValue>),
    Delete(Vec<KeyValue>),
}

/// Does a transaction; `revision` is the one it makes if it changes anything.
pub(super) fn execute(state: &State, txn: &Txn, revision: Revision) -> Done {
    let succeeded = txn.compare.iter().all(|compare| holds(state, compare));
    let mut changes = Changes::new();
    let ops = branch(txn, succeeded).iter().map(|op| match op {
        Op::Range(range) => DoneOp::Range(select(state, &changes, &range.keys)),
        Op::Put(put) => {
            let old = select(state, &changes, &KeyRange::One(put.key.clone())).pop();
            changes.insert(put.key.clone(), Some(after(put, old.as_ref(), revision)));
            DoneOp::Put(old)
        }
        Op::Delete(delete) => {
            let old = select(state, &changes, &delete.keys);
            changes.extend(old.iter().map(|kv| (kv.key.clone(), None)));
            DoneOp::Delete(old)
        }
    });
    let ops = ops.collect();
    Done { succeeded, ops, changes }
}

/// Makes the changes.
pub(super) fn apply(state: &mut State, changes: &Changes) {
    for (key, now) in changes {
        match now {
            Some(kv) => state.insert(key.clone(), kv.clone()),
            None => state.remove(key),
        };
    }
}

impl Done {
    /// Whether an answer says what was done; else what is wrong with it.
    pub(super) fn compare(&self, txn: &Txn, answer: &TxnAnswer, how: Compared) -> Result<(), String> {
        if self.succeeded != answer.succeeded {
            return Err(format!("the comparisons give {}", self.succeeded));
        }
        let ops = branch(txn, self.succeeded);
        if ops.len() != answer.ops.len() {
            return Err(format!("{} operations have {} answers", ops.len(), answer.ops.len()));
        }
        let mut all = ops.iter().zip(&self.ops).zip(&answer.ops).enumerate();
        all.try_for_each(|(at, ((op, done), answer))| {
            done.compare(op, answer, how).map_err(|why| format!("operation {at}: {why}"))
        })
    }
}

impl DoneOp {
    fn compare(&self, op: &Op, answer: &OpAnswer, how: Compared) -> Result<(), String> {
        match (self, op, answer) {
            (DoneOp::Range(found), Op::Range(range), OpAnswer::Range(answer)) => {
                let limit = range.limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(usize::MAX);
                compare_range(found, range.want, limit, answer, how)
            }
            (DoneOp::Put(old), Op::Put(put), OpAnswer::Put { previous }) => {
                same(old.iter().filter(|_| put.previous), previous.iter(), how)
            }
            (DoneOp::Delete(old), Op::Delete(delete), OpAnswer::Delete { deleted, previous }) => {
                if *deleted != old.len() as u64 {
                    return Err(format!("{} keys were there to be deleted", old.len()));
                }
                same(old.iter().filter(|_| delete.previous), previous.iter(), how)
            }
            _ => Err("the answer is of another kind".into()),
        }
    }
}

/// A range may give less than all, but then it says where to go on.
fn compare_range(
    found: &[KeyValue],
    want: Want,
    limit: usize,
    answer: &RangeAnswer,
    how: Compared,
) -> Result<(), String> {
    let count = usize::try_from(answer.count).unwrap_or(usize::MAX);
    let (Some(given), left) = (found.get(..count), found.get(count)) else {
        return Err(format!("{} keys were there", found.len()));
    };
    let reached = answer.next.as_ref();
    let after_last = given.last().is_none_or(|last| reached.is_none_or(|next| *next > last.key));
    let before_left = left.is_none_or(|left| reached.is_some_and(|next| *next <= left.key));
    if count > limit || !after_last || !before_left {
        return Err(format!("{count} keys and {:?} to go on leave a gap", answer.next));
    }
    let without_value = |kv: &KeyValue| KeyValue { value: Default::default(), ..kv.clone() };
    match want {
        Want::All => same(given.iter(), answer.records.iter(), how),
        Want::Keys => {
            same(given.iter().map(without_value).collect::<Vec<_>>().iter(), answer.records.iter(), how)
        }
        Want::Count => same([].iter(), answer.records.iter(), how),
    }
}

fn same<'a>(
    found: impl Iterator<Item = &'a KeyValue>,
    answered: impl Iterator<Item = &'a KeyValue>,
    how: Compared,
) -> Result<(), String> {
    let form = |kv: &KeyValue| match how {
        Compared::Exactly => kv.clone(),
        Compared::WithoutRevisions => KeyValue { created: Revision(0), modified: Revision(0), ..kv.clone() },
    };
    let (found, answered): (Vec<_>, Vec<_>) = (found.map(form).collect(), answered.map(form).collect());
    if found == answered { Ok(()) } else { Err(format!("there was {found:?}")) }
}

fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.then } else { &txn.otherwise }
}

fn select(state: &State, changes: &Changes, keys: &KeyRange) -> Vec<KeyValue> {
    let mut found: BTreeMap<&Key, &KeyValue> = match keys {
        KeyRange::One(key) => state.get_key_value(key).into_iter().collect(),
        KeyRange::Span { start, .. } => {
            state.range::<Key, _>(start..).take_while(|(key, _)| keys.contains(key)).collect()
        }
    };
    for (key, now) in changes.iter().filter(|(key, _)| keys.contains(key)) {
        match now {
            Some(kv) => found.insert(key, kv),
            None => found.remove(key),
        };
    }
    found.into_values().cloned().collect()
}

fn after(put: &Put, old: Option<&KeyValue>, revision: Revision) -> KeyValue {
    let lease = match put.lease {
        PutLease::Detach => None,
        PutLease::Keep => old.and_then(|o| o.lease),
        PutLease::Attach(lease) => Some(lease),
    };
    KeyValue {
        key: put.key.clone(),
        value: put.value.clone().or_else(|| old.map(|o| o.value.clone())).unwrap_or_default(),
        created: old.map_or(revision, |o| o.created),
        modified: revision,
        version: old.map_or(0, |o| o.version) + 1,
        lease,
    }
}

fn holds(state: &State, compare: &Compare) -> bool {
    let found = select(state, &Changes::new(), &compare.keys);
    if found.is_empty() {
        return relates(compare, None);
    }
    found.iter().all(|kv| relates(compare, Some(kv)))
}

fn relates(compare: &Compare, found: Option<&KeyValue>) -> bool {
    let number = |of: fn(&KeyValue) -> u64| found.map_or(0, of);
    let order = match &compare.target {
        Target::Version(target) => number(|kv| kv.version).cmp(target),
        Target::Created(target) => number(|kv| kv.created.0).cmp(&target.0),
        Target::Modified(target) => number(|kv| kv.modified.0).cmp(&target.0),
        Target::Lease(target) => number(|kv| kv.lease.unwrap_or_default().0).cmp(&target.0),
        Target::Value(target) => match found {
            Some(kv) => kv.value.cmp(target),
            None => return false,
        },
    };
    match compare.relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::Greater => order.is_gt(),
    }
}
