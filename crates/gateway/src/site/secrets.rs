//! Secrets that a configuration refers to.

use ring::digest;
use selvedge_rt::read_operator_file;
use selvedge_types::resource::SecretRef;
use std::fmt;
use std::path::Path;
use subtle::ConstantTimeEq;

/// Finds what references to secrets stand for. Asked when a configuration is read, never on a request's path.
pub trait SecretSource {
    /// The content that `reference` names, or why it cannot be had.
    fn read(&self, reference: &SecretRef) -> Result<Vec<u8>, String>;
}

/// The largest file that is read as a secret, in bytes; what is larger is an error.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Secrets in this process's environment and in files it can read.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSecrets;

impl SecretSource for SystemSecrets {
    fn read(&self, reference: &SecretRef) -> Result<Vec<u8>, String> {
        match reference {
            SecretRef::Env(name) => std::env::var_os(&**name)
                .map(std::os::unix::ffi::OsStringExt::into_vec)
                .ok_or_else(|| format!("the environment variable {name} is not set")),
            SecretRef::File(path) => read_operator_file(Path::new(&**path), SECRET_BYTES_MAX)
                .map_err(|error| format!("{path}: {error}")),
        }
    }
}

/// The SHA-256 digest of a secret, which is all that is kept of it.
#[derive(Clone, Copy)]
pub(super) struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of `text`.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
        SecretDigest(bytes)
    }

    /// What a secret's content says: the secret, or `sha256:` and its digest; one line end is ignored.
    pub(super) fn of_content(content: &[u8]) -> Result<Self, String> {
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        match content.strip_prefix(b"sha256:") {
            Some(hex) => {
                from_hex(hex).ok_or_else(|| "the digest after `sha256:` has not 64 hex digits".into())
            }
            None if content.is_empty() => Err("the secret is empty".into()),
            None => Ok(SecretDigest::of(content)),
        }
    }

    /// Whether both are the same, in a time that does not tell how much of them is.
    pub(super) fn is(&self, other: &SecretDigest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(..)")
    }
}

fn from_hex(hex: &[u8]) -> Option<SecretDigest> {
    let mut bytes = [0; 32];
    let digit = |b: u8| char::from(b).to_digit(16);
    let (pairs, []) = hex.as_chunks::<2>() else { return None };
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
    }
    Some(SecretDigest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_too_long_is_refused_and_never_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let reference = SecretRef::File(path.to_str().unwrap().into());
        std::fs::write(&path, vec![b'a'; SECRET_BYTES_MAX as usize]).unwrap();
        assert_eq!(SystemSecrets.read(&reference).map(|s| s.len()), Ok(SECRET_BYTES_MAX as usize));
        std::fs::write(&path, vec![b'a'; SECRET_BYTES_MAX as usize + 1]).unwrap();
        assert!(SystemSecrets.read(&reference).unwrap_err().contains("larger than"));
    }

    #[test]
    fn a_secret_is_plain_or_a_digest() {
        let secret = SecretDigest::of(b"hunter2");
        let digest = b"sha256:f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";
        for content in [&b"hunter2"[..], b"hunter2\n", b"hunter2\r\n", digest] {
            assert!(SecretDigest::of_content(content).unwrap().is(&secret));
        }
        assert!(!SecretDigest::of_content(b"hunter3").unwrap().is(&secret));
        for bad in [&b""[..], b"\n", b"sha256:12", b"sha256:zz"] {
            assert!(SecretDigest::of_content(bad).is_err());
        }
        assert_eq!(format!("{secret:?}"), "SecretDigest(..)");
    }
}
