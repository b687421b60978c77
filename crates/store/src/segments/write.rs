//! Writing: one file at a time, the oldest given up for the next.

use super::Error;
use super::file::{self, Entry, HEADER, Segment};
use super::location::{Location, UNIT};
use super::read::Located;
use super::record::{Head, Kind, META_BYTES_MAX, NewRecord};
use super::set::{SEGMENTS_MIN, Segments};
use super::worth::Verdict;
use selvedge_cache::eviction::disk::Mark;
use selvedge_rt::Rng;
use selvedge_types::Hlc;
use std::io;
use std::sync::Arc;

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

pub(super) struct Writer {
    pub(super) current: Option<Current>,
    pub(super) next_id: u64,
    pub(super) nonces: Rng,
    /// Stamps that are in no file, or only in one that goes.
    pub(super) unplaced: Vec<NewRecord>,
    /// The floor that the file being written tells.
    pub(super) floor_told: Hlc,
    pub(super) tally: Tally,
    /// Whether nothing is written any more.
    pub(super) is_closed: bool,
}

/// What one write came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects written.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were not worth it, or are too long for a file.
    pub declined: u64,
    /// Bytes of objects that were written anew since their file went.
    pub rewritten_bytes: u64,
    /// Objects that went with their file.
    pub evicted: u64,
}

/// The file being written.
pub(super) struct Current {
    pub(super) segment: Arc<Segment>,
    /// All that is in the file.
    entries: Vec<Entry>,
    /// Where the bytes of the buffer will be.
    written: u64,
    buffer: Vec<u8>,
    /// The last entries, whose bytes are in the buffer.
    buffered: Vec<(Entry, Placing)>,
}

/// What becomes of the index when a record's bytes are written.
#[derive(Clone, Copy)]
enum Placing {
    /// An object comes, with this mark.
    New(Mark),
    /// An object moves, if it is still there.
    From(Location),
    /// A stamp, or the floor: nothing.
    Note,
}

impl Segments {
    /// Writes what is worth it, giving up the oldest files as needed. What is too long for a file is left out.
    ///
    /// After an error some are written and found, others are not; stamps are written with what comes next.
    pub fn write(&self, records: &[NewRecord]) -> Result<Tally, Error> {
        let mut writer = self.writer();
        self.check_open(&writer)?;
        writer.tally = Tally::default();
        for record in records.iter().filter(|r| matches!(r.head.kind, Kind::Stamp(_))) {
            self.note_stamp(&mut writer, record);
        }
        let written = self.write_all(&mut writer, records);
        if written.is_err() {
            self.abandon(&mut writer);
        }
        written.map(|()| writer.tally)
    }

    /// Ends all writing, once what is being written is.
    pub fn close(&self) {
        self.writer().is_closed = true;
    }

    pub(super) fn check_open(&self, writer: &Writer) -> Result<(), Error> {
        let closed = || Error::Closed { path: self.disk.display().to_string() };
        if writer.is_closed { Err(closed()) } else { Ok(()) }
    }

    fn write_all(&self, writer: &mut Writer, records: &[NewRecord]) -> Result<(), Error> {
        self.place_stamps(writer)?;
        self.tell_floor(writer)?;
        for record in records.iter().filter(|r| r.head.kind == Kind::Gone) {
            // It may have been on its way here when it was removed.
            self.remove(record.head.key);
            self.append_note(writer, record)?;
        }
        for record in records.iter().filter(|r| r.head.kind == Kind::Object) {
            let was_there = record.asked && self.contains(record.head.key);
            if !self.put_object(writer, record)? && was_there {
                // What was there is in its file still, and not the newest any more.
                self.remove(record.head.key);
                self.append_note(writer, &NewRecord::gone(record.head.key))?;
            }
        }
        // Files that went may have left some.
        self.place_stamps(writer)?;
        self.flush_current(writer)
    }

    /// Says whether it was written.
    fn put_object(&self, writer: &mut Writer, record: &NewRecord) -> Result<bool, Error> {
        let length = record.encoded_len();
        if record.head.fetched <= self.floor() || record.meta.len() > META_BYTES_MAX {
            return Ok(false);
        }
        let Some(mark) = self.admit(record, length) else {
            writer.tally.declined += 1;
            return Ok(false);
        };
        let room = self.make_room(writer, length);
        // What fails from here on is in the buffer, and taken care of with it.
        let placed = room.is_ok() && self.append(writer, record, Placing::New(mark))?;
        if placed {
            writer.tally.objects += 1;
            writer.tally.bytes += length as u64;
        } else {
            self.not_placed(record.head.key, length, mark);
        }
        room.map(|()| placed)
    }

