//! A node's life: its key and a generation that grows with each start and each renewal.

use minicbor::{Decode, Encode};
use selvedge_types::NodeKey;

/// One life of a node. Of two with the same key the higher generation counts, whatever is said of the other:
/// who is gone stays gone, and who starts anew is somebody new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Identity {
    /// The node.
    #[n(0)]
    pub node: NodeKey,
    /// Which of its lives. Must be greater than in any former one; a node's hybrid clock gives such numbers.
    #[n(1)]
    pub generation: u64,
}

impl Identity {
    /// That life of that node.
    pub const fn new(node: NodeKey, generation: u64) -> Self {
        Identity { node, generation }
    }

    /// The next one.
    pub(crate) const fn renewed(self) -> Self {
        Identity { node: self.node, generation: self.generation.saturating_add(1) }
    }
}

impl foca::Identity for Identity {
    type Addr = NodeKey;

    fn renew(&self) -> Option<Self> {
        Some(self.renewed())
    }

    fn addr(&self) -> NodeKey {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}
