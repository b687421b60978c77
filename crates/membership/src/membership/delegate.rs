//! Who speaks for the PoP, and what is said of it.
//!
//! The delegates are the first members by key that are there, those that take work before those that are drained: every
//! member that sees the same view names the same ones, and when one fails the next is there already. The first of them
//! writes the PoP's digest.

use super::{Chore, Membership, Now};
use crate::digest::{Delegate, Digest, Exception, ShortKey};
use crate::identity::Identity;
use crate::limits::{
    DELEGATE_ADDRESSES_MAX, DELEGATES, DIGEST_CALM, DIGEST_PERIOD_MIN, DIGEST_REFRESH, EXCEPTIONS_MAX,
    MEMBERS_MAX, POPS_MAX, SETTLE, WORLD_TIMING,
};
use crate::pool::{Change, Pool, Standing};
use crate::record::{Load, Phase};
use crate::view::{Event, Why};
use crate::wire::{Item, Scope, Update, Word};
use selvedge_types::{Hlc, NodeKey};
use std::net::SocketAddr;
use std::time::Duration;

/// Whom a new delegate greets at once.
const GREETINGS: usize = 3;

impl Membership {
    /// The delegates as this node sees them, the first of them writes.
    pub(super) fn delegates(&self) -> Vec<Identity> {
        let mut all = self.first_in(Phase::Serving);
        if all.len() < DELEGATES {
            // To speak is no work, and a PoP that nobody speaks for is lost to others.
            all.extend(self.first_in(Phase::Draining));
            all.truncate(DELEGATES);
        }
        all
    }

    fn first_in(&self, phase: Phase) -> Vec<Identity> {
        let is_there = |s: &&Standing| s.is_present() && self.phase_of(s.identity) == phase;
        let mut first: Vec<Identity> =
            self.pop.standings().values().filter(is_there).take(DELEGATES).map(|s| s.identity).collect();
        if self.own.phase == phase && !self.left {
            first.push(self.own.identity);
        }
        first.sort_unstable();
        first.truncate(DELEGATES);
        first
    }

    /// Whether this node writes the PoP's digest.
    pub(super) fn is_first_delegate(&self) -> bool {
        let first = self.delegates().first().map(|identity| identity.node);
        self.world.is_some() && first == Some(self.own.identity.node)
    }

    /// Becomes a delegate, or ceases to be one, as the view has it.
    pub(super) fn review_delegates(&mut self, now: &mut Now<'_>) {
        if self.own.phase == Phase::Joining && self.is_settled(now.elapsed) {
            self.own.phase = Phase::Serving;
            self.describe_self();
        }
        let named = self.delegates().iter().any(|identity| identity.node == self.own.identity.node);
        match (named, self.world.is_some()) {
            (true, false) => self.enter_world(now),
            (false, true) => self.leave_world(now),
            _ => {}
        }
    }

    /// Whether this node knows its PoP well enough to see who its delegates are.
    fn is_settled(&self, now: Duration) -> bool {
        let alone = !self.contacts.values().any(|pop| *pop == self.options.pop);
        let asked = self.cursors.pops.is_read() || self.contacts.is_empty();
        now >= self.started + SETTLE
            || (self.pop.present() > 0 && self.cursors.pop.is_read())
            || (alone && asked && !self.pops.contains_key(&self.options.pop))
    }

    fn enter_world(&mut self, now: &mut Now<'_>) {
        self.world_generation += 1;
        let own = Identity::new(self.own.identity.node, self.world_generation);
        self.world = Some(Pool::new(own, Scope::World, WORLD_TIMING, &mut self.dice));
        self.world_since = now.elapsed;
        self.cursors.world = Default::default();
        self.events.push_back(Event::Delegate(true));
        (0..GREETINGS).for_each(|_| self.greet_world(now));
        self.digest_is_due();
    }

    fn leave_world(&mut self, now: &mut Now<'_>) {
        self.in_world(now.elapsed, |pool, around| {
            pool.leave(around);
            pool.gossip(around);
            pool.gossip(around);
        });
        self.flush(now);
        self.world = None;
        self.events.push_back(Event::Delegate(false));
    }

    pub(super) fn world_changed(&mut self, now: &mut Now<'_>, change: Change) {
        match change {
            Change::Up(identity) | Change::Gone(identity) => {
                if let Some(pop) = self.delegate_of.get(&identity.node).cloned() {
                    self.review_reach(now, &pop);
                }
            }
            Change::Active => {
                self.cursors.world.start();
                self.cursors.pops.start();
            }
            Change::Renewed(identity) => self.world_generation = identity.generation,
            Change::Suspected(_) | Change::Refuted(_) | Change::Forgotten(_) => {}
        }
    }

    /// The digest may have to change: it is written soon, once for all that changes until then.
    pub(super) fn digest_is_due(&mut self) {
        self.digest_due = true;
    }

    pub(super) fn schedule_digest(&mut self, now: Duration) {
        let at = now.max(self.digest_written + DIGEST_PERIOD_MIN);
        if std::mem::take(&mut self.digest_due) && self.digest_at.is_none_or(|set| set > at) {
            self.digest_at = Some(at);
            self.timers.set(at, Chore::Digest);
        }
    }

