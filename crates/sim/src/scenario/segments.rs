//! The cache's disk tier on a disk that fails: what is read is what was written, always, and the files stay
//! within their bounds.

use crate::disk::{Faults, SimDisk};
use crate::ensure;
use crate::run::{Failure, Run};
use selvedge_rt::Rng;
use selvedge_store::segments::{Head, Key, Kind, NewRecord, Opened, Options, Segments};
use selvedge_types::Hlc;
use std::collections::BTreeMap;

const LIVES: u64 = 8;
const STEPS_PER_LIFE: u64 = 500;
const KEYS: u64 = 400;
const BYTES_MAX: u64 = 256 << 10;

/// What was written, and what of it must hold.
#[derive(Default)]
struct Model {
    /// The last version of each object.
    versions: BTreeMap<u64, u64>,
    /// Up to which version an object was invalidated, as a process that was only killed has written it.
    stamps: BTreeMap<u64, u64>,
    /// Nothing of a version up to this is found.
    floor: u64,
}

pub(super) fn play(run: &Run) -> Result<(), Failure> {
    run.require("segments: hits", 50);
    run.require("segments: objects found after a restart", 50);
    let mut rng = run.rng.branch("workload");
    let disk = SimDisk::new("cache disk", run.rng.branch("disk"), run.trace.clone());
    let mut model = Model::default();
    for life in 0..LIVES {
        let failed = live(run, &disk, &mut model, &mut rng, life)?;
        disk.set_faults(Faults::default());
        disk.set_capacity(1 << 40);
        if !disk.is_dark() && rng.below(3) > 0 {
            disk.kill();
        } else {
            disk.crash();
            disk.power_on();
            model.stamps.clear();
        }
        if failed {
            model.stamps.clear();
        }
        if disk.stats().bits_flipped > 0 {
            model.stamps.clear();
            model.floor = 0;
        }
    }
    run.exercised("segments: bits flipped", disk.stats().bits_flipped);
    run.exercised("segments: crashes", disk.stats().crashes);
    Ok(())
}

/// A process: it opens what is there, reads and writes. Says whether writes may have failed.
fn live(run: &Run, disk: &SimDisk, model: &mut Model, rng: &mut Rng, life: u64) -> Result<bool, Failure> {
    let options =
        Options { bytes_max: BYTES_MAX, segment_bytes: 32 << 10, reserve_bytes: 0, ..Options::default() };
    let opened = Segments::open(disk.disk(), options, run.rng.branch(&format!("nonces {life}")));
    let Ok((segments, opened)) = opened else { return Ok(true) };
    run.exercised("segments: objects found after a restart", opened.objects as u64);
    check_invalidated(run, &opened, model)?;
    let mut failing = false;
    if rng.below(3) == 0 {
        failing = true;
        disk.set_faults(Faults { write_fails: 0.02, read_fails: 0.02, ..Faults::default() });
    }
    if rng.below(3) == 0 {
        failing = true;
        disk.set_capacity(rng.below(BYTES_MAX));
    }
    if rng.below(2) == 0 {
        disk.crash_after(1 + rng.below(4000));
    }
    for _ in 0..STEPS_PER_LIFE {
        let number = rng.below(KEYS);
        match rng.below(10) {
            0..5 => get(run, &segments, number, model, rng)?,
            5..9 => put(run, &segments, number, &mut model.versions, rng),
            _ => match rng.below(40) {
                0 => flip(disk, rng),
                1..9 => stamp(run, &segments, number, model),
                9 => raise_floor(run, &segments, model, rng),
                _ => drop(segments.remove(key(number))),
            },
        }
        if disk.is_dark() {
            return Ok(true);
        }
        if disk.stats().bits_flipped > 0 {
            model.floor = 0;
        }
        let used = disk.used();
        ensure!(used <= BYTES_MAX, "{used} bytes of files, {BYTES_MAX} allowed");
    }
    Ok(failing)
}

/// What was invalidated is so after a restart.
fn check_invalidated(run: &Run, opened: &Opened, model: &mut Model) -> Result<(), Failure> {
    ensure!(
        opened.floor.to_bits() >= model.floor,
        "the floor fell from {} to {:?}",
        model.floor,
        opened.floor
    );
    for (number, at) in &model.stamps {
        let told = opened.stamps.iter().any(|s| s.scope == key(*number) && s.at.to_bits() >= *at);
        ensure!(told || opened.floor.to_bits() >= *at, "the invalidation of {number} up to {at} is gone");
        run.exercised("segments: invalidations found after a restart", 1);
    }
    Ok(())
}

fn stamp(run: &Run, segments: &Segments, number: u64, model: &mut Model) {
    let at = model.versions.get(&number).copied().unwrap_or(1);
    if segments.write(&[NewRecord::stamp(key(number), Hlc::from_bits(at), 0)]).is_ok() {
        model.stamps.insert(number, at);
        run.exercised("segments: invalidations", 1);
    }
}

fn raise_floor(run: &Run, segments: &Segments, model: &mut Model, rng: &mut Rng) {
    let highest = model.versions.values().copied().max().unwrap_or(1);
    let at = rng.below(highest / 4 + 1);
    if segments.raise_floor(Hlc::from_bits(at)).is_ok() {
        model.floor = model.floor.max(at);
        run.exercised("segments: floors raised", 1);
    }
}

/// Whatever is read is a version of that object that was written, whole.
fn get(run: &Run, segments: &Segments, number: u64, model: &Model, rng: &mut Rng) -> Result<(), Failure> {
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
    ensure!(version > model.floor, "object {number} of version {version}, below the floor {}", model.floor);
    ensure!(model.versions.get(&number).is_some_and(|v| *v >= version), "object {number} was never written");
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
        Ok(tally) => run.exercised("segments: objects written", tally.objects),
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
    let head = Head { key: key(number), fetched: Hlc::from_bits(version), kind: Kind::Object, note: version };
    NewRecord { head, meta: format!("{number} {version}").into(), body: body.into(), asked: true }
}