    /// Puts a record into the file being written, and says whether it could: only if there is one with room.
    fn append(&self, writer: &mut Writer, record: &NewRecord, placing: Placing) -> Result<bool, Error> {
        let length = record.encoded_len();
        let Some(current) = writer.current.as_mut() else { return Ok(false) };
        let Some(location) = current.place(length, self.options.segment_bytes) else { return Ok(false) };
        let Head { key, fetched, kind, .. } = record.head;
        let entry = Entry { key, location, fetched, kind };
        // Before the floor is asked for: whoever raises it sees either this object's age or none of it.
        current.segment.note_age(&entry);
        if kind == Kind::Object && fetched <= self.floor() {
            return Ok(false);
        }
        record.encode(current.segment.nonce, &mut current.buffer);
        current.buffered.push((entry, placing));
        if current.buffer.len() >= WRITE_BYTES {
            self.flush(current).map_err(|e| self.failure(e))?;
        }
        Ok(true)
    }

    pub(super) fn flush_current(&self, writer: &mut Writer) -> Result<(), Error> {
        match writer.current.as_mut() {
            Some(current) => self.flush(current).map_err(|e| self.failure(e)),
            None => Ok(()),
        }
    }

    /// Writes what is in the buffer, then lets it be found.
    fn flush(&self, current: &mut Current) -> io::Result<()> {
        if current.buffer.is_empty() {
            return Ok(());
        }
        current.segment.file.write_at(&current.buffer, current.written)?;
        current.written += current.buffer.len() as u64;
        current.buffer.clear();
        for (entry, placing) in current.buffered.drain(..) {
            match placing {
                Placing::New(mark) => self.placed(entry.key, entry.location, mark),
                Placing::From(from) => drop(self.index.relocate(entry.key, from, entry.location)),
                Placing::Note => {}
            }
            current.entries.push(entry);
        }
        Ok(())
    }

    /// Lets go of a file that failed: what it has is read still; what it lacks is unknown.
    pub(super) fn abandon(&self, writer: &mut Writer) {
        writer.floor_told = Hlc::ZERO;
        let Some(current) = writer.current.take() else { return };
        for (entry, placing) in current.buffered {
            match (placing, entry.kind) {
                (Placing::New(mark), _) => self.not_placed(entry.key, entry.location.len(), mark),
                (_, Kind::Stamp(kind)) => {
                    writer.unplaced.push(NewRecord::stamp(entry.key, entry.fetched, kind));
                }
                _ => {}
            }
        }
    }

