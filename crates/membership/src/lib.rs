//! Who is there: failure detection, the view of the cluster, and where nodes are on the network. Without any I/O.
//!
//! ```text
//!   datagrams, with the sender's key --> Membership --> datagrams to keys (poll_transmit)
//!   the time (wake_at)               -->            --> what has changed (poll_event)
//!   orders: introduce, drain, leave, remove, load   --> the view: members, pops, state_of
//! ```
//! A PoP's nodes watch each other in one pool. Its delegates, three at most, are members of a second one with the
//! delegates of all PoPs. What a node sends and receives at rest depends on neither the number of nodes nor that
//! of PoPs: each probes at a fixed rate, and tables are compared a page at a time.
//! ```text
//!     PoP ams: a b c d e ...          PoP fra: f g h i ...
//!              |_|_|___ delegates ____________|_|_|          the first one writes its PoP's digest:
//!              ^ first                        ^ first         delegates, counts, who is gone or draining
//! ```
//! A member, as the others of its pool see it (`pool`):
//! ```text
//!     alive --a probe fails--> suspect --no sign of life in time--> gone --TOMBSTONE--> forgotten
//!       ^                        |                                   |
//!       '---- refutes it --------'      a higher generation: --------'
//! ```
//! A death is news: inside the PoP from who judged it, to the world with the next digest, back into each PoP by its
//! delegates. Each node so knows its PoP's members one by one, and of other PoPs the digest: who speaks for them, how
//! many there are, and which of them are gone or draining (the latest [`limits::EXCEPTIONS_MAX`]; all are counted).
//! Times of the protocol and limits are in [`limits`]; why they are what they are: a member stalls up to a second and
//! is not taken for dead, so a verdict takes 1.35 s from the first unanswered ping; the rest of three seconds is for
//! somebody to ping it first, and for the news to spread.
//!
//! foca does SWIM (Das, Gupta, Motivala 2002) with its infection-style spreading and suspicion. What is added here:
//! - Lifeguard (Dadgar, Phillips, Currey 2017): `health` stretches the delays of a node that is itself not well,
//!   `suspicion` shortens the verdict with each independent accuser, and a suspect is told with whatever it is sent;
//! - an unanswered ping is sent again, and an accused member is asked until the verdict: with a fifth of all
//!   datagrams lost each way a node that runs is practically never taken for dead;
//! - a node that wakes late gives everybody as much more time as it slept;
//! - who helps with a probe says that it has heard: silence of all helpers is this node's own trouble;
//! - tables are read page by page, by a node that joins and as a backstop;
//! - [`Coordinate`]: Vivaldi, fed by round trips of pings that were sent once.
//!
//! What always holds:
//! - A life that ended does not come back by old gossip: of two lives of a key the later counts, a gone one stays gone
//!   for [`limits::TOMBSTONE`], and a node that slept half as long forgets whom it knew. A removed key never returns.
//! - A frame is checked as a whole before anything of it is used; a refused one changes nothing.
//! - A timestamp too far ahead is refused and reported; its message is not.
//! - The same seed and the same calls give the same datagrams.
//!
//! Memory of a node: about 1 KiB for each member of its PoP, half of one for each PoP, each with a limit.
//!
//! Deliberately absent: who votes (membership steers traffic and placement, it never changes a quorum), links,
//! clocks, addresses' reachability. The driver authenticates senders; a frame's claims about its sender's key are
//! none.

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
pub use health::Probes;
pub use identity::Identity;
pub use membership::{Contact, Membership, Now, Options, Transmit};
pub use record::{Load, Phase, Record};
pub use view::{Event, MemberView, PopView, State, Why};
pub use wire::{FORMAT, FrameError};
