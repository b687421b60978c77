//! Tables of ordered keys, changed in atomic batches that say up to which log record they were made.
//!
//! `redb` with its storage over [`selvedge_rt::Disk`]. A commit is atomic at once and lasts from the next
//! [`Engine::checkpoint`] on; what is lost in between comes back from the log.
//!
//! After any failure of the disk the engine takes nothing more ([`Error::Failed`]): its pages in memory are
//! not what the disk holds. [`Engine::recreate`] makes a new one from what the caller knows.

mod backend;

use crate::wal::Sequence;
use backend::Backend;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use selvedge_rt::Disk;
use std::io;
use std::ops::RangeBounds;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The file's name.
const FILE: &str = "tables.redb";

/// A file being written that takes its name when it is whole.
const PART: &str = "tables.redb.part";

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("selvedge.meta");
const APPLIED: &str = "applied";
const FORMAT: &str = "format";

/// The format of what is in the tables' frame; the tables' owners version their own values.
const FORMAT_VERSION: u64 = 1;

/// A table's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub &'static str);

impl Table {
    fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.0)
    }
}

/// The limits of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory for pages, in bytes.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache_bytes: 16 << 20 }
    }
}

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk is full. The engine is stopped, the data of the last checkpoint is safe.
    #[error("the disk at {path} is full; free some space: the tables are then made anew")]
    Full {
        /// Where the engine is.
        path: String,
    },
    /// The disk failed. The engine is stopped.
    #[error("using the tables at {path} failed")]
    Failed {
        /// Where the engine is.
        path: String,
        /// What went wrong.
        source: Box<redb::Error>,
    },
    /// The file is not what was written.
    #[error("the tables at {path} are damaged ({what}); restore them from a backup or a peer")]
    Damaged {
        /// Where the engine is.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The file is of a format that this version does not know.
    #[error("the tables at {path} have format version {version}; this version reads 1: use a newer one")]
    Version {
        /// Where the engine is.
        path: String,
        /// The version it states.
        version: u64,
    },
}

/// Changes that are made together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    table: Table,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.push(Change { table, key: key.into(), value: Some(value.into()) });
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.changes.push(Change { table, key: key.into(), value: None });
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// The tables. Blocking.
pub struct Engine {
    database: Database,
    path: String,
}

impl Engine {
    /// Opens the tables in `disk`, or makes empty ones, and checks every page.
    ///
    /// What a former process failed to flush may be readable and yet not last; so the file is copied, and
    /// the copy flushed, before anything in it counts.
    pub fn open(disk: &Disk, options: Options) -> Result<Self, Error> {
        let path = format!("{}/{FILE}", disk.display());
        let io_error = |e: io::Error| failure(&path, e.into());
        if disk.list().map_err(io_error)?.iter().any(|n| n == FILE) {
            copy(disk).map_err(io_error)?;
            return Self::open_file(disk, FILE, options, path);
        }
        Self::recreate(disk, options, &Batch::default(), Sequence(0))
    }

    /// Replaces whatever is in `disk` by new tables that hold `contents`.
    pub fn recreate(
        disk: &Disk,
        options: Options,
        contents: &Batch,
        applied: Sequence,
    ) -> Result<Self, Error> {
        let path = format!("{}/{FILE}", disk.display());
        let io_error = |e: io::Error| failure(&path, e.into());
        disk.open(PART, true).and_then(|f| f.set_len(0)).map_err(io_error)?;
        let engine = Self::open_file(disk, PART, options, path.clone())?;
        engine.commit(contents, applied)?;
        engine.checkpoint()?;
        disk.rename(PART, FILE).and_then(|()| disk.sync()).map_err(io_error)?;
        Ok(engine)
    }

    fn open_file(disk: &Disk, name: &str, options: Options, path: String) -> Result<Self, Error> {
        let file = disk.open(name, false).map_err(|e| failure(&path, e.into()))?;
        let open = || {
            Database::builder()
                .set_cache_size(options.cache_bytes)
                .set_check_integrity_on_open(true)
                .create_with_backend(Backend(file))
        };
        // A file whose very structure is damaged makes the library panic.
        let database = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| Error::Damaged { path: path.clone(), what: "its structure is broken".into() })?
            .map_err(|e| failure(&path, e.into()))?;
        let engine = Engine { database, path };
        engine.check_format()?;
        Ok(engine)
    }

    /// Makes the changes, atomically, and remembers that they are of record `applied`.
    ///
    /// They are seen at once and last from the next checkpoint on.
    pub fn commit(&self, batch: &Batch, applied: Sequence) -> Result<(), Error> {
        self.write(Durability::None, |tx| {
            tx.open_table(META)?.insert(APPLIED, applied.0)?;
            // Runs of the same table share its opening.
            for run in batch.changes.chunk_by(|a, b| a.table == b.table) {
                let Some(first) = run.first() else { continue };
                let mut table = tx.open_table(first.table.definition())?;
                for change in run {
                    match &change.value {
                        Some(value) => table.insert(&change.key[..], &value[..])?,
                        None => table.remove(&change.key[..])?,
                    };
                }
            }
            Ok(())
        })
    }

    /// Makes all commits last; returns the record up to which the log is no longer needed.
    pub fn checkpoint(&self) -> Result<Sequence, Error> {
        let applied = self.view()?.applied()?;
        self.write(Durability::Immediate, |_| Ok(()))?;
        Ok(applied)
    }

    /// The tables as they are now, unchanged by what follows.
    pub fn view(&self) -> Result<View, Error> {
        let transaction = self.database.begin_read().map_err(|e| failure(&self.path, e.into()))?;
        Ok(View { transaction, path: self.path.clone() })
    }

    fn write(
        &self,
        durability: Durability,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), Error> {
        let write = || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(durability)?;
            work(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|e| failure(&self.path, e))
    }

    fn check_format(&self) -> Result<(), Error> {
        match self.view()?.meta(FORMAT)? {
            Some(FORMAT_VERSION) => Ok(()),
            Some(version) => Err(Error::Version { path: self.path.clone(), version }),
            None => self.write(Durability::None, |tx| {
                tx.open_table(META)?.insert(FORMAT, FORMAT_VERSION)?;
                Ok(())
            }),
        }
    }
}

