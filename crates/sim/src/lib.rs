//! A node's surroundings, simulated: a disk, a wall clock and a network whose every fault a seed decides.
//!
//! A run is one process with one seed: `selvedge-sim --seed N`. All of it happens on one thread in virtual
//! time; the same seed gives the same trace, byte for byte.

pub mod disk;
pub mod trace;

pub use disk::{DiskStats, Faults, SimDisk};
pub use trace::Trace;
