//! TLS and the PROXY protocol.

use super::*;
use rcgen::CertifiedKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Trusts everyone: the tests look at which certificate came.
#[derive(Debug)]
struct TrustAll;

impl ServerCertVerifier for TrustAll {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client(alpn: &str) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAll))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Arc::new(config)
}

async fn connect(server: &Server, config: &Arc<ClientConfig>, host: &str) -> TlsStream<TcpStream> {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let stream = server.connect().await;
    within(TlsConnector::from(config.clone()).connect(name, stream)).await.unwrap()
}

fn certificate_of(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Writes a new certificate for `host` to `dir`; its files, and what it is.
fn issue(dir: &Path, file: &str, host: &str) -> (CertificateFiles, Vec<u8>) {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let (chain, key) = (dir.join(format!("{file}.pem")), dir.join(format!("{file}.key")));
    std::fs::write(&chain, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    (CertificateFiles { hosts: vec![host.to_owned()], chain, key }, cert.der().to_vec())
}

async fn start(certificates: &Certificates) -> Server {
    let endpoint = Endpoint { tls: Some(Tls::new(certificates).unwrap()), ..Endpoint::default() };
    Server::with(FrontOptions::default(), endpoint, |request| {
        Reply::Now(ok(format!("{:?} {}", request.version, request.scheme.as_str())))
    })
    .await
}

#[tokio::test]
async fn both_protocols_are_served_as_the_client_chooses() {
    let certificates = Certificates::new();
    certificates.set_self_signed_fallback(vec!["localhost".to_owned()]).unwrap();
    let server = start(&certificates).await;
    let mut http1 = connect(&server, &client("http/1.1"), "localhost").await;
    let shown = String::from_utf8_lossy(&certificate_of(&http1)).into_owned();
    assert!(shown.contains("Selvedge self-signed certificate"), "its name says whose it is");
    http1.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let all = read_all(&mut http1).await;
    assert!(all.ends_with("Http11 https"), "{all}");
    let http2 = connect(&server, &client("h2"), "localhost").await;
    let (mut send, connection) = h2::client::handshake(http2).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let request = http::Request::get("https://a/").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "Http2 https");
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_reloaded_when_their_files_change() {
    let dir = tempfile::tempdir().unwrap();
    let (exact, exact_der) = issue(dir.path(), "exact", "a.example");
    let (wild, wild_der) = issue(dir.path(), "wild", "*.example");
    let certificates = Certificates::new();
    assert!(certificates.set(vec![exact, wild]).is_empty());
    certificates.set_self_signed_fallback(vec!["localhost".to_owned()]).unwrap();
    let server = start(&certificates).await;
    let config = client("http/1.1");
    for (host, expected) in [("a.example", &exact_der), ("A.Example", &exact_der), ("b.example", &wild_der)] {
        assert_eq!(&certificate_of(&connect(&server, &config, host).await), expected, "{host}");
    }
    for host in ["a.b.example", "other"] {
        let other = certificate_of(&connect(&server, &config, host).await);
        assert!(other != exact_der && other != wild_der, "{host}");
    }
    let (_, new_der) = issue(dir.path(), "exact", "a.example");
    assert!(certificates.reload().is_empty());
    assert_eq!(certificate_of(&connect(&server, &client("http/1.1"), "a.example").await), new_der);
    std::fs::write(dir.path().join("exact.key"), "damaged").unwrap();
    let errors = certificates.reload();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("exact.key holds no PEM private key"), "{}", errors[0]);
    assert_eq!(certificate_of(&connect(&server, &client("http/1.1"), "a.example").await), new_der);
}

#[tokio::test]
async fn hosts_that_share_files_keep_what_was_in_them_when_the_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = issue(dir.path(), "shared", "a.example");
    let second = CertificateFiles { hosts: vec!["b.example".to_owned()], ..first.clone() };
    let certificates = Certificates::new();
    assert!(certificates.set(vec![first.clone(), second]).is_empty());
    std::fs::write(&first.key, "damaged").unwrap();
    for _ in 0..2 {
        assert_eq!(certificates.reload().len(), 2);
        for host in ["a.example", "b.example"] {
            assert!(certificates.shown(Some(host)).is_some(), "{host}");
        }
    }
}

