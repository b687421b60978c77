//! What happened in the cluster.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventInfo {
    /// When, by the hybrid clock of the node that tells: 16 hexadecimal digits that sort as the events do.
    pub at: String,
    /// The same by that node's wall clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// The name of the node that told of it first.
    pub node: String,
    /// The names of all nodes that told of it.
    pub nodes: Vec<String>,
    /// What kind of event.
    pub kind: String,
    /// What it is about: a node's name, or what else has one. Empty if that is the node that tells.
    pub subject: String,
    /// The key of the node that it is about, if it is one.
    pub subject_id: Option<String>,
    /// Whose it is, if it is a namespace's.
    pub namespace: Option<String>,
    /// Whether something is wrong.
    pub warning: bool,
    /// What there is to say about it.
    pub text: String,
}

/// Events in causal order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// The events.
    pub events: Vec<EventInfo>,
    /// The nodes that did not say what happened there.
    pub unreached: Vec<UnreachedNode>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// A node that was not reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnreachedNode {
    /// Its name.
    pub name: String,
    /// Why it was not.
    pub why: String,
}

/// A line for who follows events. One with neither says that nothing happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventLine {
    /// The next event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventInfo>,
    /// The nodes that are not reached from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreached: Option<Vec<UnreachedNode>>,
}
