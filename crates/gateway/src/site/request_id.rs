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
    keys: [u64; ROUNDS],
    next: AtomicU64,
}

/// Rounds of the permutation that hides the count.
const ROUNDS: usize = 4;

impl RequestIds {
    /// Ids that begin with `process`, a random number of this run. `secret`, another one, is what keeps those
    /// who see ids from reading in them how many requests there were.
    pub fn new(process: u64, secret: u64) -> Self {
        let keys = std::array::from_fn(|round| scramble(secret.wrapping_add(round as u64 + 1)));
        RequestIds { process, keys, next: AtomicU64::new(0) }
    }

    /// The next id.
    pub fn draw(&self) -> RequestId {
        RequestId(self.process, self.hide(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// A keyed permutation (a Feistel network): no two counts give one id, and without the keys the count cannot
    /// be computed back. It hides how busy a node is; it is no cipher to keep a secret with.
    fn hide(&self, count: u64) -> u64 {
        let (left, right) = self.keys.iter().fold((count >> 32, count & LOW), |(left, right), key| {
            (right, left ^ (scramble(right ^ key) >> 32))
        });
        left << 32 | right
    }
}

/// The lower half of a count.
const LOW: u64 = 0xffff_ffff;

/// The finaliser of splitmix64.
fn scramble(mut n: u64) -> u64 {
    n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_one_form() {
        let ids = RequestIds::new(0xabc, 1);
        let drawn: std::collections::BTreeSet<String> = (0..1000).map(|_| ids.draw().to_string()).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().all(|id| id.len() == 32 && id.starts_with("0000000000000abc")));
    }

    #[test]
    fn the_count_in_an_id_depends_on_the_secret() {
        let (one, two) = (RequestIds::new(0, 1), RequestIds::new(0, 2));
        assert!((0..100).all(|count| one.hide(count) != two.hide(count) && one.hide(count) != count));
    }

    proptest::proptest! {
        #[test]
        fn no_two_counts_give_one_id(a: u64, b: u64) {
            let ids = RequestIds::new(0, 7);
            proptest::prop_assert_eq!(a == b, ids.hide(a) == ids.hide(b));
        }
    }
}
