//! What the rest of the world is told of a PoP: who answers for it, how it does, who is gone.
//!
//! A digest is whole: a later one replaces it. It is written by the PoP's first delegate and spread by all.

use crate::coordinate::Coordinate;
use crate::identity::Identity;
use crate::limits::{DELEGATES, DIGEST_BYTES_MAX, EXCEPTIONS_MAX};
use crate::record::{Load, addresses};
use crate::wire::{name, to_bytes};
use minicbor::{Decode, Encode};
use selvedge_types::resource::{PopName, RegionName};
use selvedge_types::{Hlc, NodeKey};
use std::net::SocketAddr;

/// The first eight bytes of a node's key: enough to tell the nodes of a PoP apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ShortKey(#[n(0)] pub u64);

impl From<&NodeKey> for ShortKey {
    fn from(key: &NodeKey) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
        ShortKey(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// A node that speaks for its PoP.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Delegate {
    /// Who.
    #[n(0)]
    pub identity: Identity,
    /// Where it can be reached.
    #[cbor(n(1), with = "addresses")]
    pub addresses: Vec<SocketAddr>,
}

/// Why a node of a PoP is named in its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Exception {
    /// It failed, or cannot be reached.
    #[n(0)]
    Failed,
    /// It left.
    #[n(1)]
    Left,
    /// It takes no new work.
    #[n(2)]
    Draining,
}

/// A PoP as others see it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Digest {
    /// Which PoP.
    #[cbor(n(0), with = "name")]
    pub pop: PopName,
    /// Which part of the world it is in.
    #[cbor(n(1), with = "name")]
    pub region: RegionName,
    /// When it was written, by the hybrid clock of its writer. The latest counts.
    #[n(2)]
    pub stamp: Hlc,
    /// Who speaks for it: at most [`DELEGATES`], the writer first.
    #[n(3)]
    pub delegates: Vec<Delegate>,
    /// Nodes that are there.
    #[n(4)]
    pub present: u32,
    /// Nodes that are remembered as gone.
    #[n(5)]
    pub gone: u32,
    /// The mean load of those there.
    #[n(6)]
    pub load: Load,
    /// Where the writer is on the network.
    #[n(7)]
    pub coordinate: Coordinate,
    /// Nodes gone or draining, the latest first: at most [`EXCEPTIONS_MAX`].
    #[n(8)]
    pub exceptions: Vec<(ShortKey, Exception)>,
}

impl Digest {
    /// Drops what it names beyond what news may take: the counts still tell of it.
    pub(crate) fn trim(&mut self) {
        while !self.exceptions.is_empty() && to_bytes(self).len() > DIGEST_BYTES_MAX {
            self.exceptions.pop();
        }
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.delegates.len() <= DELEGATES && self.exceptions.len() <= EXCEPTIONS_MAX
    }

    /// Whether it tells of somebody who is gone or draining, or speaks for the PoP no more.
    pub(crate) fn is_urgent_after(&self, former: &Digest) -> bool {
        let speaks = |node: &Delegate| self.delegates.iter().any(|d| d.identity.node == node.identity.node);
        let named = |exception: &(ShortKey, Exception)| former.exceptions.contains(exception);
        !former.delegates.iter().all(speaks) || !self.exceptions.iter().all(named) || self.gone > former.gone
    }

    /// Whether it tells others something that cannot wait until tables are compared.
    pub(crate) fn is_news_after(&self, former: &Digest) -> bool {
        self.delegates != former.delegates
            || self.present != former.present
            || self.gone != former.gone
            || self.exceptions != former.exceptions
    }
}
