//! The mesh: real links between nodes, and remote calls over links of either kind.
//!
//! ```text
//!   endpoint   rt::Links over QUIC (iroh): keys pinned, peers from a table, nobody else is contacted
//!   distance   links as over a distance: for small worlds on one machine
//!   identity   the node's own key, in its data directory
//!   rpc        calls, streams and datagrams between nodes: deadlines, limits, priorities, timestamps
//!   members    who is there: `membership`'s core over those datagrams
//!   hybrid     the node's clock for those timestamps
//!   ticket     how a new node is let in: made, printed, read, proven, used up
//! ```
//! Deliberately absent: relays, port mapping, public discovery. A node is found at the addresses that its
//! operator or its peers name.

pub mod distance;
pub mod endpoint;
mod hybrid;
pub mod identity;
pub mod members;
pub mod rpc;
pub mod ticket;

pub use endpoint::{BindError, Endpoint};
pub use hybrid::Hybrid;
pub use identity::{Identity, IdentityError};
pub use members::Members;
pub use rpc::Mesh;
