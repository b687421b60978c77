//! Writing: one file at a time, the oldest given up for the next.

use super::Error;
use super::file::{self, Entry, HEADER, Segment};
use super::location::{Location, UNIT};
use super::read::Located;
use super::record::{Head, Key, META_BYTES_MAX, NewRecord};
use super::set::{SEGMENTS_MIN, Segments};
use selvedge_rt::Rng;
use selvedge_types::Hlc;
use std::io;
use std::sync::Arc;

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// An object in a file that is about to be given up.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its name.
    pub key: Key,
    /// Bytes that it takes on disk.
    pub bytes: usize,
    /// How often it was hit since it was written, up to 3.
    pub hits: u8,
    /// When its fetch began.
    pub fetched: Hlc,
    /// What it belongs to.
    pub group: u64,
}

/// Decides which objects of a file that is given up are written anew.
pub type Keep = Box<dyn FnMut(&Candidate) -> bool + Send>;

/// Keeps what was hit since it was written.
pub fn keep_hit() -> Keep {
    Box::new(|candidate| candidate.hits > 0)
}

pub(super) struct Writer {
    pub(super) current: Option<Current>,
    pub(super) next_id: u64,
    pub(super) nonces: Rng,
    pub(super) keep: Keep,
}

/// The file being written.
pub(super) struct Current {
    segment: Arc<Segment>,
    /// All that is in the file.
    entries: Vec<Entry>,
    /// Where the bytes of the buffer will be.
    written: u64,
    buffer: Vec<u8>,
    /// The last entries, whose bytes are in the buffer; where each was before, if it moves.
    buffered: Vec<(Entry, Option<Location>)>,
    /// Bytes of objects that were written anew.
    rewritten: u64,
}

impl Segments {
    /// Writes objects, giving up the oldest files as needed. Those too long for a file are left out.
    ///
    /// After an error some are written and found, others are not.
    pub fn write(&self, records: &[NewRecord]) -> Result<(), Error> {
        let mut writer = self.writer();
        let written = records.iter().try_for_each(|r| self.put(&mut writer, r, None)).and_then(|()| {
            writer.current.as_mut().map_or(Ok(()), |c| self.flush(c).map_err(|e| self.failure(e)))
        });
        if written.is_err() {
            // What the file has is read still; what it lacks is unknown.
            writer.current = None;
        }
        written
    }

    /// Puts a record into the file being written; one that moves only if it is still at `from`.
    fn put(&self, writer: &mut Writer, record: &NewRecord, from: Option<Location>) -> Result<(), Error> {
        let length = record.encoded_len();
        if !fits_file(length, self.options.segment_bytes) || record.meta.len() > META_BYTES_MAX {
            return Ok(());
        }
        if !writer.current.as_ref().is_some_and(|c| c.fits(length, self.options.segment_bytes)) {
            self.begin(writer)?;
        }
        let Some(current) = writer.current.as_mut() else { return Ok(()) };
        let place = (u32::try_from(current.end() / UNIT as u64), u32::try_from(length / UNIT));
        let (Ok(offset), Ok(units)) = place else { return Ok(()) };
        let Some(location) = Location::new(current.segment.id, offset, units) else { return Ok(()) };
        record.encode(current.segment.nonce, &mut current.buffer);
        let Head { key, fetched, group, .. } = record.head;
        current.buffered.push((Entry { key, location, fetched, group }, from));
        if current.buffer.len() >= WRITE_BYTES {
            self.flush(current).map_err(|e| self.failure(e))?;
        }
        Ok(())
    }

    /// Writes what is in the buffer, then lets it be found.
    fn flush(&self, current: &mut Current) -> io::Result<()> {
        if current.buffer.is_empty() {
            return Ok(());
        }
        current.segment.file.write_at(&current.buffer, current.written)?;
        current.written += current.buffer.len() as u64;
        current.buffer.clear();
        for (entry, from) in current.buffered.drain(..) {
            match from {
                None => self.index.insert(entry.key, entry.location),
                Some(from) => {
                    self.index.relocate(entry.key, from, entry.location);
                }
            }
            current.entries.push(entry);
        }
        Ok(())
    }

