//! What makes nodes one cluster: who may link, who is let in, what each says of itself, and who votes.
//!
//! ```text
//!   control state --nodes, tickets--> Directory --> peers of the mesh, members of the group
//!   a new node --Claim--> JoinService --Admit--> control state
//!   each node --its record--> EnrolService --UpdateNode--> control state
//!   the leader: nodes, voters --Council--> learners added, voters changed, members removed
//!   the leader: declarations --Keyspaces--> the group's keyspaces
//! ```
//! Membership (who is alive) is not asked here: it never changes who votes.

mod council;
mod directory;
mod enrol;
mod handle;
mod join;
mod keyspaces;
mod messages;

pub use council::{Council, Step, next_step};
pub use directory::Directory;
pub use enrol::{ENROL, EnrolService, Enrolment};
pub use handle::Cluster;
pub use join::{JOIN, JoinError, JoinService, Joined, join};
pub use keyspaces::{Keyspaces, are_as_declared};
