//! A request as it is sent to an origin.

use selvedge_exchange::Interim;
use selvedge_types::resource::OriginTable;
use selvedge_types::{Fields, Method, Scheme};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long the parts of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// Connecting, with TLS; also waiting for a connection to be free.
    pub(super) connect: Duration,
    /// From the last byte of the request to the head of the answer.
    pub(super) first_byte: Duration,
    /// Between two bytes, in either direction.
    pub(super) idle: Duration,
    /// All of it.
    pub(super) total: Duration,
}

impl Times {
    pub(super) fn of(origin: &OriginTable) -> Self {
        Times {
            connect: origin.connect_timeout.get(),
            first_byte: origin.first_byte_timeout.get(),
            idle: origin.idle_timeout.get(),
            total: origin.total_timeout.get(),
        }
    }
}

/// The earlier of `now + after` and `latest`.
pub(super) fn earlier(now: Instant, after: Duration, latest: Instant) -> Instant {
    now.checked_add(after).map_or(latest, |due| due.min(latest))
}

/// A request's head, without the connection's own fields, with Host.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a Method,
    pub(super) scheme: Scheme,
    pub(super) authority: &'a str,
    /// Path and query, or `*`.
    pub(super) target: &'a str,
    /// With Host; HTTP/2 leaves it out.
    pub(super) fields: &'a Fields,
    /// Whether Upgrade is among the fields and asked for.
    pub(super) upgrade: bool,
    /// Transfer codings that the content is in already; only HTTP/1.1 can name them.
    pub(super) codings: Option<&'a str>,
    /// Whether the client takes trailers (TE).
    pub(super) wants_trailers: bool,
    /// Whether Expect is among the fields.
    pub(super) expects_continue: bool,
    /// Where interim responses go.
    pub(super) interim: &'a Option<mpsc::Sender<Interim>>,
    pub(super) times: &'a Times,
    /// When the total time is over.
    pub(super) due: Instant,
}
