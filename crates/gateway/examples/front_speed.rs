//! A front with a handler that answers at once, on one thread: the price of everything but the cache.
//!
//! `front_speed [BYTES]` serves that many bytes in cleartext on 127.0.0.1:8091 and with TLS on :8491, until it is
//! interrupted. `front_speed idle [COUNT]` opens that many connections to itself, sends a request over each, and
//! prints what an idle one costs.

use bytes::Bytes;
use selvedge_exchange::{Body, Handler, Reply, Request, Response};
use selvedge_gateway::front::{Certificates, Endpoint, Front, FrontOptions, Tls};
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Net, OnEnd, Tasks};
use selvedge_types::{Fields, Status};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Fixed {
    fields: Fields,
    content: Bytes,
}

impl Handler for Fixed {
    fn handle(&self, _: Request) -> Reply {
        let mut response = Response::new(Status::OK);
        response.fields = self.fields.clone();
        response.body = Body::Full(self.content.clone());
        Reply::Now(response)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let first = args.next().unwrap_or_else(|| "1024".to_owned());
    let fields = Fields::from_wire(
        b"Content-Type: text/html\r\nETag: \"abc\"\r\nCache-Control: max-age=60\r\nAge: 1\r\n\
          Cache-Status: selvedge; hit\r\n",
    )?;
    let content = vec![b'x'; first.parse().unwrap_or(1024)].into();
    let tasks = Tasks::real();
    let mut options = FrontOptions::default();
    options.connections.per_client_max = 100_000;
    let front = Front::new(Arc::new(Fixed { fields, content }), options, Clock::real(), &Registry::default());
    let certificates = Certificates::new();
    certificates.set_self_signed_fallback(vec!["localhost".to_owned()])?;
    let tls = Endpoint { tls: Some(Tls::new(&certificates)?), ..Endpoint::default() };
    let (plain_port, tls_port) = if first == "idle" { (0, 0) } else { (8091, 8491) };
    let mut addrs = Vec::new();
    for (port, endpoint) in [(plain_port, Endpoint::default()), (tls_port, tls)] {
        let listener = Net::Real.bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        addrs.push(listener.local_addr()?);
        tasks.spawn("listener", OnEnd::Forget, front.clone().serve(listener, endpoint, tasks.clone()));
    }
    println!("listening on {addrs:?}");
    if first == "idle" {
        return idle(addrs[0], args.next().and_then(|n| n.parse().ok()).unwrap_or(10_000)).await;
    }
    std::future::pending().await
}

/// Resident memory, in bytes.
fn resident() -> Result<u64, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("no resident size")?.parse()?;
    Ok(pages * 4096)
}

/// The clients are part of this process: their ends are counted too, so the true price is lower.
async fn idle(addr: SocketAddr, count: usize) -> Result<(), Box<dyn Error>> {
    let mut held = Vec::with_capacity(count);
    let mut before = resident()?;
    for i in 0..count {
        let mut stream = tokio::net::TcpStream::connect(addr).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut room = [0; 2048];
        let mut got = 0;
        while got < 1024 {
            got += stream.read(&mut room).await?;
        }
        held.push(stream);
        if i == 0 {
            before = resident()?;
        }
    }
    let each = (resident()? - before) / held.len() as u64;
    println!("{count} idle connections: {each} bytes each, both ends");
    Ok(())
}
