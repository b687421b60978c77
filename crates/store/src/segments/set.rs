//! The disk tier's blocking core: reads from many threads, one writer at a time.

use super::file::{self, Segment};
use super::index::DiskIndex;
use super::location::{Location, SEGMENT_BYTES_MAX};
use super::read::Located;
use super::record::{Found, Key};
use super::write::{Keep, Writer};
use super::{Error, Options};
use bytes::Bytes;
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

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Files.
    pub segments: usize,
    /// Files whose list of contents was missing or damaged, as the last one's after a crash.
    pub unlisted: usize,
    /// Objects.
    pub objects: usize,
    /// When the last of their fetches began: the clock that orders fetches and purges must go on from there.
    pub newest: Hlc,
}

/// The files and the index of what is in them.
pub struct Segments {
    pub(super) disk: Disk,
    pub(super) options: Options,
    pub(super) index: DiskIndex,
    files: RwLock<VecDeque<Arc<Segment>>>,
    writer: Mutex<Writer>,
    damaged: AtomicU64,
}

impl Segments {
    /// Opens the files in `disk`. `rng` draws the numbers that keep bodies from passing for objects.
    pub fn open(disk: Disk, options: Options, rng: Rng, keep: Keep) -> Result<(Self, Opened), Error> {
        let share = u32::try_from(options.bytes_max / (SEGMENTS_MIN as u64 + 1)).unwrap_or(SEGMENT_BYTES_MAX);
        let segment_bytes = options.segment_bytes.min(share).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let options = Options { segment_bytes, ..options };
        let writer = Writer { current: None, next_id: 1, nonces: rng, keep };
        let segments = Segments {
            disk,
            options,
            index: DiskIndex::default(),
            files: RwLock::default(),
            writer: Mutex::new(writer),
            damaged: AtomicU64::new(0),
        };
        let opened = segments.recover().map_err(|e| segments.failure(e))?;
        Ok((segments, opened))
    }

    /// Finds an object, counting a hit, without reading it.
    pub fn locate(&self, key: Key) -> Option<Located> {
        let location = self.index.hit(key)?;
        let Some(segment) = self.segment(location) else {
            self.index.remove_at(key, location);
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
        self.index.peek(key).is_some()
    }

    /// Forgets an object, and says whether it was there.
    pub fn remove(&self, key: Key) -> bool {
        self.index.remove(key)
    }

    /// The index.
    pub fn index(&self) -> &DiskIndex {
        &self.index
    }

    /// Bytes that the files take, about.
    pub fn bytes(&self) -> u64 {
        self.files_read().len() as u64 * u64::from(self.options.segment_bytes)
    }

    /// The limits it was opened with.
    pub fn options(&self) -> Options {
        self.options
    }

    fn recover(&self) -> io::Result<Opened> {
        let mut opened = Opened::default();
        for id in self.disk.list()?.iter().filter_map(|n| file::parse_name(n)) {
            self.writer().next_id = id + 1;
            // A file that cannot be read, or is not ours, is only in the way.
            let Ok(Some(segment)) = Segment::open(&self.disk, id) else {
                let _ = self.disk.remove(&file::name(id));
                continue;
            };
            let Ok(contents) = segment.contents() else {
                let _ = self.disk.remove(&file::name(id));
                continue;
            };
            if !contents.listed {
                opened.unlisted += 1;
                // Only so that the next start is quicker.
                let _ = segment.seal(&contents.entries, contents.end);
            }
            self.files_write().push_back(Arc::new(segment));
            for entry in contents.entries {
                opened.newest = opened.newest.max(entry.fetched);
                self.index.insert(entry.key, entry.location);
            }
        }
        opened.segments = self.files_read().len();
        opened.objects = self.index.len();
        Ok(opened)
    }

    fn judge(&self, at: &Located, bytes: io::Result<Bytes>) -> Option<Found> {
        self.judge_found(at, bytes.map(|b| at.layout(&b).and_then(|layout| layout.found(&b))))
    }

    fn judge_found(&self, at: &Located, found: io::Result<Option<Found>>) -> Option<Found> {
        match found {
            // Another object of the same 62 bits.
            Ok(Some(found)) if found.head.key != at.key => None,
            Ok(Some(found)) => Some(found),
            Ok(None) | Err(_) => {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                self.index.remove_at(at.key, at.location);
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

#[cfg(test)]
mod tests;
