//! A request, whatever protocol it came by.

use crate::Body;
use selvedge_types::{Fields, Method, Scheme, UnixMillis, Version};
use std::net::SocketAddr;

/// The other end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The peer's address, or what the PROXY protocol says it is.
    pub addr: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
}

/// A request. Its framing was checked and removed; Host is in `authority`. Transfer-Encoding is there only if
/// the content is in other codings than `chunked`, and then names just those (RFC 9112 section 6.1).
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// `https` if the connection was encrypted.
    pub scheme: Scheme,
    /// Host and, if given, port, in lowercase (RFC 9110 section 7.2). Empty only for HTTP/1.0 without Host.
    pub authority: String,
    /// Path and query as they came, starting with `/`; or `*` (RFC 9112 section 3.2).
    pub target: String,
    /// The version it came in.
    pub version: Version,
    /// Header fields, with those of the connection (RFC 9110 section 7.6.1) as they came; no Host.
    pub fields: Fields,
    /// Content. The front sends 100 (Continue), if it was asked for, when this is first polled.
    pub body: Body,
    /// Who sent it.
    pub client: Client,
    /// When its head was complete.
    pub received: UnixMillis,
}

impl Request {
    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The query, if there is a `?`.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The host, without the port (brackets of an IPv6 literal are kept).
    pub fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => host,
            _ => &self.authority,
        }
    }
}
