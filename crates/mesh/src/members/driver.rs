//! The task that drives the core.

use super::inbox::{Inbox, Letter, SERVICE};
use super::limits::{BATCH_MAX, REFUSALS_LOGGED_PERIOD, VIEW_PERIOD_MAX, VIEW_PERIOD_MIN};
use super::metrics::Metrics;
use super::news::Teller;
use super::view::View;
use super::{Learnt, Options, Seed};
use crate::rpc::Mesh;
use crate::rpc::limits::DATAGRAM_BYTES_MAX;
use selvedge_membership::limits::{DATAGRAM_BYTES_MAX as FRAME_BYTES_MAX, LEAVE_TAKES};
use selvedge_membership::{
    Contact, Event, FrameError, Identity, Load, Membership, Now, Options as CoreOptions,
};
use selvedge_observe::Events;
use selvedge_rt::{Clock, Rng, Tasks};
use selvedge_types::NodeKey;
use selvedge_types::resource::PopName;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

// Whatever the core sends fits into what the mesh carries.
const _: () = assert!(FRAME_BYTES_MAX <= DATAGRAM_BYTES_MAX);

/// What the rest of the node wants.
pub(super) enum Order {
    Seed(Seed),
    Drain(bool),
    Load(Load),
    Remove(NodeKey),
    Leave(oneshot::Sender<()>),
}

pub(super) struct Driver {
    core: Membership,
    mesh: Mesh,
    inbox: mpsc::Receiver<Letter>,
    orders: mpsc::Receiver<Order>,
    own_pop: PopName,
    removed: Arc<BTreeSet<NodeKey>>,
    learnt: Learnt,
    teller: Teller,
    events: Events,
    show: watch::Sender<Arc<View>>,
    shown: Duration,
    /// Something changed that the view has not got.
    stale: bool,
    leaving: Vec<(Duration, oneshot::Sender<()>)>,
    refusal_logged: Option<Duration>,
    metrics: Metrics,
    clock: Clock,
    tasks: Tasks,
}

impl Driver {
    pub(super) fn new(
        mesh: Mesh,
        inbox: Inbox,
        orders: mpsc::Receiver<Order>,
        options: Options,
        clock: &Clock,
        rng: &Rng,
        tasks: &Tasks,
    ) -> Self {
        let Options { cluster, generation, pop, region, version, addresses, seeds, learnt, registry, events } =
            options;
        let own_pop = pop.clone();
        let identity = Identity::new(mesh.links().local(), generation);
        let seed = rng.branch("membership").next_u64();
        let options = CoreOptions { cluster, identity, pop, region, version, addresses, seed };
        let elapsed = clock.monotonic();
        let core = mesh.hybrid().with(|clock, wall| Membership::new(options, &Now { elapsed, wall, clock }));
        let removed = Arc::default();
        let view = View::of(&core, &own_pop, &removed);
        let mut driver = Driver {
            core,
            mesh,
            inbox: inbox.letters,
            orders,
            own_pop,
            removed,
            learnt,
            teller: Teller::default(),
            events,
            show: watch::Sender::new(Arc::new(view)),
            shown: elapsed,
            stale: false,
            leaving: Vec::new(),
            refusal_logged: None,
            metrics: Metrics::new(&registry),
            clock: clock.clone(),
            tasks: tasks.clone(),
        };
        seeds.into_iter().for_each(|seed| driver.introduce(seed));
        driver
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.show.subscribe()
    }

    /// Runs until its tasks are told to stop.
    pub(super) async fn run(mut self) {
        // One timer, set anew only when it is for another time: each setting wakes the thread that keeps the timers.
        let mut wake = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let mut set_for = None;
        loop {
            let at = self.next_at();
            if set_for != Some(at) {
                let wait = at.saturating_sub(self.clock.monotonic());
                wake.as_mut().reset(Instant::now() + wait);
                set_for = Some(at);
            }
            tokio::select! {
                biased;
                () = self.tasks.stopped() => return,
                Some(order) = self.orders.recv() => self.obey(order),
                Some(letter) = self.inbox.recv() => self.read(&letter),
                () = wake.as_mut() => set_for = None,
            }
            self.turn();
        }
    }

