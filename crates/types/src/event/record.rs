//! An event as it is kept and sent.

use super::SAME_WITHIN;
use crate::{Hlc, NodeKey};
use minicbor::{Decode, Encode};

/// The kinds whose number is a revision of the control state.
const OF_REVISIONS: [&str; 8] =
    ["joined", "removed", "drained", "undrained", "applied", "settings", "purged", "caught-up"];

/// An event as it is kept and sent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// When, by the hybrid clock of the node that tells.
    #[n(0)]
    pub at: Hlc,
    /// What kind of event.
    #[n(1)]
    pub kind: String,
    /// The node that it is about, if it is one.
    #[n(2)]
    pub node: Option<NodeKey>,
    /// What it is about; the node's name, if that was known.
    #[n(3)]
    pub subject: String,
    /// Whose it is; none if it is the whole cluster's.
    #[n(4)]
    pub namespace: Option<String>,
    /// What it has in common with what other nodes tell of the same: a revision, a term, a generation.
    #[n(5)]
    pub number: Option<u64>,
    /// Whether something is wrong.
    #[n(6)]
    pub warns: bool,
    /// What there is to say about it, for people.
    #[n(7)]
    pub text: String,
}

impl Record {
    /// The revision of the control state that it is of, if it is of one.
    pub fn revision(&self) -> Option<u64> {
        self.number.filter(|_| OF_REVISIONS.contains(&self.kind.as_str()))
    }

    /// Whether another node's record tells of the same.
    pub fn is_same(&self, other: &Record) -> bool {
        self.number.is_some()
            && (self.number, &self.kind, self.node) == (other.number, &other.kind, other.node)
            && (self.node.is_some() || self.subject == other.subject)
            && self.at.millis().since(other.at.millis()).max(other.at.millis().since(self.at.millis()))
                <= SAME_WITHIN
    }
}
