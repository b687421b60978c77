//! Membership over the mesh: drives the core of `membership` with real time and real datagrams.
//!
//! ```text
//!   links --datagrams--> Inbox --> driver: Membership --> datagrams to peers
//!                                    |  ^
//!                        View, events v  | orders: add_seed, drain, set_load, remove, leave
//!                                  Members (cheap handle)
//! ```
//! The driver is one task. In each turn it takes in the datagrams that wait, then does what is due, then tells
//! events, sends, and shows a new [`View`] if there is something new to see.
//!
//! Whom a node may talk to is not membership's to say: it sends to keys that the table of peers has, and what
//! members say of addresses goes through [`Options::learnt`], whose owner decides. A node's name and role are the
//! control state's; who votes is never taken from here.

mod driver;
mod handle;
mod inbox;
pub mod limits;
mod metrics;
mod news;
mod view;

pub use handle::{Changes, Members};
pub use inbox::{Inbox, SERVICE};
pub use selvedge_membership::limits::LEAVE_TAKES;
pub use selvedge_membership::{Delegate, Digest, Exception, Identity, Load, Phase, State, Why};
pub use view::{Member, Pop, View};

use selvedge_observe::{Events, Registry};
use selvedge_rt::links::Peers;
use selvedge_types::resource::{PopName, RegionName};
use selvedge_types::{ClusterId, NodeKey};
use std::net::SocketAddr;
use std::sync::Arc;

/// Who the node is, and what it needs. Its key is that of its links.
pub struct Options {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Which of its lives this is: greater than in any former one. The caller keeps it on disk, and puts it there
    /// before it starts membership.
    pub generation: u64,
    /// Its PoP.
    pub pop: PopName,
    /// Its region.
    pub region: RegionName,
    /// Which version of the program it runs.
    pub version: String,
    /// Where others reach it: four are told to them.
    pub addresses: Vec<SocketAddr>,
    /// Nodes that may know the way in.
    pub seeds: Vec<Seed>,
    /// Told where members say that they are.
    pub learnt: Learnt,
    /// Where its metrics go.
    pub registry: Registry,
    /// Told what happens.
    pub events: Events,
}

/// A node that may know the way in: from a ticket, the disk, or the control state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Who.
    pub node: NodeKey,
    /// In which PoP.
    pub pop: PopName,
    /// Where; none if the table of peers has it.
    pub addresses: Vec<SocketAddr>,
}

/// Told where a node is, by its own or its PoP's word, once for each change. Must not wait.
pub type Learnt = Arc<dyn Fn(&NodeKey, &[SocketAddr]) + Send + Sync>;

/// Adds what is learnt to a table of peers: addresses of nodes that were let in, and of nobody else.
pub fn learn_into(peers: Peers) -> Learnt {
    Arc::new(move |node, addresses| {
        addresses.iter().rev().for_each(|address| {
            peers.learn(node, *address);
        });
    })
}
