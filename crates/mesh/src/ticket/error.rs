//! Why a ticket is not good.

use selvedge_types::NodeKey;

/// Why a ticket cannot be read, made or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The text is not a ticket's.
    #[error("not a ticket: it begins with `slvt` and a number, and has letters, digits, `-` and `_`")]
    NotATicket,
    /// A later version made it.
    #[error("a ticket of format {0}, but this version knows 1; run the version that the cluster runs")]
    Format(u64),
    /// A part of it is missing or wrong.
    #[error("the ticket is damaged: a part is missing or was changed; copy all of it")]
    Damaged,
    /// A number is beyond what a ticket may have.
    #[error("a ticket has {what} {given}; {allowed} is allowed")]
    Limit {
        /// What is beyond its limit.
        what: &'static str,
        /// What was given.
        given: u64,
        /// What may be.
        allowed: &'static str,
    },
    /// It cannot be used.
    #[error("ticket {ticket:?} {problem}; make another with `selvedge ticket create`")]
    Unusable {
        /// Which one.
        ticket: NodeKey,
        /// Why.
        problem: TicketProblem,
    },
}

/// Why a whole ticket cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketProblem {
    /// It was not signed by this cluster's key.
    #[error("was not made by this cluster")]
    Forged,
    /// It is for another cluster.
    #[error("is for another cluster")]
    OtherCluster,
    /// Its time is over.
    #[error("has expired")]
    Expired,
    /// It has let in as many as it may.
    #[error("is used up")]
    UsedUp,
    /// An operator took it back.
    #[error("was revoked")]
    Revoked,
    /// The store has no such ticket: it was removed.
    #[error("is not known")]
    Unknown,
    /// Who shows it does not hold it.
    #[error("is shown by a node that does not hold it")]
    NotHeld,
}
