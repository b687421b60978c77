//! The store against a reference that is as simple as can be, under random commands: every answer, reads of
//! every revision, watches from everywhere, the rows, and copies taken meanwhile.

mod reference;

use proptest::prelude::*;
use reference::Reference;
use selvedge_kv::*;
use selvedge_types::resource::{KeyspaceId, Text};
use selvedge_types::{Hlc, Revision, UnixMillis};
use std::collections::BTreeMap;

type Tables = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// What one step does; keyspaces are 0 and 1 here, and get their numbers when it is done.
#[derive(Clone, Debug)]
struct Step {
    advance_ms: u64,
    command: Command,
    /// Whether the command is sent twice.
    repeat: bool,
    /// Which watch is polled afterwards.
    poll: usize,
    /// Where a watch begins, counted back from the present.
    watch_back: Option<u64>,
}

fn keys() -> impl Strategy<Value = Key> {
    prop::sample::select(vec!["a", "aa", "ab", "b", "ba", "c"]).prop_map(Key::from)
}

fn ranges() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        3 => keys().prop_map(KeyRange::One),
        2 => keys().prop_map(KeyRange::prefix),
        1 => (keys(), keys()).prop_map(|(start, end)| KeyRange::span(start, end)),
        1 => Just(KeyRange::all()),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["", "1", "2", "33"]).prop_map(Value::from)
}

fn revisions() -> impl Strategy<Value = Revision> {
    (0u64..60).prop_map(Revision)
}

fn leases() -> impl Strategy<Value = LeaseId> {
    (1000u64..1003).prop_map(LeaseId)
}

fn puts() -> impl Strategy<Value = Put> {
    let lease = prop_oneof![
        3 => Just(PutLease::Detach),
        1 => Just(PutLease::Keep),
        2 => leases().prop_map(PutLease::Attach),
    ];
    let value = prop_oneof![5 => values().prop_map(Some), 1 => Just(None)];
    (keys(), value, lease, any::<bool>()).prop_map(|(key, value, lease, previous)| Put {
        key,
        value,
        lease,
        previous,
    })
}

fn ops() -> impl Strategy<Value = Op> {
    let want = prop::sample::select(vec![Want::All, Want::Keys, Want::Count]);
    let revision = prop_oneof![4 => Just(None), 1 => revisions().prop_map(Some)];
    let range = (ranges(), revision, prop::option::of(0u64..4), want)
        .prop_map(|(keys, revision, limit, want)| Range { keys, revision, limit, want });
    prop_oneof![
        4 => puts().prop_map(Op::Put),
        1 => range.prop_map(Op::Range),
        2 => (ranges(), any::<bool>()).prop_map(|(keys, previous)| Op::Delete(Delete { keys, previous })),
    ]
}

fn compares() -> impl Strategy<Value = Compare> {
    let relation =
        prop::sample::select(vec![Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater]);
    let target = prop_oneof![
        (0u64..4).prop_map(Target::Version),
        revisions().prop_map(Target::Created),
        revisions().prop_map(Target::Modified),
        prop_oneof![Just(LeaseId(0)), leases()].prop_map(Target::Lease),
        values().prop_map(Target::Value),
    ];
    (ranges(), relation, target).prop_map(|(keys, relation, target)| Compare { keys, relation, target })
}

