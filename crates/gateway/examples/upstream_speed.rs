//! What a fetch costs in CPU time, beside the least that any client needs for the same exchange.
//!
//! `cargo run --release -p selvedge-gateway --example upstream_speed [requests] [connections] [bytes]`
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use rustix::time::{ClockId, clock_gettime};
use selvedge_exchange::{Body, Client, Request};
use selvedge_gateway::upstream::*;
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Net, Rng, Tasks};
use selvedge_types::resource::{Origin, TargetUrl, Text};
use selvedge_types::{Fields, Method, Scheme, UnixMillis, Version};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

const FIELDS: &[u8] =
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en\r\n\
    Accept-Encoding: gzip, br, zstd\r\nVia: 1.1 selvedge\r\nX-Forwarded-For: 192.0.2.1\r\n";

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>().unwrap());
    let requests = args.next().unwrap_or(200_000);
    let connections = args.next().unwrap_or(64);
    let bytes = args.next().unwrap_or(1024);
    let (addr, length) = start_origin(bytes);
    let client = Builder::new_current_thread().enable_all().build().unwrap();
    let each = requests / connections;
    for round in ["warm-up", "measured"] {
        let floor = cpu(|| client.block_on(run(connections, move |_| bare(addr, length, each))));
        let group = client.block_on(async { group(addr) });
        let ours = cpu(|| client.block_on(run(connections, move |_| fetches(group.clone(), each))));
        let of = |micros: f64| micros / (each * connections) as f64;
        println!(
            "{round}: bare {:.2} us, fetch {:.2} us CPU for a request of {bytes} bytes",
            of(floor),
            of(ours)
        );
    }
}

async fn run<F: Future<Output = ()> + Send + 'static>(count: usize, make: impl Fn(usize) -> F) {
    let tasks: Vec<_> = (0..count).map(|i| tokio::spawn(make(i))).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Microseconds of this thread's CPU time.
fn cpu(work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
    };
    let start = now();
    work();
    now() - start
}

/// Writes a ready request, reads a known number of bytes.
async fn bare(addr: SocketAddr, length: usize, count: usize) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request =
        [b"GET /path/to/a/page?query=1 HTTP/1.1\r\n", FIELDS, b"Host: site.example\r\n\r\n"].concat();
    let mut buffer = vec![0; 1 << 16];
    for _ in 0..count {
        stream.write_all(&request).await.unwrap();
        let mut got = 0;
        while got < length {
            got += stream.read(&mut buffer).await.unwrap();
        }
    }
}

fn group(addr: SocketAddr) -> OriginGroup {
    let seams = Seams {
        net: Net::Real,
        resolver: Arc::new(SystemResolver::new()),
        clock: Clock::real(),
        tasks: Tasks::real(),
    };
    let roots = Arc::new(rustls::RootCertStore::empty());
    let upstream =
        Upstream::start(seams, roots, UpstreamMetrics::new(&Registry::default()), Rng::from_seed(1));
    let url = TargetUrl::parse_text(&format!("http://{addr}")).unwrap();
    upstream.group("speed", &Origin::of([url]).0, None).unwrap()
}

async fn fetches(group: OriginGroup, count: usize) {
    for _ in 0..count {
        let addr = "192.0.2.1:1".parse().unwrap();
        let request = Request {
            method: Method::Get,
            scheme: Scheme::Http,
            authority: "site.example".into(),
            target: "/path/to/a/page?query=1".into(),
            version: Version::Http11,
            fields: Fields::from_wire(FIELDS).unwrap(),
            body: Body::Empty,
            client: Client { addr, local: addr },
            received: UnixMillis(0),
        };
        let response = group.fetch(request, FetchOptions::default()).await.unwrap();
        response.body.collect(u64::MAX).await.unwrap();
    }
}

/// Answers each read, which on loopback is a whole request, on a thread of its own. Where it is, and the
/// length of an answer.
fn start_origin(bytes: usize) -> (SocketAddr, usize) {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: test\r\nDate: Mon, 01 Jan 2029 00:00:00 GMT\r\nContent-Type: text/html\r\n\
                 Content-Length: {bytes}\r\nCache-Control: max-age=60\r\nETag: \"abc\"\r\n\r\n"
            );
            let answer = Arc::new([head.into_bytes(), vec![b'x'; bytes]].concat());
            sender.send((listener.local_addr().unwrap(), answer.len())).unwrap();
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                        if stream.write_all(&answer).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
    });
    receiver.recv().unwrap()
}