    /// Ends the file being written, begins the next, and gives up the oldest if there are too many.
    fn begin(&self, writer: &mut Writer) -> Result<(), Error> {
        if let Some(mut current) = writer.current.take() {
            self.flush(&mut current).map_err(|e| self.failure(e))?;
            // Without its list the file is only slower to read after a restart.
            let _ = current.segment.seal(&current.entries, current.written);
        }
        self.make_space()?;
        let id = writer.next_id;
        let segment =
            Segment::create(&self.disk, id, writer.nonces.next_u64()).map_err(|e| self.failure(e))?;
        let segment = Arc::new(segment);
        writer.next_id += 1;
        self.files_write().push_back(segment.clone());
        writer.current = Some(Current {
            segment,
            entries: Vec::new(),
            written: HEADER as u64,
            buffer: Vec::with_capacity(WRITE_BYTES),
            buffered: Vec::new(),
            rewritten: 0,
        });
        while self.files_read().len() > SEGMENTS_MIN && self.is_over() {
            self.reclaim(writer)?;
        }
        Ok(())
    }

    /// Whether there would be too much after the next file, too.
    fn is_over(&self) -> bool {
        self.bytes() + u64::from(self.options.segment_bytes) > self.options.bytes_max
            || self.index.len() > self.options.entries_max
    }

    /// Gives up old files, without keeping anything, while the disk has no room for a new one.
    fn make_space(&self) -> Result<(), Error> {
        let needed = self.options.reserve_bytes.saturating_add(u64::from(self.options.segment_bytes));
        while self.disk.free_space().map_err(|e| self.failure(e))? < needed {
            let oldest = self.files_read().front().cloned();
            let Some(oldest) = oldest else {
                return Err(Error::Full { path: self.disk.display().to_string() });
            };
            self.forget(&oldest);
        }
        Ok(())
    }

    /// Gives up the oldest file; what is to be kept is written to the newest, as far as it has room.
    fn reclaim(&self, writer: &mut Writer) -> Result<(), Error> {
        let Some(oldest) = self.files_read().front().cloned() else { return Ok(()) };
        let contents = oldest.contents();
        for entry in contents.iter().flat_map(|c| &c.entries) {
            let Some((location, hits)) = self.index.peek(entry.key) else { continue };
            if location != entry.location {
                continue;
            }
            let Entry { key, fetched, group, .. } = *entry;
            let candidate = Candidate { key, bytes: location.len(), hits, fetched, group };
            if self.has_room(writer, location.len()) && (writer.keep)(&candidate) {
                self.rewrite(writer, &oldest, entry)?;
            }
        }
        if let Some(current) = writer.current.as_mut() {
            self.flush(current).map_err(|e| self.failure(e))?;
        }
        match contents {
            Ok(contents) if contents.listed => {
                for entry in contents.entries {
                    self.index.remove_at(entry.key, entry.location);
                }
                self.drop_file(&oldest);
            }
            _ => self.forget(&oldest),
        }
        Ok(())
    }

    fn has_room(&self, writer: &Writer, length: usize) -> bool {
        let share =
            u64::from(self.options.segment_bytes) * u64::from(self.options.rewrite_percent.min(90)) / 100;
        let taken = |c: &Current| c.rewritten.max(c.end()) + length as u64;
        writer.current.as_ref().is_some_and(|c| taken(c) <= share)
    }

    fn rewrite(&self, writer: &mut Writer, from: &Arc<Segment>, entry: &Entry) -> Result<(), Error> {
        let located = Located { key: entry.key, location: entry.location, segment: from.clone() };
        let Some(found) = self.read(&located) else { return Ok(()) };
        let record = NewRecord { head: found.head, meta: found.meta, body: found.body };
        self.put(writer, &record, Some(entry.location))?;
        if let Some(current) = writer.current.as_mut() {
            current.rewritten += entry.location.len() as u64;
        }
        Ok(())
    }

    /// Removes a file and, by walking the whole index, all that is in it.
    fn forget(&self, segment: &Arc<Segment>) {
        let newest = self.newest();
        self.index.retain(|location| location.segment(newest) != segment.id);
        self.drop_file(segment);
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
}

fn fits_file(length: usize, segment_bytes: u32) -> bool {
    HEADER + length + file::list_len(1) <= segment_bytes as usize
}
