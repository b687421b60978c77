//! What bounds a store. The limits are part of the state: what an entry does may depend on nothing else.

use minicbor::{Decode, Encode};
use std::fmt;

/// The limits of a store, chosen when it is made and kept with it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Limits {
    /// Bytes of a key.
    #[n(0)]
    pub key_bytes_max: u64,
    /// Bytes of a value.
    #[n(1)]
    pub value_bytes_max: u64,
    /// Comparisons of a transaction, and operations of each of its branches.
    #[n(2)]
    pub ops_max: u64,
    /// Keys that one revision changes.
    #[n(3)]
    pub changes_max: u64,
    /// Keys that one command or read looks at.
    #[n(4)]
    pub scan_max: u64,
    /// Bytes of keys and values in one answer; a range gives at least one key, whatever its size.
    #[n(5)]
    pub answer_bytes_max: u64,
    /// Keyspaces.
    #[n(6)]
    pub keyspaces_max: u64,
    /// The largest quota a keyspace may have, in bytes.
    #[n(7)]
    pub quota_bytes_max: u64,
    /// Changes of a keyspace that are kept to be read and watched; more compact the oldest.
    #[n(8)]
    pub history_max: u64,
    /// Leases of a keyspace.
    #[n(9)]
    pub leases_max: u64,
    /// Keys attached to a lease; never more than one revision may change.
    #[n(10)]
    pub lease_keys_max: u64,
    /// The shortest time to live of a lease, in milliseconds.
    #[n(11)]
    pub ttl_ms_min: u64,
    /// The longest time to live of a lease, in milliseconds.
    #[n(12)]
    pub ttl_ms_max: u64,
    /// Client sessions.
    #[n(13)]
    pub sessions_max: u64,
    /// Answers kept for each session: how many commands a client may have under way in it.
    #[n(14)]
    pub session_answers: u16,
    /// Bytes of an answer that is kept whole; of a larger one only the revision is.
    #[n(15)]
    pub session_answer_bytes_max: u64,
    /// After how long without a command a session may be ended, in milliseconds.
    #[n(16)]
    pub session_idle_ms: u64,
    /// Leases and sessions that one entry ends.
    #[n(17)]
    pub expire_max: u64,
    /// Compacted changes that are removed with each entry.
    #[n(18)]
    pub sweep_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            key_bytes_max: 4 << 10,
            value_bytes_max: 1 << 20,
            ops_max: 128,
            changes_max: 10_000,
            scan_max: 100_000,
            answer_bytes_max: 2 << 20,
            keyspaces_max: 10_000,
            quota_bytes_max: 8 << 30,
            history_max: 100_000,
            leases_max: 100_000,
            lease_keys_max: 10_000,
            ttl_ms_min: 1_000,
            ttl_ms_max: 10 * 365 * 24 * 3_600_000,
            sessions_max: 100_000,
            session_answers: 16,
            session_answer_bytes_max: 16 << 10,
            session_idle_ms: 3_600_000,
            expire_max: 1_000,
            sweep_max: 1_000,
        }
    }
}

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Limit {
    /// [`Limits::key_bytes_max`].
    #[n(0)]
    KeyBytes,
    /// [`Limits::value_bytes_max`].
    #[n(1)]
    ValueBytes,
    /// [`Limits::ops_max`].
    #[n(2)]
    Ops,
    /// [`Limits::changes_max`].
    #[n(3)]
    Changes,
    /// [`Limits::scan_max`].
    #[n(4)]
    Scan,
    /// [`Limits::answer_bytes_max`].
    #[n(5)]
    AnswerBytes,
    /// [`Limits::keyspaces_max`].
    #[n(6)]
    Keyspaces,
    /// [`Limits::quota_bytes_max`].
    #[n(7)]
    QuotaBytes,
    /// [`Limits::leases_max`].
    #[n(8)]
    Leases,
    /// [`Limits::lease_keys_max`].
    #[n(9)]
    LeaseKeys,
    /// [`Limits::sessions_max`].
    #[n(10)]
    Sessions,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::KeyBytes => "bytes of a key",
            Limit::ValueBytes => "bytes of a value",
            Limit::Ops => "comparisons or operations of a transaction",
            Limit::Changes => "keys changed at once",
            Limit::Scan => "keys looked at by one command",
            Limit::AnswerBytes => "bytes of an answer",
            Limit::Keyspaces => "keyspaces",
            Limit::QuotaBytes => "bytes of a keyspace's quota",
            Limit::Leases => "leases of a keyspace",
            Limit::LeaseKeys => "keys of a lease",
            Limit::Sessions => "client sessions",
        })
    }
}
