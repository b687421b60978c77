//! TLS before HTTP, by rustls.

use super::certificates::{CertificateError, Certificates, Shown};
use super::rewind::Io;
use rustls::ServerConfig;
use rustls::server::ServerSessionMemoryCache;
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// TLS 1.2 sessions kept for resumption; TLS 1.3 clients, and those of 1.2 that can, keep tickets.
const SESSIONS_MAX: usize = 10_000;

/// How a listener encrypts. Clones share everything.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    certificates: Certificates,
}

impl Tls {
    /// TLS 1.2 and 1.3 with `certificates`, offering HTTP/2 and HTTP/1.1 (RFC 7301), with session resumption by
    /// ticket and by id. Early data is refused: it can be replayed (RFC 8470).
    pub fn new(certificates: &Certificates) -> Result<Tls, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(certificates.resolver());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(CertificateError::Tls)?;
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), certificates: certificates.clone() })
    }

    pub(crate) async fn accept<S: Io>(&self, io: S) -> io::Result<TlsStream<S>> {
        self.acceptor.accept(io).await
    }

    /// The operator's certificate that the client of a connection was shown, if it was one.
    pub(crate) fn shown<S>(&self, io: &TlsStream<S>) -> Option<Shown> {
        self.certificates.shown(io.get_ref().1.server_name())
    }

    pub(crate) fn speaks_http2<S>(io: &TlsStream<S>) -> bool {
        io.get_ref().1.alpn_protocol() == Some(b"h2")
    }
}
