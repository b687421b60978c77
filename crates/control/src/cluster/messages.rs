//! The messages of joining and enrolling: CBOR with numbered fields.

use minicbor::{Decode, Encode};
use selvedge_types::NodeKey;
use std::net::SocketAddr;

/// A node's wish to be let in.
#[derive(Encode, Decode)]
pub(super) struct JoinForm {
    /// A [`selvedge_mesh::ticket::Claim`].
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(super) claim: Vec<u8>,
    /// A [`selvedge_state::NodeRecord`].
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) node: Vec<u8>,
}

/// What a node that was let in is told.
#[derive(Encode, Decode)]
pub(super) struct JoinedForm {
    #[n(0)]
    pub(super) nodes: Vec<KnownForm>,
}

/// A node and where it is.
#[derive(Encode, Decode)]
pub(super) struct KnownForm {
    #[n(0)]
    pub(super) key: NodeKey,
    #[n(1)]
    pub(super) addresses: Vec<String>,
    #[n(2)]
    pub(super) pop: String,
}

impl KnownForm {
    pub(super) fn new(key: NodeKey, pop: &str, addresses: &[SocketAddr]) -> Self {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        KnownForm { key, addresses, pop: pop.to_owned() }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.iter().filter_map(|address| address.parse().ok()).collect()
    }
}
