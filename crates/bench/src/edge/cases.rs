//! What is raced, and what is asked of us.

use super::contender::Protocol;
use crate::load::Targets;

/// Connections of every rate case.
pub const CONNECTIONS: usize = 64;

/// One comparison of rates.
#[derive(Clone, Copy, Debug)]
pub struct RateCase {
    /// The name on the command line and in the results.
    pub name: &'static str,
    /// What is loaded, in words.
    pub about: &'static str,
    /// What clients speak.
    pub protocol: Protocol,
    /// Body size in bytes.
    pub size: usize,
    /// Whether each request is for what no cache has.
    pub miss: bool,
    /// Our rate over a peer's, at least.
    pub targets: &'static [(&'static str, f64)],
}

impl RateCase {
    /// The paths of one round; `fresh` is a number that no round used before.
    #[must_use]
    pub fn targets_of_round(&self, fresh: u64) -> Targets {
        let size = self.size;
        if self.miss { Targets::Unique { size, from: fresh } } else { Targets::One { size } }
    }
}

const fn hit(
    name: &'static str,
    about: &'static str,
    protocol: Protocol,
    size: usize,
    targets: &'static [(&'static str, f64)],
) -> RateCase {
    RateCase { name, about, protocol, size, miss: false, targets }
}

/// Every comparison of rates.
pub const RATE_CASES: &[RateCase] = &[
    hit("hit-1k", "hits of 1 KiB, HTTP/1.1", Protocol::Http1, 1024, &[("nginx", 1.5), ("varnish", 2.5)]),
    hit("hit-64k", "hits of 64 KiB, HTTP/1.1", Protocol::Http1, 64 * 1024, &[("nginx", 1.0)]),
    hit("hit-1m", "hits of 1 MiB, HTTP/1.1", Protocol::Http1, 1024 * 1024, &[("nginx", 1.0)]),
    hit("h2c-1k", "hits of 1 KiB, HTTP/2 in cleartext", Protocol::H2c, 1024, &[("nginx", 1.2)]),
    hit("tls1-1k", "hits of 1 KiB, HTTP/1.1 over TLS", Protocol::Tls1, 1024, &[("nginx", 1.2)]),
    hit("tls2-1k", "hits of 1 KiB, HTTP/2 over TLS", Protocol::Tls2, 1024, &[("nginx", 1.0)]),
    RateCase {
        name: "miss-1k",
        about: "misses of 1 KiB through to the origin, each stored",
        protocol: Protocol::Http1,
        size: 1024,
        miss: true,
        targets: &[("nginx", 1.0)],
    },
];

/// The open-loop comparison of p99, at [`OPEN_LOAD`] of the slowest server's maximum on `hit-1k`.
pub const OPEN: &str = "p99";
/// The share of the slowest server's maximum that the open loop offers.
pub const OPEN_LOAD: f64 = 0.7;

/// Throughput over few and over many objects, and memory for each object.
pub const OBJECTS: &str = "objects";
/// Our rate over a million objects is at least this share of that over a thousand.
pub const OBJECTS_RATIO_MIN: f64 = 0.9;
/// Memory beside headers and body for an object in RAM, in bytes, at most.
pub const RAM_OVERHEAD_BYTES_MAX: f64 = 300.0;

/// Memory for each object that is on disk only.
pub const DISK: &str = "disk";
/// That memory, in bytes, at most.
pub const DISK_OVERHEAD_BYTES_MAX: f64 = 64.0;

/// Memory for each idle connection.
pub const IDLE: &str = "idle";
/// That memory in cleartext, in bytes, at most.
pub const IDLE_BYTES_MAX: f64 = 10.0 * 1024.0;

/// Every case's name.
pub fn names() -> impl Iterator<Item = &'static str> {
    RATE_CASES.iter().map(|case| case.name).chain([OPEN, OBJECTS, DISK, IDLE])
}
