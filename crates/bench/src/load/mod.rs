//! A load generator that costs less for each request than any server it drives.
//!
//! One thread, one epoll set, requests written from one reused buffer, responses parsed only as far as
//! counting them needs. Anything but a complete 200 ends the run with an error: a wrong answer is not a fast one.
//! Closed loop: each connection sends its next request when the last answer is complete.
//! Open loop: requests are due at fixed times, whatever the server does, and latency counts from the due time,
//! so a stalled server is charged for every request it kept waiting (no coordinated omission).
//!
//! HTTP/2 load comes from `h2load`, and `wrk` checks this generator ([`external`]).

mod connection;
mod engine;
pub mod external;
mod response;
mod targets;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

pub use connection::Connection;
pub use engine::run;
pub use response::{Progress, ResponseReader};
pub use targets::{Targets, path};

/// The `Host` that every request carries; the contenders are configured for it.
pub const HOST: &str = "bench.test";

/// What to send, where, and for how long.
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// TLS toward the server, if any.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Connections kept open.
    pub connections: usize,
    /// When requests are sent.
    pub pace: Pace,
    /// Which paths are asked for.
    pub targets: Targets,
    /// Time before measuring begins.
    pub warm_up: Duration,
    /// How long is measured. [`Targets::Each`] may end a run earlier.
    pub measured: Duration,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as the connection's last answer is complete.
    Closed,
    /// At this many a second over all connections, evenly spaced.
    Open {
        /// Requests a second.
        per_second: f64,
    },
}

/// The two moments between which is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The warm-up is over.
    Begin,
    /// Measuring is over; the load still stands.
    End,
}

/// What a run measured.
pub struct Outcome {
    /// Complete answers within the measured time.
    pub requests: u64,
    /// The measured time.
    pub elapsed: Duration,
    /// Times from sending (closed loop) or being due (open loop) to the answer's last byte, in nanoseconds;
    /// empty when an external generator does not tell.
    pub latency: Histogram<u64>,
    /// In an open loop, how long after its due time a request was sent although a connection was free, in
    /// nanoseconds: the generator's own fault. Empty in a closed loop.
    pub late: Histogram<u64>,
    /// CPU time of this process (generator, and origin) or of the external generator, within the measured time.
    pub own_cpu: Duration,
    /// Connections that the server closed and that were opened again.
    pub reconnects: u64,
}

impl Outcome {
    /// Answers a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }
}

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A socket failed.
    #[error("load toward {address}: {source}")]
    Io {
        /// The server.
        address: SocketAddr,
        /// What failed.
        source: io::Error,
    },
    /// An answer was not what was asked for.
    #[error("{address} answered {path} with {what}; look at the server's log and configuration")]
    Answer {
        /// The server.
        address: SocketAddr,
        /// What was asked.
        path: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// A load generator of its own could not run, or printed what is not understood.
    #[error("{program}: {what}")]
    External {
        /// The program.
        program: &'static str,
        /// What went wrong.
        what: String,
    },
}
