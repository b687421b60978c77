//! What tells a node from others and must outlive its restarts: the cluster's id and the cache's secret.

use selvedge_rt::{Disk, Secrets};
use selvedge_types::ClusterId;
use std::io;

const FILE: &str = "identity";
const NEW: &str = "identity.new";
/// Format 1: the magic, 32 bytes of the cache's secret, 16 of the cluster's id, then their checksum (the first 4 bytes of BLAKE3).
const MAGIC: &[u8; 8] = b"SLVGID\0\x01";
const LEN: usize = MAGIC.len() + 32 + 16 + 4;

/// A node's identity.
#[derive(Clone)]
pub struct Identity {
    /// Keys of the cache are hashed with it.
    pub cache_secret: [u8; 32],
    /// The cluster's id.
    pub cluster: ClusterId,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("the node's identity in the data directory cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// The file is not what was written.
    #[error(
        "the node's identity in the data directory is damaged; restore the file `identity` from a backup, \
         or remove it: the node then gets a new one and its cache is empty"
    )]
    Damaged,
}

impl Identity {
    /// Makes the identity of a node of `cluster` where there is none.
    pub fn join(disk: &Disk, secrets: &Secrets, cluster: ClusterId) -> Result<(), IdentityError> {
        Self::make(disk, secrets.bytes()?, *cluster.as_bytes()).map(|_| ())
    }

    /// Whether there is one.
    pub(super) fn is_there(disk: &Disk) -> io::Result<bool> {
        Ok(disk.list()?.iter().any(|name| name == FILE))
    }

    /// Drops the identity of a node that nobody has heard of yet.
    pub(super) fn forget(disk: &Disk) {
        if let Err(error) = disk.remove(FILE) {
            tracing::warn!(%error, "the identity of a node that did not start stays");
        }
    }

    /// Reads the identity, or makes one where there is none.
    pub fn load(disk: &Disk, secrets: &Secrets) -> Result<Self, IdentityError> {
        match disk.open(FILE, false) {
            Ok(file) => {
                let mut bytes = [0; LEN + 1];
                let read = file.read_at(&mut bytes, 0)?;
                Self::decode(&bytes[..read]).ok_or(IdentityError::Damaged)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut cluster = [0; 16];
                cluster.copy_from_slice(&secrets.bytes()?[..16]);
                Self::make(disk, secrets.bytes()?, cluster)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make(disk: &Disk, cache_secret: [u8; 32], cluster: [u8; 16]) -> Result<Self, IdentityError> {
        let mut bytes = [&MAGIC[..], &cache_secret, &cluster].concat();
        bytes.extend_from_slice(&checksum(&bytes));
        let file = disk.open(NEW, true)?;
        file.set_len(0)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        disk.rename(NEW, FILE)?;
        disk.sync()?;
        Self::decode(&bytes).ok_or(IdentityError::Damaged)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(LEN - 4).filter(|(_, sum)| sum.len() == 4)?;
        let rest = body.strip_prefix(MAGIC).filter(|_| checksum(body) == *sum)?;
        let (secret, cluster) = rest.split_first_chunk::<32>()?;
        Some(Identity { cache_secret: *secret, cluster: ClusterId::from_bytes(cluster.try_into().ok()?) })
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut sum = [0; 4];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..4]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let first = Identity::load(&disk, &Secrets::System).unwrap();
        let again = Identity::load(&disk, &Secrets::System).unwrap();
        assert_eq!(first.cache_secret, again.cache_secret);
        assert_eq!(first.cluster, again.cluster);
        disk.open(FILE, false).unwrap().write_at(b"x", 20).unwrap();
        assert!(matches!(Identity::load(&disk, &Secrets::System), Err(IdentityError::Damaged)));
        disk.open(FILE, false).unwrap().set_len(5).unwrap();
        assert!(matches!(Identity::load(&disk, &Secrets::System), Err(IdentityError::Damaged)));
    }
}
