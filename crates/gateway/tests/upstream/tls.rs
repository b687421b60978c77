//! TLS towards origins: verified names, trusted authorities, negotiated protocols.

use crate::http2::{echo, serve};
use crate::support::*;
use bytes::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use selvedge_cache::semantics::ProxyError;
use selvedge_gateway::upstream::*;
use selvedge_types::resource::OriginTable;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin with a certificate of its own for `localhost`; speaks what ALPN settles on.
async fn origin(alpn: &[&str]) -> (TestOrigin, Bytes) {
    let (acceptor, pem) = acceptor(alpn);
    let origin = TestOrigin::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                return serve(stream, echo).await;
            }
            while read_head(&mut stream).await.is_some() {
                stream.write_all(OK).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    })
    .await;
    (origin, pem)
}

fn acceptor(alpn: &[&str]) -> (TlsAcceptor, Bytes) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = made.cert.pem().into();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config =
        builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), pem)
}

fn https(origin: &TestOrigin) -> OriginTable {
    let mut table = table(&[&format!("https://{}", origin.addr)]);
    table.sni = Some("localhost".into());
    table
}

fn group_with(table: &OriginTable, ca: Option<Bytes>) -> OriginGroup {
    upstream_with(Arc::new(NoNames)).0.group("tls", table, ca).unwrap()
}

#[tokio::test]
async fn a_trusted_certificate_for_the_right_name_is_taken() {
    for (alpn, text) in [(&["http/1.1"][..], "ok"), (&["h2", "http/1.1"], ""), (&[], "ok")] {
        let (origin, ca) = origin(alpn).await;
        let group = group_with(&https(&origin), Some(ca));
        for _ in 0..3 {
            assert_eq!(get_text(&group).await.unwrap(), text, "{alpn:?}");
        }
        assert_eq!(origin.connections(), 1, "{alpn:?}");
    }
}

#[tokio::test]
async fn an_untrusted_certificate_or_a_wrong_name_is_an_error() {
    let (origin, ca) = origin(&["http/1.1"]).await;
    let mut misnamed = https(&origin);
    misnamed.sni = Some("other.example".into());
    for (table, ca) in [(https(&origin), None), (misnamed, Some(ca))] {
        let error = get(&group_with(&table, ca)).await.unwrap_err();
        assert_eq!(error.kind, ProxyError::TlsCertificateError, "{error}");
        assert_eq!(error.stage, Stage::Unsent);
    }
}

#[tokio::test]
async fn verification_can_be_turned_off() {
    let (origin, _) = origin(&["http/1.1"]).await;
    let mut table = https(&origin);
    table.verify = false;
    assert_eq!(get_text(&group_with(&table, None)).await.unwrap(), "ok");
}

#[tokio::test]
async fn an_origin_without_tls_is_an_error() {
    let origin = TestOrigin::start(|_, mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let error = get(&group_with(&https(&origin), None)).await.unwrap_err();
    assert_eq!(error.kind, ProxyError::TlsProtocolError, "{error:?}");
}

#[tokio::test]
async fn a_ca_file_without_certificates_is_refused() {
    let (upstream, _) = upstream_with(Arc::new(NoNames));
    let mut table = table(&["https://a.example"]);
    table.ca = Some("ca.pem".into());
    let error = upstream.group("tls", &table, Some(Bytes::from_static(b"nothing"))).err().unwrap();
    assert!(error.to_string().contains("ca.pem"), "{error}");
}

#[tokio::test]
async fn where_connections_cannot_be_shared_nobody_waits_for_the_handshake_of_another() {
    const OTHERS: usize = 8;
    let (acceptor, ca) = acceptor(&["http/1.1"]);
    // The first handshake ends at once, the others when all of them have begun.
    let (begun, end) = (Arc::new(Barrier::new(OTHERS)), Arc::new(Notify::new()));
    let first_ends = end.clone();
    let origin = TestOrigin::start(move |number, stream| {
        let (acceptor, begun, end) = (acceptor.clone(), begun.clone(), first_ends.clone());
        async move {
            if number > 0 {
                begun.wait().await;
            }
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = read_head(&mut stream).await;
            if number == 0 {
                end.notified().await;
            }
            stream.write_all(OK).await.unwrap();
            stream.flush().await.unwrap();
        }
    })
    .await;
    let group = group_with(&https(&origin), Some(ca));
    let mut asked = JoinSet::new();
    for _ in 0..=OTHERS {
        let group = group.clone();
        asked.spawn(async move { get_text(&group).await.unwrap() });
    }
    for _ in 0..OTHERS {
        assert_eq!(asked.join_next().await.unwrap().unwrap(), "ok");
    }
    end.notify_one();
    assert_eq!(asked.join_next().await.unwrap().unwrap(), "ok");
}
