//! Clients of the group: they read, write, compare and swap, and watch, at any machine, and repeat what they
//! do not know the outcome of.

use super::book::{Book, now};
use super::machine::Machine;
use crate::history::{self, Client, Request, Seen, SeenBatch};
use crate::run::Run;
use selvedge_kv::{
    Answer, Call, Command, Compare, Delete, Key, KeyRange, KeyspaceNumber, Op, OpAnswer, Put, Range, Refusal,
    Relation, Sequence, SessionId, Target, Txn, TxnAnswer, Value, Watch, WatchEnd,
};
use selvedge_rt::Rng;
use selvedge_state::group::{Error, Group, Level};
use selvedge_types::Revision;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Keys that all clients share.
const KEYS: u64 = 5;

/// How long a client waits for one try.
const TRY_MAX: Duration = Duration::from_secs(2);

/// How often a client tries a write whose outcome it does not know.
const TRIES_MAX: u64 = 4;

/// How old a bounded read may be.
const AGE: Duration = Duration::from_millis(500);

/// A client, or a watcher.
pub(super) struct Visitor {
    pub(super) number: u32,
    pub(super) run: Run,
    pub(super) rng: Rng,
    pub(super) book: Book,
    pub(super) machines: Vec<Machine>,
}

/// What became of one try.
enum Tried<T> {
    Done(T),
    Refused(Error),
    Unknown,
}

impl Visitor {
    fn client(&self) -> Client {
        Client(self.number)
    }

    fn machine(&mut self) -> Machine {
        let at = self.rng.below(self.machines.len() as u64);
        self.machines[usize::try_from(at).unwrap_or(0)].clone()
    }

    /// Has something done at some machine, and waits for it.
    async fn at_machine<T, F>(&mut self, work: impl FnOnce(Group) -> F + Send + 'static) -> Tried<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let machine = self.machine();
        let sent = machine.send(Box::new(move |group| {
            Box::pin(async move {
                // A client may have gone.
                let _ = done.send(work(group).await);
            })
        }));
        if !sent {
            return Tried::Refused(Error::NoLeader { waited: Duration::ZERO });
        }
        match tokio::time::timeout(TRY_MAX * 2, result).await {
            Ok(Ok(Ok(value))) => Tried::Done(value),
            Ok(Ok(Err(error))) if error.is_unknown() => Tried::Unknown,
            Ok(Ok(Err(error))) => Tried::Refused(error),
            // The machine ended, or its answer is lost.
            Ok(Err(_)) | Err(_) => Tried::Unknown,
        }
    }

    async fn propose(&mut self, command: Command, call: Option<Call>) -> Tried<Answer> {
        self.at_machine(move |group| async move { group.propose(command, call, TRY_MAX).await }).await
    }

