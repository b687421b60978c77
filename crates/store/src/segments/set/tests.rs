//! The disk tier's core on a real directory.

use super::*;
use crate::segments::record::{BLOCK, Head, NewRecord};
use selvedge_types::Hlc;

const SMALL: Options = Options {
    bytes_max: 1 << 20,
    segment_bytes: 64 << 10,
    entries_max: 10_000,
    reserve_bytes: 0,
    queue_bytes_max: 1 << 20,
    queue_max: 100,
    reads_max: 4,
    stamps_max: 1000,
    retry_after: std::time::Duration::from_secs(1),
    retry_after_max: std::time::Duration::from_secs(8),
};

fn open(disk: &Disk, options: Options) -> (Segments, Opened) {
    Segments::open(disk.clone(), options, Rng::from_seed(1)).unwrap()
}

fn key(i: u32) -> Key {
    Key(u128::from(i) << 100 | u128::from(i) << 8)
}

fn record(i: u32, body_len: usize) -> NewRecord {
    let head = Head { key: key(i), fetched: Hlc::from_bits(u64::from(i) + 1), kind: Kind::Object, note: 2 };
    NewRecord { head, meta: format!("meta {i}").into(), body: vec![(i % 256) as u8; body_len].into(), asked: true }
}

fn get(segments: &Segments, i: u32) -> Option<Found> {
    let located = segments.locate(key(i))?;
    let found = segments.read(&located);
    if let Some(found) = &found {
        assert_eq!(found.meta, format!("meta {i}"));
        assert!(found.body.iter().all(|b| *b == (i % 256) as u8));
    }
    found
}

#[test]
fn objects_are_read_back_whole_and_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, Options { bytes_max: 1 << 30, segment_bytes: 1 << 20, ..SMALL });
    let mut long = record(2, 3 * BLOCK + 100);
    long.body = (0..long.body.len()).map(|i| (i / 7) as u8).collect::<Vec<_>>().into();
    long.meta = vec![b'm'; 5000].into();
    segments.write(&[record(1, 10), long.clone(), record(3, 0)]).unwrap();
    assert_eq!(get(&segments, 1).unwrap().head, record(1, 10).head);
    assert_eq!(get(&segments, 3).unwrap().body_len, 0);
    let at = segments.locate(key(2)).unwrap();
    assert_eq!(segments.read(&at).unwrap().body, long.body);
    let length = long.body.len();
    for part in [0..1, 0..length, BLOCK - 1..BLOCK + 1, 3 * BLOCK..length, 70_000..90_000, 5..5] {
        let found = segments.read_part(&at, part.start as u64..part.end as u64).unwrap();
        assert_eq!((found.body, &found.meta), (long.body.slice(part), &long.meta));
    }
    assert!(segments.read_part(&at, length as u64 + 5..u64::MAX).unwrap().body.is_empty());
    assert!(get(&segments, 4).is_none());
    assert!(segments.remove(key(1)) && get(&segments, 1).is_none());
}

#[test]
fn the_oldest_go_first_except_what_was_hit() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    for i in 0..3000 {
        segments.write(&[record(i, 1000)]).unwrap();
        if i >= 5 {
            assert!(get(&segments, 5).is_some(), "asked for after each write, up to {i}");
        }
    }
    assert!(get(&segments, 0).is_none() && get(&segments, 2999).is_some());
    assert!(segments.bytes() <= SMALL.bytes_max);
    let on_disk: u64 = disk.list().unwrap().iter().map(|n| disk.open(n, false).unwrap().len().unwrap()).sum();
    assert!(on_disk <= SMALL.bytes_max, "{on_disk}");
    assert!(segments.index().len() > 700, "{}", segments.index().len());
}

#[test]
fn contents_survive_a_restart_with_the_newest_version_of_each() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    for i in 0..300 {
        segments.write(&[record(i, 1000)]).unwrap();
    }
    let mut newer = record(7, 20);
    newer.head.note = 99;
    segments.write(&[newer]).unwrap();
    drop(segments);
    let (segments, opened) = open(&disk, SMALL);
    assert_eq!((opened.objects, opened.unlisted), (300, 1));
    assert_eq!(get(&segments, 7).unwrap().head.note, 99);
    assert!((0..300).all(|i| get(&segments, i).is_some()));
    drop(segments);
    assert_eq!(open(&disk, SMALL).1.unlisted, 0, "recovery wrote the missing list");
}

