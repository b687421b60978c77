//! What is left of links that were closed: nothing.

use bytes::Bytes;
use selvedge_mesh::rpc::{Mesh, Options as CallOptions, PROTOCOLS};
use selvedge_mesh::{Endpoint, Hybrid, Identity};
use selvedge_observe::Registry;
use selvedge_rt::links::{Options, Peers};
use selvedge_rt::{Clock, Links, Tasks};
use selvedge_types::{ClusterId, HlcClock};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

async fn node(n: u8, address: SocketAddr, tasks: &Tasks) -> Mesh {
    let options = Options {
        cluster: ClusterId::from_bytes([1; 16]),
        accepts: PROTOCOLS.to_vec(),
        peers: Peers::default(),
    };
    let identity = Identity::from_seed([n; 32]);
    let links: Links = Endpoint::bind(&identity, &[address], options, &Clock::real(), tasks).await.unwrap();
    let calls = CallOptions {
        services: BTreeMap::new(),
        hybrid: Hybrid::shared(Clock::real(), Arc::new(Mutex::new(HlcClock::default()))),
        registry: Registry::default(),
        clock_ahead: Arc::new(|_, _| {}),
    };
    Mesh::start(links, calls, tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_listens_where_one_that_is_held_still_was_closed() {
    let (own, others) = (Tasks::real(), Tasks::real());
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let (a, b) = (node(1, anywhere, &own).await, node(2, anywhere, &others).await);
    let address = a.links().addresses()[0];
    a.links().peers().allow(b.links().local(), &b.links().addresses());
    b.links().peers().allow(a.links().local(), &[]);
    a.send_datagram(b.links().local(), "nobody", Bytes::from_static(b"hello")).unwrap();
    let linked = async {
        while a.rtt(&b.links().local()).is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, linked).await.unwrap();
    own.stop();
    a.close().await;
    assert!(own.shut_down(SOON).await);
    let own = Tasks::real();
    let again = node(1, address, &own).await;
    assert_eq!(again.links().addresses(), [address]);
    assert_eq!(a.links().addresses(), []);
}