    /// Sees to it that the file being written has room, at the expense of the oldest.
    fn make_room(&self, writer: &mut Writer, length: usize) -> Result<(), Error> {
        // Once around at most: whoever is then still in the way has to go.
        let mut may_keep = self.files_read().len();
        while !writer.current.as_ref().is_some_and(|c| c.fits(length, self.options.segment_bytes)) {
            self.begin(writer)?;
            while self.files_read().len() > SEGMENTS_MIN && self.is_over() {
                // Who is over in number would stay so if any were kept.
                let keep = may_keep > 0 && self.index.len() <= self.options.entries_max;
                self.reclaim(writer, keep)?;
                may_keep = may_keep.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Ends the file being written and begins the next.
    pub(super) fn begin(&self, writer: &mut Writer) -> Result<(), Error> {
        self.flush_current(writer)?;
        if let Some(current) = writer.current.take() {
            // Without its list the file is only slower to read after a restart.
            let _ = current.segment.seal(&current.entries, current.written);
        }
        self.make_space(writer)?;
        let (id, floor) = (writer.next_id, self.floor());
        let segment = Segment::create(&self.disk, id, writer.nonces.next_u64(), floor);
        let segment = Arc::new(segment.map_err(|e| self.failure(e))?);
        writer.next_id += 1;
        self.files_write().push_back(segment.clone());
        writer.current = Some(Current {
            segment,
            entries: Vec::new(),
            written: HEADER as u64,
            buffer: Vec::with_capacity(WRITE_BYTES),
            buffered: Vec::new(),
        });
        writer.floor_told = floor;
        Ok(())
    }

    /// Whether there would be too much after the next file, too.
    fn is_over(&self) -> bool {
        self.bytes() + u64::from(self.options.segment_bytes) > self.options.bytes_max
            || self.index.len() > self.options.entries_max
    }

    /// Gives up old files, without keeping anything, while the disk has no room for a new one.
    fn make_space(&self, writer: &mut Writer) -> Result<(), Error> {
        let reserved = self.options.reserve_bytes;
        let needed = reserved.saturating_add(u64::from(self.options.segment_bytes));
        loop {
            let free = self.disk.free_space().map_err(|e| self.failure(e))?;
            if free >= needed {
                return Ok(());
            }
            let oldest = self.files_read().front().cloned();
            let Some(oldest) = oldest else {
                return Err(Error::Reserved { path: self.disk.display().to_string(), free, reserved });
            };
            if let Ok(contents) = oldest.contents() {
                self.save_stamps(writer, &contents.entries);
            }
            self.lose_file(oldest.id);
            self.drop_file(&oldest);
        }
    }

    /// Gives up the oldest file. What is to be kept is written to the newest, as far as that has room.
    fn reclaim(&self, writer: &mut Writer, may_keep: bool) -> Result<(), Error> {
        let Some(oldest) = self.files_read().front().cloned() else { return Ok(()) };
        let contents = oldest.contents();
        if let Ok(contents) = &contents {
            // First, while the newest file has room for certain.
            self.save_stamps(writer, &contents.entries);
            self.place_stamps_here(writer)?;
        }
        for entry in contents.iter().flat_map(|c| &c.entries).filter(|e| e.kind == Kind::Object) {
            let has_room = |c: &Current| c.fits(entry.location.len(), self.options.segment_bytes);
            let may_keep =
                may_keep && entry.fetched > self.floor() && writer.current.as_ref().is_some_and(has_room);
            match self.verdict(entry.key, entry.location, may_keep) {
                Verdict::Absent => {}
                Verdict::Kept => self.rewrite(writer, &oldest, entry)?,
                Verdict::Evicted => writer.tally.evicted += 1,
            }
        }
        self.flush_current(writer)?;
        if !contents.is_ok_and(|c| c.listed) {
            self.lose_file(oldest.id);
        }
        self.drop_file(&oldest);
        Ok(())
    }

    fn rewrite(&self, writer: &mut Writer, from: &Arc<Segment>, entry: &Entry) -> Result<(), Error> {
        let located = Located { key: entry.key, location: entry.location, segment: from.clone() };
        let found = self.read(&located);
        let record = found.map(|f| NewRecord { head: f.head, meta: f.meta, body: f.body, asked: false });
        let moved = match record {
            Some(record) => self.append(writer, &record, Placing::From(entry.location))?,
            None => false,
        };
        if moved {
            writer.tally.rewritten_bytes += entry.location.len() as u64;
        } else {
            self.lose(entry.key, entry.location);
        }
        Ok(())
    }

    /// Writes the stamps that are in no file.
    fn place_stamps(&self, writer: &mut Writer) -> Result<(), Error> {
        while let Some(stamp) = writer.unplaced.pop() {
            if !self.is_stamp_in_force(&stamp) {
                continue;
            }
            if let Err(error) = self.append_note(writer, &stamp) {
                writer.unplaced.push(stamp);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the floor, unless a file says it already.
    pub(super) fn tell_floor(&self, writer: &mut Writer) -> Result<(), Error> {
        let floor = self.floor();
        if floor > writer.floor_told {
            self.append_note(writer, &NewRecord::floor(floor))?;
            writer.floor_told = floor;
        }
        Ok(())
    }

    fn append_note(&self, writer: &mut Writer, note: &NewRecord) -> Result<(), Error> {
        self.make_room(writer, note.encoded_len())?;
        self.append(writer, note, Placing::Note).map(drop)
    }

    /// Writes the stamps that are in no file to the one being written, as far as that has room.
    fn place_stamps_here(&self, writer: &mut Writer) -> Result<(), Error> {
        while let Some(stamp) = writer.unplaced.pop() {
            if self.is_stamp_in_force(&stamp) && !self.append(writer, &stamp, Placing::Note)? {
                writer.unplaced.push(stamp);
                break;
            }
        }
        Ok(())
    }

    fn drop_file(&self, segment: &Arc<Segment>) {
        self.files_write().retain(|s| s.id != segment.id);
        // A file that stays is found again, and given up again, after a restart.
        let _ = self.disk.remove(&file::name(segment.id));
    }
}

impl Current {
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn fits(&self, length: usize, segment_bytes: u32) -> bool {
        let listed = file::list_len(self.entries.len() + self.buffered.len() + 1) as u64;
        self.end() + length as u64 + listed <= u64::from(segment_bytes)
    }

    /// Where a record of that length would be; none if there is no room.
    fn place(&self, length: usize, segment_bytes: u32) -> Option<Location> {
        let offset = u32::try_from(self.end() / UNIT as u64).ok()?;
        let units = u32::try_from(length / UNIT).ok()?;
        Location::new(self.segment.id, offset, units).filter(|_| self.fits(length, segment_bytes))
    }
}
