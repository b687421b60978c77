//! Hands listening sockets from a node to its successor, so that an upgrade drops no connection.
//!
//! ```text
//!   node                                  successor (started with HANDOVER_VARIABLE)
//!    | listens on a socket in its data directory
//!    |<------------- connects ----------------|
//!    |--- names, with the sockets (SCM_RIGHTS)->|
//!    |                                        | understands its arguments and what is on disk
//!    |<----------- "ready" -------------------|
//!    | lends the data directory, serves on from memory
//!    |------------- "go" -------------------->|
//!    |                                        | opens the data directory, accepts
//!    |<----------- "serving" -----------------|
//!    | accepts no more
//!    |------------ "yours" ------------------>|
//!    | lets requests under way end,           | answers its API
//!    |---- what they purge, until the end --->|
//! ```
//! A successor that ends or falls silent before "serving" changes nothing: the node takes the data directory back.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use selvedge_gateway::cache::Purge;
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
/// How long a successor waits for the node.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the node looks whether a successor that has not asked yet still runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const FILE: &str = "handover.sock";
/// The names of the sockets, in bytes.
const NAMES_MAX: usize = 4096;

/// What one says to the other, a byte each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Ready = 1,
    Go = 2,
    Serving = 3,
    Yours = 4,
}

/// The node's side.
#[derive(Debug)]
pub struct Offer {
    listener: UnixListener,
    path: PathBuf,
}

/// The node's side, once the successor has the sockets and is ready.
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

    /// Waits for the successor, gives it the sockets, and waits until it says that it is ready. `within` is how
    /// long it may take for either. `is_alive` is asked now and then whether it still is. Blocks.
    pub fn give(
        self,
        sockets: &[(&str, OwnedFd)],
        within: Duration,
        mut is_alive: impl FnMut() -> bool,
    ) -> io::Result<Taken> {
        self.listener.set_nonblocking(true)?;
        let look = rustix::event::Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.subsec_nanos().into() };
        let mut waited = Duration::ZERO;
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            if waited >= within || !is_alive() {
                return Err(io::Error::other("the new process did not ask for the sockets"));
            }
            let mut ready = [rustix::event::PollFd::new(&self.listener, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut ready, Some(&look))?;
            waited += LOOK_EVERY;
        };
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(within))?;
        stream.set_read_timeout(Some(within))?;
        send(&stream, sockets)?;
        hear(&stream, Word::Ready, "it was ready")?;
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
    /// Tells the successor that the data directory is free, and waits until it serves; as long at most as it might
    /// take to be ready. Blocks.
    pub fn go(&self) -> io::Result<()> {
        say(&self.0, Word::Go)?;
        hear(&self.0, Word::Serving, "it served")
    }

    /// Tells the successor that nobody but it accepts connections any more.
    pub fn yours(&self) -> io::Result<()> {
        say(&self.0, Word::Yours)
    }

    /// Tells the successor what is purged since.
    pub fn tell(&self, purges: &[Purge]) -> io::Result<()> {
        let bytes: Vec<u8> = purges.iter().flat_map(Purge::to_bytes).collect();
        (&self.0).write_all(&bytes)
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

    /// Says that all that can be known before is in order, and waits until the data directory is free. Blocks.
    pub fn ready(&self) -> io::Result<()> {
        say(&self.stream, Word::Ready)?;
        hear(&self.stream, Word::Go, "it let go of the data directory")
    }

    /// Says that connections are accepted, and waits until nobody else accepts any. An error if the old process
    /// went away: it is so then, too. Blocks.
    pub fn serving(&self) -> io::Result<()> {
        say(&self.stream, Word::Serving)?;
        hear(&self.stream, Word::Yours, "it had stopped accepting")
    }

    /// The next purge that requests under way in the old process brought about; none when all have ended. Blocks.
    pub fn next_purge(&self) -> io::Result<Option<Purge>> {
        self.stream.set_read_timeout(None)?;
        let mut bytes = [0; Purge::BYTES];
        match (&self.stream).read_exact(&mut bytes) {
            Ok(()) => Ok(Some(Purge::from_bytes(&bytes))),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn say(mut stream: &UnixStream, word: Word) -> io::Result<()> {
    stream.write_all(&[word as u8])
}

/// Waits for a word of the other process; `before` is for what it then did not reach.
fn hear(mut stream: &UnixStream, word: Word, before: &str) -> io::Result<()> {
    let mut byte = [0];
    let read = stream.read_exact(&mut byte).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the other process took too long before {before}"),
        ),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            io::Error::new(e.kind(), format!("the other process ended before {before}"))
        }
        _ => e,
    });
    read?;
    if byte == [word as u8] {
        Ok(())
    } else {
        Err(io::Error::other(format!("the other process said something unexpected before {before}")))
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
    use selvedge_cache::stamps::{PurgeKind, ScopeHash};
    use selvedge_types::Hlc;
    use std::net::TcpStream;

    const PURGE: Purge =
        Purge { scope: ScopeHash(0x0102_0304), kind: PurgeKind::Soft, at: Hlc::from_bits(0x0506) };

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
            let taken = offer.give(&sockets, PATIENCE, || true).unwrap();
            taken.go().unwrap();
            taken.yours().unwrap();
            taken.tell(&[PURGE, PURGE]).unwrap();
        });
        let received = Received::ask(&path).unwrap();
        received.ready().unwrap();
        received.serving().unwrap();
        assert_eq!(received.next_purge().unwrap(), Some(PURGE));
        assert_eq!(received.next_purge().unwrap(), Some(PURGE));
        assert_eq!(received.next_purge().unwrap(), None);
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
        assert!(offer.give(&[], PATIENCE, || false).is_err());
    }

    #[test]
    fn a_successor_that_says_nothing_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let offer = Offer::open(dir.path()).unwrap();
        let silent = UnixStream::connect(offer.path()).unwrap();
        let refused = offer.give(&[], Duration::from_millis(1), || true).unwrap_err();
        assert!(refused.to_string().contains("took too long before it was ready"), "{refused}");
        drop(silent);
    }

    #[test]
    fn an_old_node_that_died_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let offer = Offer::open(dir.path()).unwrap();
        let path = offer.path().to_owned();
        let giving = std::thread::spawn(move || drop(offer.give(&[], PATIENCE, || true).unwrap()));
        let received = Received::ask(&path).unwrap();
        assert!(received.ready().is_err());
        giving.join().unwrap();
    }
}
