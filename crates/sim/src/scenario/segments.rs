//! The cache's disk tier on a disk that fails: what is read is what was written, always, and the files stay
//! within their bounds.

use crate::disk::{Faults, SimDisk};
use crate::ensure;
use crate::run::{Failure, Run};
use selvedge_rt::Rng;
use selvedge_store::segments::{Head, Key, NewRecord, Options, Segments, keep_hit};
use selvedge_types::Hlc;
use std::collections::BTreeMap;

const LIVES: u64 = 8;
const STEPS_PER_LIFE: u64 = 500;
const KEYS: u64 = 400;
const BYTES_MAX: u64 = 256 << 10;

pub(super) fn play(run: &Run) -> Result<(), Failure> {
    run.require("segments: hits", 50);
    run.require("segments: objects found after a restart", 50);
    let mut rng = run.rng.branch("workload");
    let disk = SimDisk::new("cache disk", run.rng.branch("disk"), run.trace.clone());
    let mut versions = BTreeMap::new();
    for life in 0..LIVES {
        live(run, &disk, &mut versions, &mut rng, life)?;
        disk.set_faults(Faults::default());
        disk.set_capacity(1 << 40);
        if !disk.is_dark() && rng.below(3) > 0 {
            disk.kill();
        } else {
            disk.crash();
            disk.power_on();
        }
    }
    run.exercised("segments: bits flipped", disk.stats().bits_flipped);
    run.exercised("segments: crashes", disk.stats().crashes);
    Ok(())
}

/// A process: it opens what is there, reads and writes.
fn live(
    run: &Run,
    disk: &SimDisk,
    versions: &mut BTreeMap<u64, u64>,
    rng: &mut Rng,
    life: u64,
) -> Result<(), Failure> {
    let options =
        Options { bytes_max: BYTES_MAX, segment_bytes: 32 << 10, reserve_bytes: 0, ..Options::default() };
    let opened = Segments::open(disk.disk(), options, run.rng.branch(&format!("nonces {life}")), keep_hit());
    let Ok((segments, opened)) = opened else { return Ok(()) };
    run.exercised("segments: objects found after a restart", opened.objects as u64);
    if rng.below(3) == 0 {
        disk.set_faults(Faults { write_fails: 0.02, read_fails: 0.02, ..Faults::default() });
    }
    if rng.below(3) == 0 {
        disk.set_capacity(rng.below(BYTES_MAX));
    }
    if rng.below(2) == 0 {
        disk.crash_after(1 + rng.below(4000));
    }
    for _ in 0..STEPS_PER_LIFE {
        let number = rng.below(KEYS);
        match rng.below(10) {
            0..5 => get(run, &segments, number, versions, rng)?,
            5..9 => put(run, &segments, number, versions, rng),
            _ if rng.below(20) == 0 => flip(disk, rng),
            _ => drop(segments.remove(key(number))),
        }
        if disk.is_dark() {
            return Ok(());
        }
        let used = disk.used();
        ensure!(used <= BYTES_MAX, "{used} bytes of files, {BYTES_MAX} allowed");
    }
    Ok(())
}

/// Whatever is read is a version of that object that was written, whole.
fn get(
    run: &Run,
    segments: &Segments,
    number: u64,
    versions: &BTreeMap<u64, u64>,
    rng: &mut Rng,
) -> Result<(), Failure> {
    let Some(at) = segments.locate(key(number)) else { return Ok(()) };
    let found = if rng.below(2) == 0 {
        segments.read(&at)
    } else {
        let start = rng.below(4000);
        segments.read_part(&at, start..start + rng.below(3000))
    };
    let Some(found) = found else {
        run.exercised("segments: damaged reads", 1);
        return Ok(());
    };
    let version = found.head.note;
    ensure!(found.head.key == key(number), "the object of another key");
    ensure!(versions.get(&number).is_some_and(|v| *v >= version), "object {number} was never written");
    let expected = record(number, version);
    ensure!(found.head == expected.head && found.meta == expected.meta, "a changed head of {number}");
    ensure!(found.body_len == expected.body.len() as u64, "a changed length of {number}");
    let whole = expected.body.windows(found.body.len().max(1)).any(|w| w == found.body);
    ensure!(whole || found.body.is_empty(), "a changed body of {number}");
    run.exercised("segments: hits", 1);
    Ok(())
}

fn put(run: &Run, segments: &Segments, number: u64, versions: &mut BTreeMap<u64, u64>, rng: &mut Rng) {
    let version = versions.entry(number).or_default();
    *version += 1;
    let mut records = vec![record(number, *version)];
    for _ in 0..rng.below(4) {
        let other = rng.below(KEYS);
        let version = versions.entry(other).or_default();
        *version += 1;
        records.push(record(other, *version));
    }
    match segments.write(&records) {
        Ok(()) => run.exercised("segments: objects written", records.len() as u64),
        Err(_) => run.exercised("segments: writes failed", 1),
    }
}

fn flip(disk: &SimDisk, rng: &mut Rng) {
    let paths = disk.paths();
    if let Some(path) = paths.get(usize::try_from(rng.below(paths.len() as u64)).unwrap_or(0)) {
        disk.flip_bit(path);
    }
}

fn key(number: u64) -> Key {
    let mut rng = Rng::from_seed(number);
    Key(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
}

/// The bytes of a version follow from its numbers.
fn record(number: u64, version: u64) -> NewRecord {
    let mut rng = Rng::from_seed(number << 32 | version);
    let length = rng.below(5000);
    let word = rng.next_u64().to_le_bytes();
    let body: Vec<u8> = word.iter().copied().cycle().take(usize::try_from(length).unwrap_or(0)).collect();
    let head = Head { key: key(number), fetched: Hlc::from_bits(version), group: number, note: version };
    NewRecord { head, meta: format!("{number} {version}").into(), body: body.into() }
}
