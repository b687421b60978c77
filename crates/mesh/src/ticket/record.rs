//! What the store keeps of a ticket, and how it is used up. What happens follows from the record and the
//! arguments alone: it is a step of the replicated state.

use super::{
    ADDRESSES_MAX, CONTACTS_MAX, Contact, Grant, NodeRole, TTL_MAX, TicketError, TicketProblem, USES_MAX,
};
use minicbor::{Decode, Encode};
use selvedge_types::{ClusterId, NodeKey, UnixMillis};
use std::time::Duration;

/// What a ticket is to allow.
#[derive(Clone, Debug)]
pub struct TicketOffer {
    /// The cluster.
    pub cluster: ClusterId,
    /// What the nodes may be.
    pub role: NodeRole,
    /// How many: 1 to [`USES_MAX`].
    pub uses: u32,
    /// For how long: up to [`TTL_MAX`].
    pub ttl: Duration,
    /// When it is made.
    pub now: UnixMillis,
    /// Whom new nodes can call: at least one.
    pub contacts: Vec<Contact>,
}

impl TicketOffer {
    pub(super) fn check(&self) -> Result<(), TicketError> {
        let limit = |what, given: u64, allowed, fits: bool| {
            if fits { Ok(()) } else { Err(TicketError::Limit { what, given, allowed }) }
        };
        limit("uses", u64::from(self.uses), "1 to 1000", (1..=USES_MAX).contains(&self.uses))?;
        let seconds = self.ttl.as_secs();
        limit("seconds to live", seconds, "1 second to 30 days", seconds > 0 && self.ttl <= TTL_MAX)?;
        let contacts = self.contacts.len();
        limit("contacts", contacts as u64, "1 to 8", (1..=CONTACTS_MAX).contains(&contacts))?;
        let addresses = self.contacts.iter().map(|contact| contact.addresses.len()).max().unwrap_or(0);
        limit("addresses of a node", addresses as u64, "up to 4", addresses <= ADDRESSES_MAX)
    }
}

/// A ticket as the store has it. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TicketRecord {
    #[n(0)]
    format: u16,
    /// What it allows.
    #[n(1)]
    pub grant: Grant,
    /// When it was made.
    #[n(2)]
    pub created: UnixMillis,
    /// Whether an operator took it back.
    #[n(3)]
    pub revoked: bool,
    /// Whom it let in.
    #[n(4)]
    pub used_by: Vec<NodeKey>,
}

impl TicketRecord {
    pub(super) fn new(grant: Grant, created: UnixMillis) -> Self {
        TicketRecord { format: super::FORMAT, grant, created, revoked: false, used_by: Vec::new() }
    }

    /// Whether a node that is not yet one could use it at `now`.
    pub fn usable(&self, now: UnixMillis) -> Result<(), TicketError> {
        let problem = if self.revoked {
            TicketProblem::Revoked
        } else if now >= self.grant.expires {
            TicketProblem::Expired
        } else if self.used_by.len() >= self.grant.uses as usize {
            TicketProblem::UsedUp
        } else {
            return Ok(());
        };
        Err(TicketError::Unusable { ticket: self.grant.key, problem })
    }

    /// Lets `node` in at `now`, the time of the entry that does it. A node that this ticket let in already may
    /// ask again, as it does when it did not hear the answer: nothing is used up twice.
    pub fn redeem(&mut self, node: NodeKey, now: UnixMillis) -> Result<NodeRole, TicketError> {
        if !self.used_by.contains(&node) || self.revoked {
            self.usable(now)?;
            self.used_by.push(node);
        }
        Ok(self.grant.role)
    }

    /// Takes it back: it lets nobody in any more. Whom it let in stays.
    pub fn revoke(&mut self) {
        self.revoked = true;
    }

    /// The record as bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        minicbor::to_vec(self).expect("encoding into memory")
    }

    /// Reads a record. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, TicketError> {
        let mut first = minicbor::Decoder::new(bytes);
        match first.array().and_then(|_| first.u16()) {
            Ok(super::FORMAT) => minicbor::decode(bytes).map_err(|_| TicketError::Damaged),
            Ok(other) => Err(TicketError::Format(u64::from(other))),
            Err(_) => Err(TicketError::Damaged),
        }
    }
}
