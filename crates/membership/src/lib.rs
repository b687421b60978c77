//! Who is there: failure detection, the view of the cluster, and where nodes are on the network.
//!
//! Placeholder docs, replaced below.

mod coordinate;
mod dice;
mod digest;
mod health;
mod identity;
pub mod limits;
mod membership;
mod pool;
mod record;
mod suspicion;
mod swim;
mod timers;
mod view;
mod wire;

pub use coordinate::Coordinate;
pub use digest::{Delegate, Digest, Exception, ShortKey};
pub use identity::Identity;
pub use membership::{Contact, Membership, Now, Options, Transmit};
pub use record::{Load, Phase, Record};
pub use view::{Event, MemberView, PopView, State, Why};
pub use wire::{FORMAT, FrameError};
