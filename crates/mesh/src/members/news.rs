//! What happens to the membership of this node's PoP, and to PoPs, as events with a place in causal order.

use selvedge_membership::{Event, Why};
use selvedge_types::resource::PopName;
use selvedge_types::{Hlc, NodeKey};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use tokio::sync::broadcast;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// When, by the node's hybrid clock.
    pub at: Hlc,
    /// What.
    pub what: What,
}

/// What happened. Nodes are those of this node's PoP: what happens in another one, that one's nodes tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A node is there for the first time.
    Joined(NodeKey),
    /// A node that was known is there again, or in a new life.
    Returned(NodeKey),
    /// A node did not answer somebody.
    Suspected(NodeKey),
    /// It has shown that it is there.
    Cleared(NodeKey),
    /// A node failed, or cannot be reached.
    Failed(NodeKey),
    /// A node left of its own accord.
    Left(NodeKey),
    /// A node was removed from the cluster.
    Removed(NodeKey),
    /// A PoP cannot be reached.
    PopLost(PopName),
    /// A PoP can be reached again.
    PopFound(PopName),
    /// This node speaks for its PoP from now on, or no more.
    Delegate(bool),
    /// Others took this node for gone; it goes on as that generation.
    Renewed(u64),
    /// A node's clock is too far ahead: its timestamp was refused, its message was not.
    ClockAhead {
        /// Whose.
        node: NodeKey,
        /// How far.
        ahead_ms: u64,
    },
    /// This node slept that long.
    Stalled(Duration),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Joined(node) => write!(f, "node {node} joined"),
            What::Returned(node) => write!(f, "node {node} is back"),
            What::Suspected(node) => write!(f, "node {node} does not answer"),
            What::Cleared(node) => write!(f, "node {node} answers again"),
            What::Failed(node) => write!(f, "node {node} is gone: it failed, or cannot be reached"),
            What::Left(node) => write!(f, "node {node} left"),
            What::Removed(node) => write!(f, "node {node} was removed"),
            What::PopLost(pop) => write!(f, "PoP {pop} cannot be reached"),
            What::PopFound(pop) => write!(f, "PoP {pop} can be reached"),
            What::Delegate(true) => f.write_str("this node speaks for its PoP"),
            What::Delegate(false) => f.write_str("this node speaks for its PoP no more"),
            What::Renewed(generation) => {
                write!(f, "others took this node for gone; it goes on as generation {generation}")
            }
            What::ClockAhead { node, ahead_ms } => {
                write!(f, "the clock of node {node} is {ahead_ms} ms ahead, which is too far")
            }
            What::Stalled(time) => write!(f, "this node stood still for {} ms", time.as_millis()),
        }
    }
}

/// Tells the core's events as news.
#[derive(Default)]
pub(super) struct Teller {
    /// Nodes that the core knows or knew a moment ago.
    met: BTreeSet<NodeKey>,
}

impl Teller {
    /// The news of an event, if it is any to others.
    pub(super) fn tell(&mut self, event: Event) -> Option<What> {
        Some(match event {
            Event::Joined(identity) if self.met.insert(identity.node) => What::Joined(identity.node),
            Event::Joined(identity) => What::Returned(identity.node),
            Event::Suspected(identity) => What::Suspected(identity.node),
            Event::Refuted(identity) => What::Cleared(identity.node),
            Event::Gone(identity, Why::Left) => What::Left(identity.node),
            Event::Gone(identity, Why::Removed) => What::Removed(identity.node),
            Event::Gone(identity, Why::Failed | Why::PopUnreachable) => What::Failed(identity.node),
            Event::Described(_) | Event::PopChanged(_) => return None,
            Event::PopLost(pop) => What::PopLost(pop),
            Event::PopFound(pop) => What::PopFound(pop),
            Event::Delegate(speaks) => What::Delegate(speaks),
            Event::Renewed(identity) => What::Renewed(identity.generation),
            Event::ClockAhead { node, ahead_ms } => What::ClockAhead { node, ahead_ms },
            Event::Stalled(time) => What::Stalled(time),
        })
    }

    /// Forgets whom the core has forgotten.
    pub(super) fn keep(&mut self, known: impl Fn(&NodeKey) -> bool) {
        self.met.retain(known);
    }
}

/// A reader of news.
pub struct NewsStream(pub(super) broadcast::Receiver<News>);

/// What a reader of news gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next piece.
    News(News),
    /// It read too slowly: so many were dropped.
    Missed(u64),
}

impl NewsStream {
    /// The next piece of news; none once membership has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Next> {
        match self.0.recv().await {
            Ok(news) => Some(Next::News(news)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Next::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
