//! The limits of a group.

use selvedge_kv::{Limits, WatchLimits};
use selvedge_store::wal::GroupId;
use selvedge_store::{engine, wal};
use std::time::Duration;

/// The limits of a group and its clocks.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which group; its number is in every record and message.
    pub group: GroupId,
    /// The log's limits.
    pub wal: wal::Options,
    /// The tables' limits.
    pub engine: engine::Options,
    /// What a store takes, from its first entry on for good.
    pub limits: Limits,
    /// What a node's watches take.
    pub watches: WatchLimits,
    /// How often a leader is heard of at least. More than the longest round trip between members.
    pub heartbeat: Duration,
    /// A member that has not heard of a leader for [`Options::election_max`] and a time between these two
    /// stands for election.
    pub election_min: Duration,
    /// The longest of these times, and how long a leader's last heartbeat binds who heard it.
    pub election_max: Duration,
    /// How long a leader's answer is waited for before it counts as lost.
    pub ask_timeout: Duration,
    /// How long a message with entries may take before it counts as lost.
    pub append_timeout: Duration,
    /// Messages with entries on their way to one member.
    pub pipeline_max: usize,
    /// Proposals and reads under way on one node; more of them wait, up to their own deadline.
    pub proposals_max: usize,
    /// Entries after which the state is made to last in the tables, so that the log can be cut.
    pub compaction_entries: u64,
    /// Bytes of entries after which likewise.
    pub compaction_bytes: u64,
    /// Bytes of entries that are kept for members who are behind.
    pub kept_bytes: u64,
    /// Bytes of rows in one message of a snapshot, about.
    pub snapshot_chunk_bytes: usize,
    /// Entries that a learner may be behind and yet become a voter.
    pub promotion_lag_max: u64,
    /// How often leases that are over are looked for.
    pub chores_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            group: GroupId(0),
            wal: wal::Options::default(),
            engine: engine::Options::default(),
            limits: Limits::default(),
            watches: WatchLimits::default(),
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(700),
            ask_timeout: Duration::from_millis(2_800),
            append_timeout: Duration::from_millis(600),
            pipeline_max: 16,
            proposals_max: 4096,
            compaction_entries: 20_000,
            compaction_bytes: 32 << 20,
            kept_bytes: 8 << 20,
            snapshot_chunk_bytes: 1 << 20,
            promotion_lag_max: 100,
            chores_interval: Duration::from_millis(100),
        }
    }
}
