//! The client side towards origins: who to ask, over which connection, for how long, and whether to ask again.
//!
//! ```text
//! Upstream --group()--> OriginGroup --fetch()--> pick (balance, ejection, health)
//!                                                 -> slot and connection (pool, http2, connect)
//!                                                 -> exchange (h1, http2)
//!                                                 -> retry, if safe and within the budget
//! ```
//! `balance`, `ejection`, `health`, `latency`, `budget` and `retry` decide without I/O and in given time;
//! the rest does what they say. Answers are taken strictly: what is malformed or ends early is an error and
//! never a guess, so that it is never stored.
//!
//! Deliberately absent: caching, fields about the way a message took (Via, Forwarded), and reading files.

mod attempt;
mod balance;
mod budget;
mod connect;
mod ejection;
mod endpoint;
mod error;
mod fetch;
mod group;
mod h1;
mod health;
mod hop;
mod http2;
mod io;
mod latency;
mod lease;
mod members;
mod metrics;
mod origin;
mod outage;
mod outgoing;
mod pool;
mod probe;
mod resolve;
mod retry;
mod sending;
mod service;
mod tls;
mod upload;

pub use error::{FetchError, Side, Stage};
pub use fetch::FetchOptions;
pub use group::EndpointStatus;
pub use health::HealthState;
pub use metrics::UpstreamMetrics;
pub use resolve::{Found, Lookup, Resolve, ResolveError, Service, SystemResolver};
pub use service::{OriginGroup, Seams, Upstream};
pub use tls::{GroupError, system_roots};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic of another holder: what these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
