//! What can be asked of the control state.

use crate::node::{ClusterRecord, NodeRecord};
use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_mesh::ticket::TicketRecord;
use selvedge_types::{Hlc, Manifest, NodeKey, Permissions, Revision, Token, UnixMillis};

/// A change to the control state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the sites and keyspaces of a namespace, and the settings if it has any, what the manifest declares.
    ApplyManifest {
        /// What is declared.
        manifest: Box<Manifest>,
        /// The revision of the last change to sites or settings must be this one; none for any.
        expected: Option<Revision>,
        /// What it may do beside; else it is rejected.
        permitted: Permissions,
    },
    /// Adds a token.
    CreateToken(Token),
    /// Removes the token of that name.
    RevokeToken {
        /// Its name.
        name: String,
    },
    /// Says that what was fetched before now is gone or stale.
    Purge {
        /// What it covers.
        scope: PurgeScope,
        /// Gone or stale.
        kind: PurgeKind,
    },
    /// Makes the cluster, with its first node. Changes nothing where there is one.
    Found {
        /// The cluster.
        cluster: ClusterRecord,
        /// The first node.
        node: Box<NodeRecord>,
    },
    /// Adds a ticket.
    IssueTicket(TicketRecord),
    /// Takes a ticket back: it lets nobody in any more.
    RevokeTicket {
        /// Its key.
        key: NodeKey,
    },
    /// Lets a node in by a ticket, which is used up by that. A node that was let in by it stays as it is.
    Admit {
        /// The ticket's key.
        ticket: NodeKey,
        /// The node; its role and the time of its joining are set by this.
        node: Box<NodeRecord>,
        /// Now.
        at: UnixMillis,
    },
    /// Changes what is known of a node that was let in, but its role, when it joined, and whether it is drained.
    UpdateNode(Box<NodeRecord>),
    /// Has a node take no new work, or take it again.
    DrainNode {
        /// Its name.
        name: String,
        /// Which of the two.
        draining: bool,
    },
    /// Says who is to vote; nobody for the leader to choose.
    ChooseVoters {
        /// Their names: an odd number, or none.
        names: Vec<String>,
    },
    /// Takes a node out of the cluster, for good.
    RemoveNode {
        /// Its name.
        name: String,
    },
    /// Drops the purge stamps that no object can be covered by any more.
    ExpireStamps {
        /// When the fetch of the oldest object began.
        oldest: Hlc,
    },
}
