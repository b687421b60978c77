//! Hands listening sockets from a node to its successor, so that an upgrade drops no connection.
//!
//! ```text
//!   node                                  successor (started with HANDOVER_VARIABLE)
//!    | listens on a socket in its data directory
//!    |<------------- connects ----------------|
//!    |--- names, with the sockets (SCM_RIGHTS)->|
//!    | ends the control state and the disk cache, lets go of the data directory
//!    |------------- "go" -------------------->|
//!    | lets requests under way end             | opens the data directory, accepts
//! ```
//! Between the two, connections wait in the kernel's queue.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The environment variable that tells a successor where to ask.
pub const HANDOVER_VARIABLE: &str = "SELVEDGE_HANDOVER";
/// How many sockets can be handed over (the kernel's limit is 253).
pub const SOCKETS_MAX: usize = 64;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(60);
const FILE: &str = "handover.sock";
/// The names of the sockets, in bytes.
const NAMES_MAX: usize = 4096;
const GO: &[u8] = b"go";

/// The node's side.
#[derive(Debug)]
pub struct Offer {
    listener: UnixListener,
    path: PathBuf,
}

/// The node's side, once the successor has the sockets.
#[derive(Debug)]
pub struct Taken(UnixStream);

/// The successor's side, once it has the sockets.
#[derive(Debug)]
pub struct Received {
    stream: UnixStream,
    /// The sockets, by name.
    pub sockets: BTreeMap<String, Vec<TcpListener>>,
}

impl Offer {
    /// Listens for a successor in the data directory.
    pub fn open(data: &Path) -> io::Result<Self> {
        let path = data.join(FILE);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        Ok(Offer { listener: UnixListener::bind(&path)?, path })
    }

    /// Where the successor is to ask.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the successor and gives it the sockets. `is_alive` is asked now and then whether it still
    /// is. Blocks.
    pub fn give(self, sockets: &[(&str, OwnedFd)], mut is_alive: impl FnMut() -> bool) -> io::Result<Taken> {
        self.listener.set_nonblocking(true)?;
        let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let mut waited = Duration::ZERO;
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            if waited >= PATIENCE || !is_alive() {
                return Err(io::Error::other("the new process did not ask for the sockets"));
            }
            let mut ready = [rustix::event::PollFd::new(&self.listener, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut ready, Some(&patience))?;
            waited += Duration::from_millis(100);
        };
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        send(&stream, sockets)?;
        Ok(Taken(stream))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // A file that is left behind is removed by the next offer.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Taken {
    /// Tells the successor that the data directory is free.
    pub fn go(mut self) -> io::Result<()> {
        self.0.write_all(GO)
    }
}

impl Received {
    /// Asks for the sockets at `path`. Blocks.
    pub fn ask(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let sockets = receive(&stream)?;
        Ok(Received { stream, sockets })
    }

    /// Waits until the data directory is free. Blocks.
    pub fn wait(&mut self) -> io::Result<()> {
        let mut word = [0; GO.len()];
        self.stream.read_exact(&mut word)?;
        if word == GO { Ok(()) } else { Err(io::Error::other("the old process said something unexpected")) }
    }
}

fn send(stream: &UnixStream, sockets: &[(&str, OwnedFd)]) -> io::Result<()> {
    if sockets.len() > SOCKETS_MAX {
        return Err(io::Error::other(format!("more than {SOCKETS_MAX} listening sockets")));
    }
    let names: String = sockets.iter().map(|(name, _)| format!("{name}\n")).collect();
    let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, fd)| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("the sockets do not fit in a message"));
    }
    // A message with nothing but descriptors is not delivered: it ends with an empty line.
    let text = names + "\n";
    let sent = sendmsg(stream, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::empty())?;
    if sent == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

fn receive(stream: &UnixStream) -> io::Result<BTreeMap<String, Vec<TcpListener>>> {
    let mut text = [0; NAMES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, flags)?;
    let mut fds: Vec<OwnedFd> = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    let names =
        std::str::from_utf8(text.get(..message.bytes).unwrap_or_default()).map_err(io::Error::other)?;
    let names: Vec<&str> = names.lines().filter(|name| !name.is_empty()).collect();
    if names.len() != fds.len() {
        return Err(io::Error::other(format!("{} names for {} sockets", names.len(), fds.len())));
    }
    let mut sockets: BTreeMap<String, Vec<TcpListener>> = BTreeMap::new();
    for (name, fd) in names.into_iter().zip(fds) {
        sockets.entry(name.to_owned()).or_default().push(fd.into());
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_successor_accepts_what_waits_on_the_handed_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        let offer = Offer::open(dir.path()).unwrap();
        let path = offer.path().to_owned();
        let giving = std::thread::spawn(move || {
            let sockets = [
                ("http", OwnedFd::from(listener)),
                ("api", TcpListener::bind("127.0.0.1:0").unwrap().into()),
            ];
            offer.give(&sockets, || true).unwrap().go().unwrap();
        });
        let mut received = Received::ask(&path).unwrap();
        received.wait().unwrap();
        giving.join().unwrap();
        let names: Vec<_> = received.sockets.iter().map(|(name, list)| (name.as_str(), list.len())).collect();
        assert_eq!(names, [("api", 1), ("http", 1)]);
        let (_, peer) = received.sockets["http"][0].accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_successor_that_died_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let offer = Offer::open(dir.path()).unwrap();
        assert!(offer.give(&[], || false).is_err());
    }

    #[test]
    fn an_old_node_that_died_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let offer = Offer::open(dir.path()).unwrap();
        let path = offer.path().to_owned();
        let giving = std::thread::spawn(move || drop(offer.give(&[], || true).unwrap()));
        let mut received = Received::ask(&path).unwrap();
        giving.join().unwrap();
        assert!(received.wait().is_err());
    }
}
