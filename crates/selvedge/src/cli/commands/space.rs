//! Waits for space on the disk, for a node whose control state could not be opened without.

use selvedge_rt::{Disk, Tasks};
use std::path::PathBuf;
use std::time::Duration;

/// Space that is worth another try, in bytes.
const ENOUGH: u64 = 64 << 20;
/// How often it is looked for, at first; after each try half as often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked for, at least.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(120);

/// The space where a data directory is.
pub(super) struct Space {
    data: PathBuf,
    tasks: Tasks,
    every: Duration,
}

impl Space {
    /// Nothing is looked for yet.
    pub(super) fn new(data: &std::path::Path, tasks: &Tasks) -> Self {
        Space { data: data.to_owned(), tasks: tasks.clone(), every: LOOK_EVERY }
    }

    /// Resolves when there is enough for a try. Cancel-safe.
    pub(super) async fn there(&mut self) {
        loop {
            tokio::time::sleep(self.every).await;
            let data = self.data.clone();
            let free = move || Disk::real(&data).and_then(|disk| disk.free_space());
            let free = self.tasks.blocking("free space", free).await.and_then(|free| free);
            if free.is_ok_and(|bytes| bytes >= ENOUGH) {
                self.every = (2 * self.every).min(LOOK_EVERY_MAX);
                return;
            }
        }
    }
}
