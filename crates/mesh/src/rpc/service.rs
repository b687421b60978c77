//! What a node can be asked.

use super::body::Body;
use super::fault::Fault;
use bytes::Bytes;
use selvedge_rt::links::side::Boxed;
use selvedge_types::NodeKey;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::Instant;

/// Something that answers questions of one kind. Its name is given where it is registered.
pub trait Service: Send + Sync {
    /// The versions of its messages that it knows.
    fn versions(&self) -> RangeInclusive<u16>;

    /// Answers. The future is dropped when the asker wants no answer any more or the deadline has passed.
    fn answer(&self, question: Question) -> Boxed<'_, Result<Answer, Fault>>;

    /// Takes a datagram from `peer`; must not wait.
    fn datagram(&self, peer: NodeKey, content: Bytes) {
        let _ = (peer, content);
    }
}

/// What a service is asked.
pub struct Question {
    /// By whom.
    pub peer: NodeKey,
    /// In which version of the service's messages: one that it knows.
    pub version: u16,
    /// The message.
    pub message: Bytes,
    /// What comes after it; ends at once if nothing does.
    pub body: Body,
    /// Until when the answer is wanted: calls to others in its course should have it too.
    pub deadline: Deadline,
    /// How urgent it is.
    pub priority: Priority,
}

/// What a service answers.
pub struct Answer {
    /// The message.
    pub message: Bytes,
    /// What comes after it.
    pub body: Option<Box<dyn BodySource>>,
}

impl Answer {
    /// An answer of one message.
    pub fn message(message: impl Into<Bytes>) -> Self {
        Answer { message: message.into(), body: None }
    }
}

/// Gives the body of an answer, part by part.
pub trait BodySource: Send {
    /// The next part; none at the end. After a fault the body is broken off.
    fn next(&mut self) -> Boxed<'_, Result<Option<Bytes>, Fault>>;
}

/// Until when an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// In `time` from now.
    pub fn after(time: Duration) -> Self {
        Deadline(Instant::now() + time.min(super::limits::DEADLINE_MAX))
    }

    /// How much is left.
    pub fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub(super) const fn at(&self) -> Instant {
        self.0
    }
}

/// What goes first when not all can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Snapshots, backups: in a link of their own, behind all else.
    Bulk,
    /// What somebody waits for.
    Normal,
    /// What keeps the group of voters going.
    Consensus,
    /// What tells who is alive.
    Probe,
}

impl Priority {
    /// The number by which it is sent.
    pub const fn number(self) -> u8 {
        match self {
            Priority::Bulk => 0,
            Priority::Normal => 1,
            Priority::Consensus => 2,
            Priority::Probe => 3,
        }
    }

    /// The priority with that number, or the highest below it.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Priority::Bulk,
            1 => Priority::Normal,
            2 => Priority::Consensus,
            _ => Priority::Probe,
        }
    }
}
