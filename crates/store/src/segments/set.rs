//! The disk tier's blocking core: reads from many threads, one writer at a time.

use super::file::{self, Entry, Segment};
use super::index::DiskIndex;
use super::location::{Location, SEGMENT_BYTES_MAX};
use super::read::Located;
use super::record::{Found, Key, Kind, NewRecord};
use super::stamps::{DiskStamp, InForce};
use super::write::{Tally, Writer};
use super::{Error, Options};
use bytes::Bytes;
use selvedge_cache::eviction::disk::{DiskPolicy, Mark};
use selvedge_rt::{Disk, Rng};
use selvedge_types::Hlc;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Files there are, at least: one written, one reclaimed, one between.
pub(super) const SEGMENTS_MIN: usize = 3;

/// The shortest file, in bytes.
const SEGMENT_BYTES_MIN: u32 = 4096;

/// Files there should be, at least, if they are not too short then: the more there are, the less is given up at
/// once.
const SEGMENTS_WANTED: u64 = 32;

/// Files shorter than this, in bytes, hold too little of what is written at once.
const SEGMENT_BYTES_WANTED: u64 = 8 << 20;

/// Bytes that a stamp takes, with its place in the list of contents.
const STAMP_BYTES: u32 = 128;

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Files.
    pub segments: usize,
    /// Files whose list of contents was missing or damaged, as the last one's after a crash.
    pub unlisted: usize,
    /// Objects.
    pub objects: usize,
    /// What was invalidated; nothing of it is checked here.
    pub stamps: Vec<DiskStamp>,
    /// Nothing that was fetched up to then is found any more, nor may it be used if it is elsewhere.
    pub floor: Hlc,
    /// The latest time of a fetch or an invalidation. No later one may be before it.
    pub newest: Hlc,
    /// Files that could not be read. What they told of invalidations is not known: nothing that was fetched before is
    /// found any more.
    pub unreadable: usize,
}

/// The files and the index of what is in them.
pub struct Segments {
    pub(super) disk: Disk,
    pub(super) options: Options,
    pub(super) index: DiskIndex,
    pub(super) policy: Mutex<DiskPolicy>,
    /// What was fetched up to then is not used any more; as bits.
    pub(super) floor: AtomicU64,
    pub(super) in_force: Mutex<InForce>,
    files: RwLock<VecDeque<Arc<Segment>>>,
    writer: Mutex<Writer>,
    damaged: AtomicU64,
}

impl Segments {
    /// Opens the files in `disk`. `rng` draws the numbers that keep bodies from passing for objects.
    pub fn open(disk: Disk, options: Options, mut rng: Rng) -> Result<(Self, Opened), Error> {
        let segment_bytes = segment_bytes(&options);
        let stamps_max = options.stamps_max.min((segment_bytes / STAMP_BYTES / 2) as usize);
        let options = Options { segment_bytes, stamps_max, ..options };
        let policy = DiskPolicy::new(policy_bytes(&options), 0, rng.next_u64());
        let writer = Writer {
            current: None,
            next_id: 1,
            nonces: rng,
            unplaced: Vec::new(),
            floor_told: Hlc::ZERO,
            tally: Tally::default(),
            is_closed: false,
        };
        let segments = Segments {
            disk,
            options,
            index: DiskIndex::default(),
            policy: Mutex::new(policy),
            floor: AtomicU64::new(0),
            in_force: Mutex::default(),
            files: RwLock::default(),
            writer: Mutex::new(writer),
            damaged: AtomicU64::new(0),
        };
        let opened = segments.recover().map_err(|e| segments.failure(e))?;
        Ok((segments, opened))
    }

    /// Finds an object, counting a hit, without reading it.
    pub fn locate(&self, key: Key) -> Option<Located> {
        let location = self.hit(key)?;
        self.located(key, location)
    }

    /// Finds an object as [`Segments::locate`] does, but counts no hit.
    pub fn peek(&self, key: Key) -> Option<Located> {
        let known = self.index.get(key)?;
        self.located(key, known.location)
    }

    fn located(&self, key: Key, location: Location) -> Option<Located> {
        let Some(segment) = self.segment(location) else {
            self.lose(key, location);
            return None;
        };
        Some(Located { key, location, segment })
    }

    /// Reads an object. What is damaged, or cannot be read, is none, and forgotten.
    pub fn read(&self, at: &Located) -> Option<Found> {
        self.judge(at, at.read())
    }

    /// Reads an object if that needs no waiting for the device: none if it does, else as [`Segments::read`].
    pub fn try_read(&self, at: &Located) -> Option<Option<Found>> {
        match at.try_read() {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(self.judge(at, Ok(bytes))),
            Err(error) => Some(self.judge(at, Err(error))),
        }
    }

    /// Reads an object with only a part of its body, as far as that is there. Checks just what it reads.
    pub fn read_part(&self, at: &Located, part: Range<u64>) -> Option<Found> {
        let found = at.read_part(part);
        self.judge_found(at, found)
    }

    /// How many reads failed or found damage.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether an object is there, without counting a hit.
    pub fn contains(&self, key: Key) -> bool {
        self.index.get(key).is_some()
    }

