//! Names for requests, to find one in several logs.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A request's id: 32 hexadecimal digits. Unique, not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u64, u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

/// Gives ids out.
#[derive(Debug)]
pub struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that begin with `process`, a random number of this run.
    pub fn new(process: u64) -> Self {
        RequestIds { process, next: AtomicU64::new(0) }
    }

    /// The next id.
    pub fn draw(&self) -> RequestId {
        // A bijection (the finaliser of splitmix64): unique, and no count that outsiders can read.
        let mut n = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(self.process);
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        RequestId(self.process, n ^ (n >> 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_one_form() {
        let ids = RequestIds::new(0xabc);
        let drawn: std::collections::BTreeSet<String> = (0..1000).map(|_| ids.draw().to_string()).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().all(|id| id.len() == 32 && id.starts_with("0000000000000abc")));
    }
}
