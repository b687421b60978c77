//! A store that keeps its word passes; each way of breaking it, put in on purpose, is found.

use super::search::{Verdict, search};
use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use selvedge_kv::{
    Answer, Command, Compare, Delete, Entry, KeyspaceNumber, Limits, Op, Put, Range, Relation, Store, Target,
    Watch, WatchId, WatchLimits, Watchers,
};
use selvedge_types::Hlc;
use selvedge_types::resource::{KeyspaceId, Text};

/// How the toy store breaks its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// A read that should be linearizable is answered from a copy that is behind.
    StaleRead,
    /// A session's read forgets what the session was told.
    StaleSession,
    /// A bounded read is older than its bound.
    StaleBounded,
    /// A write is acknowledged, and not done.
    LostAck,
    /// A write is done twice.
    DoubleApply,
    /// A comparison is made on a copy that is behind.
    StaleCompare,
    /// A watch leaves out an event.
    SkippedEvent,
    /// A watch gives two revisions the wrong way round.
    ReorderedWatch,
    /// A watch gives an event again.
    RepeatedEvent,
    /// One node applies something else.
    Divergence,
}

/// What one client does, all of it decided beforehand.
#[derive(Clone, Debug)]
struct Plan {
    client: u32,
    /// How long after the plan before it begins, in milliseconds.
    after: u64,
    /// How long it takes to reach the store, and the answer to come back.
    delays: (u64, u64),
    key: usize,
    kind: Kind,
    /// Whether the answer is lost, and whether the request was.
    lost: (bool, bool),
    /// Whether the bug shows with this one.
    bug: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Put,
    Delete,
    Swap,
    Both,
    Read(Level),
}

/// A store of one copy, which remembers all that it was.
struct Toy {
    store: Store,
    keyspace: KeyspaceNumber,
    past: Vec<(Duration, Store)>,
    watchers: Watchers,
    watch: WatchId,
    watching: WatchingId,
    history: History,
    bug: Bug,
}

const KEYS: [&str; 3] = ["a", "b", "c"];

/// What bounded reads are allowed.
const AGE: Duration = Duration::from_millis(30);

/// How far a copy is behind that is read by mistake.
const BEHIND: Duration = Duration::from_millis(60);

impl Toy {
    fn new(bug: Bug) -> Self {
        let mut store = Store::new(Limits::default());
        let name = KeyspaceId::parse_text("toy").unwrap();
        let answer = store.apply(&entry(Command::DeclareKeyspace { name, quota_bytes: 1 << 20 })).answer;
        let Ok(Answer::Keyspace { keyspace, .. }) = answer else { panic!("{answer:?}") };
        let mut watchers = Watchers::new(&store, WatchLimits { events_max: 2, ..WatchLimits::default() });
        let watch = watchers.open(Watch::new(keyspace, KeyRange::all(), None)).unwrap();
        let mut history = History::default();
        let from = Revision(store.revision().0 + 1);
        let watching = history.watches(Client(99), KeyRange::all(), from);
        let past = vec![(Duration::ZERO, store.clone())];
        Toy { store, keyspace, past, watchers, watch, watching, history, bug }
    }

    /// Plays all plans: what reaches the store is done in the order in which it does.
    fn play(mut self, plans: &[Plan]) -> History {
        let mut begins = Duration::ZERO;
        let mut steps = Vec::new();
        for (at, plan) in plans.iter().enumerate() {
            begins += Duration::from_millis(plan.after);
            let request = request(plan, at);
            let id = self.history.invoked(Client(plan.client), begins, request.clone());
            steps.push((begins + Duration::from_millis(plan.delays.0), at, id, request));
        }
        steps.sort_by_key(|(reached, at, ..)| (*reached, *at));
        for (reached, at, id, request) in steps {
            self.reach(&plans[at], id, &request, reached);
            self.watch(reached, plans[at].bug);
        }
        self.finish(begins + Duration::from_secs(10));
        self.history
    }

