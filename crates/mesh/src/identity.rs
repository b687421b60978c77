//! The node's own key: made at its first start, kept in its data directory, readable by its owner alone.

use iroh::SecretKey;
use selvedge_rt::{Disk, Secrets};
use selvedge_types::NodeKey;
use std::fmt;
use std::io;

/// The file in the data directory.
pub const FILE: &str = "node-key";
const NEW_FILE: &str = "node-key.new";
/// What the file begins with: its kind and format. The seed of 32 bytes and a checksum of both follow.
const MAGIC: &[u8; 8] = b"SLVKEY\0\x01";
const LENGTH: usize = 8 + 32 + 4;

/// A node's private key (Ed25519, RFC 8032). Whoever has it is the node.
#[derive(Clone)]
pub struct Identity(SecretKey);

/// Why the node's key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("the node's key in {file} cannot be read or written: {source}")]
    Io {
        /// Where it is.
        file: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The file is there and is not a key.
    #[error(
        "{file} is damaged; restore it from a backup, or remove the node from the cluster and let it join anew \
         with an empty data directory"
    )]
    Damaged {
        /// Where it is.
        file: String,
    },
}

impl Identity {
    /// The key with this seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Identity(SecretKey::from_bytes(&seed))
    }

    /// The key in `disk`, which is made and made to last if there is none. Blocks.
    pub fn load_or_make(disk: &Disk, secrets: &Secrets) -> Result<Self, IdentityError> {
        let file = || format!("{}/{FILE}", disk.display());
        let failed = |source| IdentityError::Io { file: file(), source };
        match read(disk).map_err(failed)? {
            Some(bytes) => decode(&bytes).ok_or_else(|| IdentityError::Damaged { file: file() }),
            None => make(disk, secrets).map_err(failed),
        }
    }

    /// The public half, by which the node is known.
    pub fn key(&self) -> NodeKey {
        NodeKey::from_bytes(*self.0.public().as_bytes())
    }

    pub(crate) fn secret(&self) -> &SecretKey {
        &self.0
    }
}

/// Says which node it is, and no secret.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.key())
    }
}

fn read(disk: &Disk) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(FILE, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = vec![0; LENGTH + 1];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Written aside first: a crash leaves the whole key or none.
fn make(disk: &Disk, secrets: &Secrets) -> io::Result<Identity> {
    let seed = secrets.bytes()?;
    let file = disk.open(NEW_FILE, true)?;
    file.set_len(0)?;
    file.write_at(&encode(&seed), 0)?;
    file.sync()?;
    disk.rename(NEW_FILE, FILE)?;
    disk.sync()?;
    Ok(Identity::from_seed(seed))
}

fn encode(seed: &[u8; 32]) -> Vec<u8> {
    let mut bytes = [MAGIC.as_slice(), seed].concat();
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Identity> {
    let seed: [u8; 32] = bytes.strip_prefix(MAGIC)?.get(..32)?.try_into().ok()?;
    (bytes == encode(&seed)).then(|| Identity::from_seed(seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_and_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let made = Identity::load_or_make(&disk, &Secrets::System).unwrap();
        assert_eq!(Identity::load_or_make(&disk, &Secrets::System).unwrap().key(), made.key());
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!dir.path().join(NEW_FILE).exists());
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        Identity::load_or_make(&disk, &Secrets::System).unwrap();
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(dir.path().join(FILE), &bytes).unwrap();
            let error = Identity::load_or_make(&disk, &Secrets::System).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "byte {at}");
        }
        for bytes in [&whole[..whole.len() - 1], &[], &[&whole[..], b"x"].concat()] {
            std::fs::write(dir.path().join(FILE), bytes).unwrap();
            assert!(Identity::load_or_make(&disk, &Secrets::System).is_err());
        }
    }

    #[test]
    fn a_key_does_not_show_its_secret() {
        let identity = Identity::from_seed([5; 32]);
        assert_eq!(format!("{identity:?}"), format!("Identity({:?})", identity.key()));
    }
}
