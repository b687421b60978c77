//! The origin of the races: fixed bodies, cheap to serve, counted.
//!
//! `GET /SIZE/ANYTHING` is answered with SIZE bytes, cacheable for a day. One thread, one epoll set.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use memchr::memmem;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::SendFlags;
use rustix::time::Timespec;

use crate::edge::place;

/// The largest body, in bytes.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest request that is read, in bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// How often the thread looks whether it shall end.
const END_CHECK: Duration = Duration::from_millis(50);
const LISTENER: u64 = u64::MAX;

/// A running origin. Dropping it ends it.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    requests: AtomicU64,
    end: AtomicBool,
}

impl Origin {
    /// Starts an origin on a free loopback port, its thread pinned to `core` if one is given.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn start(core: Option<usize>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let mut server = Server::new(listener, Arc::clone(&shared))?;
        let thread = thread::Builder::new().name("origin".into()).spawn(move || {
            if let Err(e) = place::pin(core).and_then(|()| server.run()) {
                eprintln!("origin: {e}");
            }
        })?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests answered so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

struct Peer {
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Body bytes still to be sent after `output`.
    body_left: usize,
    /// Whether the set waits for room to write rather than for bytes to read.
    writing: bool,
}

struct Server {
    listener: TcpListener,
    epoll: OwnedFd,
    /// By event number; a number is used again when its peer is gone.
    peers: Vec<Option<Peer>>,
    unused: Vec<usize>,
    body: Vec<u8>,
    shared: Arc<Shared>,
}

impl Server {
    fn new(listener: TcpListener, shared: Arc<Shared>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let body = (b'a'..=b'z').cycle().take(BODY_BYTES_MAX).collect();
        Ok(Self { listener, epoll, peers: Vec::new(), unused: Vec::new(), body, shared })
    }

    fn run(&mut self) -> io::Result<()> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: END_CHECK.subsec_nanos().into() };
        let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
        while !self.shared.end.load(Ordering::Relaxed) {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                other => drop(other?),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    number => self.serve(number as usize)?,
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let number = self.unused.pop().unwrap_or(self.peers.len());
            epoll::add(&self.epoll, &socket, EventData::new_u64(number as u64), EventFlags::IN)?;
            let (input, output) = (Vec::new(), Vec::new());
            let peer = Some(Peer { socket, input, output, body_left: 0, writing: false });
            match self.peers.get_mut(number) {
                Some(place) => *place = peer,
                None => self.peers.push(peer),
            }
        }
    }

    /// Serves one peer as far as its socket allows; one that closed or sent nonsense is dropped.
    fn serve(&mut self, number: usize) -> io::Result<()> {
        let Some(place) = self.peers.get_mut(number) else { return Ok(()) };
        let Some(peer) = place else { return Ok(()) };
        let served = peer.step(&self.body, &self.shared.requests);
        let Ok(wants_write) = served else {
            *place = None;
            self.unused.push(number);
            return Ok(());
        };
        if wants_write != peer.writing {
            peer.writing = wants_write;
            let flags = if wants_write { EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.epoll, &peer.socket, EventData::new_u64(number as u64), flags)?;
        }
        Ok(())
    }
}

impl Peer {
    /// Returns whether it waits for room to write; an error when the connection shall be dropped.
    fn step(&mut self, body: &[u8], requests: &AtomicU64) -> io::Result<bool> {
        if !self.writing {
            self.fill()?;
        }
        loop {
            if !self.flush(body)? {
                return Ok(true);
            }
            let Some(end) = memmem::find(&self.input, b"\r\n\r\n") else { return Ok(false) };
            self.answer(end + 4);
            requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.input.extend_from_slice(&buffer[..count]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        if self.input.len() > REQUEST_BYTES_MAX { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    fn answer(&mut self, request_bytes: usize) {
        let size = size_asked(&self.input).filter(|size| *size <= BODY_BYTES_MAX);
        self.input.drain(..request_bytes);
        self.output.clear();
        self.output.extend_from_slice(head(size).as_bytes());
        self.body_left = size.unwrap_or(0);
    }

    /// Writes what is pending; false when the socket is full.
    fn flush(&mut self, body: &[u8]) -> io::Result<bool> {
        while !self.output.is_empty() || self.body_left > 0 {
            // A small body goes with its head; a large one from where it lies.
            let (more, rest) = (self.body_left, body.len() - self.body_left);
            if !self.output.is_empty() && more <= 16 * 1024 {
                self.output.extend_from_slice(&body[rest..]);
                self.body_left = 0;
            }
            let from_body = self.output.is_empty();
            let bytes = if from_body { &body[rest..] } else { &self.output };
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Err(e) => return Err(e.into()),
                Ok(sent) if from_body => self.body_left -= sent,
                Ok(sent) => drop(self.output.drain(..sent)),
            }
        }
        Ok(true)
    }
}

/// The first part of the path, as a number.
fn size_asked(request: &[u8]) -> Option<usize> {
    let path = request.strip_prefix(b"GET /")?;
    let end = path.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&path[..end]).ok()?.parse().ok()
}

/// The head of an answer; without a size, of a refusal. No `Date`: freshness then counts from arrival.
#[must_use]
pub fn head(size: Option<usize>) -> String {
    let Some(size) = size else {
        return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into();
    };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {size}\r\nCache-Control: public, max-age=86400\r\nETag: \"{size}\"\r\n\
         Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_states_the_size() {
        let cases: [(&[u8], Option<usize>); 4] = [
            (b"GET /1024/7 HTTP/1.1\r\n\r\n", Some(1024)),
            (b"GET /0/a HTTP/1.1\r\n\r\n", Some(0)),
            (b"GET /x HTTP/1.1\r\n\r\n", None),
            (b"POST /1/1 HTTP/1.1\r\n\r\n", None),
        ];
        for (request, expected) in cases {
            assert_eq!(size_asked(request), expected);
        }
    }
}
