//! One file of the log: its name, its header, and finding out where its records end.

use super::Error;
use super::record::{self, ALIGN, Record, Sequence};
use crate::coding::{array, u16_at, u32_at, u64_at};
use selvedge_rt::{Disk, DiskFile};
use std::io;
use std::sync::Arc;

/// Bytes before the first record.
pub(super) const HEADER: usize = 32;

const MAGIC: [u8; 8] = *b"SLVDGWAL";
const VERSION: u16 = 1;
const SUFFIX: &str = ".wal";

/// A file being written that takes its name when it is whole.
pub(super) const PART_SUFFIX: &str = ".part";

/// The name of the file whose first record is `first`.
pub(super) fn name(first: Sequence) -> String {
    format!("{:020}{SUFFIX}", first.0)
}

/// The first record of the file with that name; none if it is not a file of the log.
pub(super) fn parse_name(name: &str) -> Option<Sequence> {
    let first = Sequence(name.strip_suffix(SUFFIX)?.parse().ok()?);
    (self::name(first) == name).then_some(first)
}

/// The header of the file whose first record is `first`.
pub(super) fn header(first: Sequence) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&first.0.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What the bytes of a file hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Where the last whole record ends.
    pub(super) end: usize,
    /// The place after it.
    pub(super) next: Sequence,
    /// What follows, if anything does.
    pub(super) rest: Rest,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    /// Part of a batch that was never flushed.
    Torn,
    /// Something that was once whole.
    Damaged(&'static str),
}

