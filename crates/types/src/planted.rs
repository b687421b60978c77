//! Bugs put back on purpose, so that a test can show that the simulation finds them.
//!
//! Without the feature `planted`, which that test alone turns on, [`is_planted`] is constantly false and nothing
//! of any bug is compiled in.

/// A bug that can be put back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A change is acknowledged before the log is flushed.
    AcknowledgedUnflushed,
    /// A purge covers what was fetched after it, and nothing else.
    StampReversed,
    /// Purges of before a restart are not brought into force.
    PurgesForgotten,
    /// Who comes after a purge joins a fetch begun before it.
    FetchJoinedAcrossPurge,
    /// After a restart the clock that orders fetches and purges may go back.
    ClockForgotten,
    /// What is on disk is used although purges are not known.
    DiskWithoutState,
    /// Stale content is served however stale it is.
    StaleForEver,
    /// Slices of one representation pass for those of another.
    SlicesMixed,
    /// What is read from disk is not checked.
    DamageServed,
    /// Each request fetches for itself.
    FetchedByEach,
    /// An entry counts as acknowledged by members who did not answer.
    CommittedWithoutQuorum,
    /// A leader answers reads without asking whether it still leads, and up to where.
    ReadUnconfirmed,
    /// What does not fit one batch of a watch is left out.
    WatchSkips,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 13] = [
        Bug::AcknowledgedUnflushed,
        Bug::StampReversed,
        Bug::PurgesForgotten,
        Bug::FetchJoinedAcrossPurge,
        Bug::ClockForgotten,
        Bug::DiskWithoutState,
        Bug::StaleForEver,
        Bug::SlicesMixed,
        Bug::DamageServed,
        Bug::FetchedByEach,
        Bug::CommittedWithoutQuorum,
        Bug::ReadUnconfirmed,
        Bug::WatchSkips,
    ];
}

/// Whether that bug is there.
#[cfg(not(feature = "planted"))]
pub const fn is_planted(_: Bug) -> bool {
    false
}

/// Whether that bug is there.
#[cfg(feature = "planted")]
pub fn is_planted(bug: Bug) -> bool {
    switch::PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Puts a bug back, for the rest of the process.
#[cfg(feature = "planted")]
pub fn plant(bug: Bug) {
    switch::PLANTED.store(bug as u8, std::sync::atomic::Ordering::Relaxed);
}

#[cfg(feature = "planted")]
mod switch {
    use std::sync::atomic::AtomicU8;
    pub(super) static PLANTED: AtomicU8 = AtomicU8::new(u8::MAX);
}
