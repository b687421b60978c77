//! Invalidations that outlive a restart: stamps and a floor in the files.
//!
//! A stamp is appended like an object. While it may cover an object it is carried along: when its file goes, it
//! is written anew, unless the floor has passed it. The floor says that nothing fetched up to then is used any
//! more, here or elsewhere. It is raised as what is oldest goes, and where there are too many stamps.

use super::Error;
use super::file::Entry;
use super::record::{Key, Kind, NewRecord};
use super::set::Segments;
use super::write::Writer;
use selvedge_types::Hlc;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

/// Stamps in force, by scope and kind.
pub(super) type InForce = BTreeMap<(u128, u8), Hlc>;

/// An invalidation that was found on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskStamp {
    /// What it covers.
    pub scope: Key,
    /// The caller's kind of it.
    pub kind: u8,
    /// The moment up to which it does.
    pub at: Hlc,
}

impl Segments {
    /// When the fetch of the oldest object began that the files may have and that may be used; none if there
    /// is none.
    pub fn oldest(&self) -> Option<Hlc> {
        let usable = Hlc::from_bits(self.floor().to_bits().saturating_add(1));
        self.files_read().iter().filter_map(|file| file.oldest()).min().map(|oldest| oldest.max(usable))
    }

    /// What was fetched up to then is not used any more, also after a restart: it counts once this returns.
    pub fn raise_floor(&self, at: Hlc) -> Result<(), Error> {
        let mut writer = self.writer();
        self.set_floor(at);
        let raised = self.check_open(&writer).and_then(|()| self.write_floor(&mut writer));
        if raised.is_err() {
            self.abandon(&mut writer);
        }
        raised
    }

    /// What was fetched up to then is not used any more.
    pub(super) fn floor(&self) -> Hlc {
        Hlc::from_bits(self.floor.load(Ordering::SeqCst))
    }

    pub(super) fn set_floor(&self, at: Hlc) {
        self.floor.fetch_max(at.to_bits(), Ordering::SeqCst);
        self.in_force().retain(|_, stamp| *stamp > at);
    }

    fn write_floor(&self, writer: &mut Writer) -> Result<(), Error> {
        self.tell_floor(writer)?;
        self.flush_current(writer)?;
        let Some(current) = writer.current.as_ref() else { return Ok(()) };
        // With the directory, since files that were given up must not come back either.
        let synced = current.segment.file.sync().and_then(|()| self.disk.sync());
        synced.map_err(|e| self.failure(e))
    }

    /// A stamp came that is to be written.
    pub(super) fn note_stamp(&self, writer: &mut Writer, record: &NewRecord) {
        if self.take_stamp(record) {
            writer.unplaced.push(record.clone());
        }
        let too_many = {
            let stamps = self.in_force();
            stamps.values().max().copied().filter(|_| stamps.len() > self.options.stamps_max)
        };
        if let Some(latest) = too_many {
            // One stamp instead of many: coarse, but safe.
            self.set_floor(latest);
            writer.unplaced.clear();
        }
    }

    /// Whether it is news.
    pub(super) fn take_stamp(&self, record: &NewRecord) -> bool {
        let Kind::Stamp(kind) = record.head.kind else { return false };
        let at = record.head.fetched;
        if at <= self.floor() {
            return false;
        }
        let mut stamps = self.in_force();
        let former = stamps.entry((record.head.key.0, kind)).or_default();
        let news = *former < at;
        *former = at.max(*former);
        news
    }

    /// Whether no later stamp of its scope came, and not the floor either.
    pub(super) fn is_stamp_in_force(&self, record: &NewRecord) -> bool {
        let Kind::Stamp(kind) = record.head.kind else { return false };
        self.in_force().get(&(record.head.key.0, kind)) == Some(&record.head.fetched)
    }

    /// The file that has these entries goes: its stamps are to be written anew.
    pub(super) fn save_stamps(&self, writer: &mut Writer, entries: &[Entry]) {
        for entry in entries {
            if let Kind::Stamp(kind) = entry.kind {
                let record = NewRecord::stamp(entry.key, entry.fetched, kind);
                if self.is_stamp_in_force(&record) {
                    writer.unplaced.push(record);
                }
            }
        }
    }

    pub(super) fn stamps(&self) -> Vec<DiskStamp> {
        let stamp = |(&(scope, kind), &at): (&(u128, u8), &Hlc)| DiskStamp { scope: Key(scope), kind, at };
        self.in_force().iter().map(stamp).collect()
    }

    fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
