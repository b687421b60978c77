//! Why a call failed: as data, so that callers can act on it.

use super::frame::FrameError;
use selvedge_rt::LinkError;
use selvedge_types::NodeKey;
use std::ops::RangeInclusive;

/// What the node that was asked says instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {text}")]
pub struct Fault {
    /// What kind of failure.
    pub kind: FaultKind,
    /// What there is to say about it, for people.
    pub text: String,
    /// The versions of its messages that the service knows, when that is what is wrong.
    pub versions: Option<RangeInclusive<u16>>,
}

/// Kinds of faults. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A limit is reached; nothing was done. Later it may work.
    Overloaded,
    /// There is no such service; nothing was done.
    NoService,
    /// The service does not know that version of its messages; nothing was done.
    Version,
    /// The question is not one; nothing was done.
    Malformed,
    /// The answer was not there in time; the work may have been done.
    Deadline,
    /// The asker may not ask that; nothing was done.
    Refused,
    /// The node cannot do it now, or another must; nothing was done.
    NotNow,
    /// It failed; a part may have been done.
    Failed,
}

impl FaultKind {
    /// The number by which it is sent.
    pub const fn number(self) -> u8 {
        match self {
            FaultKind::Overloaded => 1,
            FaultKind::NoService => 2,
            FaultKind::Version => 3,
            FaultKind::Malformed => 4,
            FaultKind::Deadline => 5,
            FaultKind::Refused => 6,
            FaultKind::NotNow => 7,
            FaultKind::Failed => 8,
        }
    }

    /// The kind with that number; one that a later version knows counts as [`FaultKind::Failed`].
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => FaultKind::Overloaded,
            2 => FaultKind::NoService,
            3 => FaultKind::Version,
            4 => FaultKind::Malformed,
            5 => FaultKind::Deadline,
            6 => FaultKind::Refused,
            7 => FaultKind::NotNow,
            _ => FaultKind::Failed,
        }
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FaultKind::Overloaded => "overloaded",
            FaultKind::NoService => "no such service",
            FaultKind::Version => "version not known",
            FaultKind::Malformed => "malformed",
            FaultKind::Deadline => "too late",
            FaultKind::Refused => "refused",
            FaultKind::NotNow => "not now",
            FaultKind::Failed => "failed",
        })
    }
}

impl Fault {
    /// A fault of that kind.
    pub fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Fault { kind, text: text.into(), versions: None }
    }
}

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// This node.
    Local,
    /// The way between.
    Network,
    /// The node that was asked.
    Remote,
}

/// What is known about what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing of it was done.
    NotDone,
    /// It may have been done, wholly, partly or not at all.
    Unknown,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{service}` of node {peer}: {failure}")]
pub struct CallError {
    /// Who was asked.
    pub peer: NodeKey,
    /// For what.
    pub service: &'static str,
    /// What went wrong.
    pub failure: Failure,
    /// Whether the whole question may have arrived.
    pub asked: bool,
}

/// What went wrong in a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no link, or it broke.
    #[error("{0}")]
    Link(LinkError),
    /// No answer came in time.
    #[error("no answer in time")]
    Deadline,
    /// Too many calls to that node are under way from here.
    #[error("too many calls to the node are under way from here")]
    Busy,
    /// The question is too large to be sent.
    #[error("the question cannot be sent: {0}")]
    Question(FrameError),
    /// The answer is not one.
    #[error("the answer is not one: {0}")]
    Answer(FrameError),
    /// The node that was asked says that it failed.
    #[error("{0}")]
    Fault(Fault),
}

impl CallError {
    /// Who failed.
    pub const fn source_side(&self) -> Source {
        match &self.failure {
            Failure::Link(LinkError::Unknown | LinkError::Closed(_))
            | Failure::Busy
            | Failure::Question(_) => Source::Local,
            Failure::Link(LinkError::Refused(_)) | Failure::Answer(_) | Failure::Fault(_) => Source::Remote,
            Failure::Link(_) | Failure::Deadline => Source::Network,
        }
    }

    /// What is known about what was asked for.
    pub const fn outcome(&self) -> Outcome {
        match &self.failure {
            Failure::Fault(fault) => match fault.kind {
                FaultKind::Deadline | FaultKind::Failed => Outcome::Unknown,
                FaultKind::Overloaded
                | FaultKind::NoService
                | FaultKind::Version
                | FaultKind::Malformed
                | FaultKind::Refused
                | FaultKind::NotNow => Outcome::NotDone,
            },
            _ if self.asked => Outcome::Unknown,
            _ => Outcome::NotDone,
        }
    }

    /// Whether the same question can have another answer later.
    pub const fn can_retry(&self) -> bool {
        match &self.failure {
            Failure::Link(LinkError::Unknown | LinkError::Refused(_) | LinkError::NoProtocol)
            | Failure::Question(_)
            | Failure::Answer(_) => false,
            Failure::Link(_) | Failure::Deadline | Failure::Busy => true,
            Failure::Fault(fault) => {
                matches!(fault.kind, FaultKind::Overloaded | FaultKind::NotNow | FaultKind::Deadline)
            }
        }
    }
}
