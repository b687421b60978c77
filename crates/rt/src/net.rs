//! TCP, real and simulated.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A byte stream of a simulated network.
pub trait SimStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> SimStream for T {}

/// A simulated network, as one host sees it.
pub trait SimNet: Send + Sync {
    /// Listens on `addr`.
    fn bind(&self, addr: SocketAddr) -> Boxed<'_, Box<dyn SimListener>>;
    /// Connects to `addr`.
    fn connect(&self, addr: SocketAddr) -> Boxed<'_, Box<dyn SimStream>>;
}

/// A listening socket of a simulated network.
pub trait SimListener: Send + Sync {
    /// The next connection and its peer's address.
    fn accept(&self) -> Boxed<'_, (Box<dyn SimStream>, SocketAddr)>;
    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Opens connections and listens for them.
#[derive(Clone)]
pub enum Net {
    /// The machine's network.
    Real,
    /// A simulated one.
    Sim(Arc<dyn SimNet>),
}

/// How many connections the kernel may hold that were not accepted yet.
const BACKLOG: i32 = 4096;

impl Net {
    /// Listens on `addr`; port 0 picks a free one.
    pub async fn bind(&self, addr: SocketAddr) -> io::Result<Listener> {
        match self {
            Net::Real => Listener::from_std(bind_std(addr)?),
            Net::Sim(net) => Ok(Listener::Sim(net.bind(addr).await?.into())),
        }
    }

    /// Connects to `addr`. Dropping the future gives the attempt up.
    pub async fn connect(&self, addr: SocketAddr) -> io::Result<Stream> {
        match self {
            Net::Real => {
                let stream = TcpStream::connect(addr).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Net::Sim(net) => Ok(Stream::Sim(net.connect(addr).await?)),
        }
    }
}

fn bind_std(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A listening socket.
pub enum Listener {
    /// Of the machine's network.
    Tcp(TcpListener),
    /// Of a simulated one.
    Sim(Arc<dyn SimListener>),
}

impl Listener {
    /// Takes over a listening socket, such as one handed on by a former process. Needs a tokio runtime,
    /// to whose thread it then belongs.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Listener::Tcp(TcpListener::from_std(listener)?))
    }

    /// A second handle to the same socket as a plain one, to be taken over on another thread or process;
    /// none in a simulation.
    pub fn try_clone_std(&self) -> io::Result<Option<std::net::TcpListener>> {
        match self {
            Listener::Tcp(l) => {
                use std::os::fd::AsFd;
                Ok(Some(l.as_fd().try_clone_to_owned()?.into()))
            }
            Listener::Sim(_) => Ok(None),
        }
    }

    /// A second handle to the same socket, to be opened on another thread.
    pub fn try_clone_handle(&self) -> io::Result<ListenerHandle> {
        Ok(match self {
            Listener::Tcp(l) => {
                use std::os::fd::AsFd;
                ListenerHandle::Tcp(l.as_fd().try_clone_to_owned()?.into())
            }
            Listener::Sim(l) => ListenerHandle::Sim(l.clone()),
        })
    }

    /// The next connection and its peer's address. Cancel-safe.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Listener::Tcp(l) => {
                let (stream, peer) = l.accept().await?;
                // Refused only by a connection that is gone already; the first read says so.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), peer))
            }
            Listener::Sim(l) => l.accept().await.map(|(s, peer)| (Stream::Sim(s), peer)),
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Listener::Tcp(l) => l.local_addr(),
            Listener::Sim(l) => l.local_addr(),
        }
    }
}

/// A listening socket on its way to another thread.
pub enum ListenerHandle {
    /// Of the machine's network.
    Tcp(std::net::TcpListener),
    /// Of a simulated one.
    Sim(Arc<dyn SimListener>),
}

impl ListenerHandle {
    /// The socket, which belongs to this thread's runtime from now on.
    pub fn open(self) -> io::Result<Listener> {
        match self {
            ListenerHandle::Tcp(listener) => Listener::from_std(listener),
            ListenerHandle::Sim(listener) => Ok(Listener::Sim(listener)),
        }
    }
}

/// A connection.
pub enum Stream {
    /// Of the machine's network.
    Tcp(TcpStream),
    /// Of a simulated one.
    Sim(Box<dyn SimStream>),
}

impl Stream {
    /// The address of this end; none in a simulation.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(s) => s.local_addr().ok(),
            Stream::Sim(_) => None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Sim(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Sim(s) => Pin::new(s).poll_write(cx, buf),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Sim(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(s) => s.is_write_vectored(),
            Stream::Sim(s) => s.is_write_vectored(),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_flush(cx),
            Stream::Sim(s) => Pin::new(s).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Sim(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
