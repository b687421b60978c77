//! What makes nodes one cluster: who may link, who is let in, what each says of itself, and who votes.
//!
//! ```text
//!   control state --nodes, tickets--> Directory --> peers of the mesh, members of the group
//!   a new node --Claim--> JoinService --Admit--> control state
//!   each node --its record--> EnrolService --UpdateNode--> control state
//!   apply --wait --revision--> RolloutService of each node
//!   events --after, last--> EventsService of each node
//!   the leader: nodes, voters --Council--> learners added, voters changed, members removed
//!   the leader: declarations --Keyspaces--> the group's keyspaces
//! ```
//! Membership (who is alive) is not asked here: it never changes who votes.

mod council;
mod directory;
mod enrol;
mod events;
mod handle;
mod join;
mod keyspaces;
mod messages;
mod rollout;

pub use council::{Council, Step, next_step};
pub use directory::Directory;
pub use enrol::{ENROL, EnrolService, Enrolment, REMOVED};
pub use events::{EVENTS, EventLines, EventsService, LIMIT_MAX, Wanted};
pub use handle::{BACKUPS_MAX, Cluster};
pub use join::{JOIN, JoinError, JoinService, Joined, Known, check_name, join};
pub use keyspaces::{Keyspaces, are_as_declared};
pub use rollout::{InForce, ROLLOUT, RolloutService};
