//! What a new node shows to the cluster: the grant, and a proof that it holds the ticket.

use super::{ClusterPublicKey, FORMAT, Grant, TicketError, TicketProblem, verifies};
use iroh::{SecretKey, Signature};
use minicbor::{Decode, Encode};
use selvedge_types::{ClusterId, NodeKey, UnixMillis};

/// The largest claim, in bytes.
pub const CLAIM_BYTES_MAX: usize = 1024;
const CONTEXT: &[u8] = b"selvedge claim 1\0";

/// A node's wish to be let in. Any node can hand it on: it proves itself and names whom it is for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    #[n(0)]
    format: u16,
    /// What the ticket allows.
    #[n(1)]
    pub grant: Grant,
    #[cbor(n(2), with = "minicbor::bytes")]
    signature: [u8; 64],
    /// The node that wants in.
    #[n(3)]
    pub node: NodeKey,
    #[cbor(n(4), with = "minicbor::bytes")]
    proof: [u8; 64],
}

impl Claim {
    pub(super) fn new(grant: Grant, signature: Signature, node: NodeKey, secret: &SecretKey) -> Self {
        let proof = secret.sign(&to_prove(&grant, &node)).to_bytes();
        Claim { format: FORMAT, grant, signature: signature.to_bytes(), node, proof }
    }

    /// Checks all that can be known without the store: that the cluster's key signed the grant, that it is for
    /// this cluster and not over, and that who made the claim holds the ticket.
    pub fn check(
        &self,
        key: &ClusterPublicKey,
        cluster: ClusterId,
        now: UnixMillis,
    ) -> Result<(), TicketError> {
        let proof = Signature::from_bytes(&self.proof);
        let problem = if self.grant.cluster != cluster {
            TicketProblem::OtherCluster
        } else if !key.signed(&self.grant, &Signature::from_bytes(&self.signature)) {
            TicketProblem::Forged
        } else if !verifies(self.grant.key.as_bytes(), &to_prove(&self.grant, &self.node), &proof) {
            TicketProblem::NotHeld
        } else if now >= self.grant.expires {
            TicketProblem::Expired
        } else {
            return Ok(());
        };
        Err(TicketError::Unusable { ticket: self.grant.key, problem })
    }

    /// The claim as bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        minicbor::to_vec(self).expect("encoding into memory")
    }

    /// Reads a claim. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, TicketError> {
        if bytes.len() > CLAIM_BYTES_MAX {
            return Err(TicketError::Damaged);
        }
        let mut first = minicbor::Decoder::new(bytes);
        match first.array().and_then(|_| first.u16()) {
            Ok(FORMAT) => minicbor::decode(bytes).map_err(|_| TicketError::Damaged),
            Ok(other) => Err(TicketError::Format(u64::from(other))),
            Err(_) => Err(TicketError::Damaged),
        }
    }
}

fn to_prove(grant: &Grant, node: &NodeKey) -> Vec<u8> {
    [CONTEXT, grant.cluster.as_bytes(), grant.key.as_bytes(), node.as_bytes()].concat()
}
