//! A data plane over the machine's network, and an origin that answers with the head it was sent.

use bytes::Bytes;
use selvedge_exchange::{Body, Client, Handler, Request, Response};
use selvedge_gateway::access_log::AccessLog;
use selvedge_gateway::cache::{Cache, CacheOptions};
use selvedge_gateway::front::{Endpoint, Front, FrontOptions};
use selvedge_gateway::plane::{Plane, PlaneParts};
use selvedge_gateway::site::{RateTable, RequestIds, RouterState, SystemSecrets};
use selvedge_gateway::traffic::Traffic;
use selvedge_gateway::upstream::*;
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Net, OnEnd, Rng, Tasks};
use selvedge_types::resource::{AccessLog as LogOptions, Resources};
use selvedge_types::{
    Fields, Manifest, Method, Permissions, Revision, Scheme, Snapshot, UnixMillis, Version, name,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An origin; its answers hold its name, how often it was asked, and the head it was asked with.
pub struct Origin {
    pub addr: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Origin {
    /// Answers with `head`, lines separated by `|`, in every response.
    pub async fn start(name: &'static str, head: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, name, head, count.clone()));
            }
        });
        Origin { addr, asked }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

async fn answer(mut stream: TcpStream, name: &str, head: &str, count: Arc<AtomicUsize>) {
    let mut asked = String::new();
    while read_line(&mut stream, &mut asked).await {
        if !asked.ends_with("\r\n\r\n") {
            continue;
        }
        let n = count.fetch_add(1, SeqCst) + 1;
        if !read_content(&mut stream, &asked.to_ascii_lowercase()).await {
            return;
        }
        let body = format!("{name} {n}\n{asked}");
        let head = head.replace('|', "\r\n");
        let text = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.unwrap();
        asked.clear();
    }
}

/// Adds a line to `text`; false at the connection's end.
async fn read_line(stream: &mut TcpStream, text: &mut String) -> bool {
    while let Ok(byte) = stream.read_u8().await {
        text.push(char::from(byte));
        if byte == b'\n' {
            return true;
        }
    }
    false
}

/// Reads the content that a head in lower case announces; false if it does not come whole.
async fn read_content(stream: &mut TcpStream, head: &str) -> bool {
    if let Some((_, after)) = head.split_once("\r\ncontent-length: ") {
        let len = after.split("\r\n").next().unwrap().parse().unwrap();
        return stream.read_exact(&mut vec![0; len]).await.is_ok();
    }
    if !head.contains("\r\ntransfer-encoding: chunked\r\n") {
        return true;
    }
    let mut all = String::new();
    while read_line(stream, &mut all).await {
        let last = all.find("0\r\n").filter(|at| *at == 0 || all[..*at].ends_with("\r\n"));
        if last.is_some() && all.ends_with("\r\n\r\n") {
            return true;
        }
    }
    false
}

/// A data plane.
pub struct World {
    pub plane: Plane,
    pub registry: Registry,
}

/// A response, all of it.
pub struct Told {
    pub status: u16,
    pub cache: String,
    pub body: String,
}

impl World {
    /// Serves by `manifest`.
    pub fn new(manifest: &str) -> World {
        let (registry, clock, tasks) = (Registry::default(), Clock::real(), Tasks::real());
        let options = CacheOptions {
            ram_bytes: 4 << 20,
            secret: [1; 32],
            seed: 1,
            collapsed_waiters_max: 100,
            response_bytes_max: 64 << 20,
            unread_fetches_max: 100,
        };
        let cache = Cache::new(&options, None, clock.clone(), Arc::default(), tasks.clone(), &registry);
        let seams =
            Seams { net: Net::Real, resolver: Arc::new(NoNames), clock: clock.clone(), tasks: tasks.clone() };
        let roots = Arc::new(rustls::RootCertStore::empty());
        let metrics = UpstreamMetrics::new(&registry);
        let plane = Plane::new(PlaneParts {
            cache,
            upstream: Upstream::start(seams, roots, metrics, Rng::from_seed(1)),
            log: AccessLog::start(&LogOptions::default(), None, clock.clone(), &tasks, &registry),
            traffic: Traffic::register(&registry),
            limits: registry.limits(),
            state: RouterState {
                cluster: "c1".into(),
                ids: Arc::new(RequestIds::new(1, 2)),
                rates: Arc::new(RateTable::new(1000, 1)),
            },
            clock,
        });
        let manifest = Manifest::parse("m", manifest).unwrap_or_else(|e| panic!("{e}"));
        let resources = manifest.apply_to(&Resources::default(), &Permissions::ALL).unwrap();
        let problems = plane.follow(&Snapshot::new(Revision(1), resources), &SystemSecrets);
        assert_eq!(problems, [""; 0]);
        World { plane, registry }
    }

    /// A front before the plane.
    pub async fn front(&self) -> SocketAddr {
        let handler = Arc::new(self.plane.clone());
        let front = Front::new(handler, FrontOptions::default(), Clock::real(), &Registry::default());
        let listener = Net::Real.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tasks = Tasks::real();
        tasks.spawn("listener", OnEnd::Forget, front.serve(listener, Endpoint::default(), tasks.clone()));
        addr
    }

    /// Sends `METHOD target` for the host a.test, with header lines separated by `|`.
    pub async fn ask(&self, line: &str, header: &str) -> Told {
        told(self.plane.handle(request(line, header)).wait().await).await
    }
}

pub async fn told(response: Response) -> Told {
    let cache = response.fields.get_str(name::CACHE_STATUS).unwrap_or_default().to_owned();
    let status = response.status.code();
    let body: Bytes = response.body.collect(1 << 20).await.unwrap();
    Told { status, cache, body: String::from_utf8_lossy(&body).into_owned() }
}

pub fn request(line: &str, header: &str) -> Request {
    let (method, target) = line.split_once(' ').unwrap();
    let wire: String = header.split('|').filter(|l| !l.is_empty()).map(|l| format!("{l}\r\n")).collect();
    let addr = "192.0.2.1:4000".parse().unwrap();
    Request {
        method: Method::parse(method.as_bytes()).unwrap(),
        scheme: Scheme::Http,
        authority: "a.test".into(),
        target: target.into(),
        version: Version::Http11,
        fields: Fields::from_wire(wire.as_bytes()).unwrap(),
        body: Body::Empty,
        client: Client { addr, local: addr },
        received: UnixMillis(0),
    }
}

/// Knows no name.
struct NoNames;
impl Resolve for NoNames {
    fn addresses<'a>(&'a self, _: &'a str) -> Lookup<'a, IpAddr> {
        Box::pin(async { Err(ResolveError::NotFound) })
    }
    fn services<'a>(&'a self, _: &'a str) -> Lookup<'a, Service> {
        Box::pin(async { Err(ResolveError::NotFound) })
    }
}
