//! What the control state knows of nodes and of the cluster itself.

use crate::group::VoterId;
use minicbor::{Decode, Encode};
use selvedge_mesh::ticket::NodeRole;
use selvedge_types::{NodeKey, UnixMillis};
use std::fmt;
use std::net::SocketAddr;

/// Addresses of a node that are kept.
pub const ADDRESSES_MAX: usize = 8;

/// A node that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its key: who it is.
    pub key: NodeKey,
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its point of presence.
    pub pop: String,
    /// Its region.
    pub region: String,
    /// What it may be.
    pub role: NodeRole,
    /// Its member of the control group, once it has opened one.
    pub voter: Option<VoterId>,
    /// Where its mesh is reached: [`ADDRESSES_MAX`] at most.
    pub mesh: Vec<SocketAddr>,
    /// Where it answers http, https and its API, as it says itself.
    pub serves: Serves,
    /// The version of its program.
    pub version: String,
    /// When it was let in.
    pub joined: UnixMillis,
    /// Whether it is to take no new work.
    pub draining: bool,
}

/// Where a node answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Serves {
    /// http.
    #[n(0)]
    pub http: Vec<String>,
    /// https.
    #[n(1)]
    pub https: Vec<String>,
    /// The API.
    #[n(2)]
    pub api: String,
}

/// What is known of the cluster: made by its first node.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterRecord {
    /// The seed of the key that signs tickets. Who has it can let nodes in.
    pub seed: [u8; 32],
    /// When it was made.
    pub created: UnixMillis,
    /// Who is to vote, by an operator's choice; nobody for the leader to choose.
    pub voters: Vec<NodeKey>,
}

/// Shows no secret.
impl fmt::Debug for ClusterRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterRecord")
            .field("created", &self.created)
            .field("voters", &self.voters)
            .finish_non_exhaustive()
    }
}

/// A node's record as bytes.
#[derive(Encode, Decode)]
pub(crate) struct NodeForm {
    #[n(0)]
    key: NodeKey,
    #[n(1)]
    name: String,
    #[n(2)]
    pop: String,
    #[n(3)]
    region: String,
    #[n(4)]
    role: NodeRole,
    #[n(5)]
    voter: Option<VoterId>,
    #[n(6)]
    mesh: Vec<String>,
    #[n(7)]
    serves: Serves,
    #[n(8)]
    version: String,
    #[n(9)]
    joined: UnixMillis,
    #[n(10)]
    draining: bool,
}

/// The cluster's record as bytes.
#[derive(Encode, Decode)]
pub(crate) struct ClusterForm {
    #[cbor(n(0), with = "minicbor::bytes")]
    seed: [u8; 32],
    #[n(1)]
    created: UnixMillis,
    #[n(2)]
    voters: Vec<NodeKey>,
}

impl From<&NodeRecord> for NodeForm {
    fn from(record: &NodeRecord) -> Self {
        let NodeRecord { key, name, pop, region, role, voter, mesh, serves, version, joined, draining } =
            record.clone();
        let mesh = mesh.iter().map(ToString::to_string).collect();
        NodeForm { key, name, pop, region, role, voter, mesh, serves, version, joined, draining }
    }
}

impl From<NodeForm> for NodeRecord {
    fn from(form: NodeForm) -> Self {
        let NodeForm { key, name, pop, region, role, voter, mesh, serves, version, joined, draining } = form;
        // An address that a later version writes otherwise is one that cannot be used here.
        let mesh = mesh.iter().filter_map(|address| address.parse().ok()).take(ADDRESSES_MAX).collect();
        NodeRecord { key, name, pop, region, role, voter, mesh, serves, version, joined, draining }
    }
}

impl From<&ClusterRecord> for ClusterForm {
    fn from(record: &ClusterRecord) -> Self {
        ClusterForm { seed: record.seed, created: record.created, voters: record.voters.clone() }
    }
}

impl From<ClusterForm> for ClusterRecord {
    fn from(form: ClusterForm) -> Self {
        ClusterRecord { seed: form.seed, created: form.created, voters: form.voters }
    }
}

impl NodeRecord {
    /// The record as bytes, for messages.
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        minicbor::to_vec(NodeForm::from(self)).expect("encoding into memory")
    }

    /// Reads a record. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        minicbor::decode::<NodeForm>(bytes).map(NodeRecord::from)
    }
}
