//! What goes through the log, and what comes of it.

use bytes::Bytes;
use selvedge_kv::{Answer, Refusal};
use std::fmt;

/// An entry's content: the bytes of a [`selvedge_kv::Entry`], stamped by the leader.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proposal(pub(super) Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What an entry answered; none if it was no command.
#[derive(Clone, Debug)]
pub(super) struct Applied(pub(super) Option<Result<Answer, Refusal>>);

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("nothing"),
            Some(Ok(_)) => f.write_str("an answer"),
            Some(Err(refusal)) => refusal.fmt(f),
        }
    }
}
