//! One HTTP/1.1 connection as a client, in clear or TLS: for the API and for `estimate --live`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use selvedge_rt::{Net, OnEnd, Tasks};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// How long connecting may take, with the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
    /// A path that all targets begin with; empty, or without a slash at its end.
    base: String,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// It was not sent.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Where to.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// It may have been sent.
    #[error("the connection ended before the answer came")]
    Lost(#[source] hyper::Error),
    /// It cannot be sent at all.
    #[error("not a valid request")]
    Invalid(#[source] hyper::http::Error),
}

impl Endpoint {
    /// Reads `http://host[:port][/base]`.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host().filter(|h| !h.is_empty())?.to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let base = uri.path().trim_end_matches('/').to_owned();
        uri.query().is_none().then_some(Endpoint { tls, host, port, base })
    }

    /// The authority, as in a Host field.
    pub(super) fn authority(&self) -> String {
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The scheme's name.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Connects.
    pub(super) async fn connect(&self, tasks: &Tasks) -> Result<Connection, ClientError> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.open(tasks));
        let opened = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let endpoint = format!("{}://{}", self.scheme(), self.authority());
        let sender = opened.map_err(|source| ClientError::Connect { endpoint, source })?;
        Ok(Connection { sender, endpoint: self.clone() })
    }

    async fn open(&self, tasks: &Tasks) -> io::Result<SendRequest<Full<Bytes>>> {
        let name = self.host.trim_start_matches('[').trim_end_matches(']');
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in tokio::net::lookup_host((name, self.port)).await? {
            let stream = match Net::Real.connect(address).await {
                Ok(stream) => stream,
                Err(e) => {
                    last = e;
                    continue;
                }
            };
            if !self.tls {
                return handshake(stream, tasks).await;
            }
            let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
            return handshake(connector()?.connect(server, stream).await?, tasks).await;
        }
        Err(last)
    }
}

fn connector() -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

async fn handshake<S>(stream: S, tasks: &Tasks) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tasks.spawn("http client", OnEnd::Forget, async move {
        // What goes wrong is seen by whoever waits for an answer.
        let _ = connection.await;
    });
    Ok(sender)
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    endpoint: Endpoint,
}

impl Connection {
    /// Whether another request can be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request; its target begins with `/`.
    pub(super) async fn send(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{target}", self.endpoint.base));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::new(body)).map_err(ClientError::Invalid)?;
        let authority = HeaderValue::from_str(&self.endpoint.authority());
        let authority = authority.map_err(|e| ClientError::Invalid(e.into()))?;
        request.headers_mut().entry(HOST).or_insert(authority);
        self.sender.send_request(request).await.map_err(ClientError::Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_without_query() {
        let parse = |url| Endpoint::parse(url).map(|e| (e.scheme(), e.authority(), e.base));
        assert_eq!(parse("http://127.0.0.1:7070"), Some(("http", "127.0.0.1:7070".into(), String::new())));
        assert_eq!(parse("https://a.b/c/"), Some(("https", "a.b".into(), "/c".into())));
        assert_eq!(parse("http://[::1]:80/"), Some(("http", "[::1]".into(), String::new())));
        for bad in ["", "a.b", "ftp://a", "http://", "http://a/?q", "/x"] {
            assert!(Endpoint::parse(bad).is_none(), "{bad}");
        }
    }
}
