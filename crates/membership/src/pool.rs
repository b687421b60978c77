//! One pool of members that watch each other: foca's SWIM with Lifeguard's parts around it.
//!
//! ```text
//!              no answer, directly or by helpers,        no sign of life until the
//!              within a probe                            suspicion's timeout
//!     alive ---------------------------------> suspect -----------------------> gone --TOMBSTONE--> forgotten
//!       ^                                        |                               |
//!       '---- a higher incarnation of its own ---'                               |
//!       '---- a higher generation: started anew, or renewed when it heard -------'
//! ```
//! foca keeps the members, picks whom to probe and passes news on. Around it here: an unanswered ping is sent
//! again; delays of probes grow with this node's own trouble and with known round trips; the verdict over a
//! suspect is due earlier the more members suspect it; whoever is suspected is told with everything it is sent.

use crate::dice::Dice;
use crate::health::Health;
use crate::identity::Identity;
use crate::limits::{
    BACKLOG_MAX, GOSSIP_BYTES_MAX, GOSSIP_FANOUT, GOSSIP_PERIOD, HELPERS, MEMBERS_MAX, RETRY_GONE_PERIOD,
    TOMBSTONE, Timing,
};
use crate::suspicion::Suspicion;
use crate::swim::{self, Effect, Effects, Layout, PassOn};
use crate::timers::Timers;
use crate::wire::{FrameError, Item, Message, Scope, Swim, Update, Word, to_bytes};
use foca::{Config, Foca, PeriodicParams, Timer};
use selvedge_types::NodeKey;
use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

/// What a pool knows of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) identity: Identity,
    pub(crate) incarnation: u16,
    pub(crate) word: Word,
    /// Since when it stands so.
    pub(crate) since: Duration,
}

impl Standing {
    pub(crate) fn is_present(&self) -> bool {
        self.word != Word::Down
    }

    pub(crate) fn to_update(self) -> Update {
        Update { member: self.identity, incarnation: self.incarnation, word: self.word }
    }
}

/// What has changed in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is there: new, or with a new generation.
    Up(Identity),
    /// It is under suspicion.
    Suspected(Identity),
    /// The suspicion was refuted.
    Refuted(Identity),
    /// It is gone.
    Gone(Identity),
    /// Nobody remembers it any more.
    Forgotten(NodeKey),
    /// This node was taken for gone and goes on under a new generation.
    Renewed(Identity),
    /// The first other member is known.
    Active,
}

/// What the rest of the node tells a pool with each call.
pub(crate) struct Around<'a> {
    pub(crate) now: Duration,
    pub(crate) health: &'a mut Health,
    /// Round trips to expect.
    pub(crate) round_trip: &'a dyn Fn(&NodeKey) -> Option<Duration>,
}

/// A round trip that was measured.
pub(crate) struct Measured(pub(crate) Duration);

/// The probe under way.
#[derive(Debug)]
struct Probe {
    target: Identity,
    number: u8,
    sent_at: Duration,
    /// Pings beyond the first: which of them is answered cannot be told, so the round trip counts for nothing
    /// (Karn and Partridge 1987).
    again: u32,
    helpers: u32,
    heard: u32,
    answered: bool,
}

enum Due {
    Foca(Timer<Identity>),
    PingAgain(u8),
    AskAccused(NodeKey),
    Verdict(NodeKey),
}

/// A pool and this node's part in it.
pub(crate) struct Pool {
    own: Identity,
    incarnation: u16,
    scope: Scope,
    timing: Timing,
    foca: Foca<Identity, Layout, Dice, PassOn>,
    config: Config,
    dice: Dice,
    timers: Timers<Due>,
    probe: Option<Probe>,
    suspicions: BTreeMap<NodeKey, Suspicion>,
    standings: BTreeMap<NodeKey, Standing>,
    present: usize,
    sends: Vec<(NodeKey, Swim)>,
    changes: Vec<Change>,
}

