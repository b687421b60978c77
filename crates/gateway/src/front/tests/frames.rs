//! An HTTP/2 client that sends just the frames it is told to, right or wrong.

use super::wire::Wired;
use super::*;
use tokio::io::DuplexStream;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A frame as it came (RFC 9113 section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Raw {
    /// The error code of RST_STREAM or GOAWAY.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.number(at)
    }

    /// The last stream that a GOAWAY lets be answered.
    pub(super) fn last_stream(&self) -> u32 {
        self.number(0)
    }

    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

pub(super) struct Frames(DuplexStream);

impl Frames {
    /// A connection whose client allows `window` bytes on each stream, and any number in all.
    pub(super) async fn connect(server: &Wired, window: u32) -> Frames {
        Frames::over(server.connect(), window).await
    }

    pub(super) async fn over(stream: DuplexStream, window: u32) -> Frames {
        let mut frames = Frames(stream);
        frames.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let settings = [&4u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
        frames.send(SETTINGS, 0, 0, &settings).await;
        frames.send(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes()).await;
        frames
    }

    /// Sends a frame; false if the server has closed.
    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.0.write_all(&frame).await.is_ok()
    }

    /// Sends a header section, of any names and values.
    pub(super) async fn head(&mut self, stream: u32, fields: &[(&str, &str)], is_last: bool) {
        let flags = END_HEADERS | if is_last { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &literals(fields)).await;
    }

    pub(super) async fn get(&mut self, stream: u32, path: &str) {
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", path)];
        self.head(stream, &fields, true).await;
    }

    /// The next frame that is of no housekeeping; none at the connection's end.
    pub(super) async fn next(&mut self) -> Option<Raw> {
        loop {
            let frame = self.read().await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => drop(self.send(SETTINGS, ACK, 0, b"").await),
                PING if frame.flags & ACK == 0 => drop(self.send(PING, ACK, 0, &frame.payload).await),
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    async fn read(&mut self) -> Option<Raw> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Raw { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of that kind; none at the connection's end.
    pub(super) async fn next_of(&mut self, kind: u8) -> Option<Raw> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}

/// Field lines as HPACK writes them without tables and Huffman coding (RFC 7541 section 6.2.2).
pub(super) fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
