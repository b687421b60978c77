//! The limits of a manifest as the front takes them.

use selvedge_gateway::front::{ConnectionLimits, FrontOptions, Http2Limits, Timeouts};
use selvedge_types::resource::Limits;

/// The front's options for those limits.
pub(super) fn front_options(limits: &Limits) -> FrontOptions {
    let defaults = FrontOptions::default();
    FrontOptions {
        heads: selvedge_gateway::front::HeadLimits {
            head_bytes_max: limits.header_bytes.as_usize(),
            field_lines_max: limits.header_count as usize,
            target_bytes_max: limits.uri_bytes.as_usize(),
            trailer_bytes_max: limits.trailer_bytes.as_usize(),
            ..defaults.heads
        },
        timeouts: Timeouts {
            handshake: limits.tls_handshake_timeout.get(),
            header_read: limits.header_timeout.get(),
            body_read: limits.body_timeout.get(),
            write: limits.write_timeout.get(),
            keep_alive: limits.idle_timeout.get(),
            exchange: limits.total_timeout.get(),
            tunnel: limits.tunnel_timeout.get(),
            tunnel_total: limits.tunnel_total_timeout.get(),
            drain: limits.drain_timeout.get(),
            ..defaults.timeouts
        },
        connections: ConnectionLimits {
            total_max: limits.connections as usize,
            per_client_max: limits.connections_per_client as usize,
            request_content_bytes_max: limits.body.get(),
            ..defaults.connections
        },
        http2: Http2Limits { streams_max: limits.h2_streams, resets_max: limits.h2_resets, ..defaults.http2 },
    }
}
