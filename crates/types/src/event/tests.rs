//! What events say, and which of them are one.

use super::*;
use crate::UnixMillis;
use crate::resource::Text;

fn node(n: u8) -> NodeKey {
    NodeKey::from_bytes([n; 32])
}

fn at(ms: u64) -> Hlc {
    crate::HlcClock::default().tick(UnixMillis(ms))
}

/// One of each kind.
fn all() -> Vec<Event> {
    let (node, revision) = (node(1), 7);
    let life = Life { node, generation: 3 };
    let namespace = Namespace::default();
    let pop = PopName::parse_text("ams").unwrap();
    let error = HlcError { ahead_ms: 90_000, limit_ms: 60_000 };
    let voters = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    vec![
        Event::Started { version: "1.0.0".into() },
        Event::Stopping,
        Event::HandedOver,
        Event::Joined { node, revision },
        Event::Removed { node, revision },
        Event::Drained { node, draining: true, revision },
        Event::Drained { node, draining: false, revision },
        Event::Applied { namespace: namespace.clone(), what: "site a".into(), revision },
        Event::Settings { revision },
        Event::Purged { namespace: Some(namespace), scope: "site a".into(), soft: false, revision },
        Event::CaughtUp { revision },
        Event::Met(life),
        Event::Returned(life),
        Event::Suspected(life),
        Event::Cleared(life),
        Event::Failed(life),
        Event::Left(life),
        Event::PopLost(pop.clone()),
        Event::PopFound(pop),
        Event::Delegate(true),
        Event::Renewed(4),
        Event::Stalled(Duration::from_secs(2)),
        Event::ClockRefused { node, error },
        Event::Leads { node, term: 2 },
        Event::NoLeader,
        Event::Voters { voters, term: 2 },
        Event::Fault { what: Fault::DiskSpace, why: Some("full".into()) },
        Event::Fault { what: Fault::DiskSpace, why: None },
    ]
}

#[test]
fn every_kind_is_listed_once() {
    let kinds: Vec<&str> = all().iter().map(Event::kind).collect();
    assert_eq!(kinds, KINDS);
}

#[test]
fn records_are_read_as_they_were_written() {
    for event in all() {
        let revision = event.revision();
        let record = event.record(at(5), Some("n".into()));
        assert_eq!(record.revision(), revision);
        let bytes = minicbor::to_vec(&record).unwrap();
        assert_eq!(minicbor::decode::<Record>(&bytes).unwrap(), record);
        assert!(!record.text.is_empty() && !record.kind.is_empty());
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let why = Some("ü".repeat(1_000));
    let record = Event::Fault { what: Fault::State, why }.record(at(1), None);
    assert_eq!((record.text.len(), record.text.chars().count()), (TEXT_BYTES_MAX, TEXT_BYTES_MAX / 2));
}

#[test]
fn what_several_nodes_tell_is_the_same_if_kind_subject_and_number_are_and_the_time_is_near() {
    let failed = |n, generation, ms| Event::Failed(Life { node: node(n), generation }).record(at(ms), None);
    let first = failed(1, 3, 1_000_000);
    for (other, same) in [
        (failed(1, 3, 1_002_000), true),
        (failed(1, 3, 998_000), true),
        (failed(1, 4, 1_002_000), false),
        (failed(2, 3, 1_002_000), false),
        (failed(1, 3, 1_061_000), false),
        (Event::Cleared(Life { node: node(1), generation: 3 }).record(at(1_000_000), None), false),
    ] {
        assert_eq!(first.is_same(&other), same, "{other:?}");
    }
    let alone = Event::Stopping.record(at(1), None);
    assert!(!alone.is_same(&alone), "each node stops by itself");
}