#[test]
fn a_damaged_object_is_a_miss_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    segments.write(&[record(1, 1000), record(2, 1000)]).unwrap();
    let file = disk.open(&disk.list().unwrap()[0], false).unwrap();
    file.write_at(b"??", 300).unwrap();
    assert!(get(&segments, 1).is_none());
    assert!(!segments.contains(key(1)));
    assert_eq!(segments.damaged(), 1);
    assert!(get(&segments, 2).is_some());
}

#[test]
fn a_body_does_not_pass_for_an_object() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    let mut fake = Vec::new();
    record(66, 500).encode(7, &mut fake);
    let mut carrier = record(1, 0);
    carrier.meta = vec![0; 64].into();
    carrier.body = fake.repeat(3).into();
    segments.write(&[carrier]).unwrap();
    drop(segments);
    let file = disk.open(&disk.list().unwrap()[0], false).unwrap();
    file.write_at(b"?", 64 + 9).unwrap();
    let (segments, opened) = open(&disk, SMALL);
    assert_eq!(opened.objects, 0);
    assert!(get(&segments, 66).is_none());
}

#[test]
fn the_number_of_objects_is_bounded_too() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, Options { entries_max: 1000, ..SMALL });
    for i in 0..5000 {
        segments.write(&[record(i, 10)]).unwrap();
    }
    assert!(segments.index().len() <= 1500, "{}", segments.index().len());
}

#[test]
fn what_is_too_long_for_a_file_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (segments, _) = open(&Disk::real(dir.path()).unwrap(), SMALL);
    segments.write(&[record(1, 64 << 10), record(2, 63 << 10), record(3, 5)]).unwrap();
    assert!(get(&segments, 1).is_none() && get(&segments, 2).is_some() && get(&segments, 3).is_some());
}

/// Run with `cargo test --release -p selvedge-store -- --ignored --nocapture measure`.
#[test]
#[ignore = "a measurement"]
fn measure_a_million_objects() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let options =
        Options { bytes_max: 4 << 30, segment_bytes: SEGMENT_BYTES_MAX, entries_max: 10_000_000, ..SMALL };
    let (segments, _) = open(&disk, options);
    let spread = |i: u64| {
        Key(u128::from(Rng::from_seed(i).next_u64()) << 64 | u128::from(Rng::from_seed(!i).next_u64()))
    };
    let clock = selvedge_rt::Clock::real();
    let lap = |what: &str, since: std::time::Duration| {
        println!("{what}: {:?}", clock.monotonic() - since);
        clock.monotonic()
    };
    let mut at = clock.monotonic();
    for batch in 0..10_000u64 {
        let records: Vec<NewRecord> = (0..100)
            .map(|i| {
                let head = Head { key: spread(batch * 100 + i), fetched: Hlc::from_bits(1), kind: Kind::Object, note: 0 };
                NewRecord { head, meta: vec![1; 200].into(), body: vec![2; 1024].into(), asked: true }
            })
            .collect();
        segments.write(&records).unwrap();
    }
    at = lap("1,000,000 objects of 1 KiB written", at);
    println!("{} objects, {} index bytes", segments.index().len(), segments.index().memory_bytes());
    let found = (0..100_000u64).filter(|i| segments.locate(spread(i * 10)).is_some()).count();
    at = lap(&format!("100,000 look-ups, {found} found"), at);
    let read = |i: u64| segments.locate(spread(i * 10)).and_then(|at| segments.try_read(&at));
    let ready = (0..100_000u64).filter(|i| read(*i).is_some()).count();
    at = lap(&format!("100,000 reads, {ready} without waiting"), at);
    drop(segments);
    let (_, opened) = open(&disk, options);
    lap(&format!("opened {opened:?}"), at);
}
