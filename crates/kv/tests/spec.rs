//! What the store promises beyond what the reference covers: limits, sessions, leases in time, removal,
//! watches that fall behind, and rows that do not fit.

use selvedge_kv::*;
use selvedge_types::resource::{KeyspaceId, Text};
use selvedge_types::{Hlc, Revision, UnixMillis};

/// A store with one keyspace, and a clock.
struct Fixture {
    store: Store,
    keyspace: KeyspaceNumber,
    now: UnixMillis,
}

impl Fixture {
    fn new(limits: Limits) -> Self {
        let mut store = Store::new(limits);
        let answer = store.apply(&entry(UnixMillis(0), declare("docs"))).answer;
        let Ok(Answer::Keyspace { keyspace, .. }) = answer else { panic!("{answer:?}") };
        Fixture { store, keyspace, now: UnixMillis(1_000_000) }
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.store.apply(&entry(self.now, command))
    }

    fn call(&mut self, session: SessionId, sequence: u64, command: Command) -> Outcome {
        let call = Some(Call { session, sequence: Sequence(sequence) });
        self.store.apply(&Entry { call, ..entry(self.now, command) })
    }

    fn txn(&mut self, ops: impl IntoIterator<Item = Op>) -> Result<TxnAnswer, Refusal> {
        let keyspace = self.keyspace;
        match self.apply(Command::Txn { keyspace, txn: Txn::of(ops) }).answer? {
            Answer::Txn(answer) => Ok(answer),
            other => panic!("{other:?}"),
        }
    }

    fn put(&mut self, key: &str, value: &str) -> Result<TxnAnswer, Refusal> {
        self.txn([put(key, value)])
    }

