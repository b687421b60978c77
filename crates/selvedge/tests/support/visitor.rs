//! Clients that keep their connections as HTTP allows, and lose no request unless the server breaks its word.

use super::PATIENCE;
use super::tls::encrypted;
use super::wire::{field, frame, preface, read_content, read_frame, read_head, request_block};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A connection that was idle for longer may be closed at any time.
const IDLE_MAX: Duration = Duration::from_millis(500);
/// Requests at a time over HTTP/2.
const STREAMS: u32 = 3;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// One client, which asks for the same page again and again.
pub(crate) struct Visitor {
    pub(crate) protocol: Protocol,
    pub(crate) to: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) path: &'static str,
}

/// How the use of one connection ended, the answers that came over it counted.
enum Over {
    /// The server said that it is the last answer.
    Told(u64),
    /// The client had enough.
    Enough,
}

impl Visitor {
    /// Asks until it is `enough`, given how many connections it was told to leave; how many answers came over those. Fails
    /// on the first request that is not answered.
    pub(crate) fn ask_until(&self, enough: impl Fn(u64) -> bool) -> u64 {
        let (mut left, mut answered) = (0, 0);
        loop {
            let stop = || enough(left);
            let stream = TcpStream::connect(self.to).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let used = match (self.protocol, self.tls) {
                (Protocol::Http1, false) => self.http1(stream, stop),
                (Protocol::Http1, true) => self.http1(encrypted(stream, b"http/1.1").unwrap(), stop),
                (Protocol::Http2, false) => self.http2(stream, stop),
                (Protocol::Http2, true) => self.http2(encrypted(stream, b"h2").unwrap(), stop),
            };
            match used {
                Ok(Over::Told(count)) => answered += count,
                Ok(Over::Enough) => return answered,
                Err(error) => panic!("{:?}, TLS {}: a request was lost: {error}", self.protocol, self.tls),
            }
            left += 1;
        }
    }

    fn http1(&self, mut stream: impl Read + Write, enough: impl Fn() -> bool) -> io::Result<Over> {
        let request = format!("GET {} HTTP/1.1\r\nHost: a.test\r\n\r\n", self.path);
        let mut count = 0;
        let mut idle_since = Instant::now();
        while !enough() {
            let asked = stream.write_all(request.as_bytes());
            let was_late = idle_since.elapsed() > IDLE_MAX;
            let head = match asked.and_then(|()| read_head(&mut stream)) {
                Err(_) if was_late => return Ok(Over::Told(count)),
                head => head?,
            };
            let (status, _) = read_content(&head, &mut stream)?;
            assert_eq!(status, 200, "{head}");
            idle_since = Instant::now();
            count += 1;
            if field(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                return Ok(Over::Told(count));
            }
        }
        Ok(Over::Enough)
    }

    fn http2(&self, mut stream: impl Read + Write, enough: impl Fn() -> bool) -> io::Result<Over> {
        stream.write_all(&preface(1 << 20))?;
        let (mut next, mut count, mut is_told) = (1, 0, false);
        let mut open = BTreeSet::new();
        loop {
            if !is_told && enough() {
                return Ok(Over::Enough);
            }
            while !is_told && open.len() < STREAMS as usize {
                stream.write_all(&frame(1, 5, next, &request_block(self.path)))?;
                open.insert(next);
                next += 2;
            }
            if open.is_empty() {
                return Ok(Over::Told(count));
            }
            let (kind, flags, id, payload) = read_frame(&mut stream)?;
            match (kind, flags) {
                (3, _) => panic!("stream {id} was reset"),
                (4 | 6, 0) => stream.write_all(&frame(kind, 1, 0, if kind == 6 { &payload } else { &[] }))?,
                (7, _) => {
                    let last = payload.first_chunk().copied().map_or(0, u32::from_be_bytes);
                    assert!(open.iter().all(|id| *id <= last), "{open:?} are not answered beyond {last}");
                    is_told = true;
                }
                (0 | 1, flags) if flags & 1 == 1 && open.remove(&id) => count += 1,
                _ => {}
            }
        }
    }
}
