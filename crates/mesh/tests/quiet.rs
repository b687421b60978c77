//! A node contacts its peers and nobody else: the process's sockets are watched. Alone in its process, so that
//! every socket is the mesh's.

use bytes::Bytes;
use selvedge_mesh::{Endpoint, Identity};
use selvedge_rt::links::{Options, Peers, Protocol};
use selvedge_rt::{Clock, Links, Tasks};
use selvedge_types::ClusterId;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

const TEST: Protocol = Protocol { name: "test", version: 1 };

/// The internet sockets of this process: kind, local and remote address as the kernel writes them.
fn sockets() -> BTreeSet<(String, String, String)> {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().map(|fd| fs::read_link(fd.path()));
    let open: BTreeSet<String> = links
        .flatten()
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    for kind in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let table = fs::read_to_string(format!("/proc/self/net/{kind}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(9).is_some_and(|inode| open.contains(*inode)) {
                found.insert((kind.to_owned(), fields[1].to_owned(), fields[2].to_owned()));
            }
        }
    }
    found
}

async fn node(n: u8, address: &str, tasks: &Tasks) -> Links {
    let options =
        Options { cluster: ClusterId::from_bytes([1; 16]), accepts: vec![TEST], peers: Peers::default() };
    let addresses: [SocketAddr; 1] = [address.parse().unwrap()];
    Endpoint::bind(&Identity::from_seed([n; 32]), &addresses, options, &Clock::real(), tasks).await.unwrap()
}

/// Everything a node does that could tempt it to look around: it starts, is called, calls, calls nobody's address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_has_its_own_socket_and_no_other() {
    assert_eq!(sockets(), BTreeSet::new());
    let tasks = Tasks::real();
    let (a, b) = (node(1, "127.0.0.1:0", &tasks).await, node(2, "0.0.0.0:0", &tasks).await);
    let begun = sockets();
    assert_eq!(begun.len(), 2, "{begun:?}");
    assert!(begun.iter().all(|(kind, _, remote)| kind == "udp" && remote == "00000000:0000"), "{begun:?}");
    // Its interfaces' addresses, or the loopback one where there is no other.
    let port = b.addresses().first().map_or(0, SocketAddr::port);
    b.peers().allow(a.local(), &a.addresses());
    a.peers().allow(b.local(), &[]);
    assert!(a.connect(b.local(), &[TEST]).await.is_err());
    let (made, accepted) = tokio::join!(b.connect(a.local(), &[TEST]), a.accept());
    let (left, right) = (made.unwrap(), accepted.unwrap());
    for _ in 0..20 {
        left.send_datagram(Bytes::from_static(b"ping")).unwrap();
        tokio::time::timeout(Duration::from_secs(10), right.recv_datagram()).await.unwrap().unwrap();
        assert_eq!(sockets(), begun);
    }
    let nobody = Identity::from_seed([9; 32]).key();
    a.peers().allow(nobody, &[SocketAddr::from(([127, 0, 0, 1], port.max(1)))]);
    assert!(a.connect(nobody, &[TEST]).await.is_err());
    assert_eq!(sockets(), begun);
    tokio::join!(a.close(), b.close());
}
