//! What a front counts.

use selvedge_observe::{Counter, EncodeLabelSet, EncodeLabelValue, Family, Gauge, LimitCounters, Registry};
use selvedge_types::Status;

/// Why a connection was refused, cut, or closed with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Cause {
    /// Too many connections in all.
    TotalConnections,
    /// Too many connections from one client.
    ClientConnections,
    /// The handshake or PROXY header took too long.
    HandshakeTimeout,
    /// The TLS handshake failed.
    Tls,
    /// The PROXY header is malformed.
    ProxyHeader,
    /// A head took too long.
    HeaderTimeout,
    /// A head was malformed.
    BadRequest,
    /// A request was for a host that the connection's certificate does not cover.
    Misdirected,
    /// A head was too large, or had too many fields.
    HeadTooLarge,
    /// A target was too long.
    TargetTooLong,
    /// Content took too long.
    BodyTimeout,
    /// Content was malformed.
    BadContent,
    /// Content was larger than is allowed.
    ContentTooLarge,
    /// The client took nothing for too long.
    WriteTimeout,
    /// An exchange took too long.
    ExchangeTimeout,
    /// Nothing passed through a tunnel for too long.
    TunnelTimeout,
    /// A tunnel was there for too long.
    TunnelTotalTimeout,
    /// An HTTP/2 client cancelled too many streams.
    Resets,
    /// Another HTTP/2 error.
    Http2,
    /// The time for draining was over.
    Drain,
}

impl Cause {
    /// Why a head gets an answer with that status.
    pub(crate) fn of_refused_head(status: Status) -> Self {
        match status.code() {
            414 => Cause::TargetTooLong,
            431 => Cause::HeadTooLarge,
            _ => Cause::BadRequest,
        }
    }

    /// The limit of the settings that was met, by its name there.
    const fn limit(self) -> Option<&'static str> {
        Some(match self {
            Cause::TotalConnections => "connections",
            Cause::ClientConnections => "connections_per_client",
            Cause::HandshakeTimeout => "tls_handshake_timeout",
            Cause::HeaderTimeout => "header_timeout",
            Cause::HeadTooLarge => "header_bytes",
            Cause::TargetTooLong => "uri_bytes",
            Cause::BodyTimeout => "body_timeout",
            Cause::ContentTooLarge => "body",
            Cause::WriteTimeout => "write_timeout",
            Cause::ExchangeTimeout => "total_timeout",
            Cause::TunnelTimeout => "tunnel_timeout",
            Cause::TunnelTotalTimeout => "tunnel_total_timeout",
            Cause::Resets => "h2_resets",
            Cause::Drain => "drain_timeout",
            Cause::Tls
            | Cause::ProxyHeader
            | Cause::BadRequest
            | Cause::Misdirected
            | Cause::BadContent
            | Cause::Http2 => {
                return None;
            }
        })
    }
}

/// The label of a cause.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: Cause,
}

/// A front's metrics. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    pub(crate) open: Gauge,
    pub(crate) accepted: Counter,
    cut: Family<CauseLabel, Counter>,
    limits: LimitCounters,
}

impl Counters {
    pub(crate) fn register(registry: &Registry) -> Counters {
        Counters {
            open: registry.register("connections_open", "Client connections open now", Gauge::default()),
            accepted: registry.register(
                "connections_accepted",
                "Client connections accepted",
                Counter::default(),
            ),
            cut: registry.register(
                "connections_cut",
                "Client connections refused, cut or closed with an error, by cause",
                Family::default(),
            ),
            limits: registry.limits(),
        }
    }

    pub(crate) fn cut(&self, cause: Cause) {
        self.cut.get_or_create(&CauseLabel { cause }).inc();
        if let Some(limit) = cause.limit() {
            self.limits.reached(limit);
        }
    }

    #[cfg(test)]
    pub(crate) fn cut_count(&self, cause: Cause) -> u64 {
        self.cut.get_or_create(&CauseLabel { cause }).get()
    }
}
