//! TLS towards origins.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use selvedge_cache::semantics::ProxyError;
use selvedge_types::resource::{OriginProtocol, OriginTable};
use std::io;
use std::sync::Arc;

/// Why a group of origins cannot be used as it is described.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The CA file holds no certificate, or a malformed one.
    #[error("the `ca` file {file} is not a PEM file with certificates: {cause}")]
    Ca {
        /// The file.
        file: String,
        /// What is wrong with it.
        cause: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The certificates of the authorities that this machine trusts. Reads files. Those that cannot be read are
/// left out and logged; with none, every https origin fails with `tls_certificate_error`.
pub fn system_roots() -> Arc<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a trusted certificate of this machine cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
}

/// How a group's TLS connections are set up.
pub(super) struct Tls {
    /// For ordinary requests.
    pub(super) usual: Arc<ClientConfig>,
    /// For upgrades, which need HTTP/1.1.
    pub(super) http1: Arc<ClientConfig>,
}

impl Tls {
    pub(super) fn new(
        origin: &OriginTable,
        ca_pem: Option<&[u8]>,
        system: &Arc<RootCertStore>,
    ) -> Result<Self, GroupError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let roots = match ca_pem {
            Some(pem) => Arc::new(roots_of(pem, origin.ca.as_deref().unwrap_or_default())?),
            None => system.clone(),
        };
        let mut http1 = if origin.verify {
            builder.with_root_certificates(roots).with_no_client_auth()
        } else {
            let unverified = Arc::new(Unverified(provider.signature_verification_algorithms));
            builder.dangerous().with_custom_certificate_verifier(unverified).with_no_client_auth()
        };
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut usual = http1.clone();
        usual.alpn_protocols = match origin.protocol {
            OriginProtocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            OriginProtocol::H1 => vec![b"http/1.1".to_vec()],
            OriginProtocol::H2 => vec![b"h2".to_vec()],
        };
        Ok(Tls { usual: Arc::new(usual), http1: Arc::new(http1) })
    }
}

fn roots_of(pem: &[u8], file: &str) -> Result<RootCertStore, GroupError> {
    let wrong = |cause: String| GroupError::Ca { file: file.into(), cause };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("it holds none".into())) } else { Ok(roots) }
}

/// What went wrong in a handshake.
pub(super) fn kind_of(error: &io::Error) -> ProxyError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            ProxyError::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(_)) => ProxyError::TlsAlertReceived,
        Some(_) => ProxyError::TlsProtocolError,
        None => ProxyError::ConnectionTerminated,
    }
}

/// Takes any certificate, for origins with `verify = false`. The handshake itself is still checked.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
