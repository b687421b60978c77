//! The search for any order that explains a small history, whatever its revisions say.
//!
//! Wing and Gong, *Testing and Verifying Concurrent Objects*, 1993: take an operation that began before any
//! other was over, do it on the model, and go on with the rest if the answer is right, else take another.
//! Lowe, *Testing for linearizability*, 2017: never visit the same rest with the same state twice.

use super::model::{self, Compared, State};
use super::{Fate, History, Level, Operation, Request};
use selvedge_kv::{Key, Target, TxnAnswer, Value};
use selvedge_types::Revision;
use std::collections::BTreeSet;
use std::time::Duration;

/// Operations of a history that can be searched.
pub const OPERATIONS_MAX: usize = 64;

/// Steps of a search before it gives up.
pub const STEPS_MAX: usize = 1_000_000;

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An order explains it.
    Linearizable,
    /// None does.
    Not,
    /// It is too large, or compares revisions, or the search took too long.
    Undecided,
}

/// Searches for an order. Reads that were not promised to be linearizable are left out.
pub fn search(history: &History) -> Verdict {
    let operations: Vec<&Operation> = history.operations.iter().filter(|op| counts(op)).collect();
    if operations.len() > OPERATIONS_MAX || operations.iter().any(|op| compares_revisions(op)) {
        return Verdict::Undecided;
    }
    let calls: Vec<Call<'_>> = operations.into_iter().map(Call::new).collect();
    let done = calls.iter().enumerate().filter(|(_, call)| call.answer.is_none());
    let optional = done.fold(0, |set, (at, _)| set | 1 << at);
    let all = calls.iter().enumerate().fold(0, |set, (at, _)| set | 1 << at);
    let mut search = Search { calls, optional, visited: BTreeSet::new(), steps: 0 };
    match search.explain(all, &State::new(), 1) {
        _ if search.steps > STEPS_MAX => Verdict::Undecided,
        true => Verdict::Linearizable,
        false => Verdict::Not,
    }
}

/// Which operations are left, one bit each.
type Rest = u64;

/// A state as far as it can be told from outside, to be found again.
type Known = Vec<(Key, Value, u64)>;

struct Call<'h> {
    operation: &'h Operation,
    answer: Option<&'h TxnAnswer>,
    finished: Duration,
}

struct Search<'h> {
    calls: Vec<Call<'h>>,
    /// Operations that may never have been done.
    optional: Rest,
    visited: BTreeSet<(Rest, Known)>,
    steps: usize,
}

impl<'h> Call<'h> {
    fn new(operation: &'h Operation) -> Self {
        match &operation.fate {
            Fate::Answered(finished, answer) => Call { operation, answer: Some(answer), finished: *finished },
            Fate::Refused | Fate::Unknown => Call { operation, answer: None, finished: Duration::MAX },
        }
    }
}

impl Search<'_> {
    /// Whether some order of the rest explains it. No deeper than there are operations.
    fn explain(&mut self, rest: Rest, state: &State, revision: u64) -> bool {
        if rest & !self.optional == 0 {
            return true;
        }
        let known = state.values().map(|kv| (kv.key.clone(), kv.value.clone(), kv.version)).collect();
        if self.steps > STEPS_MAX || !self.visited.insert((rest, known)) {
            return false;
        }
        let first_over = self.members(rest).filter_map(|at| Some(self.calls.get(at)?.finished)).min();
        let members: Vec<usize> = self.members(rest).collect();
        members.into_iter().any(|at| self.explain_by(at, first_over, rest, state, revision))
    }

    /// Whether it is explained if this operation comes first.
    fn explain_by(
        &mut self,
        at: usize,
        first_over: Option<Duration>,
        rest: Rest,
        state: &State,
        revision: u64,
    ) -> bool {
        self.steps += 1;
        let Some(call) = self.calls.get(at) else { return false };
        if first_over.is_some_and(|over| over < call.operation.invoked) {
            return false;
        }
        let txn = call.operation.request.txn();
        let done = model::execute(state, txn, Revision(revision));
        let right = |answer| done.compare(txn, answer, Compared::WithoutRevisions).is_ok();
        if !call.answer.is_none_or(right) {
            return false;
        }
        let mut after = state.clone();
        model::apply(&mut after, &done.changes);
        self.explain(rest & !(1 << at), &after, revision + 1)
    }

    fn members(&self, rest: Rest) -> impl Iterator<Item = usize> + use<> {
        (0..self.calls.len()).filter(move |at| rest & (1 << at) != 0)
    }
}

fn counts(operation: &Operation) -> bool {
    let linearizable =
        !matches!(operation.request, Request::Read(_, Level::Session | Level::Bounded(_) | Level::Local));
    linearizable && operation.fate != Fate::Refused
}

fn compares_revisions(operation: &Operation) -> bool {
    let mut targets = operation.request.txn().compare.iter().map(|compare| &compare.target);
    targets.any(|target| matches!(target, Target::Created(_) | Target::Modified(_)))
}
