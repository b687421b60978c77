//! A client of the node's over the simulated network: HTTP/1.1 as far as the run needs it, read by other code
//! than the node's own.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpStream;

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(3);
const HEAD_BYTES_MAX: usize = 64 << 10;
const BODY_BYTES_MAX: usize = 4 << 20;

/// An answer, as far as it came.
pub(super) struct Answer {
    pub(super) status: u16,
    fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// All of the content came; else the connection broke, or the client left.
    pub(super) is_complete: bool,
}

impl Answer {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// First byte, end and length of a `Content-Range`.
    pub(super) fn range(&self) -> Option<(u64, u64, u64)> {
        let (span, length) = self.field("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<u64>().ok()? + 1, length.parse().ok()?))
    }

    fn cache_status(&self) -> &str {
        self.field("cache-status").unwrap_or("")
    }

    pub(super) fn is_hit(&self) -> bool {
        self.cache_status().contains("; hit")
    }

    /// Whether it says that it waited for another's fetch.
    pub(super) fn is_collapsed(&self) -> bool {
        self.cache_status().contains("; collapsed")
    }

    /// How long it says that it stays fresh, if it came from the cache alone.
    pub(super) fn fresh_hit_secs(&self) -> i64 {
        let ttl = self.cache_status().split("; ttl=").nth(1).and_then(|rest| rest.split(';').next());
        if self.is_hit() { ttl.and_then(|t| t.trim().parse().ok()).unwrap_or(0) } else { 0 }
    }

    pub(super) fn describe(&self) -> String {
        let field = |name| self.field(name).unwrap_or("-");
        format!(
            "{} {} bytes{} etag={} fetch={} generation={} {}",
            self.status,
            self.body.len(),
            if self.is_complete { "" } else { " (cut)" },
            field("etag"),
            field("x-fetch"),
            field("x-generation"),
            self.cache_status(),
        )
    }
}

/// A connection that is used again while it can be.
pub(super) struct Client {
    server: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What a client asks for.
#[derive(Default)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    /// More header lines, each with its line end.
    pub(super) lines: String,
    pub(super) body: &'a str,
    /// The client leaves after that many bytes of content.
    pub(super) leave_after: Option<usize>,
}

impl Client {
    pub(super) fn new(server: SocketAddr) -> Self {
        Client { server, stream: None, buffer: Vec::new() }
    }

    /// Sends a request and reads what comes.
    pub(super) async fn ask(&mut self, ask: &Ask<'_>) -> io::Result<Answer> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(ask))
            .await
            .unwrap_or(Err(ErrorKind::TimedOut.into()));
        let keeps = answer.as_ref().is_ok_and(|a| a.is_complete && a.field("connection") != Some("close"));
        if !keeps {
            self.stream = None;
            self.buffer.clear();
        }
        answer
    }

    async fn exchange(&mut self, ask: &Ask<'_>) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.server).await?,
        };
        let Ask { method, host, path, lines, body, leave_after } = ask;
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{lines}{length}\r\n{body}");
        stream.write_all(text.as_bytes()).await?;
        let mut answer = self.read_head(&mut stream).await?;
        let none = *method == "HEAD" || matches!(answer.status, 204 | 304);
        let framing = if none { Some(Framing::Length(0)) } else { framing(&answer) };
        let limit = leave_after.unwrap_or(BODY_BYTES_MAX);
        answer.is_complete = match framing {
            Some(Framing::Length(length)) => {
                self.read_length(&mut stream, &mut answer.body, length, limit).await
            }
            Some(Framing::Chunked) => self.read_chunks(&mut stream, &mut answer.body, limit).await,
            None => return Err(ErrorKind::InvalidData.into()),
        };
        self.stream = Some(stream);
        Ok(answer)
    }

    async fn read_head(&mut self, stream: &mut TcpStream) -> io::Result<Answer> {
        loop {
            let end = loop {
                if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                    break end;
                }
                if self.buffer.len() > HEAD_BYTES_MAX || stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            };
            let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..end + 4);
            let mut lines = head.split("\r\n");
            let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
            let status: u16 = status.ok_or(ErrorKind::InvalidData)?;
            let fields = lines.filter_map(|line| line.split_once(':'));
            let fields = fields.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
            if status >= 200 {
                return Ok(Answer { status, fields, body: Vec::new(), is_complete: false });
            }
        }
    }

    async fn read_length(
        &mut self,
        stream: &mut TcpStream,
        body: &mut Vec<u8>,
        length: usize,
        limit: usize,
    ) -> bool {
        while self.buffer.len() < length.min(limit) {
            if !matches!(stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                break;
            }
        }
        let got = self.buffer.len().min(length);
        body.extend(self.buffer.drain(..got));
        got == length
    }

    async fn read_chunks(&mut self, stream: &mut TcpStream, body: &mut Vec<u8>, limit: usize) -> bool {
        while body.len() < limit {
            let Some(line) = self.read_line(stream).await else { return false };
            let Ok(size) = usize::from_str_radix(line.trim(), 16) else { return false };
            let whole = self.read_length(stream, body, size, BODY_BYTES_MAX).await;
            if !whole || self.read_line(stream).await.as_deref() != Some("") {
                return false;
            }
            if size == 0 {
                return true;
            }
        }
        false
    }

    async fn read_line(&mut self, stream: &mut TcpStream) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            if !matches!(stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

fn framing(answer: &Answer) -> Option<Framing> {
    if answer.field("transfer-encoding") == Some("chunked") {
        return Some(Framing::Chunked);
    }
    answer.field("content-length")?.parse().ok().map(Framing::Length)
}
