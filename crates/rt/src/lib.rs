//! The seams between the program and the machine: clocks, randomness, network, links between nodes, disk, tasks.
//!
//! Each is a concrete handle that is cheap to clone. The real side is here; `sim` supplies the other
//! through the small traits beside each handle. Nothing above this crate opens a socket or a file, reads
//! a clock, draws randomness or spawns a task in any other way.

pub mod clock;
pub mod deadline;
pub mod disk;
pub mod links;
pub mod net;
pub mod operator_files;
pub mod rng;
pub mod tasks;
pub mod workers;

pub use clock::Clock;
pub use deadline::Deadline;
pub use disk::{Disk, DiskFile, DiskLock};
pub use links::{Link, LinkError, Links};
pub use net::{Listener, Net, Stream};
pub use operator_files::read_operator_file;
pub use rng::{Rng, Secrets};
pub use tasks::{OnEnd, Tasks};
pub use workers::{WorkerRuntimes, Workers};
