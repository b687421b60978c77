//! What an edge node has of the control state: what it serves by, and no more.
//!
//! ```text
//!   a full node --objects of some kinds, then each change of them--> Mirroring --> a state of the edge node's own
//! ```
//! An edge node is no member of the group and sees none of its log. It keeps what it is sent in a group of its own, of
//! one, so that everything that follows a control state follows this one, also after a restart without any other node.
//! It gets the settings, the sites, the purges, and which nodes there are. Tokens, tickets, the cluster's key, declared
//! keyspaces and what users keep in them never leave the nodes that hold the group's log.
//!
//! Nothing is taken from a node that is behind what was mirrored already: a purge that was in force stays in force.
//! Deliberately absent: fewer sites than all of them. Every node serves every site.

mod follower;
mod source;
mod wire;

pub use follower::{Mirrored, Mirroring};
pub use source::{MIRROR, MirrorService};
pub use wire::decode_mirror;

use crate::object::Kind;

/// Whether objects of a kind are for edge nodes.
pub(crate) const fn is_mirrored(kind: Kind) -> bool {
    match kind {
        Kind::Settings | Kind::Site | Kind::Stamp | Kind::Node => true,
        Kind::Token | Kind::Ticket | Kind::Cluster | Kind::Keyspace => false,
    }
}
