//! The check by witness: one pass over the revisions that answers name.

use super::model::{self, Compared, State};
use super::watches;
use super::{Client, Fate, Level, Operation, Report, Request, Seen, Violation, Watching};
use selvedge_kv::{Op, OpAnswer, TxnAnswer};
use selvedge_types::Revision;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What each revision did.
pub(super) type Applied = BTreeMap<Revision, Vec<Seen>>;

/// Checks everything.
pub(super) fn check(
    operations: &[Operation],
    watches: &[Watching],
    applied: &Applied,
) -> Result<Report, Violation> {
    refuse_unsupported(operations)?;
    let mut report = Report::default();
    let placed = place(operations)?;
    let writers = replay(operations, &placed, applied, &mut report)?;
    check_order(operations, &placed, &writers)?;
    let begun = Begun::new(operations, &writers);
    check_levels(&placed, &begun)?;
    report.reads = placed.reads.len() as u64;
    for watching in watches {
        report.events += watches::check(watching, applied, &begun)?;
    }
    Ok(report)
}

/// An answered operation in the order of revisions.
#[derive(Clone, Copy)]
struct Placed<'h> {
    /// Which one it is.
    at: usize,
    operation: &'h Operation,
    /// Its own revision, or the one it saw.
    revision: Revision,
    finished: Duration,
    answer: &'h TxnAnswer,
}

/// All answered operations.
struct Order<'h> {
    /// Those that changed something, by their revision.
    writes: BTreeMap<Revision, Placed<'h>>,
    /// Those that did not.
    reads: Vec<Placed<'h>>,
}

fn refuse_unsupported(operations: &[Operation]) -> Result<(), Violation> {
    let of_old = |op: &&Operation| {
        let txn = op.request.txn();
        txn.then.iter().chain(&txn.otherwise).any(|op| matches!(op, Op::Range(r) if r.revision.is_some()))
    };
    match operations.iter().find(of_old) {
        Some(operation) => Err(Violation::Unsupported(describe(operation))),
        None => Ok(()),
    }
}

fn place(operations: &[Operation]) -> Result<Order<'_>, Violation> {
    let mut order = Order { writes: BTreeMap::new(), reads: Vec::new() };
    for (at, operation) in operations.iter().enumerate() {
        let Fate::Answered(finished, answer) = &operation.fate else { continue };
        let placed = Placed { at, operation, revision: answer.revision, finished: *finished, answer };
        if !changed(answer) {
            order.reads.push(placed);
        } else if let Some(other) = order.writes.insert(answer.revision, placed) {
            let (one, other) = (describe(other.operation), describe(operation));
            return Err(Violation::Shared { revision: answer.revision, one, other });
        }
    }
    Ok(order)
}

/// Whether an answer says that something was changed.
fn changed(answer: &TxnAnswer) -> bool {
    answer.ops.iter().any(|op| match op {
        OpAnswer::Range(_) => false,
        OpAnswer::Put { .. } => true,
        OpAnswer::Delete { deleted, .. } => *deleted > 0,
    })
}

/// Goes through all revisions: each must be the work of one operation, and each answer right at its place.
/// Returns when the writer of each revision began; none for what leases did.
fn replay(
    operations: &[Operation],
    order: &Order<'_>,
    applied: &Applied,
    report: &mut Report,
) -> Result<BTreeMap<Revision, Option<usize>>, Violation> {
    let lost = order.writes.values().find(|w| !applied.contains_key(&w.revision));
    if let Some(lost) = lost {
        return Err(Violation::Lost { operation: describe(lost.operation) });
    }
    let mut reads = order.reads.clone();
    reads.sort_by_key(|read| read.revision);
    let mut reads = reads.into_iter().peekable();
    let unknown = operations.iter().enumerate().filter(|(_, op)| op.fate == Fate::Unknown);
    let mut unknown: BTreeSet<usize> = unknown.map(|(at, _)| at).collect();
    let mut state = State::new();
    let mut writers = BTreeMap::new();
    for (revision, changes) in applied {
        while let Some(read) = reads.next_if(|read| read.revision < *revision) {
            check_answer(&state, &read)?;
        }
        let writer = match order.writes.get(revision) {
            Some(write) => {
                report.writes += 1;
                check_answer(&state, write)?;
                check_effect(&state, write, changes)?;
                Some(write.at)
            }
            None => find_writer(&state, operations, &mut unknown, *revision, changes, report)?,
        };
        writers.insert(*revision, writer);
        model::apply(&mut state, &as_changes(changes));
    }
    reads.try_for_each(|read| check_answer(&state, &read))?;
    Ok(writers)
}

