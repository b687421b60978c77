//! The cache's core: what to keep and what to let go, without I/O.
//!
//! Nothing here opens a file or a socket, reads a clock or draws randomness; time and seeds are arguments.

pub mod eviction;
