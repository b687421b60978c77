//! A response, and what is told when it was sent.

use crate::Body;
use selvedge_types::{Fields, Status, Version};
use std::fmt;
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream in both directions, after an upgrade.
pub trait Tunnel: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Tunnel for T {}

/// A final response. The front adds what frames it, and Date if it is missing.
pub struct Response {
    /// 101, or 200 and above.
    pub status: Status,
    /// Header fields. A Content-Length here is only sent where there is no content to count (HEAD, 304).
    pub fields: Fields,
    /// Content. Ignored for HEAD.
    pub body: Body,
    /// With 101: the other side of the connection from now on.
    pub tunnel: Option<Box<dyn Tunnel>>,
    /// Told once, when the response was sent or given up.
    pub finish: Option<Box<dyn Finish>>,
    /// Close the connection after this response.
    pub close: bool,
    /// Where it came from, for the access log and metrics.
    pub source: Source,
    /// The version it was received in, for Via (RFC 9110 section 7.6.3); HTTP/1.1 if it was made here.
    pub version: Version,
}

/// Where a response came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Source {
    /// Made by the node itself: an error, a redirect.
    #[default]
    Local,
    /// Fresh, from memory.
    Memory,
    /// Fresh, from disk.
    Disk,
    /// Stale, from the cache.
    Stale,
    /// From the cache, after the origin said that it is still good.
    Revalidated,
    /// From the origin; the cache did not have it.
    Miss,
    /// From another request's fetch.
    Collapsed,
    /// From the origin, past the cache.
    Bypass,
}

impl Source {
    /// Every source, as metrics list them.
    pub const ALL: [Source; 8] = [
        Source::Local,
        Source::Memory,
        Source::Disk,
        Source::Stale,
        Source::Revalidated,
        Source::Miss,
        Source::Collapsed,
        Source::Bypass,
    ];

    /// A word for it, in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Local => "local",
            Source::Memory => "hit",
            Source::Disk => "hit_disk",
            Source::Stale => "stale",
            Source::Revalidated => "revalidated",
            Source::Miss => "miss",
            Source::Collapsed => "collapsed",
            Source::Bypass => "bypass",
        }
    }

    /// Whether the content came from the cache.
    pub const fn is_hit(self) -> bool {
        matches!(self, Source::Memory | Source::Disk | Source::Stale | Source::Revalidated)
    }
}

/// What was sent of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Bytes of the head, as far as known.
    pub head_bytes: u64,
    /// Bytes of content.
    pub body_bytes: u64,
    /// Whether all of it went out.
    pub complete: bool,
}

/// Wants to know what became of a response, for the access log and metrics.
pub trait Finish: Send {
    /// Called once.
    fn finish(self: Box<Self>, sent: Sent);
}

impl Response {
    /// A response without fields and content.
    pub fn new(status: Status) -> Self {
        Response {
            status,
            fields: Fields::new(),
            body: Body::Empty,
            tunnel: None,
            finish: None,
            close: false,
            source: Source::Local,
            version: Version::Http11,
        }
    }

    /// A response with a short plain text.
    pub fn text(status: Status, text: impl Into<String>) -> Self {
        let mut response = Response::new(status);
        // A constant value is always valid.
        let _ = response.fields.add(selvedge_types::name::CONTENT_TYPE, "text/plain; charset=utf-8");
        response.body = Body::from(bytes::Bytes::from(text.into()));
        response
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Response");
        out.field("status", &self.status).field("fields", &self.fields).field("body", &self.body);
        out.field("tunnel", &self.tunnel.is_some()).field("close", &self.close).finish_non_exhaustive()
    }
}