/// What an HTTP/2 request for `authority` is answered with on a connection that named `host`.
async fn status_of(server: &Server, host: &str, authority: &str) -> u16 {
    let stream = connect(server, &client("h2"), host).await;
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let request = http::Request::get(format!("https://{authority}/")).body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    within(response).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_http2_request_for_a_host_that_the_certificate_does_not_cover_is_misdirected() {
    let dir = tempfile::tempdir().unwrap();
    let (one, _) = issue(dir.path(), "one", "a.site.example");
    let (wild, _) = issue(dir.path(), "wild", "*.site.example");
    let (mut wrong, _) = issue(dir.path(), "wrong", "elsewhere");
    wrong.hosts = vec!["c.test".into(), "d.test".into()];
    let certificates = Certificates::new();
    certificates.set_self_signed_fallback(vec!["localhost".to_owned()]).unwrap();
    assert!(certificates.set(vec![one, wild, wrong]).is_empty());
    let server = start(&certificates).await;
    for (host, authority, status) in [
        ("a.site.example", "a.site.example", 200),
        ("a.site.example", "A.Site.Example:8443", 200),
        ("a.site.example", "b.site.example", 421),
        ("b.site.example", "a.site.example", 200),
        ("b.site.example", "x.b.site.example", 421),
        ("b.site.example", "other", 421),
        ("c.test", "d.test", 200),
        ("c.test", "a.site.example", 421),
        ("localhost", "a.site.example", 200),
    ] {
        assert_eq!(status_of(&server, host, authority).await, status, "{authority} over {host}");
    }
}

#[tokio::test]
async fn a_certificate_is_used_once_its_files_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = issue(dir.path(), "late", "a.example");
    let pem = std::fs::read(&files.chain).unwrap();
    std::fs::remove_file(&files.chain).unwrap();
    let certificates = Certificates::new();
    assert_eq!(certificates.set(vec![files.clone()]).len(), 1);
    assert!(certificates.problems()[0].starts_with("the certificate for a.example: "));
    std::fs::write(&files.chain, pem).unwrap();
    assert!(certificates.reload().is_empty());
    assert!(certificates.problems().is_empty());
    assert!(certificates.shown(Some("a.example")).is_some());
}

#[tokio::test]
async fn sessions_are_resumed() {
    let certificates = Certificates::new();
    certificates.set_self_signed_fallback(vec!["localhost".to_owned()]).unwrap();
    let server = start(&certificates).await;
    let config = client("http/1.1");
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream = connect(&server, &config, "localhost").await;
        // The tickets come before the response.
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        read_all(&mut stream).await;
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
    }
}

#[tokio::test]
async fn a_host_without_a_certificate_gets_no_handshake_if_there_is_no_fallback() {
    let server = start(&Certificates::new()).await;
    let name = ServerName::try_from("a.example").unwrap();
    let connector = TlsConnector::from(client("http/1.1"));
    assert!(within(connector.connect(name, server.connect().await)).await.is_err());
}

#[tokio::test]
async fn the_proxy_header_names_the_client() {
    let endpoint = Endpoint { proxy_protocol: true, ..Endpoint::default() };
    let server = Server::with(FrontOptions::default(), endpoint, |request| {
        Reply::Now(ok(format!("{} {}", request.client.addr, request.client.local)))
    })
    .await;
    let get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let all = server.exchange(format!("PROXY TCP4 192.0.2.1 192.0.2.2 5 80\r\n{get}")).await;
    assert!(all.ends_with("192.0.2.1:5 192.0.2.2:80"), "{all}");
    let all = server.exchange(format!("PROXY UNKNOWN\r\n{get}")).await;
    assert!(all.contains("\r\n\r\n127.0.0.1:"), "{all}");
    assert_eq!(server.exchange(get).await, "");
}
