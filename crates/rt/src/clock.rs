//! Monotonic and wall clocks.

use rustix::time::{ClockId, clock_gettime};
use selvedge_types::UnixMillis;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Supplies wall time in a simulation, where it may jump and skew.
pub trait WallClock: Send + Sync {
    /// The wall time that this node believes in.
    fn wall(&self) -> UnixMillis;
}

/// Tells time: monotonic for durations, wall for what leaves the node.
#[derive(Clone)]
pub struct Clock {
    origin: Instant,
    wall: Wall,
}

#[derive(Clone)]
enum Wall {
    System,
    Sim(Arc<dyn WallClock>),
}

impl Clock {
    /// The machine's clocks.
    pub fn real() -> Self {
        Clock { origin: Instant::now(), wall: Wall::System }
    }

    /// The runtime's virtual monotonic time, with wall time from `wall`.
    pub fn simulated(wall: Arc<dyn WallClock>) -> Self {
        Clock { origin: Instant::now(), wall: Wall::Sim(wall) }
    }

    /// Time since this clock was made; never goes back.
    pub fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Wall time, to within a few milliseconds. May jump in either direction.
    pub fn wall(&self) -> UnixMillis {
        match &self.wall {
            Wall::System => system_wall(),
            Wall::Sim(source) => source.wall(),
        }
    }
}

/// As of the kernel's last tick, a few milliseconds ago at most: a request reads it several times, and this costs a
/// fraction of the exact time.
fn system_wall() -> UnixMillis {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    let part = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
    UnixMillis(u64::try_from(now.tv_sec).unwrap_or(0).saturating_mul(1000).saturating_add(part))
}