    pub(super) fn write_digest(&mut self, now: &mut Now<'_>) {
        if self.digest_at.take_if(|at| *at <= now.elapsed).is_none() || !self.is_first_delegate() {
            return;
        }
        let mut digest = self.digest();
        let known = self.pops.get(&self.options.pop).map(|pop| &pop.digest);
        let news = known.is_none_or(|known| digest.is_news_after(known));
        let urgent = known.is_none_or(|known| digest.is_urgent_after(known));
        if news && !urgent && now.elapsed < self.digest_written + DIGEST_CALM {
            self.digest_at = Some(self.digest_written + DIGEST_CALM);
            self.timers.set(self.digest_written + DIGEST_CALM, Chore::Digest);
            return;
        }
        if news || now.elapsed >= self.digest_written + DIGEST_REFRESH {
            // Never older than the one it replaces, whoever wrote that.
            let after = known.map_or(Hlc::ZERO, |known| known.stamp);
            let _reported_already = now.clock.observe(after, now.wall);
            digest.stamp = now.clock.tick(now.wall).max(Hlc::from_bits(after.to_bits().saturating_add(1)));
            self.digest_written = now.elapsed;
            self.take_digest(now, digest, news);
        }
    }

    fn digest(&self) -> Digest {
        let standings = || self.pop.standings().values().filter(|s| !self.removed.contains(&s.identity.node));
        let mut digest = Digest {
            pop: self.options.pop.clone(),
            region: self.options.region.clone(),
            stamp: Hlc::ZERO,
            delegates: self.delegates().into_iter().map(|identity| self.delegate(identity)).collect(),
            present: self.pop.present() as u32 + 1,
            gone: standings().filter(|s| !s.is_present()).count() as u32,
            load: self.mean_load(),
            coordinate: self.coordinate,
            exceptions: Vec::new(),
        };
        let mut named: Vec<(Duration, ShortKey, Exception)> =
            standings().filter_map(|s| self.exception(s)).collect();
        if self.own.phase == Phase::Draining {
            named.push((self.started, ShortKey::from(&self.own.identity.node), Exception::Draining));
        }
        named.sort_unstable_by_key(|(since, short, _)| (std::cmp::Reverse(*since), *short));
        digest.exceptions = named.into_iter().take(EXCEPTIONS_MAX).map(|(_, short, e)| (short, e)).collect();
        digest.trim();
        digest
    }

    fn delegate(&self, identity: Identity) -> Delegate {
        let record = self.described.get(&identity.node).and_then(|d| d.record.as_ref());
        let own = identity.node == self.own.identity.node;
        let addresses: &[SocketAddr] =
            if own { &self.own.addresses } else { record.map_or(&[], |record| &record.addresses) };
        Delegate { identity, addresses: addresses.iter().take(DELEGATE_ADDRESSES_MAX).copied().collect() }
    }

    fn exception(&self, standing: &Standing) -> Option<(Duration, ShortKey, Exception)> {
        let why = match standing.word {
            Word::Down if self.why_gone(standing.identity) == Why::Left => Exception::Left,
            Word::Down => Exception::Failed,
            _ if self.phase_of(standing.identity) == Phase::Draining => Exception::Draining,
            _ => return None,
        };
        Some((standing.since, ShortKey::from(&standing.identity.node), why))
    }

    fn mean_load(&self) -> Load {
        let present = |node: &&NodeKey| self.pop.standing(node).is_some_and(|s| s.is_present());
        let loads = self.described.iter().filter(|(node, _)| present(node)).map(|(_, d)| d.load);
        let (sum, count) =
            loads.chain([self.load]).fold((0, 0), |(sum, count), load| (sum + u32::from(load.0), count + 1));
        Load(u8::try_from(sum / count).unwrap_or(u8::MAX))
    }

    /// Takes up what is said of a PoP, if it is later than what is known.
    pub(super) fn take_digest(&mut self, now: &mut Now<'_>, digest: Digest, spread: bool) {
        let known = self.pops.get(&digest.pop);
        let stale = known.is_some_and(|known| known.digest.stamp >= digest.stamp);
        if stale || (known.is_none() && self.pops.len() >= POPS_MAX) {
            return;
        }
        let news = known.is_none_or(|known| digest.is_news_after(&known.digest));
        let (name, reach) = (digest.pop.clone(), known.and_then(|known| known.reach));
        let since = known.map_or(now.elapsed, |known| known.since);
        if news && spread {
            let item = Item::Digest(digest.clone());
            self.pop.spread(&item);
            self.world.iter_mut().for_each(|world| world.spread(&item));
        }
        self.name_delegates(&digest);
        self.bury(now, &digest);
        self.pops.insert(name.clone(), super::table::Pop { digest, reach, since });
        if news {
            self.events.push_back(Event::PopChanged(name.clone()));
        }
        self.review_reach(now, &name);
    }

    fn name_delegates(&mut self, digest: &Digest) {
        for delegate in &digest.delegates {
            let node = delegate.identity.node;
            if self.delegate_of.len() < MEMBERS_MAX || self.delegate_of.contains_key(&node) {
                self.delegate_of.insert(node, digest.pop.clone());
            }
        }
    }

    /// What a PoP says of its own nodes counts: delegates that it names as gone are gone.
    fn bury(&mut self, now: &mut Now<'_>, digest: &Digest) {
        let Some(world) = &self.world else { return };
        let gone = |node: &NodeKey| {
            let short = ShortKey::from(node);
            digest.exceptions.iter().any(|(named, e)| *named == short && *e != Exception::Draining)
        };
        let listed = |node: &NodeKey| digest.delegates.iter().any(|d| d.identity.node == *node);
        let of_pop = self.delegate_of.iter().filter(|(_, pop)| **pop == digest.pop).map(|(node, _)| node);
        let dead: Vec<Update> = of_pop
            .filter(|node| gone(node) && !listed(node))
            .filter_map(|node| world.standing(node))
            .filter(|standing| standing.is_present())
            .map(|standing| Update { word: Word::Down, ..standing.to_update() })
            .collect();
        if !dead.is_empty() {
            self.in_world(now.elapsed, |pool, around| pool.learn(dead, true, around));
        }
    }
}
