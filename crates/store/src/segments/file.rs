//! One file of the disk tier: its header, its list of contents at the end, and finding what it holds.
//!
//! ```text
//!   header (64 bytes) | object | object | ... | entries (40 bytes each) | trailer (40 bytes)
//! ```
//! Entries and trailer are written when the file is full. Without them the objects are looked for one by
//! one. All of a file repeat a random number of its header, which those whose bodies are stored cannot
//! know: so no body is taken for an object or a trailer.

use super::location::{Location, UNIT};
use super::record::{Head, Key, Kind, Layout, low_bits};
use crate::coding::{array, u32_at, u64_at, u128_at};
use selvedge_rt::{Disk, DiskFile};
use selvedge_types::Hlc;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: [u8; 8] = *b"SLVDGSEG";
const END_MAGIC: [u8; 8] = *b"SLVDGEND";
const VERSION: u32 = 2;
const SUFFIX: &str = ".seg";
const ENTRY: usize = 40;
const TRAILER: usize = 40;

/// Bytes that the list of so many objects takes.
pub(super) const fn list_len(entries: usize) -> usize {
    entries * ENTRY + TRAILER
}

/// Bytes before the first object.
pub(super) const HEADER: usize = UNIT;

/// What a file says of an object in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) location: Location,
    pub(super) fetched: Hlc,
    pub(super) kind: Kind,
}

/// A file that may be read.
pub(super) struct Segment {
    pub(super) id: u64,
    pub(super) nonce: u64,
    pub(super) file: DiskFile,
    /// The fetch of the oldest object that was ever put into it, as bits.
    oldest: AtomicU64,
}

/// What a file holds, and where its objects end.
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    pub(super) end: u64,
    /// Whether the file's own list said so.
    pub(super) listed: bool,
}

/// The name of the file with that number.
pub(super) fn name(id: u64) -> String {
    format!("{id:016x}{SUFFIX}")
}

/// The number of the file with that name; none if it is no file of the tier.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let id = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (self::name(id) == name).then_some(id)
}

impl Segment {
    /// Makes the file. What was fetched up to `floor` is not to be used any more, wherever it is.
    pub(super) fn create(disk: &Disk, id: u64, nonce: u64, floor: Hlc) -> io::Result<Segment> {
        let file = disk.open(&name(id), true)?;
        file.set_len(0)?;
        let segment = Segment { id, nonce, file, oldest: AtomicU64::new(u64::MAX) };
        segment.file.write_at(&header(id, nonce, floor), 0)?;
        Ok(segment)
    }