fn as_changes(changes: &[Seen]) -> model::Changes {
    changes.iter().map(|seen| (seen.key.clone(), seen.now.clone())).collect()
}

fn check_answer(state: &State, placed: &Placed<'_>) -> Result<(), Violation> {
    let txn = placed.operation.request.txn();
    let done = model::execute(state, txn, placed.revision);
    let result = done.compare(txn, placed.answer, Compared::Exactly);
    result.map_err(|why| Violation::Wrong { why, operation: describe(placed.operation) })
}

fn check_effect(state: &State, write: &Placed<'_>, changes: &[Seen]) -> Result<(), Violation> {
    let done = model::execute(state, write.operation.request.txn(), write.revision);
    if done.changes == as_changes(changes) {
        return Ok(());
    }
    let why = format!("revision {} is {changes:?}", write.revision);
    Err(Violation::Wrong { why, operation: describe(write.operation) })
}

/// Finds who made a revision that nobody was acknowledged: an operation of unknown outcome, each of which is
/// done at most once, or the end of leases.
///
/// What could have been used for a revision could as well have been used for a later one, so that taking the
/// first that fits is right as long as no two that fit do different things elsewhere: clients write values
/// that differ.
fn find_writer(
    state: &State,
    operations: &[Operation],
    unknown: &mut BTreeSet<usize>,
    revision: Revision,
    changes: &[Seen],
    report: &mut Report,
) -> Result<Option<usize>, Violation> {
    let made = as_changes(changes);
    let fits = |at: &&usize| {
        let txn = operations.get(**at).map(|op| op.request.txn());
        txn.is_some_and(|txn| model::execute(state, txn, revision).changes == made)
    };
    if let Some(writer) = unknown.iter().find(fits).copied() {
        unknown.remove(&writer);
        report.unknown_done += 1;
        return Ok(Some(writer));
    }
    let leased =
        |seen: &Seen| seen.now.is_none() && state.get(&seen.key).is_some_and(|kv| kv.lease.is_some());
    if changes.iter().all(leased) {
        report.leases_ended += 1;
        return Ok(None);
    }
    Err(Violation::Unasked { revision, changes: format!("{changes:?}") })
}

/// No operation may stand after one that began only when it was over. Reads that were not promised to be
/// linearizable have no place in this order.
fn check_order(
    operations: &[Operation],
    order: &Order<'_>,
    writers: &BTreeMap<Revision, Option<usize>>,
) -> Result<(), Violation> {
    // A read stands after its revision and before the next.
    let reads = order.reads.iter().filter(|read| is_linearizable(read.operation));
    let mut all: Vec<(u64, Duration, &Operation)> =
        reads.map(|read| (2 * read.revision.0 + 1, read.finished, read.operation)).collect();
    for (revision, writer) in writers {
        let Some(operation) = writer.and_then(|at| operations.get(at)) else { continue };
        let finished = order.writes.get(revision).map_or(Duration::MAX, |write| write.finished);
        all.push((2 * revision.0, finished, operation));
    }
    all.sort_by_key(|(place, ..)| std::cmp::Reverse(*place));
    // Of all that stand after the present place, which was over first.
    let mut first_over: Option<(Duration, &Operation)> = None;
    for same_place in all.chunk_by(|a, b| a.0 == b.0) {
        for (_, _, operation) in same_place {
            if let Some((over, later)) = first_over
                && over < operation.invoked
            {
                return Err(Violation::Order { over: describe(later), began: describe(operation) });
            }
        }
        let here = same_place.iter().map(|(_, finished, operation)| (*finished, *operation));
        first_over = first_over.into_iter().chain(here).min_by_key(|(finished, _)| *finished);
    }
    Ok(())
}

