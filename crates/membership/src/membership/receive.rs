//! What a frame does, once it is checked.

use super::{Membership, Now};
use crate::coordinate::Coordinate;
use crate::identity::Identity;
use crate::limits::MEMBERS_MAX;
use crate::pool::{Around, Change, Measured, Pool};
use crate::record::Record;
use crate::view::Event;
use crate::wire::{Ask, Body, Item, Message, Page, Scope, Swim};
use selvedge_types::NodeKey;
use std::time::Duration;

impl Body {
    pub(super) fn scope(&self) -> Option<Scope> {
        match self {
            Body::Swim(swim) => Some(swim.scope),
            Body::Ask(Ask::Members(scope, _)) | Body::Page(Page::Members { scope, .. }) => Some(*scope),
            Body::Heard(scope) => Some(*scope),
            Body::Ask(Ask::Pops(_)) | Body::Page(Page::Pops { .. }) => None,
        }
    }
}

impl Membership {
    pub(super) fn receive(&mut self, now: &mut Now<'_>, from: NodeKey, body: Body) {
        match body {
            Body::Swim(swim) => self.receive_swim(now, from, swim),
            Body::Ask(ask) => self.answer(now, from, ask),
            Body::Page(page) => self.receive_page(now, from, page),
            Body::Heard(Scope::World) => {
                self.in_world(now.elapsed, |pool, _| pool.handle_heard(from));
            }
            Body::Heard(Scope::Pop(_)) => self.pop.handle_heard(from),
        }
    }

    fn receive_swim(&mut self, now: &mut Now<'_>, from: NodeKey, mut swim: Swim) {
        if self.left {
            return;
        }
        let world = swim.scope == Scope::World;
        if world && self.world.is_none() {
            return self.redirect(now, from, &swim);
        }
        if matches!(swim.message, Message::PingReq(..)) {
            self.send(now, from, Body::Heard(swim.scope));
        }
        swim.updates.retain(|update| !self.removed.contains(&update.member.node));
        let items = std::mem::take(&mut swim.items);
        let (generation, load, coordinate) = (swim.from.0, swim.load, swim.coordinate);
        self.catch_up(now, from, swim.pops);
        let before = self.is_trusted(world, from, generation);
        let measured = if world {
            self.in_world(now.elapsed, |pool, around| pool.handle(from, swim, around)).flatten()
        } else {
            let measured = self.in_pop(now.elapsed, |pool, around| pool.handle(from, swim, around));
            if self.pop.standing(&from).is_some() {
                self.described.entry(from).or_default().load = load;
            }
            measured
        };
        if let (Some(Measured(rtt)), Some(other)) = (measured, coordinate) {
            self.measure(from, world, rtt, other);
        }
        // Before, for its last words: who says that it leaves is gone after that.
        if before || self.is_trusted(world, from, generation) {
            items.into_iter().for_each(|item| self.receive_item(now, world, item));
        }
    }

    fn is_trusted(&self, world: bool, node: NodeKey, generation: u64) -> bool {
        let pool = if world { self.world.as_ref() } else { Some(&self.pop) };
        pool.is_some_and(|pool| pool.trusts(node, generation))
    }

    /// A node that is no delegate was asked as one: it tells who is.
    fn redirect(&mut self, now: &mut Now<'_>, from: NodeKey, swim: &Swim) {
        if swim.message == Message::Announce
            && let Some(page) = self.own_pop_page()
        {
            self.send(now, from, Body::Page(page));
        }
    }

    fn measure(&mut self, from: NodeKey, world: bool, rtt: Duration, other: Coordinate) {
        let direction = [(); 4].map(|()| self.dice.below(2_001) as f32 - 1_000.0);
        if world {
            self.coordinate.measured(&other, rtt, direction);
            return;
        }
        let described = self.described.entry(from).or_default();
        described.coordinate = Some(other);
        described.round_trips.rotate_right(1);
        described.round_trips[0] = Some(rtt);
        let mut known: Vec<Duration> = described.round_trips.iter().flatten().copied().collect();
        known.sort_unstable();
        let median = known.get(known.len() / 2).copied().unwrap_or(rtt);
        self.coordinate.measured(&other, median, direction);
    }

    fn receive_item(&mut self, now: &mut Now<'_>, world: bool, item: Item) {
        match item {
            Item::Accusation(accused, incarnation, by) => {
                let accuse = |pool: &mut Pool, around: &mut Around<'_>| {
                    if pool.accuse(accused, incarnation, by, around) {
                        pool.spread(&Item::Accusation(accused, incarnation, by));
                    }
                };
                match (self.removed.contains(&accused.node), world) {
                    (true, _) => {}
                    (false, true) => self.in_world(now.elapsed, accuse).unwrap_or_default(),
                    (false, false) => self.in_pop(now.elapsed, accuse),
                }
            }
            Item::Record(record) if !world => {
                if self.take_record(&record) {
                    self.pop.spread(&Item::Record(record));
                }
            }
            Item::Digest(digest) => self.take_digest(now, digest, true),
            Item::Reach(pop, reach) if !world => {
                if self.take_reach(&pop, reach) {
                    self.pop.spread(&Item::Reach(pop, reach));
                }
            }
            // Only a PoP's own members describe themselves and what they reach.
            Item::Record(_) | Item::Reach(..) => {}
        }
    }

    /// Takes up what a member says of itself. Whether it was new.
    pub(super) fn take_record(&mut self, record: &Record) -> bool {
        let node = record.identity.node;
        if node == self.own.identity.node
            || self.removed.contains(&node)
            || (self.described.len() >= MEMBERS_MAX && !self.described.contains_key(&node))
        {
            return false;
        }
        let described = self.described.entry(node).or_default();
        if described.record.as_ref().is_some_and(|known| !record.is_newer_than(known)) {
            return false;
        }
        described.record = Some(record.clone());
        self.events.push_back(Event::Described(record.identity));
        self.digest_is_due();
        true
    }

    pub(super) fn pop_changed(&mut self, now: &mut Now<'_>, change: Change) {
        match change {
            Change::Up(identity) => {
                self.events.push_back(Event::Joined(identity));
                self.remember(identity.node, self.options.pop.clone());
            }
            Change::Suspected(identity) => self.events.push_back(Event::Suspected(identity)),
            Change::Refuted(identity) => self.events.push_back(Event::Refuted(identity)),
            Change::Gone(identity) => {
                let why = self.why_gone(identity);
                self.events.push_back(Event::Gone(identity, why));
            }
            Change::Forgotten(node) => {
                self.described.remove(&node);
            }
            Change::Renewed(identity) => self.take_new_generation(identity),
            Change::Active => {
                self.cursors.pop.start();
                self.cursors.pops.start();
                self.describe_self();
            }
        }
        if !matches!(change, Change::Suspected(_) | Change::Refuted(_)) {
            self.review_delegates(now);
            self.digest_is_due();
        }
    }

    fn take_new_generation(&mut self, identity: Identity) {
        self.own.identity = identity;
        self.own.edition = 0;
        self.cursors.pop.start();
        self.events.push_back(Event::Renewed(identity));
        self.describe_self();
    }

    /// Tells the PoP what this node says of itself.
    pub(super) fn describe_self(&mut self) {
        self.own.edition += 1;
        self.pop.spread(&Item::Record(self.own.clone()));
        self.digest_is_due();
    }
}
