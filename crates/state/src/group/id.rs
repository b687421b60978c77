//! Who takes part in a group.

use minicbor::{Decode, Encode};
use std::fmt;

/// One life of a member's log. A node whose log was lost or damaged goes on under another: what the old
/// one promised is forgotten, and must not be taken for kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct VoterId(#[n(0)] pub u64);

impl fmt::Display for VoterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<u64> for VoterId {
    fn from(id: u64) -> Self {
        VoterId(id)
    }
}

/// What is known of a member beside its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    /// The node, as [`super::Links`] find it: its key, as text, where they are those of the mesh.
    #[n(0)]
    pub node: String,
}
