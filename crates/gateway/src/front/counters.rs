//! What a front counts.

use selvedge_observe::{Counter, EncodeLabelSet, EncodeLabelValue, Family, Gauge, Registry};

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
    /// A head was refused.
    BadRequest,
    /// A request was for a host that the connection's certificate does not cover.
    Misdirected,
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
    /// An HTTP/2 client cancelled too many streams.
    Resets,
    /// Another HTTP/2 error.
    Http2,
    /// The time for draining was over.
    Drain,
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
        }
    }

    pub(crate) fn cut(&self, cause: Cause) {
        self.cut.get_or_create(&CauseLabel { cause }).inc();
    }

    #[cfg(test)]
    pub(crate) fn cut_count(&self, cause: Cause) -> u64 {
        self.cut.get_or_create(&CauseLabel { cause }).get()
    }
}
