//! Nodes, PoPs, voters and tickets.

use selvedge_mesh::ticket::NodeRole;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A node of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Its key, in hexadecimal digits: who it is.
    pub id: String,
    /// Its point of presence.
    pub pop: String,
    /// Its region.
    pub region: String,
    /// How it is, as the node that answers sees it: `alive`, `draining`, `suspect` (it did not answer somebody), `gone`,
    /// `left` (of its own accord), `unknown` (not heard of yet), or `joining` until it has said what it is.
    pub state: String,
    /// What it may be: `voter` or `edge`.
    pub role: String,
    /// What it does in the control group: `leader`, `voter`, `learner`, or empty if it is no member.
    pub control: String,
    /// The version of its program.
    pub version: String,
    /// Where it is reached.
    pub addresses: NodeAddresses,
    /// The time from the node that answers to this one and back, in microseconds: as the link between them measures it,
    /// else as network coordinates have it; none before either does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// When it was let in, in milliseconds since 1970.
    pub joined_ms: u64,
}

/// Where a node is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeAddresses {
    /// Its mesh, over UDP.
    pub mesh: Vec<String>,
    /// http.
    pub http: Vec<String>,
    /// https.
    pub https: Vec<String>,
    /// Its API.
    pub api: String,
}

/// How far a node is with a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutNode {
    /// Its name.
    pub name: String,
    /// Whether it goes by the revision.
    pub done: bool,
    /// The revision that it goes by; 0 if it did not say.
    pub revision: u64,
    /// What of the declared does not work there, or why it could not be asked.
    pub problems: Vec<String>,
}

/// A point of presence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PopInfo {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its nodes.
    pub nodes: usize,
    /// How many of them are reached by the node that answers.
    pub alive: usize,
    /// How many of them vote.
    pub voters: usize,
}

/// Who decides about the control state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Voters {
    /// The name of the node that leads; none if nobody does, as far as the node that answers knows.
    pub leader: Option<String>,
    /// The term: how many leaders were elected, about.
    pub term: u64,
    /// The names of those who vote.
    pub voters: Vec<String>,
    /// The names of those who follow without a vote.
    pub learners: Vec<String>,
    /// Whether one set of voters takes over from another just now.
    pub changing: bool,
    /// Whether an operator chose them; else the leader does.
    pub chosen: bool,
}

/// A choice of voters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChooseVoters {
    /// Their names, an odd number; none for the leader to choose.
    pub voters: Vec<String>,
}

/// A choice of the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChooseLeader {
    /// Its name.
    pub leader: String,
}

/// A ticket to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTicket {
    /// How many nodes it lets in: 1 to 1,000.
    #[serde(default)]
    pub uses: Option<u32>,
    /// For how many seconds it is good: up to 30 days.
    #[serde(default)]
    pub ttl: Option<u64>,
    /// What the nodes that it lets in may be: `voter` unless it says `edge`.
    #[serde(default)]
    pub role: Option<TicketRole>,
}

/// What nodes may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TicketRole {
    /// It has the control state, and may be made a voter.
    Voter,
    /// It has what it serves by, and nothing else.
    Edge,
}

impl From<TicketRole> for NodeRole {
    fn from(role: TicketRole) -> Self {
        match role {
            TicketRole::Voter => NodeRole::Voter,
            TicketRole::Edge => NodeRole::Edge,
        }
    }
}

/// A ticket, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TicketInfo {
    /// Its key, in hexadecimal digits.
    pub id: String,
    /// What the nodes may be that it lets in.
    pub role: String,
    /// How many nodes it lets in.
    pub uses: u32,
    /// How many it has let in.
    pub used: u32,
    /// How it is: `good`, `used up`, `expired` or `revoked`.
    pub state: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it expires, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// A ticket that was made, with its text, which is told this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewTicket {
    /// The ticket.
    #[serde(flatten)]
    pub info: TicketInfo,
    /// What to give to `selvedge up --join`.
    pub ticket: String,
}