/// The tables at one moment.
pub struct View {
    transaction: redb::ReadTransaction,
    path: String,
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

impl View {
    /// The record of the last commit; 0 if there was none.
    pub fn applied(&self) -> Result<Sequence, Error> {
        Ok(Sequence(self.meta(APPLIED)?.unwrap_or(0)))
    }

    /// The value of a key.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let get = || -> Result<_, redb::Error> {
            let Some(table) = absent_is_none(self.transaction.open_table(table.definition()))? else {
                return Ok(None);
            };
            Ok(table.get(key)?.map(|v| v.value().to_vec()))
        };
        get().map_err(|e| failure(&self.path, e))
    }

    /// The rows whose keys lie in `keys`, in order.
    pub fn range<'k, K: RangeBounds<&'k [u8]> + 'k>(
        &self,
        table: Table,
        keys: K,
    ) -> Result<impl Iterator<Item = Result<Row, Error>> + use<'k, K>, Error> {
        let open = || -> Result<_, redb::Error> {
            let table = absent_is_none(self.transaction.open_table(table.definition()))?;
            Ok(table.map(|t| t.range(keys)).transpose()?)
        };
        let rows = open().map_err(|e| failure(&self.path, e))?;
        let path = self.path.clone();
        Ok(rows.into_iter().flatten().map(move |row| {
            let (key, value) = row.map_err(|e| failure(&path, e.into()))?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        }))
    }

    fn meta(&self, key: &str) -> Result<Option<u64>, Error> {
        let get = || -> Result<_, redb::Error> {
            let Some(table) = absent_is_none(self.transaction.open_table(META))? else { return Ok(None) };
            Ok(table.get(key)?.map(|v| v.value()))
        };
        get().map_err(|e| failure(&self.path, e))
    }
}

fn absent_is_none<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, redb::TableError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn failure(path: &str, error: redb::Error) -> Error {
    let path = path.to_owned();
    match error {
        redb::Error::Io(e) if crate::is_full(&e) => Error::Full { path },
        redb::Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
            Error::Damaged { path, what: e.to_string() }
        }
        redb::Error::Corrupted(what) => Error::Damaged { path, what },
        source => Error::Failed { path, source: Box::new(source) },
    }
}

/// Copies the file, flushes the copy, and puts it in the file's place.
fn copy(disk: &Disk) -> io::Result<()> {
    let (from, to) = (disk.open(FILE, false)?, disk.open(PART, true)?);
    to.set_len(0)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = from.read_at(&mut buffer, at)?;
        if read == 0 {
            break;
        }
        to.write_at(buffer.get(..read).unwrap_or_default(), at)?;
        at += read as u64;
    }
    to.sync()?;
    disk.rename(PART, FILE)?;
    disk.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITES: Table = Table("sites");
    const TOKENS: Table = Table("tokens");

    fn rows(engine: &Engine, table: Table) -> Vec<(String, String)> {
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        let view = engine.view().unwrap();
        let rows = view.range(table, ..).unwrap();
        rows.map(|r| r.unwrap()).map(|(k, v)| (text(k), text(v))).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.into(), value.into())
    }

    #[test]
    fn a_batch_changes_tables_together_and_a_view_does_not_change() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let engine = Engine::open(&disk, Options::default()).unwrap();
        let before = engine.view().unwrap();
        let mut batch = Batch::default();
        batch.put(SITES, "b", "1");
        batch.put(TOKENS, "t", "x");
        batch.put(SITES, "a", "2");
        batch.delete(SITES, "b");
        batch.put(SITES, "c", "3");
        engine.commit(&batch, Sequence(7)).unwrap();
        assert_eq!(rows(&engine, SITES), [pair("a", "2"), pair("c", "3")]);
        assert_eq!(before.get(TOKENS, b"t").unwrap(), None);
        assert_eq!(engine.view().unwrap().get(TOKENS, b"t").unwrap().unwrap(), b"x");
        assert_eq!(engine.view().unwrap().applied().unwrap(), Sequence(7));
        assert_eq!(engine.view().unwrap().range(Table("never made"), ..).unwrap().count(), 0);
    }

    #[test]
    fn a_checkpoint_lasts_and_ranges_keep_to_their_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let engine = Engine::open(&disk, Options::default()).unwrap();
        let mut batch = Batch::default();
        for key in ["a", "b", "c", "d"] {
            batch.put(SITES, key, key);
        }
        engine.commit(&batch, Sequence(3)).unwrap();
        assert_eq!(engine.checkpoint().unwrap(), Sequence(3));
        drop(engine);
        let engine = Engine::open(&disk, Options::default()).unwrap();
        let view = engine.view().unwrap();
        let found: Vec<_> = view.range(SITES, &b"b"[..]..&b"d"[..]).unwrap().map(|r| r.unwrap().0).collect();
        assert_eq!(found, [b"b", b"c"]);
        assert_eq!(view.applied().unwrap(), Sequence(3));
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        disk.open(FILE, true).unwrap().write_at(&[9; 5000], 0).unwrap();
        let error = Engine::open(&disk, Options::default()).err().unwrap();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}
