//! What the rest of the node tells membership.

use super::{Chore, Contact, Membership, Now};
use crate::limits::{GOSSIP_PERIOD, LEAVE_REPEATS};
use crate::record::{Load, Phase};
use crate::wire::{Update, Word};
use selvedge_types::NodeKey;

impl Membership {
    /// Names a node that may know the way in: from a ticket, the disk, or the control state.
    pub fn introduce(&mut self, contact: Contact) {
        if !self.removed.contains(&contact.node) {
            self.remember(contact.node, contact.pop);
        }
    }

    /// A node was removed from the cluster by command: it is gone, its frames are refused, nothing that is said
    /// of it is taken up. For good: it can come back only with another key.
    pub fn remove(&mut self, now: &mut Now<'_>, node: NodeKey) {
        if node == self.own.identity.node || !self.removed.insert(node) {
            return;
        }
        self.contacts.remove(&node);
        self.described.remove(&node);
        let down =
            |standing: &crate::pool::Standing| vec![Update { word: Word::Down, ..standing.to_update() }];
        if let Some(updates) = self.pop.standing(&node).map(down) {
            self.in_pop(now.elapsed, |pool, around| pool.learn(updates, true, around));
        }
        if let Some(updates) = self.world.as_ref().and_then(|world| world.standing(&node)).map(down) {
            self.in_world(now.elapsed, |pool, around| pool.learn(updates, true, around));
        }
        self.settle(now);
    }

    /// Stops taking new work, or takes it again. Others are told.
    pub fn drain(&mut self, now: &mut Now<'_>, draining: bool) {
        let phase = if draining { Phase::Draining } else { Phase::Serving };
        if !self.left && self.own.phase != phase {
            self.own.phase = phase;
            self.describe_self();
            self.review_delegates(now);
            self.settle(now);
        }
    }

    /// Says how busy this node is. Others hear of it with its next messages.
    pub fn set_load(&mut self, load: Load) {
        self.load = Load(load.0.min(100));
    }

    /// Leaves the cluster: others hear of it at once, and again during the next half second, after which the
    /// node may stop. It takes in nothing any more.
    pub fn leave(&mut self, now: &mut Now<'_>) {
        if self.left {
            return;
        }
        self.own.phase = Phase::Left;
        self.describe_self();
        self.in_pop(now.elapsed, |pool, around| pool.leave(around));
        self.in_world(now.elapsed, |pool, around| pool.leave(around));
        self.left = true;
        self.timers.set(now.elapsed + GOSSIP_PERIOD, Chore::Leave(LEAVE_REPEATS));
        self.settle(now);
    }

    pub(super) fn say_goodbye(&mut self, now: &mut Now<'_>, left: u8) {
        self.in_pop(now.elapsed, |pool, around| pool.gossip(around));
        self.in_world(now.elapsed, |pool, around| pool.gossip(around));
        if left > 1 {
            self.timers.set(now.elapsed + GOSSIP_PERIOD, Chore::Leave(left - 1));
        }
    }
}