    fn next_at(&self) -> Duration {
        let view_at = self.shown + if self.stale { VIEW_PERIOD_MIN } else { VIEW_PERIOD_MAX };
        let left_at = self.leaving.iter().map(|(at, _)| *at).min();
        self.core.wake_at().min(view_at).min(left_at.unwrap_or(Duration::MAX))
    }

    /// Datagrams that wait are read before a wake-up that is due: they may be the answers that it misses.
    fn turn(&mut self) {
        for _ in 0..BATCH_MAX {
            let Ok(letter) = self.inbox.try_recv() else { break };
            self.read(&letter);
        }
        let now = self.clock.monotonic();
        if now >= self.core.wake_at() {
            self.call(|core, now| core.handle_wake(now));
        }
        // Before others hear of it: what they tell in consequence comes later.
        self.tell();
        self.send();
        self.show(now);
        for (_, done) in self.leaving.extract_if(.., |(at, _)| *at <= now) {
            // Who left need not have waited.
            let _ = done.send(());
        }
    }

    fn call<T>(&mut self, act: impl FnOnce(&mut Membership, &mut Now<'_>) -> T) -> T {
        let (core, elapsed) = (&mut self.core, self.clock.monotonic());
        self.mesh.hybrid().with(|clock, wall| act(core, &mut Now { elapsed, wall, clock }))
    }

    fn read(&mut self, letter: &Letter) {
        let read = self.call(|core, now| core.handle_datagram(now, letter.from, &letter.bytes));
        if let Err(error) = read {
            self.refuse(&letter.from, &error);
        }
    }

    fn refuse(&mut self, from: &NodeKey, error: &FrameError) {
        self.metrics.refused(error);
        let now = self.clock.monotonic();
        if self.refusal_logged.is_none_or(|at| now >= at + REFUSALS_LOGGED_PERIOD) {
            self.refusal_logged = Some(now);
            tracing::warn!(peer = %from, %error, "a message of membership was refused");
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Seed(seed) => self.introduce(seed),
            Order::Drain(draining) => self.call(|core, now| core.drain(now, draining)),
            Order::Load(load) => self.core.set_load(load),
            Order::Remove(node) => {
                self.call(|core, now| core.remove(now, node));
                Arc::make_mut(&mut self.removed).insert(node);
            }
            Order::Leave(done) => {
                self.call(|core, now| core.leave(now));
                self.leaving.push((self.clock.monotonic() + LEAVE_TAKES, done));
            }
        }
        self.stale = true;
    }

    fn introduce(&mut self, seed: Seed) {
        (self.learnt)(&seed.node, &seed.addresses);
        self.core.introduce(Contact { node: seed.node, pop: seed.pop });
    }

    fn send(&mut self) {
        while let Some(transmit) = self.core.poll_transmit() {
            // Lost, as a datagram may be: to somebody whom this node has not been told of yet.
            let _ = self.mesh.send_datagram(transmit.to, SERVICE, transmit.bytes.into());
        }
    }

    fn tell(&mut self) {
        while let Some(event) = self.core.poll_event() {
            self.stale = true;
            self.learn(&event);
            if let Some(event) = self.teller.tell(event) {
                self.events.tell(event);
            }
        }
    }

    fn learn(&self, event: &Event) {
        match event {
            Event::Described(identity) => {
                if let Some(member) = self.core.member(&identity.node) {
                    (self.learnt)(&identity.node, member.addresses);
                }
            }
            Event::PopChanged(pop) => {
                let delegates = self.core.pop(pop).map(|pop| &pop.digest.delegates);
                for delegate in delegates.into_iter().flatten() {
                    (self.learnt)(&delegate.identity.node, &delegate.addresses);
                }
            }
            _ => {}
        }
    }

    fn show(&mut self, now: Duration) {
        let due = self.shown + if self.stale { VIEW_PERIOD_MIN } else { VIEW_PERIOD_MAX };
        if now < due {
            return;
        }
        (self.shown, self.stale) = (now, false);
        let view = View::of(&self.core, &self.own_pop, &self.removed);
        self.metrics.show(&view, self.core.probes());
        self.teller.keep(|node| view.members.contains_key(node));
        self.show.send_if_modified(|shown| {
            let changed = **shown != view;
            *shown = Arc::new(view);
            changed
        });
    }
}
