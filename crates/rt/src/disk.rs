//! Files by position, with explicit syncs.
//!
//! Calls block; callers run them through [`crate::Tasks::blocking`], which runs them inline in simulation.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The modes of what is made here: only who the node runs as reads it. What is there already keeps its own.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A simulated disk. Paths are relative to the node's data directory.
pub trait SimDisk: Send + Sync {
    /// Opens a file, making it if `create`.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn SimFile>>;
    /// Renames a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and those above it.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes names in a directory last.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes that may still be written.
    fn free_space(&self) -> io::Result<u64>;
}

/// A file of a simulated disk.
pub trait SimFile: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes up to `buf.len()` bytes at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes what was written last.
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|l| l == 0)
    }
    /// Cuts or extends with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// A directory of files: the node's data directory, or one below it.
#[derive(Clone)]
pub struct Disk {
    root: PathBuf,
    side: Side,
}

#[derive(Clone)]
enum Side {
    Real,
    Sim(Arc<dyn SimDisk>),
}

impl Disk {
    /// The directory `root` of the machine's file system, made if it is not there.
    pub fn real(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        make_private(&root)?;
        Ok(Disk { root, side: Side::Real })
    }

    /// The whole of a simulated disk.
    pub fn simulated(disk: Arc<dyn SimDisk>) -> Self {
        Disk { root: PathBuf::new(), side: Side::Sim(disk) }
    }

    /// The directory `name` below this one, made if it is not there; its own name lasts from then on.
    pub fn subdir(&self, name: &str) -> io::Result<Disk> {
        let root = self.path(name)?;
        match &self.side {
            Side::Real if root.is_dir() => {}
            Side::Real => {
                make_private(&root)?;
                self.sync()?;
            }
            Side::Sim(d) => d.create_dir_all(&root)?,
        }
        Ok(Disk { root, side: self.side.clone() })
    }

    /// Takes the file `name` as a sign that this process alone uses the directory; makes it if needed.
    ///
    /// The sign goes when the value is dropped or the process ends, however it ends. Fails with
    /// [`io::ErrorKind::WouldBlock`] when another holds it. A simulated disk always grants it: there, a
    /// process that ended can no longer reach its files.
    pub fn lock(&self, name: &str) -> io::Result<DiskLock> {
        let file = self.open(name, true)?;
        if let FileSide::Real(f) = &file.0 {
            rustix::fs::flock(f.as_ref(), rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        }
        Ok(DiskLock(file))
    }

    /// Opens a file for reading and writing; makes it if `create`, for its owner alone (mode 0600).
    pub fn open(&self, name: &str, create: bool) -> io::Result<DiskFile> {
        let path = self.path(name)?;
        Ok(match &self.side {
            Side::Real => DiskFile(FileSide::Real(
                fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(create)
                    .truncate(false)
                    .mode(FILE_MODE)
                    .open(path)?
                    .into(),
            )),
            Side::Sim(d) => DiskFile(FileSide::Sim(d.open(&path, create)?)),
        })
    }

    /// Renames a file over another, atomically. Lasts after [`Disk::sync`].
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        match &self.side {
            Side::Real => fs::rename(from, to),
            Side::Sim(d) => d.rename(&from, &to),
        }
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name)?;
        match &self.side {
            Side::Real => fs::remove_file(path),
            Side::Sim(d) => d.remove(&path),
        }
    }

    /// The names in this directory, sorted.
    pub fn list(&self) -> io::Result<Vec<String>> {
        match &self.side {
            Side::Real => {
                let mut names = Vec::new();
                for entry in fs::read_dir(&self.root)? {
                    names.extend(entry?.file_name().into_string());
                }
                names.sort();
                Ok(names)
            }
            Side::Sim(d) => d.list(&self.root),
        }
    }

    /// Makes created, renamed and removed names in this directory last.
    pub fn sync(&self) -> io::Result<()> {
        match &self.side {
            Side::Real => fs::File::open(&self.root)?.sync_all(),
            Side::Sim(d) => d.sync_dir(&self.root),
        }
    }

    /// Bytes that may still be written below this directory.
    pub fn free_space(&self) -> io::Result<u64> {
        match &self.side {
            Side::Real => {
                let stat = rustix::fs::statvfs(&self.root)?;
                Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
            }
            Side::Sim(d) => d.free_space(),
        }
    }

    /// Where it is on the machine, for messages.
    pub fn display(&self) -> std::path::Display<'_> {
        self.root.display()
    }

    /// A name must stay below the directory: only plain components are taken.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let relative = Path::new(name);
        if relative.components().all(|c| matches!(c, Component::Normal(_))) {
            Ok(self.root.join(relative))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not a plain file name")))
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({})", self.root.display())
    }
}

