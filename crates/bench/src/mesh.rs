//! How quickly nodes learn of each other's death, what that costs, and how seldom they are wrong: the membership
//! core on a queue of events in virtual time, from ten nodes to ten thousand.

mod crowd;
mod network;
mod report;
mod trial;
mod watch;

pub use crowd::{Crowd, Node, Size, pop_name};
pub use network::{Dice, Network};
pub use report::{Args, ELSEWHERE_MAX, INSIDE_MAX, percentile, run};
pub use trial::{Detection, Quiet, detect, formed, quiet_minute};
pub use watch::{Death, Watch};
