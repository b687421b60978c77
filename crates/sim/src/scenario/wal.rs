//! The log on a disk that fails in every way: nothing acknowledged is lost, nothing is made up, and what a
//! damaged medium takes is reported.

use crate::disk::{Faults, SimDisk};
use crate::ensure;
use crate::run::{Failure, Run};
use selvedge_rt::Rng;
use selvedge_store::wal::{Error, GroupId, Log, Options, Recovered, Sequence};

const LIVES: u64 = 25;
const APPENDS_PER_LIFE_MAX: u64 = 40;

const OPTIONS: Options =
    Options { file_bytes: 2048, reserve_bytes: 0, queue_max: 16, batch_bytes_max: 1 << 16 };

/// What the log has to hold.
#[derive(Default)]
struct Model {
    /// The place of the first record that nobody asked to remove.
    first: u64,
    /// All that was acknowledged, from place 1 on.
    acknowledged: Vec<Vec<u8>>,
    /// Where in it the last batch begins.
    last_batch: usize,
    /// What was tried and neither acknowledged nor refused.
    unknown: Vec<Vec<u8>>,
}

pub(super) fn play(run: &Run) -> Result<(), Failure> {
    run.require("wal: records acknowledged", 100);
    run.require("wal: crashes", 3);
    run.require("wal: recoveries", 5);
    let mut rng = run.rng.branch("workload");
    let disk = SimDisk::new("wal disk", run.rng.branch("disk"), run.trace.clone());
    let mut model = Model { first: 1, ..Model::default() };
    for _ in 0..LIVES {
        live(run, &disk, &mut model, &mut rng)?;
        end_life(run, &disk, &mut rng);
    }
    flip(run, &disk, &model, &mut rng)?;
    let stats = disk.stats();
    run.exercised("wal: crashes", stats.crashes);
    run.exercised("wal: bytes lost in crashes", stats.lost.bytes);
    run.exercised("wal: writes torn", stats.lost.torn);
    run.exercised("wal: syncs failed", stats.syncs_failed);
    run.exercised("wal: writes on a full disk", stats.writes_full);
    Ok(())
}

/// A process: it recovers, checks, and appends until something stops it.
fn live(run: &Run, disk: &SimDisk, model: &mut Model, rng: &mut Rng) -> Result<(), Failure> {
    let (mut log, recovered, records) = match open(disk) {
        Ok(opened) => opened,
        Err(Error::Damaged { path, at, what }) => {
            return Err(Failure::new(format!("sound log taken for damaged: {path} @{at}: {what}")));
        }
        Err(_) => return Ok(()),
    };
    run.exercised("wal: recoveries", 1);
    run.exercised("wal: torn tails", u64::from(recovered.torn));
    model.check(recovered, &records)?;
    model.take_over(recovered);
    if rng.below(2) == 0 && log.trust().is_err() {
        return Ok(());
    }
    choose_faults(disk, rng);
    for _ in 0..rng.below(APPENDS_PER_LIFE_MAX) {
        if rng.below(20) == 0 {
            let before = rng.below(log.next().0 + 1);
            model.first = model.first.max(before);
            // If it fails, any part of it was done.
            let _ = log.truncate_before(Sequence(before));
            ensure!(log.first().0 <= model.first, "truncated more than was asked for");
        }
        if !append(run, disk, &mut log, model, rng)? {
            break;
        }
    }
    Ok(())
}

/// Appends a batch; says whether the log goes on.
fn append(
    run: &Run,
    disk: &SimDisk,
    log: &mut Log,
    model: &mut Model,
    rng: &mut Rng,
) -> Result<bool, Failure> {
    let batch: Vec<Vec<u8>> = (0..=rng.below(5))
        .map(|_| {
            let length = if rng.below(10) == 0 { 3000 } else { rng.below(200) };
            (0..length).map(|_| u8::try_from(rng.below(256)).unwrap_or(0)).collect()
        })
        .collect();
    let place = model.acknowledged.len() as u64 + 1;
    match log.append(batch.iter().map(|p| (GroupId(1), &p[..]))) {
        Ok(first) => {
            ensure!(first.0 == place, "acknowledged at {first}, expected {place}");
            run.exercised("wal: records acknowledged", batch.len() as u64);
            model.last_batch = model.acknowledged.len();
            model.acknowledged.extend(batch);
            Ok(true)
        }
        Err(error) if error.is_refusal() => {
            let read = log.read(log.first(), usize::MAX);
            ensure!(read.is_ok() || disk.is_dark(), "a full disk does not hinder reading: {read:?}");
            run.exercised("wal: appends refused", 1);
            Ok(true)
        }
        Err(_) => {
            model.unknown = batch;
            let again = log.append([(GroupId(1), &b"again"[..])]);
            ensure!(again.is_err(), "a log that failed took an append");
            Ok(false)
        }
    }
}

