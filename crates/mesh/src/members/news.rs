//! What of membership is worth telling people.

use selvedge_membership::{Event as Core, Identity, Why};
use selvedge_types::NodeKey;
use selvedge_types::event::{Event, Life};
use std::collections::BTreeSet;

/// Tells the core's events. Nodes are those of this node's PoP: what happens in another one, that one's nodes tell.
#[derive(Default)]
pub(super) struct Teller {
    /// Nodes that the core knows or knew a moment ago.
    met: BTreeSet<NodeKey>,
}

impl Teller {
    /// What is told of an event, if anything.
    pub(super) fn tell(&mut self, event: Core) -> Option<Event> {
        Some(match event {
            Core::Joined(identity) if self.met.insert(identity.node) => Event::Met(life(identity)),
            Core::Joined(identity) => Event::Returned(life(identity)),
            Core::Suspected(identity) => Event::Suspected(life(identity)),
            Core::Refuted(identity) => Event::Cleared(life(identity)),
            Core::Gone(identity, Why::Left) => Event::Left(life(identity)),
            Core::Gone(identity, Why::Failed | Why::PopUnreachable) => Event::Failed(life(identity)),
            Core::PopLost(pop) => Event::PopLost(pop),
            Core::PopFound(pop) => Event::PopFound(pop),
            Core::Delegate(speaks) => Event::Delegate(speaks),
            Core::Renewed(identity) => Event::Renewed(identity.generation),
            Core::Stalled(time) => Event::Stalled(time),
            // The control state tells who was removed, and the calls whose clock was refused.
            Core::Gone(_, Why::Removed) | Core::ClockAhead { .. } => return None,
            Core::Described(_) | Core::PopChanged(_) => return None,
        })
    }

    /// Forgets whom the core has forgotten.
    pub(super) fn keep(&mut self, known: impl Fn(&NodeKey) -> bool) {
        self.met.retain(known);
    }
}

fn life(identity: Identity) -> Life {
    Life { node: identity.node, generation: identity.generation }
}