    fn grant(&mut self, ttl_ms: u64) -> LeaseId {
        let keyspace = self.keyspace;
        match self.apply(Command::GrantLease { keyspace, lease: None, ttl_ms }).answer {
            Ok(Answer::Lease { lease, .. }) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn session(&mut self) -> SessionId {
        match self.apply(Command::OpenSession).answer {
            Ok(Answer::Session { session }) => session,
            other => panic!("{other:?}"),
        }
    }

    fn keys(&self) -> Vec<String> {
        let answer = self.store.range(self.keyspace, &Range::of(KeyRange::all())).unwrap();
        answer.records.iter().map(|kv| kv.key.to_string()).collect()
    }

    fn pass(&mut self, ms: u64) {
        self.now.0 += ms;
    }
}

fn entry(now: UnixMillis, command: Command) -> Entry {
    Entry { time: Hlc::from_bits(now.0 << 16), call: None, command }
}

fn declare(name: &str) -> Command {
    Command::DeclareKeyspace { name: KeyspaceId::parse_text(name).unwrap(), quota_bytes: 1 << 20 }
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(Put::new(key, value))
}

fn limit(limit: Limit, found: u64, max: u64) -> Refusal {
    Refusal::Limit { limit, found, max }
}

#[test]
fn what_is_too_large_is_refused_by_name_and_changes_nothing() {
    let limits =
        Limits { key_bytes_max: 3, value_bytes_max: 4, ops_max: 2, changes_max: 2, ..Limits::default() };
    let mut fixture = Fixture::new(limits);
    let before = fixture.store.revision();
    let delete = |keys| Op::Delete(Delete { keys, previous: false });
    let cases = [
        (vec![put("", "v")], Refusal::EmptyKey),
        (vec![put("long", "v")], limit(Limit::KeyBytes, 4, 3)),
        (vec![put("a", "value")], limit(Limit::ValueBytes, 5, 4)),
        (vec![put("a", ""), put("b", ""), put("c", "")], limit(Limit::Ops, 3, 2)),
        (vec![put("a", ""), put("a", "")], Refusal::Twice { key: "a".into() }),
        (vec![delete(KeyRange::all()), put("a", "")], Refusal::Twice { key: "a".into() }),
    ];
    for (ops, refusal) in cases {
        assert_eq!(fixture.txn(ops), Err(refusal));
    }
    assert_eq!(fixture.store.revision(), before);
    for key in ["a", "b", "c"] {
        fixture.put(key, "").unwrap();
    }
    assert_eq!(fixture.txn([delete(KeyRange::all())]), Err(limit(Limit::Changes, 3, 2)));
    assert_eq!(fixture.keys(), ["a", "b", "c"]);
}

#[test]
fn a_range_is_paged_by_keys_bytes_and_keys_looked_at() {
    let limits = Limits { answer_bytes_max: 8, scan_max: 3, ..Limits::default() };
    let mut fixture = Fixture::new(limits);
    for key in ["a", "b", "c", "d", "e"] {
        fixture.put(key, "12").unwrap();
    }
    let read = |fixture: &Fixture, range: &Range| {
        let answer = fixture.store.range(fixture.keyspace, range).unwrap();
        (answer.count, answer.next.map(|key| key.to_string()))
    };
    let all = Range::of(KeyRange::all());
    assert_eq!(read(&fixture, &all), (2, Some("c".into())), "six bytes of eight, and no room for three more");
    let keys = Range { want: Want::Keys, ..all.clone() };
    assert_eq!(read(&fixture, &keys), (3, Some("d".into())), "no more than three are looked at");
    let one = Range { limit: Some(1), ..all.clone() };
    assert_eq!(read(&fixture, &one), (1, Some("b".into())));
    let rest = Range { keys: all.keys.from_key(&"e".into()), ..all.clone() };
    assert_eq!(read(&fixture, &rest), (1, None));
    fixture.put("f", "larger than an answer").unwrap();
    let large = Range { keys: all.keys.from_key(&"f".into()), ..all };
    assert_eq!(read(&fixture, &large), (1, None), "one key always fits");
    let delete = Op::Delete(Delete { keys: KeyRange::all(), previous: false });
    assert_eq!(fixture.txn([delete]), Err(limit(Limit::Scan, 4, 3)), "what changes keys is never cut short");
}

#[test]
fn a_full_keyspace_takes_deletions_and_has_room_after_compaction() {
    let mut fixture = Fixture::new(Limits::default());
    let name = KeyspaceId::parse_text("docs").unwrap();
    let quota_bytes = 3 * (CHANGE_OVERHEAD_BYTES + 10);
    fixture.apply(Command::DeclareKeyspace { name, quota_bytes }).answer.unwrap();
    fixture.put("a", "123").unwrap();
    fixture.put("a", "456").unwrap();
    fixture.put("a", "789").unwrap();
    let full = fixture.put("b", "1").unwrap_err();
    assert_eq!(full, Refusal::NoSpace { bytes: 4 * CHANGE_OVERHEAD_BYTES + 14, quota_bytes });
    fixture.txn([Op::Delete(Delete { keys: KeyRange::one("a"), previous: false })]).unwrap();
    let (keyspace, revision) = (fixture.keyspace, fixture.store.revision());
    fixture.apply(Command::Compact { keyspace, revision }).answer.unwrap();
    assert_eq!(fixture.store.keyspaces().next().unwrap().bytes, 0);
    fixture.put("b", "1").unwrap();
}

#[test]
fn a_lease_ends_by_an_entry_that_comes_after_its_time() {
    let mut fixture = Fixture::new(Limits::default());
    let lease = fixture.grant(5_000);
    fixture.txn([Op::Put(Put::new("held", "").with_lease(lease)), put("free", "")]).unwrap();
    let deadline = UnixMillis(fixture.now.0 + 5_000);
    assert_eq!(fixture.store.next_due(), Some(deadline));
    let due = fixture.store.due(deadline);
    assert_eq!(due.leases, [(fixture.keyspace, lease)]);
    // A leader whose clock is ahead proposes too early: the entry's time decides.
    fixture.pass(4_999);
    fixture.apply(Command::Expire(due.clone()));
    assert_eq!(fixture.keys(), ["free", "held"]);
    // A renewal that comes before the entry wins.
    fixture.apply(Command::RenewLease { keyspace: fixture.keyspace, lease }).answer.unwrap();
    fixture.pass(1);
    fixture.apply(Command::Expire(due.clone()));
    assert_eq!(fixture.keys(), ["free", "held"]);
    fixture.pass(5_000);
    let outcome = fixture.apply(Command::Expire(due));
    assert_eq!(outcome.changes.len(), 1);
    assert_eq!(fixture.keys(), ["free"]);
    assert_eq!(fixture.store.next_due(), None);
    let gone = fixture.apply(Command::RenewLease { keyspace: fixture.keyspace, lease }).answer;
    assert_eq!(gone, Err(Refusal::NoLease { lease }));
}

#[test]
fn a_new_leader_gives_every_lease_its_whole_time_again() {
    let mut fixture = Fixture::new(Limits::default());
    let lease = fixture.grant(5_000);
    fixture.pass(60_000);
    fixture.apply(Command::RenewAllLeases).answer.unwrap();
    assert!(fixture.store.due(fixture.now).leases.is_empty());
    fixture.pass(5_000);
    assert_eq!(fixture.store.due(fixture.now).leases, [(fixture.keyspace, lease)]);
}

#[test]
fn a_clock_that_goes_back_does_not_turn_time_back() {
    let mut fixture = Fixture::new(Limits::default());
    let time = fixture.store.apply(&entry(fixture.now, declare("docs")));
    assert!(time.answer.is_ok());
    fixture.store.apply(&entry(UnixMillis(5), declare("docs")));
    assert_eq!(fixture.store.time().millis(), fixture.now);
}

#[test]
fn a_put_moves_its_key_between_leases_and_many_leases_end_as_one_revision() {
    let limits = Limits { changes_max: 2, lease_keys_max: 2, expire_max: 10, ..Limits::default() };
    let mut fixture = Fixture::new(limits);
    let (one, other) = (fixture.grant(1_000), fixture.grant(1_000));
    fixture.txn([Op::Put(Put::new("a", "").with_lease(one))]).unwrap();
    fixture.txn([Op::Put(Put::new("b", "").with_lease(one))]).unwrap();
    let third = fixture.txn([Op::Put(Put::new("c", "").with_lease(one))]);
    assert_eq!(third, Err(limit(Limit::LeaseKeys, 3, 2)));
    fixture.txn([Op::Put(Put::new("b", "").with_lease(other))]).unwrap();
    fixture.txn([Op::Put(Put::new("c", "").with_lease(one))]).unwrap();
    fixture.pass(1_000);
    // Three keys are more than one revision may change: the second lease has to wait.
    let due = fixture.store.due(fixture.now);
    assert_eq!(due.leases.len(), 2);
    let outcome = fixture.apply(Command::Expire(due));
    assert_eq!((outcome.changes.len(), fixture.keys()), (2, vec!["b".to_owned()]));
    let due = fixture.store.due(fixture.now);
    fixture.apply(Command::Expire(due));
    assert!(fixture.keys().is_empty());
}

#[test]
fn a_repeated_command_is_answered_and_not_done_again() {
    let mut fixture = Fixture::new(Limits { session_answers: 2, ..Limits::default() });
    let (session, keyspace) = (fixture.session(), fixture.keyspace);
    let command = Command::Txn { keyspace, txn: Txn::of([put("a", "1")]) };
    let first = fixture.call(session, 1, command.clone());
    let again = fixture.call(session, 1, command.clone());
    assert_eq!(again.answer, first.answer);
    assert_eq!((again.revision, again.changes.len()), (first.revision, 0));
    fixture.call(session, 2, command.clone()).answer.unwrap();
    fixture.call(session, 3, command.clone()).answer.unwrap();
    let old = fixture.call(session, 1, command.clone()).answer.unwrap_err();
    assert_eq!(old, Refusal::TooOld { session, sequence: Sequence(1) });
    assert!(old.is_unknown());
    // A refusal is an answer too.
    let none = Command::RenewLease { keyspace, lease: LeaseId(77) };
    let refused = fixture.call(session, 4, none.clone()).answer;
    fixture.apply(Command::GrantLease { keyspace, lease: Some(LeaseId(77)), ttl_ms: 1_000 }).answer.unwrap();
    assert_eq!(fixture.call(session, 4, none).answer, refused);
}

#[test]
fn of_a_large_answer_only_the_revision_is_kept() {
    let mut fixture = Fixture::new(Limits { session_answer_bytes_max: 50, ..Limits::default() });
    let (session, keyspace) = (fixture.session(), fixture.keyspace);
    let write = put("a", &"v".repeat(60));
    let read = Op::Range(Range::of(KeyRange::all()));
    let command = Command::Txn { keyspace, txn: Txn::of([write, read]) };
    let first = fixture.call(session, 1, command.clone());
    let again = fixture.call(session, 1, command);
    assert_eq!(again.answer, Err(Refusal::AnswerGone { revision: first.revision }));
    assert_eq!(again.revision, first.revision);
}

#[test]
fn an_idle_session_ends_by_an_entry_and_its_commands_are_then_refused() {
    let mut fixture = Fixture::new(Limits { session_idle_ms: 16_000, ..Limits::default() });
    let (session, keyspace) = (fixture.session(), fixture.keyspace);
    let command = Command::Txn { keyspace, txn: Txn::of([put("a", "1")]) };
    fixture.pass(10_000);
    fixture.call(session, 1, command.clone()).answer.unwrap();
    fixture.pass(10_000);
    assert!(fixture.store.due(fixture.now).sessions.is_empty(), "it was used meanwhile");
    fixture.pass(6_000);
    let due = fixture.store.due(fixture.now);
    assert_eq!((due.sessions.as_slice(), fixture.store.next_due()), (&[session][..], Some(fixture.now)));
    fixture.apply(Command::Expire(due));
    let ended = fixture.call(session, 2, command).answer.unwrap_err();
    assert_eq!(ended, Refusal::SessionEnded { session });
    assert!(ended.is_unknown());
    assert_ne!(fixture.session(), session, "no name is given twice");
}

#[test]
fn a_removed_keyspace_goes_at_once_and_its_rows_bit_by_bit() {
    let mut fixture = Fixture::new(Limits { sweep_max: 3, ..Limits::default() });
    for key in 0..20 {
        fixture.put(&format!("k{key}"), "").unwrap();
    }
    let lease = fixture.grant(1_000);
    fixture.txn([Op::Put(Put::new("held", "").with_lease(lease))]).unwrap();
    let old = fixture.keyspace;
    let removed = fixture.apply(Command::RemoveKeyspace { keyspace: old });
    assert_eq!(removed.removed, Some(old));
    assert_eq!(fixture.put("a", ""), Err(Refusal::NoKeyspace { keyspace: old }));
    assert!(fixture.store.due(UnixMillis(u64::MAX)).leases.is_empty());
    let Ok(Answer::Keyspace { keyspace, .. }) = fixture.apply(declare("docs")).answer else { panic!() };
    assert_ne!(keyspace, old, "made again, it is another");
    let mut entries = 0;
    while fixture.store.is_sweeping() {
        let outcome = fixture.apply(Command::Expire(Due::default()));
        assert!(outcome.rows.iter().filter(|(.., value)| value.is_none()).count() <= 7);
        entries += 1;
    }
    assert!((2..10).contains(&entries), "{entries}");
    let (rows, more) = fixture.store.rows(Cursor::default(), 1 << 20);
    assert_eq!((rows.len(), more), (2, None), "the meta row, and the new keyspace's");
}

#[test]
fn a_history_that_grows_too_long_compacts_itself() {
    let mut fixture = Fixture::new(Limits { history_max: 3, ..Limits::default() });
    for value in 0..10 {
        fixture.put("a", &value.to_string()).unwrap();
    }
    let current = fixture.store.revision();
    let at = |revision| Range { revision: Some(revision), ..Range::of(KeyRange::all()) };
    let compacted = Revision(current.0 - 3);
    for back in 0..=3 {
        assert!(fixture.store.range(fixture.keyspace, &at(Revision(current.0 - back))).is_ok());
    }
    let revision = Revision(current.0 - 4);
    let gone = fixture.store.range(fixture.keyspace, &at(revision));
    assert_eq!(gone, Err(Refusal::Compacted { revision, compacted }));
}

fn watched(watchers: &mut Watchers, fixture: &Fixture, id: WatchId) -> (Vec<String>, bool) {
    let batch = watchers.poll(&fixture.store, id).unwrap();
    (batch.events.iter().map(|event| event.change.key.to_string()).collect(), batch.more)
}

#[test]
fn a_batch_never_parts_a_revision_and_only_those_concerned_are_woken() {
    let mut fixture = Fixture::new(Limits::default());
    let limits = WatchLimits { events_max: 2, ..WatchLimits::default() };
    let mut watchers = Watchers::new(&fixture.store, limits);
    let (keyspace, from) = (fixture.keyspace, Some(fixture.store.revision()));
    let all = watchers.open(Watch::new(keyspace, KeyRange::all(), None)).unwrap();
    let one = watchers.open(Watch::new(keyspace, KeyRange::one("z"), None)).unwrap();
    let gone = watchers.open(Watch::new(keyspace, KeyRange::all(), from)).unwrap();
    let batches = [vec!["a"], vec!["b", "c", "d"], vec!["e"]];
    for (at, keys) in batches.iter().enumerate() {
        let txn = Txn::of(keys.iter().map(|key| put(key, "")));
        let woken = watchers.applied(&fixture.apply(Command::Txn { keyspace, txn }));
        assert_eq!(woken.into_iter().collect::<Vec<_>>(), if at == 0 { vec![all] } else { vec![] });
    }
    assert_eq!(watched(&mut watchers, &fixture, all), (["a", "b", "c", "d"].map(Into::into).to_vec(), true));
    assert_eq!(watched(&mut watchers, &fixture, all), (vec!["e".into()], false));
    // One that nothing concerned has nevertheless come as far.
    let batch = watchers.poll(&fixture.store, one).unwrap();
    assert_eq!((batch.events.len(), batch.through), (0, fixture.store.revision()));
    assert_eq!(
        watchers.poll(&fixture.store, gone),
        Err(WatchEnd::Compacted { compacted: fixture.store.keyspaces().next().unwrap().compacted })
    );
    assert_eq!(watchers.poll(&fixture.store, gone), Err(WatchEnd::Unknown));
    watchers.applied(&fixture.apply(Command::RemoveKeyspace { keyspace }));
    assert_eq!(watchers.poll(&fixture.store, all), Err(WatchEnd::Removed { keyspace }));
}

#[test]
fn a_slow_watch_is_told_where_to_go_on_and_a_quiet_one_is_never_slow() {
    let mut fixture = Fixture::new(Limits { history_max: 5, ..Limits::default() });
    let mut watchers =
        Watchers::new(&fixture.store, WatchLimits { watches_max: 2, ..WatchLimits::default() });
    let keyspace = fixture.keyspace;
    let slow = watchers.open(Watch::new(keyspace, KeyRange::one("busy"), None)).unwrap();
    let quiet = watchers.open(Watch::new(keyspace, KeyRange::one("quiet"), None)).unwrap();
    let more = watchers.open(Watch::new(keyspace, KeyRange::all(), None));
    assert_eq!(more, Err(TooManyWatches { max: 2 }));
    for _ in 0..20 {
        watchers.applied(&fixture.apply(Command::Txn { keyspace, txn: Txn::of([put("busy", "")]) }));
    }
    let compacted = Revision(fixture.store.revision().0 - 5);
    assert_eq!(watchers.poll(&fixture.store, slow), Err(WatchEnd::Compacted { compacted }));
    watchers.applied(&fixture.apply(Command::Txn { keyspace, txn: Txn::of([put("quiet", "")]) }));
    assert_eq!(watched(&mut watchers, &fixture, quiet), (vec!["quiet".into()], false));
}

#[test]
fn watches_go_on_over_a_state_that_was_replaced() {
    let mut fixture = Fixture::new(Limits::default());
    let mut watchers = Watchers::new(&fixture.store, WatchLimits::default());
    let id = watchers.open(Watch::new(fixture.keyspace, KeyRange::all(), None)).unwrap();
    // What a leader sent is two revisions ahead, and none of them was applied here.
    fixture.put("a", "").unwrap();
    fixture.put("b", "").unwrap();
    watchers.replaced(&fixture.store);
    assert_eq!(watched(&mut watchers, &fixture, id), (vec!["a".into(), "b".into()], false));
}

#[test]
fn rows_that_do_not_fit_together_are_no_store() {
    let mut fixture = Fixture::new(Limits::default());
    fixture.put("a", "").unwrap();
    let (rows, _) = fixture.store.rows(Cursor::default(), 1 << 20);
    let load = |tables: &[Table]| {
        let mut loader = Loader::default();
        for (table, key, value) in rows.iter().filter(|(table, ..)| tables.contains(table)) {
            loader.row(table, key, value.unwrap()).unwrap();
        }
        loader.finish()
    };
    assert_eq!(load(&Table::ALL), Ok(fixture.store.clone()));
    assert_eq!(load(&[Table::Keyspaces]), Err(LoadError::NoMeta));
    assert!(matches!(load(&[Table::Meta, Table::Changes]), Err(LoadError::Unfit(_))));
    let newer = Loader::default().row(Table::Meta, b"", &[0x81, 9]);
    let source = CodecError::Format(9);
    assert_eq!(newer, Err(LoadError::Row { table: "kv.meta", source }));
}

#[test]
#[ignore = "measures"]
fn measure() {
    const KEYS: u64 = 100_000;
    let mut fixture = Fixture::new(Limits { history_max: 10_000, ..Limits::default() });
    let name = KeyspaceId::parse_text("docs").unwrap();
    fixture.apply(Command::DeclareKeyspace { name, quota_bytes: 8 << 30 });
    let (session, keyspace) = (fixture.session(), fixture.keyspace);
    let value = "v".repeat(256);
    let begin = std::time::Instant::now();
    for n in 0..10 * KEYS {
        // A permutation of the keys, ten times.
        let key = format!("key-{:08}", n * 7_919 % KEYS);
        let command = Command::Txn { keyspace, txn: Txn::of([put(&key, &value)]) };
        fixture.call(session, n, command).answer.unwrap();
    }
    let puts = begin.elapsed();
    let begin = std::time::Instant::now();
    for n in 0..10 * KEYS {
        let key = format!("key-{:08}", n * 7_919 % KEYS);
        let answer = fixture.store.range(keyspace, &Range::of(KeyRange::one(key.as_str()))).unwrap();
        assert_eq!(answer.count, 1);
    }
    let reads = begin.elapsed();
    println!(
        "{:.0} ns a put with its rows, {:.0} ns a read",
        puts.as_nanos() as f64 / 1e6,
        reads.as_nanos() as f64 / 1e6
    );
}