/// An open file. Clones are handles to the same one.
#[derive(Clone)]
pub struct DiskFile(FileSide);

#[derive(Clone)]
enum FileSide {
    Real(Arc<fs::File>),
    Sim(Arc<dyn SimFile>),
}

impl DiskFile {
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let read = match &self.0 {
                FileSide::Real(f) => f.read_at(&mut buf[done..], at),
                FileSide::Sim(f) => f.read_at(&mut buf[done..], at),
            };
            match read {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Fills `buf` from `offset` if that needs no waiting for the device, and says whether it did.
    ///
    /// `false` also where the file system cannot tell, or the file ends before; `buf` then holds anything.
    pub fn try_read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        use rustix::io::{Errno, ReadWriteFlags};
        let wanted = buf.len();
        match &self.0 {
            FileSide::Sim(f) => Ok(f.read_at(buf, offset)? == wanted),
            FileSide::Real(f) => {
                let mut parts = [io::IoSliceMut::new(buf)];
                match rustix::io::preadv2(f.as_ref(), &mut parts, offset, ReadWriteFlags::NOWAIT) {
                    Ok(n) => Ok(n == wanted),
                    Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                        Ok(false)
                    }
                    Err(e) => Err(e.into()),
                }
            }
        }
    }

    /// Writes all of `buf` at `offset`. After an error any part of it may be there.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let written = match &self.0 {
                FileSide::Real(f) => f.write_at(&buf[done..], at),
                FileSide::Sim(f) => f.write_at(&buf[done..], at),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Makes what was written last (`fdatasync`). After an error nothing is known about what was written
    /// since the last success, and a second call proves nothing.
    pub fn sync(&self) -> io::Result<()> {
        match &self.0 {
            FileSide::Real(f) => f.sync_data(),
            FileSide::Sim(f) => f.sync(),
        }
    }

    /// The length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        match &self.0 {
            FileSide::Real(f) => Ok(f.metadata()?.len()),
            FileSide::Sim(f) => f.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|l| l == 0)
    }

    /// Cuts, or extends with zeros.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.0 {
            FileSide::Real(f) => f.set_len(len),
            FileSide::Sim(f) => f.set_len(len),
        }
    }
}

/// Held while this process alone may use a directory: see [`Disk::lock`].
pub struct DiskLock(#[allow(dead_code)] DiskFile);

fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_reads_what_is_made_and_what_is_there_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
        fs::create_dir(dir.path().join("former")).unwrap();
        fs::set_permissions(dir.path().join("former"), fs::Permissions::from_mode(0o755)).unwrap();
        Disk::real(dir.path().join("former")).unwrap();
        let disk = Disk::real(dir.path().join("data")).unwrap();
        disk.subdir("state").unwrap().open("log", true).unwrap();
        assert_eq!((mode("data"), mode("data/state"), mode("data/state/log")), (0o700, 0o700, 0o600));
        assert_eq!(mode("former"), 0o755);
    }

    #[test]
    fn files_are_written_and_read_by_position() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap().subdir("a").unwrap();
        let file = disk.open("f", true).unwrap();
        file.write_at(b"world", 6).unwrap();
        file.write_at(b"hello ", 0).unwrap();
        file.sync().unwrap();
        disk.rename("f", "g").unwrap();
        disk.sync().unwrap();
        let mut buf = [0; 32];
        let n = disk.open("g", false).unwrap().read_at(&mut buf, 0).unwrap();
        assert_eq!(&buf[..n], b"hello world");
        assert_eq!(disk.list().unwrap(), ["g"]);
        disk.remove("g").unwrap();
        assert!(disk.open("g", false).is_err());
        assert!(disk.free_space().unwrap() > 0);
    }

    #[test]
    fn what_was_just_written_is_read_without_waiting_and_never_past_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = Disk::real(dir.path()).unwrap().open("f", true).unwrap();
        file.write_at(b"0123456789", 0).unwrap();
        let mut buf = [0; 4];
        if file.try_read_at(&mut buf, 3).unwrap() {
            assert_eq!(&buf, b"3456");
        }
        assert!(!file.try_read_at(&mut buf, 8).unwrap());
    }

    #[test]
    fn files_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Disk::real(dir.path()).unwrap().open("f", true).unwrap();
        assert_eq!(fs::metadata(dir.path().join("f")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let held = disk.lock("lock").unwrap();
        assert_eq!(disk.lock("lock").err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        disk.lock("lock").unwrap();
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        for name in ["../x", "/etc/passwd", "a/../../x"] {
            assert!(disk.open(name, true).is_err(), "{name}");
        }
    }
}