impl Pool {
    pub(crate) fn new(own: Identity, scope: Scope, timing: Timing, dice: &mut Dice) -> Self {
        let config = config(&timing);
        Pool {
            own,
            incarnation: 0,
            scope,
            timing,
            foca: Foca::with_custom_broadcast(own, config.clone(), dice.branch(), Layout, PassOn),
            config,
            dice: dice.branch(),
            timers: Timers::default(),
            probe: None,
            suspicions: BTreeMap::new(),
            standings: BTreeMap::new(),
            present: 0,
            sends: Vec::new(),
            changes: Vec::new(),
        }
    }

    // What is known.

    pub(crate) fn own(&self) -> Identity {
        self.own
    }

    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    /// This node's own row in the table.
    pub(crate) fn own_update(&self) -> Update {
        Update { member: self.own, incarnation: self.incarnation, word: Word::Alive }
    }

    pub(crate) fn standings(&self) -> &BTreeMap<NodeKey, Standing> {
        &self.standings
    }

    pub(crate) fn standing(&self, node: &NodeKey) -> Option<&Standing> {
        self.standings.get(node)
    }

    /// Whether that life of that node is a member that is there. What others say is not worth passing on.
    pub(crate) fn trusts(&self, node: NodeKey, generation: u64) -> bool {
        let same = |s: &Standing| s.is_present() && s.identity.generation == generation;
        self.standings.get(&node).is_some_and(same)
    }

    /// Other members that are there.
    pub(crate) fn present(&self) -> usize {
        self.present
    }

    /// One of them, at random.
    pub(crate) fn any_present(&mut self) -> Option<NodeKey> {
        let at = self.dice.below(self.present);
        self.standings.iter().filter(|(_, s)| s.is_present()).nth(at).map(|(node, _)| *node)
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.timers.next_at()
    }

    /// Timers that are set.
    pub(crate) fn waiting(&self) -> usize {
        self.timers.len()
    }

    // What happens to it.

    /// Takes in a message. What it measured, if it answers a ping that was sent once.
    pub(crate) fn handle(&mut self, from: NodeKey, swim: Swim, around: &mut Around<'_>) -> Option<Measured> {
        let mut swim = swim;
        self.outlive(&swim.updates, around);
        self.bound(&mut swim.updates);
        if matches!(swim.message, Message::Announce | Message::TurnUndead) {
            swim.updates.clear();
        }
        let measured = self.note_answer(from, &swim, around.now);
        let beyond = swim.updates.split_off(swim.updates.len().min(swim::UPDATES_FIT));
        let bytes = swim::to_foca(from, self.own.node, &swim);
        let mut effects = Effects::default();
        // Its errors are about frames that were checked already, or about a state that it repairs by itself.
        let _checked = self.foca.handle_data(&bytes, &mut effects);
        self.carry_out(effects, around);
        self.refresh(from, around.now);
        swim.updates.iter().for_each(|update| self.refresh(update.member.node, around.now));
        if !beyond.is_empty() && self.trusts(from, swim.from.0) {
            self.learn(beyond, true, around);
        }
        measured
    }

    /// Somebody who was asked to ping in our place has heard it.
    pub(crate) fn handle_heard(&mut self, from: NodeKey) {
        if let Some(probe) = &mut self.probe
            && self.standings.contains_key(&from)
        {
            probe.heard += 1;
        }
    }

    /// Takes in what another node's table says.
    pub(crate) fn learn(&mut self, updates: Vec<Update>, pass_on: bool, around: &mut Around<'_>) {
        let mut updates = updates;
        self.outlive(&updates, around);
        self.bound(&mut updates);
        let mut effects = Effects::default();
        let members = updates.iter().map(|update| update.to_foca());
        let _infallible_here = self.foca.apply_many(members, pass_on, &mut effects);
        self.carry_out(effects, around);
        updates.iter().for_each(|update| self.refresh(update.member.node, around.now));
    }

