//! TCP between simulated hosts, over `turmoil`, which delays, holds, partitions and breaks links.

use selvedge_rt::Net;
use selvedge_rt::net as seam;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use turmoil::net::{TcpListener, TcpStream};

/// The network as the host that runs now sees it. Works in tasks of a `turmoil` host alone.
pub fn net() -> Net {
    Net::Sim(Arc::new(SimNet))
}

struct SimNet;
struct SimListener(TcpListener);

type Boxed<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

impl seam::SimNet for SimNet {
    fn bind(&self, addr: SocketAddr) -> Boxed<'_, Box<dyn seam::SimListener>> {
        Box::pin(async move {
            let listener = TcpListener::bind(addr).await?;
            Ok(Box::new(SimListener(listener)) as Box<dyn seam::SimListener>)
        })
    }

    fn connect(&self, addr: SocketAddr) -> Boxed<'_, Box<dyn seam::SimStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(addr).await?;
            Ok(Box::new(stream) as Box<dyn seam::SimStream>)
        })
    }
}

impl seam::SimListener for SimListener {
    fn accept(&self) -> Boxed<'_, (Box<dyn seam::SimStream>, SocketAddr)> {
        Box::pin(async move {
            let (stream, peer) = self.0.accept().await?;
            Ok((Box::new(stream) as Box<dyn seam::SimStream>, peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
