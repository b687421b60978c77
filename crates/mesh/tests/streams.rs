//! What real streams do beyond the contract of all links.

use bytes::Bytes;
use selvedge_mesh::{Endpoint, Identity};
use selvedge_rt::links::{LinkError, Options, Peers, Protocol};
use selvedge_rt::{Clock, Links, Tasks};
use selvedge_types::ClusterId;

const TEST: Protocol = Protocol { name: "test", version: 1 };

async fn node(n: u8, tasks: &Tasks) -> Links {
    let options =
        Options { cluster: ClusterId::from_bytes([1; 16]), accepts: vec![TEST], peers: Peers::default() };
    let free = ["127.0.0.1:0".parse().unwrap()];
    Endpoint::bind(&Identity::from_seed([n; 32]), &free, options, &Clock::real(), tasks).await.unwrap()
}

/// Who knows how much there is reads just that. Its writer would else be told to stop, in a packet for each call.
#[tokio::test]
async fn a_reader_that_read_all_but_the_end_stops_nobody() {
    let tasks = Tasks::real();
    let (a, b) = (node(1, &tasks).await, node(2, &tasks).await);
    a.peers().allow(b.local(), &b.addresses());
    b.peers().allow(a.local(), &a.addresses());
    let (made, accepted) = tokio::join!(a.connect(b.local(), &[TEST]), b.accept());
    let (left, right) = (made.unwrap(), accepted.unwrap());
    for _ in 0..10 {
        let (mut send, _recv) = left.open().await.unwrap();
        // Both are in one packet: nothing is sent before this task waits.
        send.write(Bytes::from_static(b"all")).await.unwrap();
        send.finish().unwrap();
        let (_reply, mut read) = right.accept().await.unwrap();
        assert_eq!(read.read(3).await.unwrap().unwrap(), "all");
        drop(read);
        assert_eq!(send.stopped().await, LinkError::Ended);
    }
    tokio::join!(a.close(), b.close());
}