fn is_linearizable(operation: &Operation) -> bool {
    match operation.request {
        Request::Txn(_) | Request::Read(_, Level::Linearizable) => true,
        Request::Read(_, Level::Session | Level::Bounded(_) | Level::Local) => false,
    }
}

/// For each revision, when the last of its writers and of all before it began.
pub(super) struct Begun(BTreeMap<Revision, Duration>);

impl Begun {
    fn new(operations: &[Operation], writers: &BTreeMap<Revision, Option<usize>>) -> Self {
        let mut last = Duration::ZERO;
        let begun = writers.iter().map(|(revision, writer)| {
            let invoked = writer.and_then(|at| operations.get(at)).map(|op| op.invoked);
            last = last.max(invoked.unwrap_or_default());
            (*revision, last)
        });
        Begun(begun.collect())
    }

    /// Checks that what was seen of a revision at that time can have been there.
    pub(super) fn check(
        &self,
        revision: Revision,
        at: Duration,
        what: impl FnOnce() -> String,
    ) -> Result<(), Violation> {
        match self.0.range(..=revision).next_back() {
            Some((_, begun)) if *begun > at => Err(Violation::Future { revision, what: what() }),
            _ => Ok(()),
        }
    }
}

/// The latest revision among answers, by when they were given.
#[derive(Default)]
struct Told(Vec<(Duration, Revision)>);

impl Told {
    fn new<'h>(answers: impl Iterator<Item = &'h Placed<'h>>) -> Self {
        let mut told: Vec<_> = answers.map(|placed| (placed.finished, placed.revision)).collect();
        told.sort();
        let mut latest = Revision(0);
        for (_, revision) in &mut told {
            latest = latest.max(*revision);
            *revision = latest;
        }
        Told(told)
    }

    /// The latest revision told before a time.
    fn before(&self, time: Duration) -> Revision {
        let earlier = self.0.partition_point(|(told, _)| *told < time);
        earlier.checked_sub(1).and_then(|at| self.0.get(at)).map_or(Revision(0), |(_, revision)| *revision)
    }
}

/// Each read must show at least what it was promised, and nothing that nobody had begun to write.
fn check_levels(order: &Order<'_>, begun: &Begun) -> Result<(), Violation> {
    let writes = Told::new(order.writes.values());
    let all = || order.writes.values().chain(&order.reads);
    let clients: BTreeSet<Client> = order.reads.iter().map(|read| read.operation.client).collect();
    let own = |client| Told::new(all().filter(|placed| placed.operation.client == client));
    let clients: BTreeMap<Client, Told> = clients.into_iter().map(|client| (client, own(client))).collect();
    for read in &order.reads {
        begun.check(read.revision, read.finished, || describe(read.operation))?;
        let invoked = read.operation.invoked;
        let least = match read.operation.request {
            Request::Read(_, Level::Session) => {
                clients.get(&read.operation.client).map_or(Revision(0), |told| told.before(invoked))
            }
            Request::Read(_, Level::Bounded(age)) => writes.before(invoked.saturating_sub(age)),
            Request::Txn(_) | Request::Read(_, Level::Linearizable | Level::Local) => Revision(0),
        };
        if read.revision < least {
            return Err(Violation::Stale { least, operation: describe(read.operation) });
        }
    }
    Ok(())
}

/// An operation for a message.
pub(super) fn describe(operation: &Operation) -> String {
    let Operation { client, invoked, request, fate } = operation;
    format!("{client:?} at {invoked:?}: {request:?} -> {fate:?}")
}
