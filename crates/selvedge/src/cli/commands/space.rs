//! Waits for space on the disk, for a node whose control state could not be opened without.

use selvedge_rt::{Disk, Tasks};
use std::path::PathBuf;
use std::time::Duration;

/// Space that is worth another try in any case, in bytes.
const ENOUGH: u64 = 64 << 20;
/// Space that is worth another try if it was not there at the last one, in bytes.
const MORE: u64 = 1 << 20;
/// How often it is looked for, at first; after each try half as often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked for, at least.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(120);

/// The space where a data directory is.
pub(super) struct Space {
    data: PathBuf,
    tasks: Tasks,
    every: Duration,
    /// What was free at the last try, in bytes.
    tried: u64,
}

impl Space {
    /// Nothing is looked for yet.
    pub(super) fn new(data: &std::path::Path, tasks: &Tasks) -> Self {
        Space { data: data.to_owned(), tasks: tasks.clone(), every: LOOK_EVERY, tried: 0 }
    }

    /// Resolves when there is enough for a try. Cancel-safe.
    pub(super) async fn there(&mut self) {
        loop {
            tokio::time::sleep(self.every).await;
            let data = self.data.clone();
            let free = move || Disk::real(&data).and_then(|disk| disk.free_space());
            let free = self.tasks.blocking("free space", free).await.and_then(|free| free);
            if free.is_ok_and(|bytes| self.is_worth_a_try(bytes)) {
                return;
            }
        }
    }

    /// Whether so much is free that what failed may work now; if so, it counts as tried.
    fn is_worth_a_try(&mut self, free: u64) -> bool {
        let is_worth = free >= ENOUGH || free >= self.tried.saturating_add(MORE);
        if is_worth {
            self.tried = free;
            self.every = (2 * self.every).min(LOOK_EVERY_MAX);
        } else {
            // What others took meanwhile counts when they give it back.
            self.tried = self.tried.min(free);
        }
        is_worth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_tried_again_when_it_has_more_room_than_at_the_last_try() {
        let mut space = Space::new(std::path::Path::new("/"), &Tasks::real());
        let mib = |count: u64| count << 20;
        for (free, is_worth) in [
            (0, false),
            (mib(1) - 1, false),
            (mib(8), true),
            (mib(8), false),
            (mib(9), true),
            (mib(3), false),
            (mib(4), true),
            (mib(64), true),
            (mib(64), true),
        ] {
            assert_eq!(space.is_worth_a_try(free), is_worth, "{free}");
        }
        assert_eq!(space.every, LOOK_EVERY * 32, "each try is made later");
        (0..9).for_each(|_| assert!(space.is_worth_a_try(ENOUGH)));
        assert_eq!(space.every, LOOK_EVERY_MAX);
    }
}
