//! The admin API: `/v1/...` in JSON with an OpenAPI document, metrics, health, and the dashboard.
//!
//! It decides nothing: it checks who asks, reads what was sent into types, hands it to one of the
//! [`handles`], and says in JSON what became of it. Errors are problem details (RFC 9457).
//!
//! Architecture invariant: it never touches the data plane. What it changes is written to the control
//! state; the gateway learns of it by snapshot.

mod auth;
pub mod cluster;
mod dashboard;
mod forward;
pub mod handles;
mod kv;
mod openapi;
mod problem;
mod router;
mod routes;
mod service;
mod stall;
pub mod wire;

pub use auth::{Secret, SecretError, is_token_of};
pub use forward::{FORWARD, ForwardService, Forwarder, Forwarding};
pub use handles::{Handles, StateError};
pub use kv::KeyspaceMetrics;
pub use problem::Problem;
pub use service::{ApiOptions, serve};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
