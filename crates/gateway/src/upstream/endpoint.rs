//! One place that answers for an origin: where it is, how it is spoken to, its connections.

use super::balance::EndpointId;
use super::http2;
use super::pool::{Pool, PoolLimits};
use rustls::pki_types::ServerName;
use selvedge_types::Scheme;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What an endpoint was made from. Equal ones are the same endpoint, also after its name was resolved anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) scheme: Scheme,
    /// Host and, unless it is the scheme's own, port: what the endpoint itself is called.
    pub(super) authority: Box<str>,
    /// The name verified in TLS.
    pub(super) server_name: Option<ServerName<'static>>,
    /// Tried in turn. At most one of each address family, one at least.
    pub(super) addrs: Addrs,
}

impl Place {
    fn label(&self) -> String {
        let addr = self.addrs.first.to_string();
        let authority = &*self.authority;
        if addr == authority || addr.rsplit_once(':').is_some_and(|(ip, _)| ip == authority) {
            return addr;
        }
        format!("{authority} ({addr})")
    }
}

/// An address, and one of the other family if the host has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addrs {
    pub(super) first: SocketAddr,
    pub(super) other: Option<SocketAddr>,
}

/// The protocol that TLS negotiated last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Unknown,
    Http1,
    Http2,
}

pub(super) struct Endpoint {
    pub(super) id: EndpointId,
    pub(super) place: Place,
    label: Arc<str>,
    pub(super) pool: Pool,
    pub(super) http2: http2::Pool,
    speaks: AtomicU8,
    /// 1 if the other address answered last.
    prefers_other: AtomicU8,
}

impl Endpoint {
    pub(super) fn new(id: EndpointId, place: Place, limits: PoolLimits) -> Self {
        Endpoint {
            id,
            label: place.label().into(),
            place,
            pool: Pool::new(limits),
            http2: http2::Pool::new(limits.idle_time),
            speaks: AtomicU8::new(0),
            prefers_other: AtomicU8::new(0),
        }
    }

    /// Its name for people: `name (address)`.
    pub(super) fn label(&self) -> Arc<str> {
        self.label.clone()
    }

    pub(super) fn speaks(&self) -> Speaks {
        match self.speaks.load(Relaxed) {
            1 => Speaks::Http1,
            2 => Speaks::Http2,
            _ => Speaks::Unknown,
        }
    }

    pub(super) fn set_speaks(&self, speaks: Speaks) {
        let number = match speaks {
            Speaks::Unknown => 0,
            Speaks::Http1 => 1,
            Speaks::Http2 => 2,
        };
        self.speaks.store(number, Relaxed);
    }

    /// The addresses in the order in which to try them.
    pub(super) fn addrs(&self) -> (SocketAddr, Option<SocketAddr>) {
        let Addrs { first, other } = self.place.addrs;
        match other {
            Some(other) if self.prefers_other.load(Relaxed) == 1 => (other, Some(first)),
            other => (first, other),
        }
    }

    /// Remembers which address took a connection.
    pub(super) fn prefer(&self, addr: SocketAddr) {
        self.prefers_other.store(u8::from(Some(addr) == self.place.addrs.other), Relaxed);
    }
}
