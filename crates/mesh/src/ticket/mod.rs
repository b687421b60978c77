//! Tickets: how a node that nobody knows becomes one of the cluster. No I/O, no clock.
//!
//! ```text
//!   operator   ClusterKey::issue --> TicketRecord (to the store) + Ticket (printed once)
//!   new node   Ticket::parse --> links with the ticket's own key, to a node that the ticket names
//!              Ticket::claim(own key) --> Claim
//!   cluster    Claim::check (signature, cluster, time) --> the store's majority: TicketRecord::redeem
//! ```
//! A ticket holds a key pair of its own. Its public half is in the record, and among the peers while it can be
//! used: so also the first link of a new node is made with a key that is known. What a ticket allows is signed
//! by the cluster's key; whether it still may be used is the record's to say, which the store's majority agrees on.

mod claim;
mod error;
mod record;
mod text;

pub use claim::{CLAIM_BYTES_MAX, Claim};
pub use error::{TicketError, TicketProblem};
pub use record::{TicketOffer, TicketRecord};

use crate::identity::Identity;
use iroh::{PublicKey, SecretKey, Signature};
use minicbor::{Decode, Encode};
use selvedge_types::{ClusterId, NodeKey, UnixMillis};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// How many nodes a ticket may let in.
pub const USES_MAX: u32 = 1000;
/// How long a ticket may be good.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a ticket is good unless its maker says.
pub const TTL: Duration = Duration::from_secs(3600);
/// How many nodes a ticket names, each with [`ADDRESSES_MAX`] addresses at most.
pub const CONTACTS_MAX: usize = 8;
/// How many addresses of a node a ticket has.
pub const ADDRESSES_MAX: usize = 4;
/// The longest ticket, as text.
pub const TEXT_BYTES_MAX: usize = 8192;

const FORMAT: u16 = 1;
/// What is signed begins with it, so that no signature passes for one of another kind.
const GRANT_CONTEXT: &[u8] = b"selvedge ticket 1\0";

/// What a node may be in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum NodeRole {
    /// It holds the control store's log and may be made a voter.
    #[n(0)]
    Voter,
    /// It receives what it serves, and proposes nothing for others.
    #[n(1)]
    Edge,
}

impl NodeRole {
    /// The role's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            NodeRole::Voter => "voter",
            NodeRole::Edge => "edge",
        }
    }
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A node of the cluster that a new one can call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Its key: nobody else can answer in its name.
    pub key: NodeKey,
    /// Where it is.
    pub addresses: Vec<SocketAddr>,
}

/// What a ticket allows: known to all, signed by the cluster's key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// The public half of the ticket's key, by which it is known.
    #[n(0)]
    pub key: NodeKey,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// What the nodes that it lets in may be.
    #[n(2)]
    pub role: NodeRole,
    /// How many.
    #[n(3)]
    pub uses: u32,
    /// When it is no longer good.
    #[n(4)]
    pub expires: UnixMillis,
}

impl Grant {
    /// The bytes that are signed.
    fn to_sign(&self) -> Vec<u8> {
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        let encoded = minicbor::to_vec(self).expect("encoding into memory");
        [GRANT_CONTEXT, &encoded].concat()
    }
}

/// A ticket. Whoever has it can use it: its text is shown once and kept nowhere.
#[derive(Clone)]
pub struct Ticket {
    grant: Grant,
    signature: Signature,
    secret: SecretKey,
    contacts: Vec<Contact>,
}

impl Ticket {
    /// What it allows.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Whom a new node can call.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// The key with which a new node makes its first link.
    pub fn identity(&self) -> Identity {
        Identity::from_seed(self.secret.to_bytes())
    }

    /// What `node` shows to the cluster to be let in by this ticket.
    pub fn claim(&self, node: NodeKey) -> Claim {
        Claim::new(self.grant.clone(), self.signature, node, &self.secret)
    }
}

/// Shows no secret.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("grant", &self.grant).field("contacts", &self.contacts).finish()
    }
}

/// The cluster's own key pair, made with the cluster: it signs tickets. Whoever has it can let nodes in.
#[derive(Clone)]
pub struct ClusterKey(SecretKey);

impl ClusterKey {
    /// The key with this seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        ClusterKey(SecretKey::from_bytes(&seed))
    }

    /// The seed, to be kept where only voters read.
    pub fn to_seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half, which every node knows.
    pub fn public(&self) -> ClusterPublicKey {
        ClusterPublicKey(*self.0.public().as_bytes())
    }

    /// Makes a ticket from `seed`, 32 bytes that nobody can guess, and what the store keeps of it.
    pub fn issue(&self, offer: &TicketOffer, seed: [u8; 32]) -> Result<(Ticket, TicketRecord), TicketError> {
        offer.check()?;
        let secret = SecretKey::from_bytes(&seed);
        let grant = Grant {
            key: NodeKey::from_bytes(*secret.public().as_bytes()),
            cluster: offer.cluster,
            role: offer.role,
            uses: offer.uses,
            expires: offer.now.plus(offer.ttl),
        };
        let signature = self.0.sign(&grant.to_sign());
        let record = TicketRecord::new(grant.clone(), offer.now);
        Ok((Ticket { grant, signature, secret, contacts: offer.contacts.clone() }, record))
    }
}

/// Shows no secret.
impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKey({:?})", self.public())
    }
}

/// The public half of the cluster's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct ClusterPublicKey(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

impl ClusterPublicKey {
    /// Whether the cluster's key signed `grant`.
    fn signed(&self, grant: &Grant, signature: &Signature) -> bool {
        verifies(&self.0, &grant.to_sign(), signature)
    }
}

fn verifies(key: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
    PublicKey::from_bytes(key).is_ok_and(|key| key.verify(message, signature).is_ok())
}

#[cfg(test)]
mod tests;
