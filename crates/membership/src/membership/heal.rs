//! Ways into the cluster, and back into it: whom to ask while somebody is missing.

use super::{Chore, Membership, Now};
use crate::limits::{DIGEST_REFRESH, HEAL_PERIOD};
use crate::wire::{Ask, Body};
use selvedge_types::NodeKey;
use selvedge_types::resource::PopName;

impl Membership {
    pub(super) fn heal(&mut self, now: &mut Now<'_>) {
        if self.left {
            return;
        }
        self.timers.set(now.elapsed + self.dice.around(HEAL_PERIOD), Chore::Heal);
        self.drop_strays(now.elapsed);
        self.review_delegates(now);
        self.review_all_reach(now);
        self.look_after_digest(now);
        self.look_for_pop(now);
        if self.world.is_some() {
            self.greet_world(now);
        }
        if self.pops.is_empty()
            && let Some(contact) = self.any_contact()
        {
            self.cursors.pops.start();
            self.send(now, contact, Body::Ask(Ask::Pops(None)));
        }
    }

    /// A digest that somebody else wrote says that the PoP has two halves, or had them.
    fn look_after_digest(&mut self, now: &mut Now<'_>) {
        let own = self.own.identity.node;
        let writer = self.pops.get(&self.options.pop).and_then(|pop| pop.digest.delegates.first());
        let others = writer.is_some_and(|writer| writer.identity.node != own);
        if self.is_first_delegate() && (others || now.elapsed >= self.digest_written + DIGEST_REFRESH) {
            self.digest_is_due();
        }
    }

    fn look_for_pop(&mut self, now: &mut Now<'_>) {
        let absent = |node: &NodeKey| {
            *node != self.own.identity.node && !self.pop.standing(node).is_some_and(|s| s.is_present())
        };
        let digest = self.pops.get(&self.options.pop).map(|pop| &pop.digest);
        let named = digest.into_iter().flat_map(|digest| &digest.delegates).map(|d| d.identity.node);
        let missing: Vec<NodeKey> = named.filter(absent).collect();
        // Those who started at the same time may each have found only some: two halves that know nothing of each
        // other are joined by whoever was told of somebody in the other one.
        let unheard = |node: &NodeKey, pop: &PopName| {
            *pop == self.options.pop && (self.pop.present() == 0 || self.pop.standing(node).is_none())
        };
        let unheard = self.contacts_that(unheard);
        let delegate = self.dice.pick(missing.into_iter());
        let target = delegate.or_else(|| self.dice.pick(unheard.into_iter()));
        if let Some(target) = target {
            self.in_pop(now.elapsed, |pool, around| pool.announce(target, around));
        }
    }

    /// Asks a delegate of a PoP that is not reached, if there is one.
    pub(super) fn greet_world(&mut self, now: &mut Now<'_>) {
        let own = &self.options.pop;
        let missing: Vec<&PopName> =
            self.pops.keys().filter(|name| *name != own && !self.is_reached(name)).collect();
        let delegates = self
            .dice
            .pick(missing.into_iter())
            .and_then(|name| self.pops.get(name))
            .map_or(Vec::new(), |pop| pop.digest.delegates.iter().map(|d| d.identity.node).collect());
        let alone = self.world.as_ref().is_some_and(|world| world.present() == 0);
        let unheard = |_: &NodeKey, pop: &PopName| pop != own && (alone || !self.pops.contains_key(pop));
        let unheard = self.contacts_that(unheard);
        let delegate = self.dice.pick(delegates.into_iter());
        let target = delegate.or_else(|| self.dice.pick(unheard.into_iter()));
        if let Some(target) = target {
            self.in_world(now.elapsed, |pool, around| pool.announce(target, around));
        }
    }

    pub(super) fn any_contact(&mut self) -> Option<NodeKey> {
        self.dice.pick(self.contacts.keys().copied())
    }

    fn contacts_that(&self, fit: impl Fn(&NodeKey, &PopName) -> bool) -> Vec<NodeKey> {
        self.contacts.iter().filter(|(node, pop)| fit(node, pop)).map(|(node, _)| *node).collect()
    }
}
