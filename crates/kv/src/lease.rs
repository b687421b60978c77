//! A lease: a time to live that its holder renews, and the keys that end with it.

use crate::key::Key;
use selvedge_types::UnixMillis;
use std::collections::BTreeSet;
use std::time::Duration;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// How long it lives after each renewal.
    pub(crate) ttl_ms: u64,
    /// When it was last renewed.
    pub(crate) renewed: UnixMillis,
    /// The keys that end with it.
    pub(crate) keys: BTreeSet<Key>,
}

impl Lease {
    /// When it may be ended, if all leases were renewed at that time.
    pub(crate) fn deadline(&self, all_renewed: UnixMillis) -> UnixMillis {
        self.renewed.max(all_renewed).plus(Duration::from_millis(self.ttl_ms))
    }
}

/// A lease as it is seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// How long it lives after each renewal, in milliseconds.
    pub ttl_ms: u64,
    /// When it may be ended, by the leader's clock.
    pub deadline: UnixMillis,
    /// The keys that end with it, in order.
    pub keys: Vec<Key>,
}
