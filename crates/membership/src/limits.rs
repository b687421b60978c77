//! What bounds a node's membership: bytes of a datagram, entries of its tables, and the protocol's times.
//!
//! The times are constants, not options: nodes of one cluster that disagree about them suspect each other.

use std::time::Duration;

/// Bytes of a datagram, at most: what a QUIC datagram leaves, on a path that carries 1,200 bytes of UDP, beside the
/// envelope of calls. Nodes that disagree about it refuse each other's frames, so it is no option.
pub const DATAGRAM_BYTES_MAX: usize = 1_052;
/// What foca may fill of a datagram; the rest is for the envelope, a coordinate and one accusation.
pub(crate) const GOSSIP_BYTES_MAX: usize = 832;
/// What one page of a table may take of a datagram.
pub(crate) const PAGE_BYTES_MAX: usize = 912;
/// Updates in one frame.
pub const UPDATES_MAX: usize = 64;
/// Items in one frame.
pub const ITEMS_MAX: usize = 64;

/// Nodes of one PoP, and delegates of all PoPs, that a node keeps, gone ones included; more are not taken up.
pub const MEMBERS_MAX: usize = 4_096;
/// PoPs that a node keeps; more are not taken up.
pub const POPS_MAX: usize = 4_096;
/// Nodes that a node remembers to ask for the way in; more are not taken up.
pub const CONTACTS_MAX: usize = 512;
/// News that wait to be passed on; more are dropped and reach others when tables are compared.
pub const BACKLOG_MAX: usize = 1_024;
/// Addresses in a record.
pub const ADDRESSES_MAX: usize = 4;
/// Bytes of a version's text.
pub const VERSION_BYTES_MAX: usize = 32;
/// Delegates of a PoP: any two may fail at once.
pub const DELEGATES: usize = 3;
/// Addresses of a delegate in a digest.
pub(crate) const DELEGATE_ADDRESSES_MAX: usize = 2;
/// Bytes of a digest, so that it fits into a frame beside its head.
pub(crate) const DIGEST_BYTES_MAX: usize = 712;
/// Nodes that a digest names because they are gone or draining: the latest. The rest is counted.
pub const EXCEPTIONS_MAX: usize = 32;

/// How long a node that is gone is remembered, so that old gossip does not bring it back.
pub const TOMBSTONE: Duration = Duration::from_secs(24 * 3600);
/// A node that slept longer than this forgets whom it knew: others may have forgotten who is gone.
pub const STALE_AFTER: Duration = Duration::from_secs(12 * 3600);

/// A wake-up that comes later than this was a stall of this node: its timers are moved by the delay.
pub(crate) const LATE: Duration = Duration::from_millis(100);
/// How often news are passed on while there are any.
pub(crate) const GOSSIP_PERIOD: Duration = Duration::from_millis(100);
/// To how many at once.
pub(crate) const GOSSIP_FANOUT: usize = 3;
/// Who is asked to ping in our place.
pub(crate) const HELPERS: usize = 3;
/// How often nodes that are gone are tried, in case a partition has healed.
pub(crate) const RETRY_GONE_PERIOD: Duration = Duration::from_secs(2);
/// How often a node looks after its ways into the cluster.
pub(crate) const HEAL_PERIOD: Duration = Duration::from_secs(1);
/// How often a page of a table is compared with another node's.
pub(crate) const SYNC_PERIOD: Duration = Duration::from_secs(2);
/// How long a page is waited for before another node is asked.
pub(crate) const PAGE_WAIT: Duration = Duration::from_millis(400);
/// How long a node looks for its PoP before it takes itself for its PoP's delegate.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);
/// How often a node that leaves says so, and at which interval.
pub(crate) const LEAVE_REPEATS: u8 = 5;
/// How long a node that leaves goes on before it stops, so that somebody has heard it.
pub const LEAVE_TAKES: Duration = GOSSIP_PERIOD.saturating_mul(LEAVE_REPEATS as u32 + 1);
/// Least time between two digests of one PoP.
pub(crate) const DIGEST_PERIOD_MIN: Duration = Duration::from_millis(100);
/// Least time between two that tell of nothing bad: somebody who came back can wait.
pub(crate) const DIGEST_CALM: Duration = Duration::from_secs(1);
/// How often load and place of a PoP are taken into its digest anew.
pub(crate) const DIGEST_REFRESH: Duration = Duration::from_secs(10);
/// How often descriptions of nodes that are no members are looked for; one that is found twice is dropped.
pub(crate) const STRAY_PERIOD: Duration = Duration::from_secs(10);
/// After how long without a delegate in the world's pool a PoP that was never reached counts as unreachable.
pub(crate) const REACH_WAIT: Duration = Duration::from_secs(10);
/// Least time between two reports about the same trouble.
pub(crate) const REPORT_PERIOD: Duration = Duration::from_secs(10);

/// The times of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From one probe to the next; without an answer until then the probed member is suspected.
    pub probe_period: Duration,
    /// When others are asked to ping in our place.
    pub indirect_after: Duration,
    /// How often an unanswered ping is sent again during a probe.
    pub ping_again: Duration,
    /// How often an accused member is asked for a sign of life.
    pub ask_accused: Duration,
    /// From suspicion to the verdict when enough others suspect the same.
    ///
    /// With `probe_period` more than the stall of one second that a node must survive.
    pub suspicion_min: Duration,
    /// The same when nobody else does.
    pub suspicion_max: Duration,
}

/// Inside a PoP.
///
/// A member is first probed after 200 ms in the mean (920 ms in 99 of 100 cases), accused 200 ms later, and declared
/// gone 1.15 s after that if others agree.
pub const POP_TIMING: Timing = Timing {
    probe_period: Duration::from_millis(200),
    indirect_after: Duration::from_millis(100),
    ping_again: Duration::from_millis(40),
    ask_accused: Duration::from_millis(100),
    suspicion_min: Duration::from_millis(1_150),
    suspicion_max: Duration::from_millis(2_300),
};

/// Between PoPs. Longer for a member whose round trip is known to be long.
pub const WORLD_TIMING: Timing = Timing {
    probe_period: Duration::from_millis(400),
    indirect_after: Duration::from_millis(200),
    ping_again: Duration::from_millis(100),
    ask_accused: Duration::from_millis(150),
    suspicion_min: Duration::from_millis(1_300),
    suspicion_max: Duration::from_millis(2_600),
};
