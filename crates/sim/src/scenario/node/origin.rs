//! The scripted origin: right, slow, failing, malformed, silent, as the seed and the present mood say.

use super::content::Content;
use super::history::{History, now};
use super::workload::{Kind, tag_of};
use crate::clock::SimClock;
use crate::run::Run;
use selvedge_rt::Rng;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

pub(super) const PORT: u16 = 80;
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes written at a time: what is large is seen to arrive in parts.
const PIECE: usize = 16 << 10;

/// How likely each kind of trouble is for a request, from 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mood {
    pub(super) slow: f64,
    pub(super) error: f64,
    pub(super) malformed: f64,
    pub(super) cut: f64,
    pub(super) silent: f64,
    pub(super) changes: f64,
}

/// The origin, over all its lives.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) history: History,
    pub(super) mood: Arc<Mutex<Mood>>,
    pub(super) rng: Arc<Mutex<Rng>>,
    /// The node's clock, to tell by it how old an answer is.
    pub(super) node_clock: SimClock,
    pub(super) run: Run,
}

enum Behaviour {
    Well,
    Error(u16),
    Malformed(u64),
    Cut,
    Silent,
}

impl Origin {
    pub(super) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// One life.
    #[allow(clippy::disallowed_methods)] // a task of the simulated host's, not of the node's
    pub(super) async fn live(self) -> turmoil::Result {
        let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], PORT))).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(self.clone().serve(stream));
        }
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(head) = read_head(&mut stream, &mut buffer).await {
            let arrived = now();
            let (behaviour, pause, changes) = self.decide();
            tokio::time::sleep(pause).await;
            let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
            let keeps = match behaviour {
                Behaviour::Silent => {
                    self.run.exercised("node: origin silent", 1);
                    return std::future::pending().await;
                }
                Behaviour::Well => self.answer(&mut stream, &head, &path, (arrived, changes), false).await,
                Behaviour::Cut => self.answer(&mut stream, &head, &path, (arrived, changes), true).await,
                Behaviour::Error(status) => {
                    self.run.exercised("node: origin errors", 1);
                    let text = format!("HTTP/1.1 {status} Trouble\r\nContent-Length: 4\r\n\r\noops");
                    stream.write_all(text.as_bytes()).await.is_ok()
                }
                Behaviour::Malformed(which) => {
                    self.run.exercised("node: origin malformed", 1);
                    // The node hangs up; that may come before all is written.
                    let _ = stream.write_all(malformed(which).as_bytes()).await;
                    false
                }
            };
            if !keeps {
                return;
            }
        }
    }

    /// How to treat a request, after which pause, and whether what is at its path has changed by then.
    fn decide(&self) -> (Behaviour, Duration, bool) {
        let mood = *self.mood.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let slow = rng.fraction() < mood.slow;
        let pause = Duration::from_millis(if slow { 100 + rng.below(1500) } else { rng.below(20) });
        let draw = rng.fraction();
        let behaviour = if draw < mood.error {
            Behaviour::Error([500, 502, 503][usize::try_from(rng.below(3)).unwrap_or(0)])
        } else if draw < mood.error + mood.malformed {
            Behaviour::Malformed(rng.below(6))
        } else if draw < mood.error + mood.malformed + mood.cut {
            Behaviour::Cut
        } else if draw < mood.error + mood.malformed + mood.cut + mood.silent {
            Behaviour::Silent
        } else {
            Behaviour::Well
        };
        let changes = rng.fraction() < mood.changes;
        (behaviour, pause, changes)
    }

    /// Answers as an origin should; cut short in its content if so wanted. Whether the connection stays.
    async fn answer(
        &self,
        stream: &mut TcpStream,
        head: &str,
        path: &str,
        (arrived, changes): (Duration, bool),
        cut: bool,
    ) -> bool {
        let kind = Kind::of(path);
        let content = kind.content(path, self.history.version(path, changes && kind != Kind::Once));
        let wall = self.node_clock.clock().wall().0;
        let number = self.history.fetched(path, arrived, wall);
        let (mut text, span) = self.head_of(head, &content, number);
        let body = span.map(|(start, end)| content.bytes(start, end)).unwrap_or_default();
        let chunked = kind == Kind::Page && number.is_multiple_of(3) && text.starts_with("HTTP/1.1 200");
        let length = if chunked {
            "Transfer-Encoding: chunked\r\n".into()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        if span.is_some() {
            text.push_str(&length);
        }
        text.push_str("\r\n");
        self.run.trace.line(
            "origin",
            format_args!("#{number} {path} version {} cut {cut} {}", content.version, text.len()),
        );
        if head.starts_with("HEAD ") {
            return stream.write_all(text.as_bytes()).await.is_ok();
        }
        let mut wire = text.into_bytes();
        if chunked {
            let (one, two) = body.split_at(body.len() / 2);
            for piece in [one, two].into_iter().filter(|p| !p.is_empty()) {
                wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                wire.extend_from_slice(piece);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
        } else {
            wire.extend_from_slice(&body);
        }
        if cut {
            self.run.exercised("node: origin answers cut", 1);
            wire.truncate(wire.len() - body.len() / 2 - 1);
        }
        for piece in wire.chunks(PIECE) {
            if stream.write_all(piece).await.is_err() {
                return false;
            }
        }
        !cut
    }

    /// Status line and fields, without framing; and which bytes follow, if content does.
    fn head_of(&self, request: &str, content: &Content, number: usize) -> (String, Option<(u64, u64)>) {
        let etag = content.etag();
        let kind = Kind::of(&content.path);
        let fields = format!(
            "ETag: {etag}\r\nX-Fetch: {number}\r\nCache-Control: {}\r\nSurrogate-Key: {}\r\nAccept-Ranges: bytes\r\n",
            kind.cache_control(),
            tag_of(&content.path),
        );
        if line_of(request, "if-none-match").is_some_and(|tags| tags.contains(&etag)) {
            self.run.exercised("node: origin answers 304", 1);
            return (format!("HTTP/1.1 304 Not Modified\r\n{fields}"), None);
        }
        let range =
            line_of(request, "range").filter(|_| line_of(request, "if-range").is_none_or(|tag| tag == etag));
        if let Some((start, end)) = range.and_then(|range| span_of(&range, content.length)) {
            let text = format!(
                "HTTP/1.1 206 Partial Content\r\n{fields}Content-Range: bytes {start}-{}/{}\r\n",
                end - 1,
                content.length
            );
            return (text, Some((start, end)));
        }
        (format!("HTTP/1.1 200 OK\r\n{fields}"), Some((0, content.length)))
    }
}

/// Answers that no gateway may take.
fn malformed(which: u64) -> &'static str {
    match which {
        0 => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        1 => {
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"
        }
        2 => "HTTP/1.1 200 OK\r\nBad Field: x\r\nContent-Length: 5\r\n\r\nhello",
        3 => "HTTQ/1.1 200 OK\r\n\r\n",
        4 => "HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\nContent-Length: -5\r\n\r\nhello",
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            return Some(head);
        }
        if buffer.len() > HEAD_BYTES_MAX || !matches!(stream.read_buf(buffer).await, Ok(1..)) {
            return None;
        }
    }
}

fn line_of(head: &str, name: &str) -> Option<String> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// The one range of a `Range` line, as start and end.
fn span_of(range: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start = first.parse().ok()?;
    let end = last.parse::<u64>().map_or(length, |last| last.saturating_add(1)).min(length);
    (start < end).then_some((start, end))
}
