//! Monotonic and wall clocks.

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

    /// Wall time. May jump in either direction.
    pub fn wall(&self) -> UnixMillis {
        match &self.wall {
            Wall::System => system_wall(),
            Wall::Sim(source) => source.wall(),
        }
    }
}

#[allow(clippy::disallowed_methods)] // the one place that reads the system's wall clock
fn system_wall() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