fn commands() -> impl Strategy<Value = Command> {
    let keyspace = || (0u64..2).prop_map(KeyspaceNumber);
    let list = || prop::collection::vec(ops(), 0..4);
    let txn = (prop::collection::vec(compares(), 0..2), list(), list())
        .prop_map(|(compare, then, otherwise)| Txn { compare, then, otherwise });
    prop_oneof![
        16 => (keyspace(), txn).prop_map(|(keyspace, txn)| Command::Txn { keyspace, txn }),
        1 => (keyspace(), revisions()).prop_map(|(keyspace, revision)| Command::Compact { keyspace, revision }),
        3 => (keyspace(), leases(), 1000u64..4000).prop_map(|(keyspace, lease, ttl_ms)| {
            Command::GrantLease { keyspace, lease: Some(lease), ttl_ms }
        }),
        2 => (keyspace(), leases()).prop_map(|(keyspace, lease)| Command::RenewLease { keyspace, lease }),
        1 => (keyspace(), leases()).prop_map(|(keyspace, lease)| Command::RevokeLease { keyspace, lease }),
        1 => Just(Command::RenewAllLeases),
        3 => Just(Command::Expire(Due::default())),
        1 => keyspace().prop_map(|keyspace| Command::RemoveKeyspace { keyspace }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let back = prop_oneof![3 => Just(None), 1 => (0u64..20).prop_map(Some)];
    let step = (0u64..1500, commands(), prop::bool::weighted(0.1), any::<usize>(), back).prop_map(
        |(advance_ms, command, repeat, poll, watch_back)| Step {
            advance_ms,
            command,
            repeat,
            poll,
            watch_back,
        },
    );
    prop::collection::vec(step, 1..60)
}

fn limits() -> Limits {
    Limits { history_max: 25, sweep_max: 2, session_idle_ms: 1 << 40, ..Limits::default() }
}

fn name(which: u64) -> KeyspaceId {
    KeyspaceId::parse_text(["default/zero", "team/one"][which as usize]).unwrap()
}

/// A watch, and what it is known to have given.
struct Follower {
    watch: Watch,
    id: WatchId,
    /// The first revision not yet given.
    next: Revision,
    ended: bool,
}

/// Everything that is compared.
struct World {
    store: Store,
    reference: Reference,
    now: UnixMillis,
    session: SessionId,
    sequence: u64,
    numbers: [KeyspaceNumber; 2],
    tables: Tables,
    copy: Tables,
    cursor: Option<Cursor>,
    watchers: Watchers,
    followers: Vec<Follower>,
}

impl World {
    fn new() -> Self {
        let store = Store::new(limits());
        let few = WatchLimits { events_max: 3, ..WatchLimits::default() };
        let mut world = World {
            watchers: Watchers::new(&store, few),
            store,
            reference: Reference::new(25),
            now: UnixMillis(1_000_000),
            session: SessionId(0),
            sequence: 0,
            numbers: [KeyspaceNumber(0); 2],
            tables: Tables::new(),
            copy: Tables::new(),
            cursor: Some(Cursor::default()),
            followers: Vec::new(),
        };
        let opened = world.apply(&Command::OpenSession, None).answer;
        let Ok(Answer::Session { session }) = opened else { panic!("{opened:?}") };
        world.session = session;
        world.declare(0);
        world.declare(1);
        world
    }

    fn declare(&mut self, which: u64) {
        let command = Command::DeclareKeyspace { name: name(which), quota_bytes: 1 << 20 };
        self.reference.apply(&command, self.now).unwrap();
        let answer = self.apply(&command, None).answer;
        let Ok(Answer::Keyspace { revision, keyspace }) = answer else { panic!("{answer:?}") };
        assert_eq!(revision, self.reference.revision());
        self.reference.compacted.insert(keyspace, revision);
        self.numbers[which as usize] = keyspace;
    }

    /// Applies an entry as it comes back from its bytes, and everything that is to follow it.
    fn apply(&mut self, command: &Command, call: Option<Call>) -> Outcome {
        let entry = Entry { time: Hlc::from_bits(self.now.0 << 16), call, command: command.clone() };
        let entry = Entry::decode(&entry.encode()).unwrap();
        let outcome = self.store.apply(&entry);
        assert_eq!(decode_answer(&encode_answer(&outcome.answer)).unwrap(), outcome.answer);
        for ((table, key), value) in outcome.rows.clone() {
            write(&mut self.tables, table, &key, value.as_deref());
            write(&mut self.copy, table, &key, value.as_deref());
        }
        self.watchers.applied(&outcome);
        outcome
    }

    fn step(&mut self, step: &Step) {
        self.now.0 += step.advance_ms;
        let command = self.resolve(&step.command);
        self.sequence += 1;
        let call = Call { session: self.session, sequence: Sequence(self.sequence) };
        let expected = self.reference.apply(&command, self.now);
        let outcome = self.apply(&command, Some(call));
        assert_eq!(outcome.answer, expected, "{command:?}");
        assert_eq!(self.store.revision(), self.reference.revision(), "{command:?}");
        if step.repeat {
            let again = self.apply(&command, Some(call));
            assert_eq!(again.answer, outcome.answer, "repeated {command:?}");
            assert!(again.changes.is_empty() && again.revision == outcome.revision);
        }
        if let Command::RemoveKeyspace { .. } = command {
            let Command::RemoveKeyspace { keyspace } = step.command else { unreachable!() };
            self.declare(keyspace.0);
        }
        self.watch(step);
        self.poll(step.poll);
        self.copy_some();
    }

    fn resolve(&self, command: &Command) -> Command {
        let mut command = command.clone();
        match &mut command {
            Command::Txn { keyspace, .. }
            | Command::Compact { keyspace, .. }
            | Command::GrantLease { keyspace, .. }
            | Command::RenewLease { keyspace, .. }
            | Command::RevokeLease { keyspace, .. }
            | Command::RemoveKeyspace { keyspace } => *keyspace = self.numbers[keyspace.0 as usize],
            Command::Expire(due) => {
                *due = self.store.due(self.now);
                let mut leases = due.leases.clone();
                leases.sort();
                assert_eq!(leases, self.reference.due(self.now));
            }
            _ => {}
        }
        command
    }

    fn watch(&mut self, step: &Step) {
        let Some(back) = step.watch_back else { return };
        let from = Revision(self.store.revision().0.saturating_sub(back).max(1));
        let keys = [KeyRange::all(), KeyRange::one("a"), KeyRange::prefix("b")][step.poll % 3].clone();
        let number = self.numbers[step.poll % 2];
        let mut watch = Watch::new(number, keys, Some(from).filter(|_| back > 0));
        watch.previous = step.poll.is_multiple_of(2);
        watch.deletions = !step.poll.is_multiple_of(5);
        let next = watch.from.unwrap_or(Revision(self.store.revision().0 + 1));
        let id = self.watchers.open(watch.clone()).unwrap();
        self.followers.push(Follower { watch, id, next, ended: false });
    }

    fn poll(&mut self, which: usize) -> bool {
        if self.followers.is_empty() {
            return false;
        }
        let which = which % self.followers.len();
        let follower = &mut self.followers[which];
        if follower.ended {
            return false;
        }
        let number = follower.watch.keyspace;
        match self.watchers.poll(&self.store, follower.id) {
            Ok(batch) => {
                let through = batch.through.max(Revision(follower.next.0 - 1));
                let mut events = batch.events.into_iter();
                for revision in follower.next.0..=through.0 {
                    check_events(&self.reference, &follower.watch, Revision(revision), &mut events);
                }
                assert_eq!(events.next(), None, "events of other revisions than said");
                assert!(batch.more || batch.through == self.store.revision());
                follower.next = Revision(through.0 + 1);
                batch.more
            }
            Err(WatchEnd::Compacted { compacted }) => {
                assert!(follower.next <= compacted && compacted == self.reference.compacted[&number]);
                follower.ended = true;
                false
            }
            Err(end) => {
                assert_eq!(end, WatchEnd::Removed { keyspace: number });
                assert!(!self.numbers.contains(&number));
                follower.ended = true;
                false
            }
        }
    }

    /// Copies a few more rows, while the store goes on.
    fn copy_some(&mut self) {
        let Some(cursor) = self.cursor else { return };
        let (rows, next) = self.store.rows(cursor, 100);
        for (table, key, value) in rows.iter() {
            write(&mut self.copy, table, key, value);
        }
        self.cursor = next;
    }

    fn finish(mut self) {
        for which in 0..self.followers.len() {
            while self.poll(which) {}
            let follower = &self.followers[which];
            let removed = !self.numbers.contains(&follower.watch.keyspace);
            assert!(follower.ended || removed || follower.next.0 > self.store.revision().0);
        }
        self.check_reads();
        while self.cursor.is_some() {
            self.copy_some();
        }
        assert_eq!(load(&self.tables), self.store, "from the rows of all entries");
        assert_eq!(load(&self.copy), self.store, "from a copy taken meanwhile");
        while self.store.is_sweeping() {
            self.apply(&Command::Expire(Due::default()), None);
        }
        self.check_reads();
        assert_eq!(load(&self.tables), self.store, "swept");
        assert_eq!(self.store.keyspaces().count(), 2);
    }

    /// Every revision that is kept reads as it was.
    fn check_reads(&self) {
        for number in self.numbers {
            let compacted = self.reference.compacted[&number];
            for revision in (0..=self.store.revision().0).map(Revision) {
                let range = Range { revision: Some(revision), ..Range::of(KeyRange::all()) };
                let found = self.store.range(number, &range).map(|answer| answer.records);
                if revision < compacted {
                    assert_eq!(found, Err(Refusal::Compacted { revision, compacted }));
                } else {
                    assert_eq!(found, Ok(self.reference.read(number, &KeyRange::all(), revision)));
                }
            }
        }
    }
}

/// What a watch gives of one revision is what the reference says, whatever the order within it.
fn check_events(
    reference: &Reference,
    watch: &Watch,
    revision: Revision,
    events: &mut std::vec::IntoIter<Event>,
) {
    let changes = reference.changes(watch.keyspace, revision);
    let wanted: Vec<_> = changes
        .into_iter()
        .filter(|(key, _, after)| watch.keys.contains(key) && (after.is_some() || watch.deletions))
        .collect();
    let mut found: Vec<Event> = events.take(wanted.len()).collect();
    found.sort_by(|a, b| a.change.key.cmp(&b.change.key));
    assert_eq!(found.len(), wanted.len());
    for (event, (key, before, after)) in found.iter().zip(wanted) {
        assert_eq!((&event.change.key, event.change.position.revision), (&key, revision));
        assert_eq!(event.change.key_value(), after);
        // What was there before may be gone only if compaction came so far.
        let compacted = reference.compacted[&watch.keyspace];
        let may_be_gone = before.as_ref().is_none_or(|kv| kv.modified <= compacted);
        match &event.previous {
            Some(previous) => assert_eq!(Some(previous), before.as_ref()),
            None => assert!(!watch.previous || may_be_gone),
        }
    }
}

fn write(tables: &mut Tables, table: Table, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => tables.insert((table, key.to_vec()), value.to_vec()),
        None => tables.remove(&(table, key.to_vec())),
    };
}

fn load(tables: &Tables) -> Store {
    let mut loader = Loader::default();
    for ((table, key), value) in tables {
        loader.row(*table, key, value).unwrap();
    }
    loader.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(300), ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_reference_does(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }

    #[test]
    fn changed_bytes_are_taken_without_panic(command in commands(), at: prop::sample::Index, byte: u8) {
        let mut bytes = Entry { time: Hlc::ZERO, call: None, command }.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Entry::decode(&bytes);
    }

    #[test]
    fn rows_of_any_bytes_are_taken_without_panic(
        rows in prop::collection::vec((0usize..6, prop::collection::vec(any::<u8>(), 0..24), any::<Vec<u8>>()), 0..4),
    ) {
        let mut loader = Loader::default();
        for (table, key, value) in rows {
            let _ = loader.row(Table::ALL[table], &key, &value);
        }
        let _ = loader.finish();
    }
}
