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
    stamps_max: 100,
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
    NewRecord {
        head,
        meta: format!("meta {i}").into(),
        body: vec![(i % 256) as u8; body_len].into(),
        asked: true,
    }
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
    let mut evicted = 0;
    for i in 0..3000 {
        evicted += segments.write(&[record(i, 1000)]).unwrap().evicted;
        if i >= 5 {
            assert!(get(&segments, 5).is_some(), "asked for after each write, up to {i}");
        }
    }
    assert!(get(&segments, 0).is_none() && get(&segments, 2999).is_some());
    assert!(segments.bytes() <= SMALL.bytes_max);
    let on_disk: u64 = disk.list().unwrap().iter().map(|n| disk.open(n, false).unwrap().len().unwrap()).sum();
    assert!(on_disk <= SMALL.bytes_max, "{on_disk}");
    assert!(segments.index().len() > 700, "{}", segments.index().len());
    assert_eq!(evicted + segments.index().len() as u64, 3000, "each that is gone is counted");
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

fn hlc(n: u64) -> Hlc {
    Hlc::from_bits(n)
}

fn stamp(scope: u32, at: u64) -> DiskStamp {
    DiskStamp { scope: key(scope), kind: 0, at: hlc(at) }
}

fn write_stamp(segments: &Segments, scope: u32, at: u64) {
    segments.write(&[NewRecord::stamp(key(scope), hlc(at), 0)]).unwrap();
}

#[test]
fn stamps_outlive_a_restart_and_the_file_that_they_were_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    write_stamp(&segments, 7, 10);
    write_stamp(&segments, 7, 30);
    write_stamp(&segments, 8, 20);
    for i in 0..3000 {
        segments.write(&[record(i, 1000)]).unwrap();
    }
    assert!(disk.list().unwrap()[0] > file::name(30), "the first files are gone");
    drop(segments);
    let (segments, opened) = open(&disk, SMALL);
    assert_eq!(opened.stamps, [stamp(7, 30), stamp(8, 20)]);
    assert_eq!((opened.floor, opened.newest), (Hlc::ZERO, hlc(3000)));
    segments.raise_floor(hlc(25)).unwrap();
    drop(segments);
    let opened = open(&disk, SMALL).1;
    assert_eq!((opened.stamps.as_slice(), opened.floor), ([stamp(7, 30)].as_slice(), hlc(25)));
}

#[test]
fn what_was_fetched_up_to_the_floor_is_not_found_nor_taken() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    segments.write(&[record(1, 100), record(5, 100), record(9, 100)]).unwrap();
    assert_eq!(segments.oldest(), Some(record(1, 0).head.fetched));
    segments.raise_floor(record(5, 0).head.fetched).unwrap();
    let check = |segments: &Segments| {
        segments.write(&[record(4, 100)]).unwrap();
        assert_eq!([1, 4, 5, 9].map(|i| get(segments, i).is_some()), [false, false, false, true]);
        assert!(segments.oldest().unwrap() > record(5, 0).head.fetched);
    };
    check(&segments);
    drop(segments);
    check(&open(&disk, SMALL).0);
}

#[test]
fn more_stamps_than_are_kept_give_up_all_that_is_older() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, Options { stamps_max: 3, ..SMALL });
    segments.write(&[record(1, 100), record(90, 100)]).unwrap();
    (1..=4).for_each(|n| write_stamp(&segments, n, u64::from(n) + 20));
    drop(segments);
    let (segments, opened) = open(&disk, SMALL);
    assert_eq!((opened.stamps.as_slice(), opened.floor), ([].as_slice(), hlc(24)));
    assert!(get(&segments, 1).is_none() && get(&segments, 90).is_some());
}

#[test]
fn the_oldest_is_known_of_what_is_there_and_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    assert_eq!(segments.oldest(), None);
    for i in 0..3000 {
        segments.write(&[record(i, 1000)]).unwrap();
    }
    let oldest = segments.oldest().unwrap();
    assert!(oldest > hlc(1500), "{oldest:?}: the first went with their files");
    assert!((0..oldest.to_bits() - 1).all(|i| !segments.contains(key(u32::try_from(i).unwrap()))));
    drop(segments);
    assert_eq!(open(&disk, SMALL).0.oldest(), Some(oldest));
}

#[test]
fn what_was_evicted_from_memory_is_written_only_if_it_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (segments, _) = open(&Disk::real(dir.path()).unwrap(), SMALL);
    let evicted = |i, note| {
        let mut record = record(i, 100);
        (record.head.note, record.asked) = (note, false);
        record
    };
    segments.write(&[record(1, 100)]).unwrap();
    segments.write(&[evicted(1, 50), evicted(2, 50)]).unwrap();
    assert_eq!(get(&segments, 1).unwrap().head.note, 2);
    assert_eq!(get(&segments, 2).unwrap().head.note, 50);
}

#[test]
fn a_file_that_was_cut_short_has_what_is_left_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    for i in 0..20 {
        segments.write(&[record(i, 1000)]).unwrap();
    }
    drop(segments);
    let file = disk.open(&disk.list().unwrap()[0], false).unwrap();
    for left in [10_000, 1000, 70, 63, 0] {
        file.set_len(left).unwrap();
        let (segments, opened) = open(&disk, SMALL);
        let found = (0..20).filter(|i| get(&segments, *i).is_some()).count();
        assert_eq!(found, opened.objects, "cut to {left}");
        assert_eq!(found, usize::try_from(left.saturating_sub(64) / 1088).unwrap());
        if disk.list().unwrap().is_empty() {
            break;
        }
    }
}

#[test]
fn a_file_of_another_version_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    segments.write(&[record(1, 100)]).unwrap();
    drop(segments);
    let file = disk.open(&disk.list().unwrap()[0], false).unwrap();
    file.write_at(&[99], 8).unwrap();
    let (segments, opened) = open(&disk, SMALL);
    assert_eq!((opened.objects, disk.list().unwrap().len()), (0, 0));
    assert!(get(&segments, 1).is_none());
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
                let head = Head {
                    key: spread(batch * 100 + i),
                    fetched: Hlc::from_bits(1),
                    kind: Kind::Object,
                    note: 0,
                };
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

#[test]
fn what_a_file_that_cannot_be_read_told_of_invalidations_is_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    segments.write(&[record(1, 100), record(2, 100)]).unwrap();
    segments.begin(&mut segments.writer()).unwrap();
    // Of this file, which says that one of them is gone, the header is damaged then.
    segments.write(&[NewRecord::gone(key(1))]).unwrap();
    let newest = segments.newest();
    drop(segments);
    disk.open(&file::name(newest), false).unwrap().write_at(b"?", 30).unwrap();
    let (segments, opened) = open(&disk, SMALL);
    assert_eq!(opened.unreadable, 1);
    assert!(get(&segments, 1).is_none(), "it may be the one");
    segments.write(&[record(9, 100)]).unwrap();
    drop(segments);
    let (segments, opened) = open(&disk, SMALL);
    assert_eq!(opened.unreadable, 0, "it is out of the way");
    assert!(get(&segments, 1).is_none() && get(&segments, 9).is_some());
}

#[test]
fn a_file_without_a_header_is_what_a_crash_left() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = open(&disk, SMALL);
    segments.write(&[record(1, 100)]).unwrap();
    disk.open(&file::name(segments.newest() + 1), true).unwrap().set_len(4096).unwrap();
    drop(segments);
    let (segments, opened) = open(&disk, SMALL);
    assert!(opened.unreadable == 0 && get(&segments, 1).is_some());
}
