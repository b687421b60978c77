//! A node's surroundings, simulated: a disk, a wall clock and a network whose every fault a seed decides.
//!
//! A run is one process with one seed: `selvedge-sim --seed N`. All of it happens on one thread in virtual
//! time; the same seed gives the same trace, byte for byte. The binary alone links `mad-turmoil`, which
//! makes the standard library's clocks and random keys follow the seed too, and by that also `select!`.

pub mod clock;
pub mod disk;
pub mod history;
pub mod links;
pub mod net;
pub mod run;
pub mod scenario;
pub mod trace;

pub use clock::SimClock;
pub use disk::{DiskStats, Faults, SimDisk};
pub use links::SimMesh;
pub use net::net;
pub use run::{Failure, Run};
pub use trace::Trace;