    /// Opens the file, and says which floor its header tells; none if it is not one that this version wrote, or has no
    /// header. A damaged one is an error.
    pub(super) fn open(disk: &Disk, id: u64) -> io::Result<Option<(Segment, Hlc)>> {
        let file = disk.open(&name(id), false)?;
        let mut start = [0; HEADER];
        let read = file.read_at(&mut start, 0)?;
        let nonce = u64_at(&start, 24).unwrap_or_default();
        let floor = Hlc::from_bits(u64_at(&start, 32).unwrap_or_default());
        let segment = Segment { id, nonce, file, oldest: AtomicU64::new(u64::MAX) };
        if read < HEADER || start == [0; HEADER] {
            return Ok(None);
        }
        if u32_at(&start, 60) != Some(crc32fast::hash(&start[..60])) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the header is damaged"));
        }
        Ok((start == header(id, nonce, floor)).then_some((segment, floor)))
    }

    /// An object of that age is in it, or about to be.
    pub(super) fn note_age(&self, entry: &Entry) {
        if entry.kind == Kind::Object {
            self.oldest.fetch_min(entry.fetched.to_bits(), Ordering::SeqCst);
        }
    }

    /// When the fetch of the oldest object began that was ever put into it; none if none was.
    pub(super) fn oldest(&self) -> Option<Hlc> {
        let bits = self.oldest.load(Ordering::SeqCst);
        (bits != u64::MAX).then(|| Hlc::from_bits(bits))
    }

    /// What it holds: from its list, or else from a look at every object.
    pub(super) fn contents(&self) -> io::Result<Contents> {
        match self.listed()? {
            Some(contents) => Ok(contents),
            None => {
                let length = usize::try_from(self.file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
                let mut bytes = vec![0; length.min(super::location::SEGMENT_BYTES_MAX as usize)];
                let read = self.file.read_at(&mut bytes, 0)?;
                bytes.truncate(read);
                Ok(self.scanned(&bytes))
            }
        }
    }

    /// Writes the list of contents after the objects.
    pub(super) fn seal(&self, entries: &[Entry], end: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(list_len(entries.len()));
        for entry in entries {
            bytes.extend_from_slice(&entry.key.0.to_le_bytes());
            bytes.extend_from_slice(&entry.location.to_bits().to_le_bytes());
            bytes.extend_from_slice(&entry.fetched.to_bits().to_le_bytes());
            bytes.extend_from_slice(&entry.kind.to_bits().to_le_bytes());
        }
        let entries_crc = crc32fast::hash(&bytes);
        let trailer = bytes.len();
        bytes.extend_from_slice(&END_MAGIC);
        bytes.extend_from_slice(&self.nonce.to_le_bytes());
        bytes.extend_from_slice(&end.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&entries_crc.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let crc = crc32fast::hash(&bytes[trailer..]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        self.file.write_at(&bytes, end)?;
        self.file.set_len(end + bytes.len() as u64)
    }

    fn listed(&self) -> io::Result<Option<Contents>> {
        let length = self.file.len()?;
        let mut trailer = [0; TRAILER];
        let Some(trailer_at) = length.checked_sub(TRAILER as u64) else { return Ok(None) };
        if self.file.read_at(&mut trailer, trailer_at)? != TRAILER {
            return Ok(None);
        }
        let Some((end, count, crc)) = parse_trailer(&trailer, self.nonce) else { return Ok(None) };
        let bytes = count.checked_mul(ENTRY).filter(|b| end.checked_add(*b as u64) == Some(trailer_at));
        let Some(bytes) = bytes else { return Ok(None) };
        let mut list = vec![0; bytes];
        if self.file.read_at(&mut list, end)? != bytes || crc32fast::hash(&list) != crc {
            return Ok(None);
        }
        let entries = list.chunks_exact(ENTRY).filter_map(parse_entry).collect();
        Ok(Some(Contents { entries, end, listed: true }))
    }

    fn scanned(&self, bytes: &[u8]) -> Contents {
        let mut entries = Vec::new();
        let mut end = HEADER;
        scan(bytes, low_bits(self.nonce), |at, length, head| {
            let units = (u32::try_from(at / UNIT), u32::try_from(length / UNIT));
            let (Ok(offset), Ok(units)) = units else { return };
            if let Some(location) = Location::new(self.id, offset, units) {
                let Head { key, fetched, kind, .. } = head;
                entries.push(Entry { key, location, fetched, kind });
                end = at + length;
            }
        });
        Contents { entries, end: end as u64, listed: false }
    }
}

/// Finds the objects in the bytes of a file whose nonce ends in `nonce`: where each begins, how long it is,
/// and its head. Bodies are not checked.
pub fn scan(bytes: &[u8], nonce: u32, mut visit: impl FnMut(usize, usize, Head)) {
    let mut at = HEADER;
    while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
        // The nonce first: it is what keeps this from being slow, too.
        let layout = (Layout::nonce(rest) == Some(nonce)).then(|| Layout::decode(rest)).flatten();
        match layout {
            Some(layout) if layout.len() <= rest.len() => {
                visit(at, layout.len(), layout.head);
                at += layout.len();
            }
            _ => at += UNIT,
        }
    }
}

fn header(id: u64, nonce: u64, floor: Hlc) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&id.to_le_bytes());
    bytes[24..32].copy_from_slice(&nonce.to_le_bytes());
    bytes[32..40].copy_from_slice(&floor.to_bits().to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Where the entries begin, how many there are, and their checksum.
fn parse_trailer(bytes: &[u8], nonce: u64) -> Option<(u64, usize, u32)> {
    let sound = array(bytes, 0)? == END_MAGIC
        && u64_at(bytes, 8)? == nonce
        && u32_at(bytes, 36)? == crc32fast::hash(bytes.get(..36)?);
    let count = usize::try_from(u32_at(bytes, 24)?).ok()?;
    sound.then_some((u64_at(bytes, 16)?, count, u32_at(bytes, 28)?))
}

fn parse_entry(bytes: &[u8]) -> Option<Entry> {
    Some(Entry {
        key: Key(u128_at(bytes, 0)?),
        location: Location::from_bits(u64_at(bytes, 16)?),
        fetched: Hlc::from_bits(u64_at(bytes, 24)?),
        kind: Kind::from_bits(u64_at(bytes, 32)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::record::NewRecord;

    fn segment(dir: &tempfile::TempDir, count: u128) -> (Segment, Vec<Entry>, u64) {
        let segment = Segment::create(&Disk::real(dir.path()).unwrap(), 7, 99, Hlc::ZERO).unwrap();
        let (mut bytes, mut entries) = (Vec::new(), Vec::new());
        for i in 1..=count {
            let head = Head { key: Key(i), fetched: Hlc::from_bits(2), kind: Kind::Object, note: 4 };
            let offset = u32::try_from((HEADER + bytes.len()) / UNIT).unwrap();
            let record = NewRecord { head, meta: "meta".into(), body: vec![5; 100].into(), asked: true };
            record.encode(99, &mut bytes);
            let units = u32::try_from(record.encoded_len() / UNIT).unwrap();
            let location = Location::new(7, offset, units).unwrap();
            entries.push(Entry { key: head.key, location, fetched: head.fetched, kind: head.kind });
        }
        segment.file.write_at(&bytes, HEADER as u64).unwrap();
        (segment, entries, (HEADER + bytes.len()) as u64)
    }

    #[test]
    fn contents_are_found_with_and_without_the_list() {
        let dir = tempfile::tempdir().unwrap();
        let (segment, entries, end) = segment(&dir, 5);
        let found = segment.contents().unwrap();
        assert_eq!((&found.entries, found.end, found.listed), (&entries, end, false));
        segment.seal(&entries, end).unwrap();
        let found = segment.contents().unwrap();
        assert_eq!((&found.entries, found.end, found.listed), (&entries, end, true));
        let length = segment.file.len().unwrap();
        segment.file.write_at(b"x", length - 60).unwrap();
        let found = segment.contents().unwrap();
        assert_eq!((&found.entries, found.listed), (&entries, false), "a damaged list is not believed");
    }

    #[test]
    fn a_damaged_object_hides_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (segment, mut entries, _) = segment(&dir, 5);
        segment.file.write_at(b"?", entries[2].location.offset() + 9).unwrap();
        entries.remove(2);
        assert_eq!(segment.contents().unwrap().entries, entries);
    }

    #[test]
    fn files_of_others_are_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        Segment::create(&disk, 3, 1, Hlc::from_bits(9)).unwrap();
        assert_eq!(Segment::open(&disk, 3).unwrap().map(|(_, floor)| floor), Some(Hlc::from_bits(9)));
        disk.rename(&name(3), &name(4)).unwrap();
        assert!(Segment::open(&disk, 4).unwrap().is_none());
        assert_eq!(parse_name(&name(4)), Some(4));
        let other = Segment::create(&disk, 5, 1, Hlc::ZERO).unwrap();
        let mut bytes = header(5, 1, Hlc::ZERO);
        bytes[8..12].copy_from_slice(&(VERSION + 1).to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        other.file.write_at(&bytes, 0).unwrap();
        assert!(Segment::open(&disk, 5).unwrap().is_none(), "another version");
        assert_eq!(parse_name("4.seg"), None);
    }
}
