//! The last events of a node, kept over its restarts.
//!
//! Two files: one that grows, and the one before it. Nothing is synced: what was written before a kill is there
//! after it, power loss may take the last seconds. A file is read up to its first damage, and goes on from there.
//!
//! ```text
//!   file:  magic (8 bytes, with the format) | record ...
//!   record:  length (4 bytes, little endian) | CRC-32 of the content | content: CBOR
//! ```

use selvedge_rt::{Disk, DiskFile};
use selvedge_types::Record;
use std::io;

/// How large the file may grow before another one is begun, in bytes: with the one before it, twice as much is kept.
pub const FILE_BYTES_MAX: u64 = 512 << 10;
/// The largest record, in bytes.
const RECORD_BYTES_MAX: usize = 4 << 10;

const MAGIC: [u8; 8] = *b"SVEVENT\x01";
const HEAD: usize = 8;
const NOW: &str = "now";
const BEFORE: &str = "before";

/// Where events are kept. Blocking.
pub struct EventFile {
    disk: Disk,
    file: DiskFile,
    end: u64,
}

impl EventFile {
    /// Opens what is in `disk`, or begins it; and the events in it, the oldest first.
    pub fn open(disk: Disk) -> io::Result<(Self, Vec<Record>)> {
        let mut records = match disk.open(BEFORE, false) {
            Ok(file) => read(&file)?.0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let file = disk.open(NOW, true)?;
        let (last, end) = read(&file)?;
        records.extend(last);
        // What a clock that was set back may have left is not in order.
        records.sort_by_key(|record| record.at);
        if end == 0 {
            begin(&file)?;
        } else {
            file.set_len(end)?;
        }
        Ok((EventFile { disk, file, end: end.max(MAGIC.len() as u64) }, records))
    }

    /// Adds records. What fails is not there, or in part; the next call goes on where the last good one ended.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for record in records {
            encode(record, &mut bytes)?;
        }
        if self.end + bytes.len() as u64 > FILE_BYTES_MAX && self.end > MAGIC.len() as u64 {
            self.disk.rename(NOW, BEFORE)?;
            self.file = self.disk.open(NOW, true)?;
            begin(&self.file)?;
            self.end = MAGIC.len() as u64;
        }
        if let Err(error) = self.file.write_at(&bytes, self.end) {
            // What is left of it must not be found behind what comes next.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }
}

fn begin(file: &DiskFile) -> io::Result<()> {
    file.set_len(0)?;
    file.write_at(&MAGIC, 0)
}

/// The records, and where they end: 0 if it is no such file.
fn read(file: &DiskFile) -> io::Result<(Vec<Record>, u64)> {
    // One batch beyond the limit is the most that was ever written.
    let length = usize::try_from(file.len()?.min(4 * FILE_BYTES_MAX)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    let Some(mut rest) = bytes[..read].strip_prefix(&MAGIC) else { return Ok((Vec::new(), 0)) };
    let mut records = Vec::new();
    while let Some((record, next)) = decode(rest) {
        records.push(record);
        rest = next;
    }
    Ok((records, (read - rest.len()) as u64))
}

fn encode(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    let content = minicbor::to_vec(record).map_err(io::Error::other)?;
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
    out.extend_from_slice(&content);
    Ok(())
}

fn decode(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (length, sum) = head.split_at_checked(4)?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let sum = u32::from_le_bytes(sum.try_into().ok()?);
    let (content, rest) = rest.split_at_checked(length).filter(|_| length <= RECORD_BYTES_MAX)?;
    let record = (crc32fast::hash(content) == sum).then(|| minicbor::decode(content).ok())??;
    Some((record, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::{Event, Hlc};

    fn disk() -> (tempfile::TempDir, Disk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        (dir, disk)
    }

    fn record(n: u64) -> Record {
        Event::Started { version: n.to_string() }.record(Hlc::from_bits(n), None)
    }

    fn texts(records: &[Record]) -> Vec<u64> {
        records.iter().map(|record| record.at.to_bits()).collect()
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let (_dir, disk) = disk();
        let (mut file, found) = EventFile::open(disk.clone()).unwrap();
        assert_eq!(found, []);
        file.append(&[record(1), record(2)]).unwrap();
        file.append(&[record(3)]).unwrap();
        let (mut file, found) = EventFile::open(disk.clone()).unwrap();
        assert_eq!(found, [record(1), record(2), record(3)]);
        file.append(&[record(4)]).unwrap();
        assert_eq!(texts(&EventFile::open(disk).unwrap().1), [1, 2, 3, 4]);
    }

    #[test]
    fn two_files_are_kept_and_no_more() {
        let (_dir, disk) = disk();
        let (mut file, _) = EventFile::open(disk.clone()).unwrap();
        let count = 30_000;
        let all: Vec<Record> = (1..=count).map(record).collect();
        all.chunks(100).for_each(|some| file.append(some).unwrap());
        let kept = texts(&EventFile::open(disk.clone()).unwrap().1);
        assert_eq!(kept.last(), Some(&count));
        assert!(kept.len() < 29_000 && kept.is_sorted(), "{}", kept.len());
        for name in [NOW, BEFORE] {
            assert!(disk.open(name, false).unwrap().len().unwrap() <= FILE_BYTES_MAX);
        }
        assert_eq!(disk.list().unwrap().len(), 2);
    }

    #[test]
    fn a_damaged_file_is_read_up_to_the_damage_and_goes_on_there() {
        let (_dir, disk) = disk();
        let (mut file, _) = EventFile::open(disk.clone()).unwrap();
        (1..=3).for_each(|n| file.append(&[record(n)]).unwrap());
        let bytes = disk.open(NOW, false).unwrap();
        let length = bytes.len().unwrap();
        for (at, expected) in [(length - 1, &[1, 2][..]), (3, &[])] {
            bytes.write_at(&[0xff], at).unwrap();
            let (mut file, found) = EventFile::open(disk.clone()).unwrap();
            assert_eq!(texts(&found), expected);
            file.append(&[record(9)]).unwrap();
            let again = EventFile::open(disk.clone()).unwrap().1;
            assert_eq!(texts(&again), [expected, &[9]].concat());
        }
    }
}