    fn reach(&mut self, plan: &Plan, id: OperationId, request: &Request, now: Duration) {
        let (answer_lost, request_lost) = plan.lost;
        if request_lost {
            return;
        }
        let answer = match request {
            Request::Txn(txn) => self.write(txn, plan.bug),
            Request::Read(txn, level) => self.read(txn, *level, now, plan.bug),
        };
        self.past.push((now, self.store.clone()));
        if !answer_lost {
            self.history.answered(id, now + Duration::from_millis(plan.delays.1), answer);
        }
    }

    fn write(&mut self, txn: &Txn, bug: bool) -> TxnAnswer {
        let before = self.store.clone();
        let mut txn = txn.clone();
        if bug && self.bug == Bug::StaleCompare {
            txn.compare.clear();
        }
        let entry = entry(Command::Txn { keyspace: self.keyspace, txn });
        let outcome = self.store.apply(&entry);
        let Ok(Answer::Txn(answer)) = outcome.answer.clone() else { panic!("{:?}", outcome.answer) };
        if bug && self.bug == Bug::LostAck {
            self.store = before;
            return answer;
        }
        self.note(&outcome, bug);
        if bug && self.bug == Bug::DoubleApply {
            let again = self.store.apply(&entry);
            self.note(&again, false);
        }
        answer
    }

    fn note(&mut self, outcome: &selvedge_kv::Outcome, bug: bool) {
        self.watchers.applied(outcome);
        for change in &outcome.changes {
            self.history.applied(change);
            if bug && self.bug == Bug::Divergence {
                let other = Change { record: None, ..Change::clone(change) };
                self.history.applied(&other);
            }
        }
    }

    fn read(&self, txn: &Txn, level: Level, now: Duration, bug: bool) -> TxnAnswer {
        let stale = match level {
            Level::Linearizable => bug && self.bug == Bug::StaleRead,
            Level::Session => bug && self.bug == Bug::StaleSession,
            Level::Bounded(_) => bug && self.bug == Bug::StaleBounded,
            Level::Local => true,
        };
        let asked = if stale { now.saturating_sub(BEHIND) } else { now };
        let past = self.past.iter().rev().find(|(at, _)| *at <= asked).map(|(_, store)| store);
        past.unwrap_or(&self.store).evaluate(self.keyspace, txn).unwrap()
    }

    fn watch(&mut self, now: Duration, bug: bool) {
        let batch = self.watchers.poll(&self.store, self.watch).unwrap();
        let mut events: Vec<Seen> = batch.events.iter().map(|event| Seen::from(&*event.change)).collect();
        if bug && self.bug == Bug::SkippedEvent {
            events.pop();
        }
        if bug && self.bug == Bug::ReorderedWatch {
            events.reverse();
        }
        if bug && self.bug == Bug::RepeatedEvent {
            events.extend(events.last().cloned());
        }
        self.history.watched(self.watching, SeenBatch { at: now, events, through: batch.through });
    }

    /// At the end, everything is read once more, and the watch comes to the end.
    fn finish(&mut self, now: Duration) {
        let txn = Txn::of([Op::Range(Range::of(KeyRange::all()))]);
        let request = Request::Read(txn.clone(), Level::Linearizable);
        let id = self.history.invoked(Client(98), now, request);
        let answer = self.read(&txn, Level::Linearizable, now, false);
        self.history.answered(id, now, answer);
        for _ in 0..=self.store.revision().0 {
            self.watch(now, false);
        }
        self.history.must_have_watched(self.watching, self.store.revision());
    }
}

fn entry(command: Command) -> Entry {
    Entry { time: Hlc::ZERO, call: None, command }
}

