//! The consensus library's own tests of a storage, over ours.

use super::id::VoterId;
use super::log::{self, Identity, LogStore};
use super::machine::{self, StateMachine};
use super::options::Options;
use super::raft::{Runtime, Types};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{AsyncRuntime, StorageError};
use selvedge_rt::{Clock, Disk, Tasks};
use selvedge_store::wal;
use selvedge_types::ClusterId;

struct Builder<F> {
    disk: F,
    tasks: Tasks,
}

impl<F: Fn() -> Disk + Send + Sync> StoreBuilder<Types, LogStore, StateMachine, ()> for Builder<F> {
    #[allow(clippy::unwrap_used, clippy::missing_panics_doc)] // a test
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<Types>> {
        let options = Options::default();
        let disk = (self.disk)();
        let identity = Identity { cluster: ClusterId::from_bytes([0; 16]), voter: VoterId(0) };
        let found = log::read(disk.subdir("log").unwrap(), &options, identity).unwrap();
        let opened = found.start(&options, &self.tasks, wal::Metrics::default());
        let loaded = machine::load(disk.subdir("tables").unwrap(), &options).unwrap();
        let machine =
            StateMachine::new(loaded, &options, Clock::real(), self.tasks.clone(), Box::new(|_| {}));
        Ok(((), opened.store, machine))
    }
}

/// Runs the suite; `disk` gives an empty disk each time. Panics where a test fails.
#[allow(clippy::unwrap_used, clippy::missing_panics_doc)] // a test
pub fn run(disk: impl Fn() -> Disk + Send + Sync, tasks: &Tasks) {
    let builder = Builder { disk, tasks: tasks.clone() };
    Runtime::new(1).block_on(Suite::test_all(builder)).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn the_librarys_suite_passes_on_the_machines_disk() {
        let dirs = Mutex::new(Vec::new());
        run(
            || {
                let dir = tempfile::tempdir().unwrap();
                let disk = Disk::real(dir.path()).unwrap();
                dirs.lock().unwrap().push(dir);
                disk
            },
            &Tasks::real(),
        );
    }
}