    /// The index.
    pub fn index(&self) -> &DiskIndex {
        &self.index
    }

    /// Bytes that the files take, about.
    pub fn bytes(&self) -> u64 {
        self.files_read().len() as u64 * u64::from(self.options.segment_bytes)
    }

    /// The limits that it has.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Whether a record of so many bytes fits into a file.
    pub(super) fn can_hold(&self, bytes: usize) -> bool {
        file::HEADER + bytes + file::list_len(1) <= self.options.segment_bytes as usize
    }

    fn recover(&self) -> io::Result<Opened> {
        let mut opened = Opened::default();
        let mut unreadable = Vec::new();
        for id in self.disk.list()?.iter().filter_map(|n| file::parse_name(n)) {
            self.writer().next_id = id + 1;
            match self.recover_file(id, &mut opened) {
                Ok(Some(())) => {}
                // One that is not ours, or has no beginning, is only in the way.
                Ok(None) => drop(self.disk.remove(&file::name(id))),
                Err(_) => unreadable.push(id),
            }
        }
        if !unreadable.is_empty() {
            opened.unreadable = unreadable.len();
            opened.floor = opened.floor.max(opened.newest);
            if self.raise_floor(opened.floor).is_ok() {
                // What they told is made up for, for good.
                unreadable.iter().for_each(|id| drop(self.disk.remove(&file::name(*id))));
            }
        }
        self.adopt_all();
        opened.segments = self.files_read().len();
        opened.objects = self.index.len();
        opened.stamps = self.stamps();
        Ok(opened)
    }

    /// Takes what is in a file; none if it is of no use.
    fn recover_file(&self, id: u64, opened: &mut Opened) -> io::Result<Option<()>> {
        let Some((segment, floor)) = Segment::open(&self.disk, id)? else { return Ok(None) };
        opened.floor = opened.floor.max(floor);
        self.set_floor(floor);
        let contents = segment.contents()?;
        if !contents.listed {
            opened.unlisted += 1;
            // Only so that the next start is quicker.
            let _ = segment.seal(&contents.entries, contents.end);
        }
        contents.entries.iter().for_each(|entry| self.take_entry(&segment, entry, opened));
        self.files_write().push_back(Arc::new(segment));
        Ok(Some(()))
    }

    fn take_entry(&self, segment: &Segment, entry: &Entry, opened: &mut Opened) {
        opened.newest = opened.newest.max(entry.fetched);
        match entry.kind {
            Kind::Object => {
                segment.note_age(entry);
                self.index.insert(entry.key, entry.location, Mark::default());
            }
            Kind::Stamp(kind) => {
                self.take_stamp(&NewRecord::stamp(entry.key, entry.fetched, kind));
            }
            Kind::Gone => drop(self.index.remove(entry.key)),
            Kind::Floor => {
                opened.floor = opened.floor.max(entry.fetched);
                self.set_floor(entry.fetched);
            }
        }
    }

    fn judge(&self, at: &Located, bytes: io::Result<Bytes>) -> Option<Found> {
        self.judge_found(at, bytes.map(|b| at.layout(&b).and_then(|layout| layout.found(&b))))
    }

    fn judge_found(&self, at: &Located, found: io::Result<Option<Found>>) -> Option<Found> {
        match found {
            // Another object of the same bits in the index.
            Ok(Some(found)) if found.head.key != at.key => None,
            Ok(Some(found)) if found.head.fetched <= self.floor() => {
                self.lose(at.key, at.location);
                None
            }
            Ok(Some(found)) => Some(found),
            Ok(None) | Err(_) => {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                self.lose(at.key, at.location);
                None
            }
        }
    }

    fn segment(&self, location: Location) -> Option<Arc<Segment>> {
        let files = self.files_read();
        let id = location.segment(files.back()?.id);
        let at = files.binary_search_by_key(&id, |s| s.id).ok()?;
        files.get(at).cloned()
    }

    pub(super) fn newest(&self) -> u64 {
        self.files_read().back().map_or(0, |s| s.id)
    }

    pub(super) fn failure(&self, source: io::Error) -> Error {
        let path = self.disk.display().to_string();
        if crate::is_full(&source) { Error::Full { path } } else { Error::Failed { path, source } }
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn files_read(&self) -> std::sync::RwLockReadGuard<'_, VecDeque<Arc<Segment>>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn files_write(&self) -> std::sync::RwLockWriteGuard<'_, VecDeque<Arc<Segment>>> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn segment_bytes(options: &Options) -> u32 {
    let wanted = (options.bytes_max / SEGMENTS_WANTED).max(SEGMENT_BYTES_WANTED);
    let share = wanted.min(options.bytes_max / (SEGMENTS_MIN as u64 + 1));
    let share = u32::try_from(share).unwrap_or(SEGMENT_BYTES_MAX);
    options.segment_bytes.min(share).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
}

/// What the files can hold while one is written, which on average is half full, and one more may be begun.
fn policy_bytes(options: &Options) -> u64 {
    let file = u64::from(options.segment_bytes);
    (options.bytes_max / file * file).saturating_sub(file + file / 2)
}

#[cfg(test)]
mod replay;
#[cfg(test)]
mod tests;
