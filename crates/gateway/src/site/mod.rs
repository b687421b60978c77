//! Sites: from a request's host and path to its policies, and what they ask for.
//!
//! ```text
//! Snapshot --compile--> Router --enter(request), route(request)--> Answer(response)
//!                                                             \-> Forward(request, Passage) --> cache --> origin
//!                                                        Passage::way.describe(request) before it is sent
//!                                                        Passage::changes.make(response) on the way back
//! ```
//! All is decided when a snapshot is compiled; a request for a plain site costs a hash of its host, a look at
//! each route's pattern, and a few counters. Nothing here waits, reads a file or a clock.
//!
//! Deliberately absent: caching, and connections to clients and origins.

mod answer;
mod auth;
mod blueprint;
mod body;
mod cache_rules;
mod combinations;
mod compile;
mod condition;
mod cookies;
mod effective;
mod entrance;
mod forwarded;
mod hops;
mod hosts;
mod parameters;
mod path;
mod pattern;
mod rate;
mod render;
mod request_id;
mod router;
mod secrets;
#[cfg(test)]
mod tests;

pub use answer::Refusal;
pub use entrance::Entrance;
pub use forwarded::{Identity, Way};
pub use rate::{RateTable, TooMany};
pub use request_id::{RequestId, RequestIds};
pub use router::{About, OriginEntry, Outcome, Passage, ResponseChanges, Routed, Router, RouterState};
pub use secrets::{SECRET_BYTES_MAX, SecretSource, SystemSecrets};
