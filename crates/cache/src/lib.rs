//! The cache's core: what may be stored and reused, under which key, and what is evicted.
//!
//! Nothing here does I/O, reads a clock or draws randomness: `now` and secrets are arguments.

pub mod estimate;
pub mod eviction;
pub mod semantics;
pub mod shard;
pub mod stamps;