    /// Takes in that a probe of `by` failed. Whether others should hear of it.
    pub(crate) fn accuse(
        &mut self,
        accused: Identity,
        incarnation: u16,
        by: NodeKey,
        around: &mut Around<'_>,
    ) -> bool {
        let update = Update { member: accused, incarnation, word: Word::Suspect };
        if accused.node == self.own.node {
            if accused == self.own {
                self.learn(vec![update], true, around);
            }
            return false;
        }
        let known = |s: &Standing| s.identity == accused && s.is_present() && s.incarnation <= incarnation;
        if !self.standings.get(&accused.node).is_some_and(known) {
            return false;
        }
        self.learn(vec![update], true, around);
        let Some(suspicion) = self.suspicions.get_mut(&accused.node) else { return false };
        if by == self.own.node || suspicion.incarnation != incarnation || !suspicion.confirm(by) {
            return false;
        }
        self.set_verdict(accused.node);
        true
    }

    /// Does everything that is due.
    pub(crate) fn handle_wake(&mut self, around: &mut Around<'_>) {
        while let Some(due) = self.timers.take_due(around.now) {
            match due {
                Due::Foca(timer) => self.fire(timer, around),
                Due::PingAgain(number) => self.ping_again(number, around),
                Due::AskAccused(node) => self.ask_accused(node, around.now),
                Due::Verdict(node) => self.judge(node, around),
            }
        }
    }

    /// This node slept: nothing that it waits for had the time to come.
    pub(crate) fn delay_all(&mut self, by: Duration) {
        self.timers.delay_all(by);
        self.suspicions.values_mut().filter_map(|s| s.first_hand.as_mut()).for_each(|since| *since += by);
        if let Some(probe) = &mut self.probe {
            probe.again += 1;
        }
    }

    // What it is told to do.

    /// Asks a node to be let in.
    pub(crate) fn announce(&mut self, to: NodeKey, around: &mut Around<'_>) {
        let known = self.standings.get(&to).map_or(0, |s| s.identity.generation);
        let mut effects = Effects::default();
        let _encodes = self.foca.announce(Identity::new(to, known), &mut effects);
        self.carry_out(effects, around);
    }

    /// Passes an item on to everybody.
    pub(crate) fn spread(&mut self, item: &Item) {
        if self.foca.custom_broadcast_backlog() < BACKLOG_MAX {
            let _small = self.foca.add_broadcast(&to_bytes(item));
        }
    }

    /// Sends what waits to a few members now.
    pub(crate) fn gossip(&mut self, around: &mut Around<'_>) {
        let mut effects = Effects::default();
        let _encodes = self.foca.gossip(&mut effects);
        self.carry_out(effects, around);
    }

    /// Tells the others that this node goes.
    pub(crate) fn leave(&mut self, around: &mut Around<'_>) {
        let mut effects = Effects::default();
        let _encodes = self.foca.leave_cluster(&mut effects);
        self.carry_out(effects, around);
    }

    /// Goes on under a higher generation: somebody knows of a later life of this node than this one.
    pub(crate) fn renew_beyond(&mut self, generation: u64, around: &mut Around<'_>) {
        let renewed = Identity::new(self.own.node, generation.max(self.own.generation)).renewed();
        let mut effects = Effects::default();
        if self.foca.change_identity(renewed, &mut effects).is_ok() {
            self.become_renewed(renewed);
        }
        self.carry_out(effects, around);
    }

    /// What is to be sent, since the last call.
    pub(crate) fn take_sends(&mut self) -> Vec<(NodeKey, Swim)> {
        std::mem::take(&mut self.sends)
    }

    /// What has changed, since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    // Inside.

    /// A message that names a later life of this node: the clock that gives generations went back.
    fn outlive(&mut self, updates: &[Update], around: &mut Around<'_>) {
        let own = updates.iter().filter(|u| u.member.node == self.own.node);
        let latest = own.map(|u| u.member.generation).max();
        if let Some(latest) = latest.filter(|latest| *latest > self.own.generation) {
            self.renew_beyond(latest, around);
        }
    }

    /// Takes up no more members than there may be.
    fn bound(&self, updates: &mut Vec<Update>) {
        if self.standings.len() >= MEMBERS_MAX {
            updates.retain(|u| self.standings.contains_key(&u.member.node) || u.member.node == self.own.node);
        }
    }

