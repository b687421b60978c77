//! A disk that loses, tears, flips, fails, fills up and takes its time, all as a seed says.
//!
//! ```text
//!   power --crash--> dark --power_on--> power       what was not synced is lost, kept or torn
//!   power --kill---> power                          a process ended: its handles are dead, the data stays
//! ```
//! Handles belong to the process that opened them: after a crash or kill they fail for ever.

mod image;

pub use image::CrashLoss;
use image::Image;

use crate::trace::Trace;
use selvedge_rt::{Disk, Rng, disk as seam};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that fit, unless said otherwise: more than any run writes.
const CAPACITY: u64 = 1 << 40;

/// How likely each fault is, from 0 to 1, per operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A sync fails, and any part of what it should have saved is never saved.
    pub sync_fails: f64,
    /// A read fails.
    pub read_fails: f64,
    /// A write fails, after any part of it was done.
    pub write_fails: f64,
    /// The longest that an operation takes.
    pub delay_max: Duration,
}

/// What a disk did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Syncs that failed.
    pub syncs_failed: u64,
    /// Writes refused because the disk was full.
    pub writes_full: u64,
    /// Crashes.
    pub crashes: u64,
    /// What crashes took, in all.
    pub lost: CrashLoss,
    /// Bits flipped.
    pub bits_flipped: u64,
}

/// One machine's disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    name: String,
    image: Image,
    rng: Rng,
    faults: Faults,
    capacity: u64,
    process: u64,
    dark: bool,
    operations_left: Option<u64>,
    stats: DiskStats,
    trace: Trace,
}

impl SimDisk {
    /// An empty disk of 1 TiB without faults; `rng` decides what crashes take.
    pub fn new(name: &str, rng: Rng, trace: Trace) -> Self {
        SimDisk(Arc::new(Mutex::new(State {
            name: name.to_owned(),
            image: Image::default(),
            rng,
            faults: Faults::default(),
            capacity: CAPACITY,
            process: 0,
            dark: false,
            operations_left: None,
            stats: DiskStats::default(),
            trace,
        })))
    }

    /// The disk as the process that runs now sees it.
    pub fn disk(&self) -> Disk {
        let process = self.state().process;
        Disk::simulated(Arc::new(Mounted { disk: self.clone(), process }))
    }

    /// Cuts the power: every operation fails until [`SimDisk::power_on`].
    pub fn crash(&self) -> CrashLoss {
        self.state().crash()
    }

    /// Cuts the power after that many further operations, in the midst of whatever then happens.
    pub fn crash_after(&self, operations: u64) {
        self.state().operations_left = Some(operations);
    }

    /// Whether the power is off.
    pub fn is_dark(&self) -> bool {
        self.state().dark
    }

    /// Ends a crash. What the former process opened stays dead.
    pub fn power_on(&self) {
        let mut state = self.state();
        state.dark = false;
        state.operations_left = None;
        state.process += 1;
    }

    /// Ends the process, not the machine: its handles die, what it wrote stays, synced or not.
    pub fn kill(&self) {
        self.state().process += 1;
    }

    /// Ends every fault to come: no crash is due, nothing fails, there is room.
    pub fn heal(&self) {
        let mut state = self.state();
        state.operations_left = None;
        state.faults = Faults::default();
        state.capacity = CAPACITY;
    }

    /// Sets how likely faults are from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Sets how many bytes fit.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Flips one bit of `path` for good, and says at which byte; none if the file is empty or missing.
    pub fn flip_bit(&self, path: &str) -> Option<u64> {
        let mut state = self.state();
        let state = &mut *state;
        let at = state.image.flip_bit(Path::new(path), &mut state.rng)?;
        state.stats.bits_flipped += 1;
        state.note(format_args!("flip {path} @{at}"));
        Some(at)
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.state().image.paths()
    }

    /// Bytes of all files together.
    pub fn used(&self) -> u64 {
        self.state().image.used()
    }

    /// What it did so far.
    pub fn stats(&self) -> DiskStats {
        self.state().stats
    }

