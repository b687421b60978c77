//! The consensus library's storage suite over a simulated disk.

use selvedge_rt::{Rng, Tasks};
use selvedge_sim::{SimDisk, Trace};
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn the_librarys_suite_passes_on_a_simulated_disk() {
    let next = AtomicU64::new(0);
    let disk = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        SimDisk::new("suite", Rng::from_seed(number), Trace::default()).disk()
    };
    selvedge_state::group::suite::run(disk, &Tasks::simulated());
}
