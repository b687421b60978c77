//! Which PoPs can be reached: as the delegates' pool shows it to the PoP's first delegate, who tells the PoP.
//!
//! The others, delegates as well, keep what they were told: who is first next then knows what the PoP believes, and
//! tells it what has changed.

use super::{Membership, Now};
use crate::limits::REACH_WAIT;
use crate::view::Event;
use crate::wire::{Item, Reach};
use selvedge_types::resource::PopName;
use std::time::Duration;

impl Membership {
    /// Looks again at all PoPs.
    pub(super) fn review_all_reach(&mut self, now: &mut Now<'_>) {
        if self.is_first_delegate() {
            let names: Vec<PopName> = self.pops.keys().cloned().collect();
            names.iter().for_each(|name| self.review_reach(now, name));
        }
    }

    /// Tells the PoP when another one was lost or found.
    pub(super) fn review_reach(&mut self, now: &mut Now<'_>, name: &PopName) {
        if *name == self.options.pop || !self.is_first_delegate() {
            return;
        }
        let Some(pop) = self.pops.get(name) else { return };
        let reachable = self.is_reached(name);
        let known = pop.is_reachable();
        if known == reachable || (!reachable && !self.may_judge(now.elapsed, name, pop.since)) {
            return;
        }
        let reach = Reach { stamp: now.clock.tick(now.wall), reachable };
        if self.take_reach(name, reach) {
            self.pop.spread(&Item::Reach(name.clone(), reach));
        }
    }

    /// Whether a delegate of that PoP is there.
    pub(super) fn is_reached(&self, name: &PopName) -> bool {
        let Some(world) = &self.world else { return false };
        let present = |node| world.standing(node).is_some_and(|s| s.is_present());
        let named = self
            .pops
            .get(name)
            .is_some_and(|pop| pop.digest.delegates.iter().any(|delegate| present(&delegate.identity.node)));
        named || self.delegate_of.iter().any(|(node, pop)| pop == name && present(node))
    }

    /// A delegate that is new, or a PoP that is, needs time before silence says anything; a PoP that was there
    /// and has gone does not.
    fn may_judge(&self, now: Duration, name: &PopName, known_since: Duration) -> bool {
        let was_there = || {
            let of_pop = self.delegate_of.iter().filter(|(_, pop)| *pop == name);
            of_pop
                .into_iter()
                .any(|(node, _)| self.world.as_ref().is_some_and(|w| w.standing(node).is_some()))
        };
        now >= self.world_since.max(known_since) + REACH_WAIT || (self.cursors.world.is_read() && was_there())
    }

    /// Takes up whether a PoP can be reached. Whether it was new.
    pub(super) fn take_reach(&mut self, name: &PopName, reach: Reach) -> bool {
        let Some(pop) = self.pops.get_mut(name) else { return false };
        if pop.reach.is_some_and(|known| known.stamp >= reach.stamp) {
            return false;
        }
        let before = pop.is_reachable();
        pop.reach = Some(reach);
        match (before, reach.reachable) {
            (true, false) => self.events.push_back(Event::PopLost(name.clone())),
            (false, true) => self.events.push_back(Event::PopFound(name.clone())),
            _ => {}
        }
        true
    }
}
