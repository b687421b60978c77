//! An origin that does what a test says, and a client side to ask it.

use bytes::Bytes;
use selvedge_exchange::{Body, BodyError, BodyStream, Client, Frame, Request, Response};
use selvedge_gateway::upstream::*;
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Net, Rng, Tasks};
use selvedge_types::resource::{Origin, OriginTable, Period, TargetUrl, Text};
use selvedge_types::{Fields, Method, Scheme, UnixMillis, Version};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A listening origin; counts connections.
pub struct TestOrigin {
    pub addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl TestOrigin {
    /// Runs `script` for each connection, numbered from 0.
    pub async fn start<F, R>(script: F) -> Self
    where
        F: Fn(usize, TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(script(count.fetch_add(1, SeqCst), stream));
            }
        });
        TestOrigin { addr, accepted }
    }

    /// Answers every request head with the same bytes, over as many connections as are made.
    pub async fn always(answer: &'static [u8]) -> Self {
        Self::start(move |_, mut stream| async move {
            while read_head(&mut stream).await.is_some() {
                stream.write_all(answer).await.unwrap();
            }
        })
        .await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn connections(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

/// Reads up to the empty line; none at the end.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// An address that refuses connections.
pub async fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The client side with the machine's network and this resolver.
pub fn upstream_with(resolver: Arc<dyn Resolve>) -> (Upstream, Registry) {
    let registry = Registry::default();
    let seams = Seams { net: Net::Real, resolver, clock: Clock::real(), tasks: Tasks::real() };
    let metrics = UpstreamMetrics::new(&registry);
    let roots = Arc::new(rustls::RootCertStore::empty());
    (Upstream::start(seams, roots, metrics, Rng::from_seed(1)), registry)
}

pub fn table(urls: &[&str]) -> OriginTable {
    let targets: Vec<_> = urls.iter().map(|url| TargetUrl::parse_text(url).unwrap()).collect();
    let mut table = Origin::of(targets).0;
    table.total_timeout = Period::from_secs(20);
    table
}

pub fn group_of(table: &OriginTable) -> OriginGroup {
    upstream_with(Arc::new(NoNames)).0.group("test", table, None).unwrap()
}

pub fn group(urls: &[&str]) -> OriginGroup {
    group_of(&table(urls))
}

/// Knows no name.
pub struct NoNames;
impl Resolve for NoNames {
    fn addresses<'a>(&'a self, _: &'a str) -> Lookup<'a, std::net::IpAddr> {
        Box::pin(async { Err(ResolveError::NotFound) })
    }
    fn services<'a>(&'a self, _: &'a str) -> Lookup<'a, Service> {
        Box::pin(async { Err(ResolveError::NotFound) })
    }
}

pub fn request(method: Method, target: &str, body: Body) -> Request {
    let addr = "192.0.2.1:1".parse().unwrap();
    Request {
        method,
        scheme: Scheme::Http,
        authority: "site.example".into(),
        target: target.into(),
        version: Version::Http11,
        fields: Fields::from_wire(b"Accept: */*\r\nConnection: close\r\nKeep-Alive: 1\r\n").unwrap(),
        body,
        client: Client { addr, local: addr },
        received: UnixMillis(0),
    }
}

pub async fn get(group: &OriginGroup) -> Result<Response, FetchError> {
    group.fetch(request(Method::Get, "/a?b", Body::Empty), FetchOptions::default()).await
}

/// GET, and all the content.
pub async fn get_text(group: &OriginGroup) -> Result<String, BodyError> {
    text(get(group).await.unwrap()).await
}

pub async fn text(response: Response) -> Result<String, BodyError> {
    let bytes = response.body.collect(64 << 20).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Content that a test sends piece by piece.
pub struct Fed {
    pub frames: mpsc::Receiver<Result<Frame, BodyError>>,
    pub length: Option<u64>,
}

impl BodyStream for Fed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        self.frames.poll_recv(cx)
    }
    fn length(&self) -> Option<u64> {
        self.length
    }
}

pub fn fed(length: Option<u64>) -> (mpsc::Sender<Result<Frame, BodyError>>, Body) {
    let (sender, frames) = mpsc::channel(4);
    (sender, Body::Stream(Box::new(Fed { frames, length })))
}

pub fn data(text: &'static str) -> Result<Frame, BodyError> {
    Ok(Frame::Data(Bytes::from_static(text.as_bytes())))
}

/// Waits until `what` holds.
pub async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it did not come to hold");
}