    fn note_answer(&mut self, from: NodeKey, swim: &Swim, now: Duration) -> Option<Measured> {
        let probe = self.probe.as_mut()?;
        match swim.message {
            Message::Ack(number) if probe.number == number && probe.target.node == from => {
                let first = !std::mem::replace(&mut probe.answered, true);
                let rtt = now.saturating_sub(probe.sent_at);
                (first && probe.again == 0).then_some(Measured(rtt))
            }
            Message::ForwardedAck(_, number) if probe.number == number => {
                probe.answered = true;
                None
            }
            _ => None,
        }
    }

    fn fire(&mut self, timer: Timer<Identity>, around: &mut Around<'_>) {
        let forgotten = if let Timer::RemoveDown(id) = &timer { Some(id.node) } else { None };
        let mut effects = Effects::default();
        let _repaired = self.foca.handle_timer(timer, &mut effects);
        self.carry_out(effects, around);
        if let Some(node) = forgotten {
            self.refresh(node, around.now);
        }
    }

    fn carry_out(&mut self, effects: Effects, around: &mut Around<'_>) {
        for effect in effects.0 {
            match effect {
                Effect::Send(bytes) => self.send(&bytes, around),
                Effect::After(timer, after) => self.set(timer, after, around),
                Effect::Touched(node) => self.refresh(node, around.now),
                Effect::Renewed(own) => self.become_renewed(own),
                Effect::Active => self.changes.push(Change::Active),
                Effect::Idle => self.probe = None,
            }
        }
    }

    fn send(&mut self, bytes: &[u8], around: &mut Around<'_>) {
        let Ok(sent) = swim::of_foca(bytes) else { return };
        self.incarnation = sent.incarnation;
        match sent.message {
            Message::Ping(number) => self.begin_probe(sent.to, number, around),
            Message::PingReq(..) => self.probe.iter_mut().for_each(|probe| probe.helpers += 1),
            _ => {}
        }
        let swim = Swim {
            from: (sent.generation, sent.incarnation),
            to: sent.to.generation,
            message: sent.message,
            updates: sent.updates,
            items: sent.items,
            ..Swim::empty(self.scope)
        };
        self.push(sent.to.node, swim);
    }

    /// Lifeguard's buddy system: a suspect hears of it with whatever it is sent.
    fn push(&mut self, to: NodeKey, mut swim: Swim) {
        let told = |swim: &Swim| swim.updates.iter().any(|u| u.member.node == to);
        let carries = !matches!(swim.message, Message::Announce | Message::TurnUndead);
        if let Some(suspicion) = self.suspicions.get(&to)
            && carries
            && !told(&swim)
        {
            let (member, incarnation) = (suspicion.accused, suspicion.incarnation);
            // First, so that it is among those that are read before the answer is made.
            swim.updates.insert(0, Update { member, incarnation, word: Word::Suspect });
        }
        self.sends.push((to, swim));
    }

    fn ping(&self, to: Identity, number: u8) -> Swim {
        Swim {
            from: (self.own.generation, self.incarnation),
            to: to.generation,
            message: Message::Ping(number),
            ..Swim::empty(self.scope)
        }
    }

    fn begin_probe(&mut self, target: Identity, number: u8, around: &mut Around<'_>) {
        around.health.probes.begun += 1;
        around.health.probes.unanswered +=
            u64::from(self.probe.as_ref().is_some_and(|probe| !probe.answered));
        match &self.probe {
            Some(probe) if probe.answered => around.health.better(),
            // Helpers answered, so this node is well and the target is not.
            Some(probe) if probe.heard > 0 => {}
            Some(_) => around.health.worse(),
            None => {}
        }
        let sent_at = around.now;
        self.probe = Some(Probe { target, number, sent_at, again: 0, helpers: 0, heard: 0, answered: false });
        let after = self.timing.ping_again.max(self.patience(&target.node, around));
        self.timers.set(around.now + after, Due::PingAgain(number));
    }

    /// How long an answer of that member may well take.
    fn patience(&self, node: &NodeKey, around: &Around<'_>) -> Duration {
        (around.round_trip)(node).map_or(Duration::ZERO, |rtt| rtt * 3 / 2)
    }

