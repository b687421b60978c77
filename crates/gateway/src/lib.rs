//! The data plane: listeners, sites and their policies, the cache's driver, connections to origins.
pub mod access_log;
mod busy;
pub mod cache;
pub mod compress;
pub mod front;
pub mod plane;
pub mod site;
pub mod traffic;
mod unanswered;
pub mod upstream;