/// Every value is written once, so that it says who wrote it.
fn request(plan: &Plan, at: usize) -> Request {
    let key = KEYS[plan.key % KEYS.len()];
    let put = |key: &str| Op::Put(Put::new(key, format!("{at}").as_str()));
    let range = Op::Range(Range::of(KeyRange::all()));
    match plan.kind {
        Kind::Put => Request::Txn(Txn::of([put(key)])),
        Kind::Delete => {
            Request::Txn(Txn::of([Op::Delete(Delete { keys: KeyRange::one(key), previous: true })]))
        }
        Kind::Both => Request::Txn(Txn::of([put("a"), range, put("c")])),
        Kind::Swap => {
            let target = Target::Version(0);
            let compare = Compare { keys: KeyRange::one(key), relation: Relation::Equal, target };
            Request::Txn(Txn { compare: vec![compare], then: vec![put(key)], otherwise: vec![range] })
        }
        Kind::Read(level) => Request::Read(Txn::of([range]), level),
    }
}

fn plans(len: usize) -> impl Strategy<Value = Vec<Plan>> {
    let kind = prop_oneof![
        4 => Just(Kind::Put),
        1 => Just(Kind::Delete),
        2 => Just(Kind::Swap),
        1 => Just(Kind::Both),
        3 => Just(Kind::Read(Level::Linearizable)),
        1 => Just(Kind::Read(Level::Session)),
        1 => Just(Kind::Read(Level::Bounded(AGE))),
        1 => Just(Kind::Read(Level::Local)),
    ];
    let lost = (prop::bool::weighted(0.15), prop::bool::weighted(0.05));
    let plan = (0u32..4, 0u64..20, (0u64..40, 0u64..40), 0usize..3, kind, lost, prop::bool::weighted(0.3));
    let plan = plan.prop_map(|(client, after, delays, key, kind, lost, bug)| Plan {
        client,
        after,
        delays,
        key,
        kind,
        lost,
        bug,
    });
    prop::collection::vec(plan, 1..len)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_store_that_keeps_its_word_passes_both_checks(plans in plans(40)) {
        let history = Toy::new(Bug::None).play(&plans);
        let report = history.check();
        prop_assert!(report.is_ok(), "{}", report.unwrap_err());
        prop_assert_eq!(search(&history), Verdict::Linearizable);
    }

    #[test]
    fn what_no_order_explains_the_witness_does_not_pass(
        plans in plans(25),
        bug in prop::sample::select(vec![Bug::StaleRead, Bug::LostAck, Bug::DoubleApply, Bug::StaleCompare]),
    ) {
        let history = Toy::new(bug).play(&plans);
        if search(&history) == Verdict::Not {
            prop_assert!(history.check().is_err());
        }
    }
}

/// The first violation that a bug shows in a few hundred runs; none of them may pass for long.
fn first_violation(bug: Bug) -> Violation {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = plans(40);
    for _ in 0..200 {
        let plans = strategy.new_tree(&mut runner).unwrap().current();
        if let Err(violation) = Toy::new(bug).play(&plans).check() {
            return violation;
        }
    }
    panic!("{bug:?} was never found");
}

#[test]
fn every_bug_is_found() {
    for bug in [
        Bug::StaleRead,
        Bug::StaleSession,
        Bug::StaleBounded,
        Bug::LostAck,
        Bug::DoubleApply,
        Bug::StaleCompare,
        Bug::SkippedEvent,
        Bug::ReorderedWatch,
        Bug::RepeatedEvent,
        Bug::Divergence,
    ] {
        let violation = first_violation(bug);
        let fits = match bug {
            Bug::None => false,
            Bug::StaleRead => matches!(violation, Violation::Order { .. }),
            Bug::StaleSession | Bug::StaleBounded => matches!(violation, Violation::Stale { .. }),
            Bug::LostAck => matches!(
                violation,
                Violation::Lost { .. }
                    | Violation::Shared { .. }
                    | Violation::Wrong { .. }
                    | Violation::Order { .. }
            ),
            Bug::DoubleApply => matches!(violation, Violation::Unasked { .. }),
            Bug::StaleCompare => matches!(violation, Violation::Wrong { .. } | Violation::Unasked { .. }),
            Bug::SkippedEvent | Bug::ReorderedWatch | Bug::RepeatedEvent => {
                matches!(violation, Violation::Watch { .. })
            }
            Bug::Divergence => matches!(violation, Violation::Divergence { .. }),
        };
        assert!(fits, "{bug:?} was found as {violation}");
    }
}