    fn ping_again(&mut self, number: u8, around: &mut Around<'_>) {
        let Some(probe) = self.probe.as_mut().filter(|p| p.number == number && !p.answered) else { return };
        probe.again += 1;
        let target = probe.target;
        self.push(target.node, self.ping(target, number));
        self.timers.set(around.now + self.timing.ping_again, Due::PingAgain(number));
    }

    fn set(&mut self, timer: Timer<Identity>, after: Duration, around: &mut Around<'_>) {
        let after = match &timer {
            Timer::ChangeSuspectToDown { member_id, incarnation, .. } => {
                return self.begin_suspicion(*member_id, *incarnation, timer.clone(), around);
            }
            Timer::ProbeRandomMember(_) if self.probe.is_none() => self.dice.around(after),
            Timer::ProbeRandomMember(_) => self.stretch(after, 2, around),
            Timer::SendIndirectProbe { .. } => self.stretch(after, 1, around),
            Timer::PeriodicGossip(_) | Timer::PeriodicAnnounceDown(_) => self.dice.around(after),
            Timer::RemoveDown(_) | Timer::PeriodicAnnounce(_) => after,
        };
        self.timers.set(around.now + after, Due::Foca(timer));
    }

    /// A probe's delay: longer when this node is not well, or the target far.
    fn stretch(&self, after: Duration, legs: u32, around: &Around<'_>) -> Duration {
        let target = self.probe.as_ref().map(|probe| probe.target.node);
        let far = target.map_or(Duration::ZERO, |node| self.patience(&node, around)) * legs;
        after.max(far) * around.health.multiplier()
    }

    fn begin_suspicion(
        &mut self,
        accused: Identity,
        incarnation: u16,
        timer: Timer<Identity>,
        around: &mut Around<'_>,
    ) {
        self.refresh(accused.node, around.now);
        let Some(suspicion) = self.suspicions.get_mut(&accused.node) else { return };
        // The timer of the first accusation stands; later ones would only come later.
        if suspicion.incarnation != incarnation || suspicion.verdict.is_some() {
            return;
        }
        suspicion.first_hand = Some(around.now);
        suspicion.verdict = Some(timer);
        self.spread(&Item::Accusation(accused, incarnation, self.own.node));
        self.set_verdict(accused.node);
        self.ask_accused(accused.node, around.now);
    }

    fn set_verdict(&mut self, node: NodeKey) {
        let Some(suspicion) = self.suspicions.get(&node) else { return };
        if let Some(due) = suspicion.due(&self.timing, self.present) {
            self.timers.set(due, Due::Verdict(node));
        }
    }

    fn ask_accused(&mut self, node: NodeKey, now: Duration) {
        let Some(suspicion) = self.suspicions.get(&node) else { return };
        if suspicion.first_hand.is_some() {
            self.push(node, self.ping(suspicion.accused, 0));
            self.timers.set(now + self.timing.ask_accused, Due::AskAccused(node));
        }
    }

    fn judge(&mut self, node: NodeKey, around: &mut Around<'_>) {
        let Some(suspicion) = self.suspicions.get_mut(&node) else { return };
        if suspicion.due(&self.timing, self.present).is_none_or(|due| due > around.now) {
            return;
        }
        if let Some(timer) = suspicion.verdict.take() {
            suspicion.first_hand = None;
            self.fire(timer, around);
            self.refresh(node, around.now);
        }
    }

    fn become_renewed(&mut self, own: Identity) {
        self.own = own;
        self.incarnation = 0;
        self.probe = None;
        // foca has put its timers out of force, and verdicts with them.
        self.suspicions.clear();
        self.changes.push(Change::Renewed(own));
    }

    /// Compares a member's standing with foca's table, and notes what has changed.
    fn refresh(&mut self, node: NodeKey, now: Duration) {
        if node == self.own.node {
            return;
        }
        let found = self.foca.iter_membership_state().find(|m| m.id().node == node).map(Update::of_foca);
        let before = self.standings.get(&node).copied();
        let Some(Update { member: identity, incarnation, word }) = found else {
            if before.is_some() {
                self.standings.remove(&node);
                self.suspicions.remove(&node);
                self.changes.push(Change::Forgotten(node));
            }
            return;
        };
        self.follow_suspicion(identity, incarnation, word);
        if before.is_some_and(|b| b.to_update() == Update { member: identity, incarnation, word }) {
            return;
        }
        let same = before.is_some_and(|b| b.identity == identity && b.word == word);
        let since = before.filter(|_| same).map_or(now, |b| b.since);
        self.standings.insert(node, Standing { identity, incarnation, word, since });
        self.note_change(before, identity, word);
    }