    /// How long an operation takes now.
    pub fn delay(&self) -> Duration {
        let mut state = self.state();
        let most = u64::try_from(state.faults.delay_max.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(state.rng.below(most))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn crash(&mut self) -> CrashLoss {
        let loss = self.image.crash(&mut self.rng);
        self.dark = true;
        self.stats.crashes += 1;
        self.stats.lost.add(loss);
        self.note(format_args!("crash {loss:?}"));
        loss
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.trace.line(&self.name, what);
    }

    /// Counts an operation of `process`; fails when its machine is dark or it is gone.
    fn admit(&mut self, process: u64) -> io::Result<()> {
        if let Some(left) = self.operations_left.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.operations_left = None;
                self.crash();
            }
        }
        if self.dark || process != self.process {
            return Err(io::Error::other("the machine has no power"));
        }
        Ok(())
    }

    fn happens(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.rng.fraction() < chance
    }

    fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.image.used())
    }

    fn sync(&mut self, id: image::FileId) -> io::Result<()> {
        if self.happens(self.faults.sync_fails) {
            self.image.fail_sync(id, &mut self.rng);
            self.stats.syncs_failed += 1;
            self.note(format_args!("sync {id:?} fails"));
            return Err(io::Error::other("the device reports a write error"));
        }
        self.image.sync(id);
        self.stats.syncs += 1;
        self.note(format_args!("sync {id:?}"));
        Ok(())
    }

    /// Writes what fits; an error, if any, comes after a part was written.
    fn write(&mut self, id: image::FileId, buf: &[u8], at: u64) -> io::Result<usize> {
        let end = at.saturating_add(buf.len() as u64);
        let grows = end.saturating_sub(self.image.len(id));
        let mut part = buf.len();
        let mut failure = None;
        if grows > self.free() {
            part = part.saturating_sub(usize::try_from(grows - self.free()).unwrap_or(usize::MAX));
            failure = Some(io::Error::from(ErrorKind::StorageFull));
            self.stats.writes_full += 1;
        } else if self.happens(self.faults.write_fails) {
            part = usize::try_from(self.rng.below(buf.len() as u64)).unwrap_or(0);
            failure = Some(io::Error::other("the device reports a write error"));
        }
        self.image.write(id, buf.get(..part).unwrap_or(buf), at);
        self.note(format_args!("write {id:?} @{at} {part}/{} {failure:?}", buf.len()));
        failure.map_or(Ok(part), Err)
    }
}

/// A disk as one process sees it.
struct Mounted {
    disk: SimDisk,
    process: u64,
}

impl Mounted {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        state.admit(self.process)?;
        work(&mut state)
    }
}

