//! The data plane: listeners, sites and their policies, the cache's driver, connections to origins.
pub mod cache;
pub mod compress;
pub mod front;
pub mod upstream;
