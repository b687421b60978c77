//! A copy of the whole state in a file, and the store that it is of.
//!
//! ```text
//!   "SELVBACK", then frames: length (u32, little endian), CBOR (RFC 8949)
//!     head: format, cluster, when, revision, program
//!     rows, about 1 MiB each; any number of these
//!     end:  how many rows, BLAKE3 of all bytes before this frame
//! ```
//! A file that was cut off has no end, and is refused like any other that is damaged.

use crate::group::{self, Image, Row};
use crate::object::Kind;
use crate::publish::control_keyspace;
use crate::view::View;
use crate::{Error, codec};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use selvedge_kv::{Command, Delete, Entry, KeyRange, KeyspaceInfo, LoadError, Loader, Op, Store, Table, Txn};
use selvedge_store::engine;
use selvedge_types::{ClusterId, Hlc, Revision, UnixMillis};
use std::io::{self, Read};
use std::path::Path;

const MAGIC: [u8; 8] = *b"SELVBACK";
const FORMAT: u16 = 1;

/// The longest frame that is read: a page with the largest row that a store takes.
const FRAME_BYTES_MAX: u32 = 64 << 20;

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BackupHead {
    #[n(0)]
    format: u16,
    /// Of which cluster it is.
    #[n(1)]
    pub cluster: ClusterId,
    /// When it was taken, by the clock of the node that took it.
    #[n(2)]
    pub taken: UnixMillis,
    /// As of which revision.
    #[n(3)]
    pub revision: Revision,
    /// The version of the program that took it.
    #[n(4)]
    pub version: String,
}

#[derive(Encode, Decode)]
enum FrameForm {
    #[n(0)]
    Head(#[n(0)] BackupHead),
    #[n(1)]
    Rows(#[n(0)] Vec<RowForm>),
    #[n(2)]
    End {
        #[n(0)]
        rows: u64,
        #[cbor(n(1), with = "minicbor::bytes")]
        digest: [u8; 32],
    },
}

#[derive(Encode, Decode)]
struct RowForm {
    #[n(0)]
    table: String,
    #[n(1)]
    key: ByteVec,
    #[n(2)]
    value: ByteVec,
}

/// Why a file is no backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error("the backup cannot be read")]
    Read(#[from] io::Error),
    /// It begins as no backup does.
    #[error("this is not a backup made by `selvedge backup create`")]
    Foreign,
    /// It is of a later version.
    #[error("the backup is of format {found}, and this version reads {FORMAT}; use the version that made it")]
    Format {
        /// Its format.
        found: u16,
    },
    /// It ends before its end.
    #[error("the backup was cut off: it has no end; take another copy of it")]
    Cut,
    /// It is not as it was written.
    #[error("the backup is damaged: {what}; take another copy of it")]
    Damaged {
        /// In what.
        what: String,
    },
    /// Its rows are not a store.
    #[error("the backup does not hold a state that can be used")]
    Load(#[from] LoadError),
}

/// A backup that was read and checked.
#[derive(Debug)]
pub struct Backup {
    /// What it is of.
    pub head: BackupHead,
    store: Store,
}

/// What is in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupContents {
    /// How many nodes the cluster had.
    pub nodes: usize,
    /// Its sites, as `namespace/name`.
    pub sites: Vec<String>,
    /// The names of its tokens.
    pub tokens: Vec<String>,
    /// Users' keyspaces, and what they take, in bytes.
    pub keyspaces: Vec<(String, u64)>,
}

impl Backup {
    /// Reads the backup in a file. Blocking.
    pub fn open(path: &Path) -> Result<Backup, BackupError> {
        Backup::read(&mut io::BufReader::with_capacity(1 << 20, std::fs::File::open(path)?))
    }

    /// Reads a backup. Blocking; never panics, whatever it reads.
    pub fn read(source: &mut impl Read) -> Result<Backup, BackupError> {
        let mut frames = Frames { source, digest: blake3::Hasher::new() };
        let mut magic = [0; MAGIC.len()];
        frames.source.read_exact(&mut magic).map_err(|_| BackupError::Foreign)?;
        if magic != MAGIC {
            return Err(BackupError::Foreign);
        }
        frames.digest.update(&magic);
        let (FrameForm::Head(head), _) = frames.next()? else { return Err(damaged("its head")) };
        if head.format != FORMAT {
            return Err(BackupError::Format { found: head.format });
        }
        let (mut loader, mut count) = (Loader::default(), 0u64);
        loop {
            match frames.next()? {
                (FrameForm::Head(_), _) => return Err(damaged("a second head")),
                (FrameForm::Rows(rows), _) => {
                    for RowForm { table, key, value } in rows {
                        let known = Table::ALL.into_iter().find(|known| known.name() == table);
                        let table = known.ok_or_else(|| damaged(&format!("a table {table:?}")))?;
                        loader.row(table, &key, &value)?;
                        count += 1;
                    }
                }
                (FrameForm::End { rows, digest }, before) if rows == count && digest == before => break,
                (FrameForm::End { .. }, _) => return Err(damaged("it is not what was written")),
            }
        }
        Ok(Backup { head, store: loader.finish()? })
    }

    /// What is in it.
    pub fn contents(&self) -> BackupContents {
        let control = control_keyspace(&self.store);
        let (view, _) = View::read(&self.store, control);
        let users = self.store.keyspaces().filter(|space| Some(space.number) != control);
        BackupContents {
            nodes: view.nodes().len(),
            sites: view.resources().sites.keys().map(ToString::to_string).collect(),
            tokens: view.tokens().keys().cloned().collect(),
            keyspaces: users.map(|KeyspaceInfo { name, bytes, .. }| (name.to_string(), bytes)).collect(),
        }
    }

    /// The store, for a new cluster: without the nodes, tickets and purges of the former one, and without the secret
    /// that signed its tickets.
    pub(crate) fn for_new_cluster(self) -> Result<Store, Error> {
        let Backup { mut store, .. } = self;
        let Some(keyspace) = control_keyspace(&store) else { return Ok(store) };
        let former = [Kind::Node, Kind::Ticket, Kind::Stamp, Kind::Cluster];
        let delete =
            |kind| Op::Delete(Delete { keys: KeyRange::prefix(codec::keys_of(kind)), previous: false });
        let command = Command::Txn { keyspace, txn: Txn::of(former.map(delete)) };
        let outcome = store.apply(&Entry { time: Hlc::ZERO, call: None, command });
        outcome.answer.map_err(|refusal| Error::Group(group::Error::Refused(refusal)))?;
        Ok(store)
    }
}

/// Reads frames, and keeps the digest of those before.
struct Frames<'a, R> {
    source: &'a mut R,
    digest: blake3::Hasher,
}

impl<R: Read> Frames<'_, R> {
    /// The next frame, and the digest of all before it.
    fn next(&mut self) -> Result<(FrameForm, [u8; 32]), BackupError> {
        let before = *self.digest.finalize().as_bytes();
        let mut length = [0; 4];
        read_all(self.source, &mut length)?;
        self.digest.update(&length);
        let length = u32::from_le_bytes(length);
        if length > FRAME_BYTES_MAX {
            return Err(damaged("a length that no part of it has"));
        }
        // As much as there is: a wrong length takes no memory.
        let mut bytes = Vec::new();
        self.source.take(length.into()).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != u64::from(length) {
            return Err(BackupError::Cut);
        }
        self.digest.update(&bytes);
        let frame = minicbor::decode(&bytes).map_err(|error| damaged(&error.to_string()))?;
        Ok((frame, before))
    }
}