impl Model {
    /// All that was acknowledged is there; what else is there was tried, in order.
    fn check(&self, recovered: Recovered, records: &[(Sequence, Vec<u8>)]) -> Result<(), Failure> {
        let first = recovered.first.0;
        ensure!(first <= self.first, "records before {first} are gone, {} may be", self.first);
        let skip = usize::try_from(first - 1).unwrap_or(usize::MAX);
        let expected: Vec<&Vec<u8>> = self.acknowledged.iter().chain(&self.unknown).skip(skip).collect();
        let least = self.acknowledged.len().saturating_sub(skip);
        ensure!(records.len() >= least, "{} records acknowledged, {} there", least, records.len());
        ensure!(records.len() <= expected.len(), "records that nobody wrote");
        for ((sequence, record), expected) in records.iter().zip(expected) {
            ensure!(record == expected, "record {sequence} is not what was written");
        }
        Ok(())
    }

    /// What is there after recovery counts, whether it was acknowledged or not.
    fn take_over(&mut self, recovered: Recovered) {
        let there = usize::try_from(recovered.next.0 - 1).unwrap_or(usize::MAX);
        if there > self.acknowledged.len() {
            self.last_batch = self.acknowledged.len();
        }
        let missing = there.saturating_sub(self.acknowledged.len());
        self.acknowledged.extend(self.unknown.drain(..).take(missing));
        self.unknown.clear();
    }
}

fn choose_faults(disk: &SimDisk, rng: &mut Rng) {
    let some = |rng: &mut Rng, chance: f64| if rng.below(4) == 0 { chance } else { 0.0 };
    let faults = Faults {
        sync_fails: some(rng, 0.05),
        write_fails: some(rng, 0.02),
        read_fails: 0.0,
        ..Faults::default()
    };
    disk.set_faults(faults);
    disk.set_capacity(if rng.below(5) == 0 { 4000 + rng.below(20_000) } else { 1 << 40 });
    if rng.below(2) == 0 {
        disk.crash_after(1 + rng.below(120));
    }
}

/// The process ends, by a kill or with the machine.
fn end_life(run: &Run, disk: &SimDisk, rng: &mut Rng) {
    disk.set_faults(Faults::default());
    disk.set_capacity(1 << 40);
    if !disk.is_dark() && rng.below(2) == 0 {
        disk.kill();
        run.exercised("wal: kills", 1);
        return;
    }
    if !disk.is_dark() {
        disk.crash();
    }
    disk.power_on();
}

/// A bit flips at rest: it is reported, as damage or as a torn last batch, and nothing wrong is read.
fn flip(run: &Run, disk: &SimDisk, model: &Model, rng: &mut Rng) -> Result<(), Failure> {
    // A sound start first, so that what was unknown is settled.
    disk.heal();
    let Ok((mut log, sound, records)) = open(disk) else {
        return Err(Failure::new("a sound log on a sound disk does not open"));
    };
    ensure!(log.trust().is_ok(), "a sound log on a sound disk cannot be trusted");
    model.check(sound, &records)?;
    disk.kill();
    let paths = disk.paths();
    let Some(path) = paths.get(usize::try_from(rng.below(paths.len() as u64)).unwrap_or(0)) else {
        return Ok(());
    };
    if disk.flip_bit(path).is_none() {
        return Ok(());
    }
    run.exercised("wal: bits flipped", 1);
    match open(disk) {
        Err(_) => run.exercised("wal: damage reported", 1),
        Ok((_, recovered, found)) => {
            ensure!(recovered.torn, "a flipped bit in {path} went unnoticed");
            ensure!(found[..] == records[..found.len()], "a flipped bit changed a record");
            let least = model.last_batch as u64 + 1;
            ensure!(recovered.next.0 >= least.max(sound.first.0), "more than the last batch was cut");
            run.exercised("wal: damage taken for a torn tail", 1);
        }
    }
    Ok(())
}

type Opened = (Log, Recovered, Vec<(Sequence, Vec<u8>)>);

fn open(disk: &SimDisk) -> Result<Opened, Error> {
    let mut records = Vec::new();
    let (log, recovered) =
        Log::open(disk.disk(), OPTIONS, |r| records.push((r.sequence, r.payload.to_vec())))?;
    Ok((log, recovered, records))
}
