//! One connection of the load: cleartext or TLS, never blocking once it is open.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::RecvFlags;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::{Progress, ResponseReader};

/// From this many body bytes on, a body in cleartext is thrown away inside the kernel.
const SKIP_BYTES_MIN: u64 = 16 * 1024;

/// Longest wait for a connection, a handshake or (in [`Connection::ask`]) an answer.
const BLOCKING_TIME_MAX: Duration = Duration::from_secs(10);

/// An open connection and the answer it is reading.
pub struct Connection {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    reader: ResponseReader,
}

/// What became of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The answer goes on; wait for the socket.
    Waiting,
    /// The answer is complete.
    Complete,
    /// The server closed the connection between two answers.
    Closed,
}

impl Connection {
    /// Connects and, with `tls`, shakes hands.
    ///
    /// # Errors
    /// When connecting or the handshake fails or takes over ten seconds.
    pub fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let mut socket = TcpStream::connect_timeout(&address, BLOCKING_TIME_MAX)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(BLOCKING_TIME_MAX))?;
        let mut tls = tls.map(client).transpose()?;
        if let Some(tls) = &mut tls {
            while tls.is_handshaking() {
                tls.complete_io(&mut socket)?;
            }
        }
        Ok(Self { socket, tls: tls.map(Box::new), reader: ResponseReader::default() })
    }

    /// Sends a request and waits for its whole answer, blocking. For connections that are then held idle.
    ///
    /// # Errors
    /// When the socket fails or the answer is not a complete 200.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        self.send(request)?;
        let mut buffer = [0; 4096];
        loop {
            match self.receive(&mut buffer)? {
                Reading::Complete => return Ok(()),
                Reading::Waiting => {}
                Reading::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Writes a whole request. A request is far smaller than a socket's buffer, so this does not wait.
    pub(super) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.socket.write_all(request) };
        tls.writer().write_all(request)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// Reads what is there, at most about as much as `buffer` holds.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Reading> {
        let received = if self.tls.is_some() { self.receive_tls(buffer) } else { self.receive_clear(buffer) };
        match received {
            Err(e) if is_close(&e) => self.closed(),
            other => other,
        }
    }

    fn receive_clear(&mut self, buffer: &mut [u8]) -> io::Result<Reading> {
        let left = self.reader.body_left();
        if left >= SKIP_BYTES_MIN {
            return self.skip_clear(buffer, left);
        }
        let count = match self.socket.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Reading::Waiting),
            other => other?,
        };
        if count == 0 {
            return self.closed();
        }
        let progress = self.reader.read(&buffer[..count]).map_err(io::Error::other)?;
        complete(&progress, count)
    }

    /// `MSG_TRUNC` on a TCP socket discards without copying: the load's core has then less to do than the
    /// server's even when the server sends files from the page cache.
    fn skip_clear(&mut self, buffer: &mut [u8], left: u64) -> io::Result<Reading> {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match rustix::net::recv(&self.socket, &mut buffer[..most], RecvFlags::TRUNC) {
            Err(rustix::io::Errno::AGAIN) => Ok(Reading::Waiting),
            Err(e) => Err(e.into()),
            Ok((_, 0)) => self.closed(),
            Ok((_, count)) => complete(&self.reader.skip(count as u64), 0),
        }
    }

    fn receive_tls(&mut self, buffer: &mut [u8]) -> io::Result<Reading> {
        let Some(tls) = &mut self.tls else { return Ok(Reading::Waiting) };
        match tls.read_tls(&mut self.socket) {
            Ok(0) => return self.closed(),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Reading::Waiting),
            Err(e) => return Err(e),
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        loop {
            let count = match tls.reader().read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Reading::Waiting),
                other => other?,
            };
            if count == 0 {
                return Ok(Reading::Closed);
            }
            let progress = self.reader.read(&buffer[..count]).map_err(io::Error::other)?;
            if let Reading::Complete = complete(&progress, count)? {
                return Ok(Reading::Complete);
            }
        }
    }

    fn closed(&self) -> io::Result<Reading> {
        if self.reader.is_between() { Ok(Reading::Closed) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether the server has closed the connection: it answers a request that crossed the close with a reset.
pub(super) fn is_close(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// An answer must end where the bytes end: nothing was asked that more bytes could answer.
fn complete(progress: &Progress, count: usize) -> io::Result<Reading> {
    match progress {
        Progress::More => Ok(Reading::Waiting),
        Progress::Done(taken) if *taken == count => Ok(Reading::Complete),
        Progress::Done(_) => Err(io::Error::other("bytes after the answer's end")),
    }
}

fn client(config: &Arc<ClientConfig>) -> io::Result<ClientConnection> {
    let name = ServerName::try_from(super::HOST).map_err(io::Error::other)?;
    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)
}
