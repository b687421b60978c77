//! The 128-bit hashes that stand for cache keys, in RAM and on disk.
//!
//! They are the first 16 bytes of BLAKE3 in keyed mode, the key being a secret of the node that is made once
//! and kept in its data directory. Entries are found by hash alone, so a collision would serve one URL's
//! content for another; with a cryptographic function and an unknown key nobody can look for one.

use std::fmt;

/// A key's hash. The same key gives the same hash as long as the node keeps its secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 16]);

impl KeyHash {
    /// The hash with these bytes, as read back from disk.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        KeyHash(bytes)
    }

    /// The bytes, as kept on disk.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The first half as a number, evenly spread: for choosing shards and slots.
    pub const fn low(self) -> u64 {
        let b = self.0;
        u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
    }

    /// The second half as a number, independent of the first.
    pub const fn high(self) -> u64 {
        let b = self.0;
        u64::from_le_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]])
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Hashes keys with a node's secret.
#[derive(Clone)]
pub struct KeyHasher {
    secret: [u8; 32],
}

impl KeyHasher {
    /// A hasher with that secret.
    pub const fn new(secret: [u8; 32]) -> Self {
        KeyHasher { secret }
    }

    /// The hash of `bytes`.
    pub fn hash(&self, bytes: &[u8]) -> KeyHash {
        let digest = blake3::keyed_hash(&self.secret, bytes);
        let mut half = [0; 16];
        half.copy_from_slice(&digest.as_bytes()[..16]);
        KeyHash(half)
    }

    /// The hash of two numbers, for short secondary keys: for one `a`, no two `b` have the same.
    pub fn hash_pair(&self, a: u64, b: u64) -> KeyHash {
        let mut half = [0; 16];
        half.copy_from_slice(&self.secret[..16]);
        let secret = KeyHash(half);
        let low = spread(b ^ spread(a ^ secret.low()));
        let high = spread(low ^ secret.high());
        let mut both = [0; 16];
        both[..8].copy_from_slice(&low.to_le_bytes());
        both[8..].copy_from_slice(&high.to_le_bytes());
        KeyHash(both)
    }
}

/// A one-to-one mixing of 64 bits (the finalizer of MurmurHash3).
const fn spread(mut x: u64) -> u64 {
    x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_do_not_change_between_versions() {
        let hasher = KeyHasher::new([7; 32]);
        let found = format!("{:?}", hasher.hash(b"https://a.example/"));
        assert_eq!(found, "8e8797576fb6cda06f4a7752f04ccf74");
        assert_eq!(format!("{:?}", hasher.hash_pair(1, 2)), "26e562a792cd726813d185187dee0fc1");
        assert_ne!(hasher.hash_pair(1, 2), KeyHasher::new([8; 32]).hash_pair(1, 2));
        assert_ne!(hasher.hash(b"a"), KeyHasher::new([8; 32]).hash(b"a"));
        assert_eq!(format!("{hasher:?}"), "KeyHasher");
    }
}
