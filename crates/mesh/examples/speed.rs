//! How fast links and calls are on the loopback interface: `cargo run --release -p selvedge-mesh --example speed`.
//!
//! Two nodes in one process, each with its own runtime of one thread. Printed: bulk bytes per second, calls per
//! second by how many ask at once, and the times of probes alone and beside a bulk transfer.

use bytes::Bytes;
use selvedge_mesh::rpc::{
    Answer, BodySource, Deadline, Fault, Options as CallOptions, PROTOCOLS, Priority, Question, Service,
    Target,
};
use selvedge_mesh::{Endpoint, Hybrid, Identity, Mesh};
use selvedge_observe::Registry;
use selvedge_rt::links::side::Boxed;
use selvedge_rt::links::{Options, Peers};
use selvedge_rt::{Clock, Tasks};
use selvedge_types::{ClusterId, HlcClock, NodeKey};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TARGET: Target = Target { service: "speed", version: 1 };
const BULK_BYTES: usize = 256 << 20;
const PART_BYTES: usize = 128 << 10;
const PROBES: usize = 2000;

struct Speed;

struct Zeros {
    left: usize,
}

impl BodySource for Zeros {
    fn next(&mut self) -> Boxed<'_, Result<Option<Bytes>, Fault>> {
        let part = self.left.min(PART_BYTES);
        self.left -= part;
        let bytes = (part > 0).then(|| Bytes::from_static(&[0; PART_BYTES]).slice(..part));
        Box::pin(std::future::ready(Ok(bytes)))
    }
}

impl Service for Speed {
    fn versions(&self) -> RangeInclusive<u16> {
        1..=1
    }

    fn answer(&self, question: Question) -> Boxed<'_, Result<Answer, Fault>> {
        let bulk = question.priority == Priority::Bulk;
        let body = bulk.then(|| Box::new(Zeros { left: BULK_BYTES }) as Box<dyn BodySource>);
        Box::pin(std::future::ready(Ok(Answer { message: question.message, body })))
    }
}

fn main() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
    };
    let (left, right) = (runtime(), runtime());
    let (a, b) = (left.block_on(node(1)), right.block_on(node(2)));
    a.links().peers().allow(b.links().local(), &b.links().addresses());
    b.links().peers().allow(a.links().local(), &a.links().addresses());
    let peer = b.links().local();
    left.block_on(async move {
        bulk(&a, peer).await;
        for at_once in [1, 16, 64] {
            calls(&a, peer, at_once).await;
        }
        probes(&a, peer, "alone").await;
        let loaded = a.clone();
        let load = tokio::spawn(async move {
            loop {
                transfer(&loaded, peer).await;
            }
        });
        probes(&a, peer, "beside a bulk transfer").await;
        load.abort();
    });
}

async fn node(n: u8) -> Mesh {
    let tasks = Tasks::real();
    let cluster = ClusterId::from_bytes([1; 16]);
    let options = Options { cluster, accepts: PROTOCOLS.to_vec(), peers: Peers::default() };
    let address = [SocketAddr::from(([127, 0, 0, 1], 0))];
    let identity = Identity::from_seed([n; 32]);
    let links =
        Endpoint::bind(&identity, &address, options, &Clock::real(), &tasks).await.expect("a free port");
    let options = CallOptions {
        services: BTreeMap::from([("speed", Arc::new(Speed) as Arc<dyn Service>)]),
        hybrid: Hybrid::new(Clock::real(), HlcClock::default()),
        registry: Registry::default(),
        clock_ahead: Arc::new(|_, _| {}),
    };
    Mesh::start(links, options, &tasks)
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

async fn transfer(mesh: &Mesh, peer: NodeKey) -> usize {
    let asked = mesh.download(peer, TARGET, Bytes::new(), deadline(), Priority::Bulk).await;
    let mut body = asked.expect("an answer").body;
    let mut got = 0;
    while let Some(part) = body.next().await.expect("a body") {
        got += part.len();
    }
    got
}

async fn bulk(mesh: &Mesh, peer: NodeKey) {
    let begun = Instant::now();
    let got = transfer(mesh, peer).await;
    println!("bulk: {:.0} MB/s", got as f64 / 1e6 / begun.elapsed().as_secs_f64());
}

async fn calls(mesh: &Mesh, peer: NodeKey, at_once: usize) {
    let (begun, each) = (Instant::now(), 20_000 / at_once);
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let mesh = mesh.clone();
        askers.spawn(async move {
            for _ in 0..each {
                let message = Bytes::from_static(&[7; 256]);
                mesh.call(peer, TARGET, message, deadline(), Priority::Normal).await.expect("an answer");
            }
        });
    }
    askers.join_all().await;
    println!("{at_once} at once: {:.0} calls/s", (each * at_once) as f64 / begun.elapsed().as_secs_f64());
}

async fn probes(mesh: &Mesh, peer: NodeKey, when: &str) {
    let mut times = Vec::with_capacity(PROBES);
    for _ in 0..PROBES {
        let begun = Instant::now();
        let message = Bytes::from_static(b"?");
        mesh.call(peer, TARGET, message, deadline(), Priority::Probe).await.expect("an answer");
        times.push(begun.elapsed());
    }
    times.sort();
    let at = |percent: usize| times.get(PROBES * percent / 100).copied().unwrap_or_default();
    let longest = times.last().copied().unwrap_or_default();
    println!("probes {when}: p50 {:?}, p99 {:?}, longest {longest:?}", at(50), at(99));
}