fn read_all(source: &mut impl Read, bytes: &mut [u8]) -> Result<(), BackupError> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Cut,
        _ => BackupError::Read(error),
    })
}

fn damaged(what: &str) -> BackupError {
    BackupError::Damaged { what: what.to_owned() }
}

/// A backup as it is written, part by part.
pub struct BackupParts {
    image: Image,
    head: Option<BackupHead>,
    digest: blake3::Hasher,
    rows: u64,
    is_over: bool,
}

impl BackupParts {
    pub(crate) fn new(image: Image, cluster: ClusterId, taken: UnixMillis, version: &str) -> Self {
        let (revision, version) = (image.revision(), version.to_owned());
        let head = Some(BackupHead { format: FORMAT, cluster, taken, revision, version });
        BackupParts { image, head, digest: blake3::Hasher::new(), rows: 0, is_over: false }
    }

    /// The next bytes of the file; none after the last. Blocking.
    pub fn next_part(&mut self) -> Result<Option<Vec<u8>>, engine::Error> {
        if self.is_over {
            return Ok(None);
        }
        let mut out = Vec::new();
        let frame = match self.head.take() {
            Some(head) => {
                out.extend_from_slice(&MAGIC);
                FrameForm::Head(head)
            }
            None => match self.image.page()? {
                Some(rows) => {
                    self.rows += rows.len() as u64;
                    FrameForm::Rows(rows.into_iter().map(RowForm::from).collect())
                }
                None => {
                    self.is_over = true;
                    FrameForm::End { rows: self.rows, digest: *self.digest.finalize().as_bytes() }
                }
            },
        };
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        let frame = minicbor::to_vec(frame).expect("encoding into memory");
        out.extend_from_slice(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&frame);
        self.digest.update(&out);
        Ok(Some(out))
    }
}

impl From<Row> for RowForm {
    fn from(row: Row) -> Self {
        RowForm { table: row.table.name().to_owned(), key: row.key.into(), value: row.value.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(form: FrameForm) -> Vec<u8> {
        let frame = minicbor::to_vec(form).unwrap();
        [&u32::try_from(frame.len()).unwrap().to_le_bytes()[..], &frame].concat()
    }

    fn head(format: u16) -> Vec<u8> {
        let head = BackupHead {
            format,
            cluster: ClusterId::from_bytes([1; 16]),
            taken: UnixMillis(1),
            revision: Revision(0),
            version: "1".into(),
        };
        [&MAGIC[..], &frame(FrameForm::Head(head))].concat()
    }

    fn error(bytes: &[u8]) -> String {
        Backup::read(&mut &bytes[..]).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_backup_is_refused_and_why_is_said() {
        assert!(error(b"").contains("not a backup"));
        assert!(error(b"#!/bin/sh\necho").contains("not a backup"));
        assert!(error(&head(2)).contains("format 2"));
        assert!(error(&head(1)).contains("cut off"));
        let endless = [&head(1)[..], &u32::MAX.to_le_bytes()].concat();
        assert!(error(&endless).contains("damaged"));
        let short = [&head(1)[..], &9u32.to_le_bytes(), b"x"].concat();
        assert!(error(&short).contains("cut off"));
        let row = RowForm { table: "other".into(), key: vec![].into(), value: vec![].into() };
        let foreign = [head(1), frame(FrameForm::Rows(vec![row]))].concat();
        assert!(error(&foreign).contains("\"other\""));
        let forged = [head(1), frame(FrameForm::End { rows: 0, digest: [0; 32] })].concat();
        assert!(error(&forged).contains("not what was written"));
    }
}
