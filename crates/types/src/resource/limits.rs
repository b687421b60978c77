//! The limits on what clients may ask for and hold.

use super::quantity::{ByteSize, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits on what clients may ask for and hold. What meets one is counted in `selvedge_limit_reached_total` by
/// its name; `header_count` as `header_bytes`. Not counted: what HTTP/2 itself refuses (`h2_streams`, a header
/// that is too large there), waiting for a next request, trailers, and keys of rate limits that are forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// A request's header section. More gets 431.
    #[schemars(extend("formatMinimum" = "1KiB", "formatMaximum" = "1MiB"))]
    pub header_bytes: ByteSize,
    /// Field lines in a request's header section. More get 431.
    #[schemars(range(min = 1, max = 1000))]
    pub header_count: u32,
    /// A request's target. More gets 414.
    #[schemars(extend("formatMinimum" = "64B", "formatMaximum" = "1MiB"))]
    pub uri_bytes: ByteSize,
    /// A request's content. More gets 413.
    pub body: ByteSize,
    /// A message's trailer section. More gets 400.
    #[schemars(extend("formatMaximum" = "1MiB"))]
    pub trailer_bytes: ByteSize,
    /// Connections from all clients to one node. More are closed at once.
    #[schemars(range(min = 1))]
    pub connections: u32,
    /// Connections from one client address to one node. More are closed at once.
    #[schemars(range(min = 1))]
    pub connections_per_client: u32,
    /// Requests being answered at once on one node, to the end of their responses. More get 503.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// HTTP/2 streams at once on a connection. More are refused.
    #[schemars(range(min = 1, max = 10_000))]
    pub h2_streams: u32,
    /// HTTP/2 streams that a client may reset within 10 seconds. More close the connection (rapid reset).
    #[schemars(range(min = 1))]
    pub h2_resets: u32,
    /// Requests waiting for one fetch. More go to the origin by themselves.
    #[schemars(range(min = 1))]
    pub collapsed_waiters: u32,
    /// Memory for the content of large responses (over 64 KiB) and fetches under way, besides what is cached. Each
    /// takes 128 KiB at least, and from half of it on no more than that; large responses that find no place get 503.
    #[schemars(extend("formatMinimum" = "1MiB"))]
    pub response_memory: ByteSize,
    /// Large fetches that go on to fill the cache when nobody waits for them any more. More are given up.
    pub unread_fetches: u32,
    /// Keys that rate limits remember on one node. Over it, the one that waited longest is forgotten.
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub rate_limit_keys: u32,
    /// How long the TLS handshake may take.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub tls_handshake_timeout: Period,
    /// How long a request's header section may take from its first byte. Longer gets 408.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub header_timeout: Period,
    /// How long a request's content may stand still. Longer gets 408.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub body_timeout: Period,
    /// How long a connection may wait for its next request.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub idle_timeout: Period,
    /// How long a client may take nothing of a response.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub write_timeout: Period,
    /// How long a request with its response may take in all.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub total_timeout: Period,
    /// How long an upgraded connection (WebSocket) may carry nothing.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub tunnel_timeout: Period,
    /// How long an upgraded connection may last in all. Longer is cut, however much it carries.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub tunnel_total_timeout: Period,
    /// How long requests may go on after the node was told to stop.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub drain_timeout: Period,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes: ByteSize::kib(32),
            header_count: 100,
            uri_bytes: ByteSize::kib(8),
            body: ByteSize::gib(1),
            trailer_bytes: ByteSize::kib(8),
            connections: 100_000,
            connections_per_client: 20_000,
            requests: 50_000,
            h2_streams: 128,
            h2_resets: 200,
            collapsed_waiters: 10_000,
            response_memory: ByteSize::mib(512),
            unread_fetches: 256,
            rate_limit_keys: 100_000,
            tls_handshake_timeout: Period::from_secs(10),
            header_timeout: Period::from_secs(10),
            body_timeout: Period::from_secs(30),
            idle_timeout: Period::from_secs(75),
            write_timeout: Period::from_secs(60),
            total_timeout: Period::from_secs(3600),
            tunnel_timeout: Period::from_secs(600),
            tunnel_total_timeout: Period::from_secs(24 * 3600),
            drain_timeout: Period::from_secs(30),
        }
    }
}
