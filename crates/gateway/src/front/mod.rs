//! Where clients connect: listeners, TLS, HTTP/1.1 and HTTP/2.
//!
//! A front reads requests strictly, gives them to a [`Handler`](selvedge_exchange::Handler) and writes what
//! it answers. It knows no sites and no cache.
//!
//! ```text
//! Listener -> Admission -> [PROXY protocol] -> [TLS] -> HTTP/1.1 (http1) or HTTP/2 (http2) -> Handler
//! ```
//!
//! Deliberately absent: CONNECT (a front is no forward proxy), HTTP/2 server push, HTTP/2 by Upgrade.

mod admission;
mod certificates;
mod connection;
mod counters;
mod date;
mod gather;
mod http1;
mod http1_exchange;
mod http2;
mod http2_delivery;
mod http2_message;
mod http2_stream;
mod http2_watch;
mod linger;
mod listener;
mod options;
mod output;
mod proxy_protocol;
mod refused;
mod rewind;
mod scratch;
mod timer;
mod tls;
mod tunnel;
mod upload;

pub use certificates::{CertificateError, CertificateFiles, Certificates};
pub use connection::Front;
pub use listener::Endpoint;
pub use options::{ConnectionLimits, FrontOptions, Http2Limits, Timeouts};
pub use selvedge_http1::Limits as HeadLimits;
pub use tls::Tls;

#[cfg(test)]
mod tests;