impl seam::SimDisk for Mounted {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn seam::SimFile>> {
        let id = self.with(|s| {
            let id = s.image.open(path, create)?;
            s.note(format_args!("open {} as {id:?}", path.display()));
            Ok(id)
        })?;
        Ok(Arc::new(OpenFile { disk: self.disk.clone(), process: self.process, id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|s| {
            s.note(format_args!("rename {} {}", from.display(), to.display()));
            s.image.rename(from, to)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|s| {
            s.note(format_args!("remove {}", path.display()));
            s.image.remove(path)
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.with(|s| {
            s.image.create_dir_all(path);
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.with(|s| s.image.list(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.with(|s| {
            if s.happens(s.faults.sync_fails) {
                return Err(io::Error::other("the device reports a write error"));
            }
            s.image.sync_dir(path);
            s.note(format_args!("sync dir {}", path.display()));
            Ok(())
        })
    }

    fn free_space(&self) -> io::Result<u64> {
        self.with(|s| Ok(s.free()))
    }
}

struct OpenFile {
    disk: SimDisk,
    process: u64,
    id: image::FileId,
}

impl OpenFile {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        state.admit(self.process)?;
        work(&mut state)
    }
}

impl seam::SimFile for OpenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|s| {
            if s.happens(s.faults.read_fails) {
                return Err(io::Error::other("the device reports a read error"));
            }
            Ok(s.image.read(self.id, buf, offset))
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.with(|s| s.write(self.id, buf, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|s| s.sync(self.id))
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|s| Ok(s.image.len(self.id)))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|s| {
            if len.saturating_sub(s.image.len(self.id)) > s.free() {
                s.stats.writes_full += 1;
                return Err(ErrorKind::StorageFull.into());
            }
            s.image.set_len(self.id, len);
            s.note(format_args!("set_len {:?} {len}", self.id));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(seed: u64) -> SimDisk {
        SimDisk::new("disk", Rng::from_seed(seed), Trace::default())
    }

    fn contents(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
        let file = disk.disk().open(name, false).ok()?;
        let mut buf = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut buf, 0).unwrap();
        Some(buf)
    }

    #[test]
    fn what_was_synced_survives_every_crash() {
        for seed in 0..50 {
            let sim = disk(seed);
            let file = sim.disk().open("f", true).unwrap();
            file.write_at(b"kept", 0).unwrap();
            file.sync().unwrap();
            sim.disk().sync().unwrap();
            sim.crash();
            assert!(file.len().is_err(), "a handle from before the crash is dead");
            sim.power_on();
            assert!(file.len().is_err());
            assert_eq!(contents(&sim, "f").unwrap(), b"kept", "seed {seed}");
        }
    }

    #[test]
    fn what_was_not_synced_is_kept_lost_or_torn_as_the_seed_says() {
        let (mut kept, mut lost, mut torn, mut unnamed) = (0, 0, 0, 0);
        for seed in 0..200 {
            let sim = disk(seed);
            let file = sim.disk().open("f", true).unwrap();
            file.write_at(&[7; 4096], 0).unwrap();
            sim.crash();
            sim.power_on();
            match contents(&sim, "f") {
                None => unnamed += 1,
                Some(c) if c.is_empty() => lost += 1,
                Some(c) if c == [7; 4096] => kept += 1,
                Some(_) => torn += 1,
            }
        }
        assert!(kept > 5 && lost > 5 && torn > 5 && unnamed > 5, "{kept} {lost} {torn} {unnamed}");
    }

    #[test]
    fn a_killed_process_leaves_what_it_wrote() {
        let sim = disk(1);
        let file = sim.disk().open("f", true).unwrap();
        file.write_at(b"there", 0).unwrap();
        sim.kill();
        assert!(file.write_at(b"late", 0).is_err());
        assert_eq!(contents(&sim, "f").unwrap(), b"there");
    }

    #[test]
    fn after_a_failed_sync_a_later_one_saves_nothing_of_before() {
        let mut lost = 0;
        for seed in 0..50 {
            let sim = disk(seed);
            let file = sim.disk().open("f", true).unwrap();
            sim.disk().sync().unwrap();
            file.write_at(b"gone?", 0).unwrap();
            sim.set_faults(Faults { sync_fails: 1.0, ..Faults::default() });
            assert!(file.sync().is_err());
            sim.set_faults(Faults::default());
            file.sync().unwrap();
            assert_eq!(contents(&sim, "f").unwrap(), b"gone?", "a reader does not notice");
            sim.crash();
            sim.power_on();
            lost += u32::from(contents(&sim, "f").unwrap() != b"gone?");
        }
        assert!(lost > 10, "{lost}");
    }

    #[test]
    fn a_full_disk_refuses_and_a_crash_may_come_amid_operations() {
        let sim = disk(1);
        sim.set_capacity(10);
        let file = sim.disk().open("f", true).unwrap();
        let error = file.write_at(&[1; 20], 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(sim.disk().free_space().unwrap(), 0);
        file.set_len(0).unwrap();
        sim.crash_after(2);
        file.write_at(b"one", 0).unwrap();
        assert!(file.write_at(b"two", 3).is_err());
        assert!(sim.is_dark());
    }

    #[test]
    fn a_flipped_bit_stays() {
        let sim = disk(3);
        let file = sim.disk().open("f", true).unwrap();
        file.write_at(&[0; 64], 0).unwrap();
        file.sync().unwrap();
        sim.disk().sync().unwrap();
        sim.flip_bit("f").unwrap();
        sim.crash();
        sim.power_on();
        let ones: u32 = contents(&sim, "f").unwrap().iter().map(|b| b.count_ones()).sum();
        assert_eq!(ones, 1);
    }
}
