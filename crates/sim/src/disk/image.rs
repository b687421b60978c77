//! What a simulated disk holds: what programs see, and what would survive a loss of power.

use selvedge_rt::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Devices write this many bytes whole.
const SECTOR: usize = 512;

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// What a crash took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashLoss {
    /// Bytes written and not there any more.
    pub bytes: u64,
    /// Writes of which a part is there.
    pub torn: u64,
    /// Changes of names undone.
    pub names: u64,
}

impl CrashLoss {
    pub(super) fn add(&mut self, other: CrashLoss) {
        self.bytes += other.bytes;
        self.torn += other.torn;
        self.names += other.names;
    }
}

#[derive(Default)]
pub(super) struct Image {
    files: BTreeMap<FileId, File>,
    names: BTreeMap<PathBuf, FileId>,
    lasting_names: BTreeMap<PathBuf, FileId>,
    pending_names: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    next_id: u64,
}

#[derive(Default)]
struct File {
    live: Vec<u8>,
    lasting: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, FileId),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, FileId),
}

impl Image {
    pub(super) fn open(&mut self, path: &Path, create: bool) -> io::Result<FileId> {
        if let Some(id) = self.names.get(path) {
            return Ok(*id);
        }
        if !create {
            return Err(ErrorKind::NotFound.into());
        }
        let id = FileId(self.next_id);
        self.next_id += 1;
        self.files.insert(id, File::default());
        self.names.insert(path.to_owned(), id);
        self.pending_names.push(NameChange::Link(path.to_owned(), id));
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.names.remove(from).ok_or(ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), id);
        self.pending_names.push(NameChange::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.names.remove(path).ok_or(ErrorKind::NotFound)?;
        self.pending_names.push(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    /// Directories last at once: that is what the seam promises of them.
    pub(super) fn create_dir_all(&mut self, path: &Path) {
        self.dirs.extend(path.ancestors().map(Path::to_owned));
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inside = |p: &&PathBuf| p.parent() == Some(dir);
        let name = |p: &PathBuf| p.file_name().map(|n| n.to_string_lossy().into_owned());
        let mut names: Vec<String> = self.names.keys().filter(inside).filter_map(name).collect();
        names.extend(self.dirs.iter().filter(inside).filter_map(name));
        names.sort();
        Ok(names)
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.names.keys().map(|p| p.to_string_lossy().into_owned()).collect()
    }

    pub(super) fn used(&self) -> u64 {
        self.names.values().map(|id| self.len(*id)).sum()
    }

    pub(super) fn len(&self, id: FileId) -> u64 {
        self.files.get(&id).map_or(0, |f| f.live.len() as u64)
    }

    pub(super) fn read(&self, id: FileId, buf: &mut [u8], at: u64) -> usize {
        let Some(file) = self.files.get(&id) else { return 0 };
        let rest = usize::try_from(at).ok().and_then(|at| file.live.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        n
    }

    pub(super) fn write(&mut self, id: FileId, data: &[u8], at: u64) {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        self.change(id, Change::Write { at, data: data.to_owned() });
    }

    pub(super) fn set_len(&mut self, id: FileId, len: u64) {
        self.change(id, Change::SetLen(usize::try_from(len).unwrap_or(usize::MAX)));
    }

    fn change(&mut self, id: FileId, change: Change) {
        let Some(file) = self.files.get_mut(&id) else { return };
        change.apply(&mut file.live);
        file.pending.push(change);
    }

    pub(super) fn sync(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(&id) else { return };
        for change in file.pending.drain(..) {
            change.apply(&mut file.lasting);
        }
    }

    /// Any part of what was pending lasts; the rest never will, though it is still read.
    pub(super) fn fail_sync(&mut self, id: FileId, rng: &mut Rng) {
        let Some(file) = self.files.get_mut(&id) else { return };
        for change in std::mem::take(&mut file.pending) {
            change.apply_partly(&mut file.lasting, rng, &mut CrashLoss::default());
        }
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let (here, elsewhere) = std::mem::take(&mut self.pending_names)
            .into_iter()
            .partition(|c: &NameChange| c.dir() == Some(dir));
        self.pending_names = elsewhere;
        for change in here {
            change.apply(&mut self.lasting_names);
        }
    }

    /// Of each directory's changes some first ones last; of each file's, any.
    pub(super) fn crash(&mut self, rng: &mut Rng) -> CrashLoss {
        let mut loss = CrashLoss::default();
        self.crash_names(rng, &mut loss);
        self.names = self.lasting_names.clone();
        let named: BTreeSet<FileId> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        for file in self.files.values_mut() {
            for change in std::mem::take(&mut file.pending) {
                change.apply_partly(&mut file.lasting, rng, &mut loss);
            }
            file.live = file.lasting.clone();
        }
        loss
    }

    fn crash_names(&mut self, rng: &mut Rng, loss: &mut CrashLoss) {
        let mut journals: BTreeMap<Option<PathBuf>, Vec<NameChange>> = BTreeMap::new();
        for change in self.pending_names.drain(..) {
            journals.entry(change.dir().map(Path::to_owned)).or_default().push(change);
        }
        for changes in journals.into_values() {
            let lasting = usize::try_from(rng.below(changes.len() as u64 + 1)).unwrap_or(0);
            loss.names += (changes.len() - lasting) as u64;
            for change in changes.into_iter().take(lasting) {
                change.apply(&mut self.lasting_names);
            }
        }
    }

    pub(super) fn flip_bit(&mut self, path: &Path, rng: &mut Rng) -> Option<u64> {
        let file = self.names.get(path).and_then(|id| self.files.get_mut(id))?;
        let at = rng.below(file.live.len() as u64);
        let mask = 1u8 << rng.below(8);
        let index = usize::try_from(at).ok()?;
        *file.live.get_mut(index)? ^= mask;
        if let Some(byte) = file.lasting.get_mut(index) {
            *byte ^= mask;
        }
        Some(at)
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::SetLen(len) => to.resize(*len, 0),
            Change::Write { at, data } => put(to, *at, data),
        }
    }

    fn apply_partly(&self, to: &mut Vec<u8>, rng: &mut Rng, loss: &mut CrashLoss) {
        match (self, rng.below(3)) {
            (_, 0) => self.apply(to),
            (Change::Write { at, data }, 1) => put_torn(to, *at, data, rng, loss),
            (Change::Write { data, .. }, _) => loss.bytes += data.len() as u64,
            (Change::SetLen(_), _) => {}
        }
    }
}

fn put(to: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at.saturating_add(data.len());
    if to.len() < end {
        to.resize(end, 0);
    }
    to[at..end].copy_from_slice(data);
}

/// Each sector of the write is there or not.
fn put_torn(to: &mut Vec<u8>, at: usize, data: &[u8], rng: &mut Rng, loss: &mut CrashLoss) {
    loss.torn += 1;
    let (mut from, mut end) = (0, SECTOR - at % SECTOR);
    while from < data.len() {
        end = end.min(data.len());
        if rng.below(2) == 0 {
            put(to, at + from, &data[from..end]);
        } else {
            loss.bytes += (end - from) as u64;
        }
        (from, end) = (end, end + SECTOR);
    }
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::Link(path, _) | NameChange::Unlink(path) | NameChange::Rename(_, path, _) => {
                path.parent()
            }
        }
    }

    fn apply(self, to: &mut BTreeMap<PathBuf, FileId>) {
        match self {
            NameChange::Link(path, id) => {
                to.insert(path, id);
            }
            NameChange::Unlink(path) => {
                to.remove(&path);
            }
            NameChange::Rename(from, path, id) => {
                to.remove(&from);
                to.insert(path, id);
            }
        }
    }
}