/// Walks the records of a file, from its start.
pub(super) fn scan(bytes: &[u8], first: Sequence, mut visit: impl FnMut(Record<'_>)) -> Scan {
    let mut scan = Scan { end: HEADER, next: first, rest: Rest::Nothing };
    if bytes.get(..HEADER) != Some(&header(first)) {
        let lost = later_batch(bytes, HEADER, first).is_some();
        scan.rest = if lost { Rest::Damaged("its header is not what was written") } else { Rest::Torn };
        scan.end = 0;
        return scan;
    }
    while let Some((record, length)) = bytes.get(scan.end..).and_then(record::decode) {
        if record.sequence != scan.next {
            scan.rest = Rest::Damaged("a record is out of order");
            return scan;
        }
        visit(record);
        scan.end += length;
        scan.next = scan.next.plus(1);
    }
    if scan.end < bytes.len() {
        scan.rest = match later_batch(bytes, scan.end, scan.next) {
            Some(_) => Rest::Damaged("a record is damaged, and later ones are whole"),
            None => Rest::Torn,
        };
    }
    scan
}

/// Where after `from` a whole record begins that was written after record `missing` had been flushed.
fn later_batch(bytes: &[u8], from: usize, missing: Sequence) -> Option<usize> {
    (from..bytes.len()).step_by(ALIGN).find(|at| {
        bytes.get(*at..).and_then(record::decode).is_some_and(|(record, _)| record.batch > missing)
    })
}

/// The file's format version, if its header is whole and states one that is not known.
pub(super) fn unknown_version(bytes: &[u8]) -> Option<(u16, u16)> {
    let version = u16_at(bytes, 8)?;
    let whole = array::<8>(bytes, 0)? == MAGIC
        && u64_at(bytes, 16).is_some()
        && u32_at(bytes, 28)? == crc32fast::hash(bytes.get(..28)?);
    (whole && version != VERSION).then_some((version, VERSION))
}

/// Whether this version can read the log in `disk`, as far as its files' headers say. Reads alone: the log may be
/// in use.
pub fn check_format(disk: &Disk) -> Result<(), Error> {
    let names = disk.list().map_err(|e| read_error(disk, e))?;
    for name in names.iter().filter(|name| parse_name(name).is_some()) {
        let file = match disk.open(name, false) {
            Ok(file) => file,
            // Cut meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(read_error(disk, error)),
        };
        let mut bytes = [0; HEADER];
        let read = file.read_at(&mut bytes, 0).map_err(|e| read_error(disk, e))?;
        if let Some((version, known)) = bytes.get(..read).and_then(unknown_version) {
            return Err(Error::Version { path: format!("{}/{name}", disk.display()), version, known });
        }
    }
    Ok(())
}

/// All bytes of a file.
pub(super) fn read(file: &DiskFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Makes the file for records from `first` on, holding `records`, so that it lasts, whole or not at all.
pub(super) fn create(disk: &Disk, first: Sequence, records: &[u8]) -> io::Result<DiskFile> {
    let name = name(first);
    let part = format!("{name}{PART_SUFFIX}");
    let file = disk.open(&part, true)?;
    let written = (|| {
        file.set_len(0)?;
        file.write_at(&header(first), 0)?;
        if !records.is_empty() {
            file.write_at(records, HEADER as u64)?;
        }
        file.sync()
    })();
    if let Err(error) = written {
        // It has no meaning yet, and the next start removes it if this fails.
        let _ = disk.remove(&part);
        return Err(error);
    }
    disk.rename(&part, &name)?;
    disk.sync()?;
    Ok(file)
}

/// An error of reading `disk`.
pub(super) fn read_error(disk: &Disk, source: io::Error) -> Error {
    Error::Read { path: disk.display().to_string(), source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::record::{GroupId, encode};

    /// A file of batches with that many records each.
    fn file(batches: &[u64]) -> Vec<u8> {
        let mut bytes = header(Sequence(1)).to_vec();
        let mut sequence = 1;
        for batch in batches {
            let first = sequence;
            for _ in 0..*batch {
                let payload = [u8::try_from(sequence).unwrap(); 13];
                let group = GroupId(0);
                encode(
                    &Record {
                        sequence: Sequence(sequence),
                        batch: Sequence(first),
                        group,
                        payload: &payload,
                    },
                    &mut bytes,
                );
                sequence += 1;
            }
        }
        bytes
    }

    const RECORD: usize = record::encoded_len(13);

    fn rest_after_damage(batches: &[u64], record: usize) -> (u64, Rest) {
        let mut bytes = file(batches);
        bytes[HEADER + record * RECORD + 20] ^= 1;
        let scan = scan(&bytes, Sequence(1), |_| {});
        (scan.next.0, scan.rest)
    }

    #[test]
    fn whole_files_are_read_to_their_end() {
        let bytes = file(&[2, 1, 3]);
        let mut seen = Vec::new();
        let scan = scan(&bytes, Sequence(1), |r| seen.push(r.sequence.0));
        assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
        assert_eq!(scan, Scan { end: bytes.len(), next: Sequence(7), rest: Rest::Nothing });
    }

    #[test]
    fn only_the_last_batch_can_be_torn() {
        // (batches, damaged record counted from 0) -> (first record missing, what it is taken for)
        let damaged = Rest::Damaged("a record is damaged, and later ones are whole");
        assert_eq!(rest_after_damage(&[2, 1, 3], 5), (6, Rest::Torn));
        assert_eq!(rest_after_damage(&[2, 1, 3], 3), (4, Rest::Torn));
        assert_eq!(rest_after_damage(&[2, 1, 3], 2), (3, damaged));
        let damaged = Rest::Damaged("a record is damaged, and later ones are whole");
        assert_eq!(rest_after_damage(&[2, 1, 3], 0), (1, damaged));
    }

    #[test]
    fn a_file_cut_anywhere_is_torn_at_the_record_cut() {
        let bytes = file(&[1, 1]);
        for cut in 0..bytes.len() {
            let scan = scan(&bytes[..cut], Sequence(1), |_| {});
            let whole = cut.saturating_sub(HEADER) / RECORD;
            assert_eq!(scan.next.0, 1 + whole as u64, "cut at {cut}");
            let clean = cut >= HEADER && (cut - HEADER).is_multiple_of(RECORD);
            assert_eq!(scan.rest == Rest::Nothing, clean, "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_header_before_records_is_damage_and_a_newer_version_is_named() {
        let mut bytes = file(&[1, 1]);
        bytes[3] ^= 1;
        assert!(matches!(scan(&bytes, Sequence(1), |_| {}).rest, Rest::Damaged(_)));
        let mut newer = header(Sequence(1));
        newer[8] = 9;
        let crc = crc32fast::hash(&newer[..28]);
        newer[28..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(unknown_version(&newer), Some((9, VERSION)));
        assert_eq!(unknown_version(&header(Sequence(1))), None);
    }

    #[test]
    fn a_log_in_use_can_be_checked_for_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let log = create(&disk, Sequence(1), &[]).unwrap();
        disk.open("other", true).unwrap();
        assert!(check_format(&disk).is_ok());
        let mut newer = header(Sequence(1));
        newer[8] = 9;
        let crc = crc32fast::hash(&newer[..28]);
        newer[28..].copy_from_slice(&crc.to_le_bytes());
        log.write_at(&newer, 0).unwrap();
        assert!(matches!(check_format(&disk), Err(Error::Version { version: 9, known: VERSION, .. })));
    }

    #[test]
    fn names_sort_as_sequences_do() {
        assert_eq!(parse_name(&name(Sequence(77))), Some(Sequence(77)));
        for bad in ["77.wal", "00000000000000000077.wal.part", "x.wal", "00000000000000000077"] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }
}