    /// The keyspace, once there is one.
    async fn keyspace(&self) -> KeyspaceNumber {
        loop {
            if let Some(keyspace) = self.book.keyspace() {
                return keyspace;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Works until the book is closed.
    pub(super) async fn work(mut self) {
        let keyspace = self.keyspace().await;
        let (mut session, mut sequence, mut seen) = (None, 0, Revision(0));
        let mut last = None;
        while !self.book.is_closing() {
            tokio::time::sleep(Duration::from_millis(5 + self.rng.below(60))).await;
            if self.rng.below(10) < 4 {
                if let Some(answer) = self.read(keyspace, seen).await {
                    seen = seen.max(answer.revision);
                    last = found(&answer).or(last);
                }
                continue;
            }
            let opened = match session {
                Some(session) => session,
                None => match self.propose(Command::OpenSession, None).await {
                    Tried::Done(Answer::Session { session }) => session,
                    Tried::Done(_) | Tried::Refused(_) | Tried::Unknown => continue,
                },
            };
            session = Some(opened);
            sequence += 1;
            let call = Call { session: opened, sequence: Sequence(sequence) };
            match self.write(keyspace, call, last.take()).await {
                Some(answer) => seen = seen.max(answer.revision),
                // Its session may have ended with it.
                None => session = session.filter(|_| self.rng.below(4) > 0),
            }
        }
    }

    async fn read(&mut self, keyspace: KeyspaceNumber, seen: Revision) -> Option<TxnAnswer> {
        let keys = match self.rng.below(4) {
            0 => KeyRange::all(),
            _ => KeyRange::One(self.key()),
        };
        let txn = Txn::of([Op::Range(Range::of(keys))]);
        let (level, promised) = match self.rng.below(10) {
            0..5 => (Level::Linearizable, history::Level::Linearizable),
            5 | 6 => (Level::Session(seen), history::Level::Session),
            7 | 8 => (Level::Bounded(AGE), history::Level::Bounded(AGE)),
            _ => (Level::Local, history::Level::Local),
        };
        let id = self.book.invoked(self.client(), Request::Read(txn.clone(), promised));
        let asked = txn.clone();
        let tried = self.at_machine(move |group| async move {
            let read = group.read(level, TRY_MAX, |store| store.evaluate(keyspace, &asked)).await?;
            Ok(read.value?)
        });
        match tried.await {
            Tried::Done(answer) => {
                self.run.exercised("group: reads answered", 1);
                self.book.answered(id, answer.clone());
                Some(answer)
            }
            Tried::Refused(_) | Tried::Unknown => {
                self.run.exercised("group: reads without answer", 1);
                self.book.refused(id);
                None
            }
        }
    }

    async fn write(
        &mut self,
        keyspace: KeyspaceNumber,
        call: Call,
        last: Option<(Key, Value)>,
    ) -> Option<TxnAnswer> {
        let txn = self.txn(call, last);
        let id = self.book.invoked(self.client(), Request::Txn(txn.clone()));
        let mut unknown = false;
        for attempt in 0..TRIES_MAX {
            let command = Command::Txn { keyspace, txn: txn.clone() };
            match self.propose(command, Some(call)).await {
                Tried::Done(Answer::Txn(answer)) => {
                    self.run.exercised("group: writes acknowledged", 1);
                    self.run.exercised("group: writes repeated", u64::from(attempt > 0));
                    let (client, revision) = (self.number, answer.revision);
                    self.run.trace.line("client", format_args!("{client} is acknowledged {revision}"));
                    self.book.answered(id, answer.clone());
                    return Some(answer);
                }
                Tried::Refused(Error::Refused(Refusal::AnswerGone { .. })) => return None,
                Tried::Refused(_) if !unknown => {
                    self.run.exercised("group: writes refused", 1);
                    self.book.refused(id);
                    return None;
                }
                Tried::Done(_) | Tried::Refused(_) | Tried::Unknown => unknown = true,
            }
        }
        self.run.exercised("group: writes of unknown outcome", 1);
        None
    }

    fn txn(&mut self, call: Call, last: Option<(Key, Value)>) -> Txn {
        let Call { session: SessionId(session), sequence: Sequence(sequence) } = call;
        let value = format!("{}-{session}-{sequence}", self.number);
        let put = |key: Key, value: &str| Op::Put(Put::new(key, value.as_bytes()));
        match (self.rng.below(20), last) {
            (0..7, Some((key, old))) => Txn {
                compare: vec![Compare {
                    keys: KeyRange::One(key.clone()),
                    relation: Relation::Equal,
                    target: Target::Value(old),
                }],
                then: vec![put(key.clone(), &value)],
                otherwise: vec![Op::Range(Range::of(KeyRange::One(key)))],
            },
            (7..9, _) => {
                let keys = KeyRange::One(self.key());
                Txn::of([Op::Delete(Delete { keys, previous: true })])
            }
            (9..12, _) => {
                let (one, other) = (self.key(), self.key());
                let both = [put(one.clone(), &value)];
                Txn::of(both.into_iter().chain((one != other).then(|| put(other, &value))))
            }
            _ => Txn::of([put(self.key(), &value)]),
        }
    }

    fn key(&mut self) -> Key {
        format!("k{}", self.rng.below(KEYS)).into_bytes().into()
    }

    /// Watches until the book is closed and all was seen.
    pub(super) async fn watch(mut self) {
        let keyspace = self.keyspace().await;
        let keys = if self.rng.below(2) == 0 { KeyRange::all() } else { KeyRange::One(self.key()) };
        // The revision after the keyspace was made.
        let place = Arc::new(Mutex::new(Revision(2)));
        let mut watching = self.book.watches(self.client(), keys.clone(), Revision(2));
        loop {
            let from = *lock(&place);
            let opened = Watch::new(keyspace, keys.clone(), Some(from));
            let (book, come) = (self.book.clone(), place.clone());
            let time = Duration::from_millis(1 + self.rng.below(1500));
            let watched = self.at_machine(move |group| async move {
                Ok(follow(&group, opened, &book, watching, &come, time).await)
            });
            match watched.await {
                Tried::Done(Ok(())) => {}
                Tried::Done(Err(WatchEnd::Compacted { compacted })) => {
                    self.run.exercised("group: watches compacted", 1);
                    let from = Revision(compacted.0 + 1);
                    *lock(&place) = from;
                    watching = self.book.watches(self.client(), keys.clone(), from);
                }
                // A machine that is no member yet knows no keyspace.
                Tried::Done(Err(WatchEnd::Removed { .. } | WatchEnd::Unknown))
                | Tried::Refused(_)
                | Tried::Unknown => tokio::time::sleep(Duration::from_millis(100)).await,
            }
            let due = self.book.revision();
            if self.book.is_closing() && *lock(&place) > due {
                self.book.must_have_watched(watching, due);
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows a watch for some time; `come` is the next revision to come, all the time.
async fn follow(
    group: &Group,
    watch: Watch,
    book: &Book,
    watching: history::WatchingId,
    come: &Mutex<Revision>,
    time: Duration,
) -> Result<(), WatchEnd> {
    let Ok(mut watch) = group.watch(watch) else { return Ok(()) };
    let end = now() + time;
    loop {
        let left = end.saturating_sub(now());
        let batch = match tokio::time::timeout(left, watch.next()).await {
            Ok(batch) => batch?,
            Err(_) => watch.poll()?,
        };
        let events: Vec<Seen> = batch.events.iter().map(|event| Seen::from(&*event.change)).collect();
        let mut come = lock(come);
        if batch.through >= *come || !events.is_empty() {
            *come = (*come).max(Revision(batch.through.0 + 1));
            book.watched(watching, SeenBatch { at: now(), events, through: batch.through });
        }
        if left.is_zero() && !batch.more {
            return Ok(());
        }
    }
}

/// A key that an answer has, and what it holds.
fn found(answer: &TxnAnswer) -> Option<(Key, Value)> {
    answer.ops.iter().find_map(|op| match op {
        OpAnswer::Range(range) => range.records.first().map(|kv| (kv.key.clone(), kv.value.clone())),
        OpAnswer::Put { .. } | OpAnswer::Delete { .. } => None,
    })
}
