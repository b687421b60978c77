//! The cache's driver: shards behind locks, shared fetches, the disk tier.

mod flight;
pub mod origin;
