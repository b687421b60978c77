//! What a front allows its clients, each with a default.

use selvedge_http1::Limits;
use std::time::Duration;

/// How a front treats its clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrontOptions {
    /// Bounds on heads, chunk framing and trailers; also HTTP/2's header list.
    pub heads: Limits,
    /// Bounds on time.
    pub timeouts: Timeouts,
    /// Bounds on connections and content.
    pub connections: ConnectionLimits,
    /// Bounds that HTTP/2 alone has.
    pub http2: Http2Limits,
}

/// Bounds on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From a connection's start to the end of its TLS handshake and PROXY header.
    pub handshake: Duration,
    /// From a request's first byte, or a connection's start, to the end of its head.
    pub header_read: Duration,
    /// Between two pieces of a request's content, once someone wants them.
    pub body_read: Duration,
    /// While a client takes nothing of what is ready for it.
    pub write: Duration,
    /// Between the end of one exchange and the next request's first byte.
    pub keep_alive: Duration,
    /// From a request's head to its response's end.
    pub exchange: Duration,
    /// While nothing passes through an upgraded connection, in either direction.
    pub tunnel: Duration,
    /// From an upgrade to the end of its connection, however much passes.
    pub tunnel_total: Duration,
    /// For exchanges under way when the node is told to stop.
    pub drain: Duration,
    /// For a client to take the last response and close, after an error.
    pub linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(15),
            body_read: Duration::from_secs(30),
            write: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            exchange: Duration::from_secs(3600),
            tunnel: Duration::from_secs(600),
            tunnel_total: Duration::from_secs(24 * 3600),
            drain: Duration::from_secs(30),
            linger: Duration::from_secs(2),
        }
    }
}

/// Bounds on connections and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at a time, in all. Beyond: closed at once.
    pub total_max: usize,
    /// Connections at a time from one IPv4 address or one IPv6 /64. Beyond: closed at once.
    pub per_client_max: usize,
    /// Bytes of content in one request. Beyond: 413.
    pub request_content_bytes_max: u64,
    /// Bytes of a request's content that are read and thrown away, so that its connection can be kept, when
    /// the response did not need them.
    pub drained_bytes_max: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        ConnectionLimits {
            total_max: 100_000,
            per_client_max: 10_000,
            request_content_bytes_max: 4 << 30,
            drained_bytes_max: 64 * 1024,
        }
    }
}

/// Bounds that HTTP/2 alone has (RFC 9113 section 10.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Limits {
    /// Streams of a connection at a time.
    pub streams_max: u32,
    /// Streams that a client may cancel within ten seconds of a connection. Beyond: GOAWAY with
    /// ENHANCE_YOUR_CALM.
    pub resets_max: u32,
    /// Bytes of request content in flight on one stream.
    pub stream_window_bytes: u32,
    /// Bytes of request content in flight on one connection.
    pub connection_window_bytes: u32,
    /// Bytes of response content that a stream may have waiting to be sent, however large its client's window is.
    pub send_buffer_bytes: usize,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Http2Limits {
            streams_max: 128,
            resets_max: 200,
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 1024 * 1024,
            send_buffer_bytes: 64 * 1024,
        }
    }
}
