//! The last snapshot in a file of its own, for a start without the control state.
//!
//! `snapshot` is a CRC-32 (little endian) and the encoded snapshot; `snapshot.former` is the one before,
//! used when the last one is damaged. Purges are not in it: a node that starts from it alone must not use
//! what its cache has on disk.

use selvedge_rt::{Disk, DiskFile};
use selvedge_types::{Snapshot, SnapshotError};
use std::io;

const FILE: &str = "snapshot";
const FORMER: &str = "snapshot.former";
const PART: &str = "snapshot.part";

/// Why there is no snapshot to be had.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    /// The file cannot be used.
    #[error("the file {path} cannot be used")]
    Disk {
        /// Which file.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
    /// It does not hold what was written.
    #[error("the file {path} is damaged: its checksum is another; remove it to start without a snapshot")]
    Damaged {
        /// Which file.
        path: String,
    },
    /// It is of a format that this version does not know.
    #[error("the file {path} holds no snapshot for this version")]
    Snapshot {
        /// Which file.
        path: String,
        /// What is wrong.
        source: SnapshotError,
    },
}

/// Where the last snapshot is kept. Blocking.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    disk: Disk,
}

impl SnapshotFile {
    /// In that directory.
    pub fn new(disk: Disk) -> Self {
        SnapshotFile { disk }
    }

    /// The last snapshot, or the one before if that is damaged; none if none was ever kept.
    pub fn load(&self) -> Result<Option<Snapshot>, SnapshotFileError> {
        match self.load_file(FILE) {
            Ok(Some(snapshot)) => Ok(Some(snapshot)),
            Ok(None) => self.load_file(FORMER),
            Err(error) => self.load_file(FORMER).ok().flatten().map(Some).ok_or(error),
        }
    }

    /// Keeps a snapshot, in place of the last one.
    pub fn save(&self, snapshot: &Snapshot) -> Result<(), SnapshotFileError> {
        let encoded = snapshot
            .encode()
            .map_err(|source| SnapshotFileError::Snapshot { path: self.path(FILE), source })?;
        let mut bytes = crc32fast::hash(&encoded).to_le_bytes().to_vec();
        bytes.extend_from_slice(&encoded);
        self.replace(&bytes).map_err(|source| SnapshotFileError::Disk { path: self.path(FILE), source })
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let part = self.disk.open(PART, true)?;
        part.set_len(0)?;
        part.write_at(bytes, 0)?;
        part.sync()?;
        match self.disk.rename(FILE, FORMER) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.disk.rename(PART, FILE)?;
        self.disk.sync()
    }

    fn load_file(&self, name: &str) -> Result<Option<Snapshot>, SnapshotFileError> {
        let path = self.path(name);
        let bytes = match self.disk.open(name, false).and_then(|f| read(&f)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SnapshotFileError::Disk { path, source }),
        };
        let parts = bytes.split_first_chunk::<4>();
        let Some((_, encoded)) = parts.filter(|(crc, rest)| **crc == crc32fast::hash(rest).to_le_bytes())
        else {
            return Err(SnapshotFileError::Damaged { path });
        };
        Snapshot::decode(encoded).map(Some).map_err(|source| SnapshotFileError::Snapshot { path, source })
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.disk.display())
    }
}

fn read(file: &DiskFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::Revision;

    fn snapshot(revision: u64) -> Snapshot {
        Snapshot { revision: Revision(revision), ..Snapshot::default() }
    }

    fn revision(file: &SnapshotFile) -> Option<u64> {
        file.load().unwrap().map(|s| s.revision.0)
    }

    #[test]
    fn the_last_one_is_loaded_or_else_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let file = SnapshotFile::new(disk.clone());
        assert_eq!(revision(&file), None);
        file.save(&snapshot(1)).unwrap();
        assert_eq!(revision(&file), Some(1));
        file.save(&snapshot(2)).unwrap();
        assert_eq!(revision(&file), Some(2));
        disk.open(FILE, false).unwrap().write_at(b"?", 12).unwrap();
        assert_eq!(revision(&file), Some(1));
        disk.open(FORMER, false).unwrap().write_at(b"?", 12).unwrap();
        assert!(matches!(file.load(), Err(SnapshotFileError::Damaged { .. })));
        file.save(&snapshot(3)).unwrap();
        assert_eq!(revision(&file), Some(3));
    }
}