    fn follow_suspicion(&mut self, identity: Identity, incarnation: u16, word: Word) {
        let node = identity.node;
        if word != Word::Suspect {
            self.suspicions.remove(&node);
            return;
        }
        let same = |s: &Suspicion| s.accused == identity && s.incarnation == incarnation;
        if !self.suspicions.get(&node).is_some_and(same) {
            self.suspicions.insert(node, Suspicion::new(identity, incarnation));
        }
    }

    fn note_change(&mut self, before: Option<Standing>, identity: Identity, word: Word) {
        let was_present = before.is_some_and(|b| b.is_present());
        let is_present = word != Word::Down;
        let same_life = before.is_some_and(|b| b.identity == identity);
        self.present = self.present + usize::from(is_present) - usize::from(was_present);
        if was_present != is_present {
            self.adapt();
        }
        match (is_present, was_present && same_life) {
            (true, false) => self.changes.push(Change::Up(identity)),
            (false, _) if was_present => self.changes.push(Change::Gone(identity)),
            _ => {}
        }
        match (before.map(|b| b.word), word) {
            (_, Word::Suspect) => self.changes.push(Change::Suspected(identity)),
            (Some(Word::Suspect), Word::Alive) => self.changes.push(Change::Refuted(identity)),
            _ => {}
        }
    }

    /// News are sent as often as it takes to reach all: more often the more members there are.
    fn adapt(&mut self) {
        let sends = transmissions(self.present);
        if self.config.max_transmissions != sends {
            self.config.max_transmissions = sends;
            let _allowed = self.foca.set_config(self.config.clone());
        }
    }
}

impl Swim {
    /// A frame that says nothing.
    pub(crate) fn empty(scope: Scope) -> Self {
        Swim {
            scope,
            from: (0, 0),
            to: 0,
            message: Message::Gossip,
            updates: Vec::new(),
            items: Vec::new(),
            load: Default::default(),
            coordinate: None,
            pops: 0,
        }
    }

    /// Whether it asks the receiver to ping itself, which no member does.
    pub(crate) fn check(&self, from: NodeKey, own: NodeKey) -> Result<(), FrameError> {
        let other = match self.message {
            Message::PingReq(other, _)
            | Message::IndirectPing(other, _)
            | Message::IndirectAck(other, _)
            | Message::ForwardedAck(other, _) => Some(other.node),
            _ => None,
        };
        if from == own {
            return Err(FrameError::OwnKey);
        }
        if other == Some(own) {
            Err(FrameError::form("a helper's message about its receiver"))
        } else {
            Ok(())
        }
    }
}

/// How often an item is sent by each member: five times, and three more with each two doublings of the pool. A member
/// that all others have sent `n` items at random misses it with a chance of e^-n, and more members are more chances.
fn transmissions(present: usize) -> NonZeroU8 {
    let doublings = usize::BITS - present.leading_zeros();
    NonZeroU8::new(5 + (3 * doublings / 2) as u8).unwrap_or(NonZeroU8::MIN)
}

fn config(timing: &Timing) -> Config {
    let some = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
    Config {
        probe_period: timing.probe_period,
        probe_rtt: timing.indirect_after,
        num_indirect_probes: some(HELPERS),
        max_transmissions: transmissions(0),
        suspect_to_down_after: timing.suspicion_max,
        remove_down_after: Some(TOMBSTONE),
        max_packet_size: some(GOSSIP_BYTES_MAX),
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: Some(PeriodicParams {
            frequency: RETRY_GONE_PERIOD,
            num_members: some(1),
        }),
        periodic_gossip: Some(PeriodicParams { frequency: GOSSIP_PERIOD, num_members: some(GOSSIP_FANOUT) }),
    }
}
