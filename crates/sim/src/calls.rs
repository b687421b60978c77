//! Calls between members of a group: messages that are lost, late, doubled, overtaken, or cut off in one direction.
//!
//! A message that was sent is on its way whatever becomes of its sender. It arrives at whoever runs under
//! the receiver's name then.

use crate::trace::Trace;
use bytes::Bytes;
use selvedge_rt::Rng;
use selvedge_state::group::{Calling, LinkError, Links, Member};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How links misbehave: all of them, at one time.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// How likely a message is lost, or an answer, from 0 to 1.
    pub loss: f64,
    /// How likely a message comes twice.
    pub doubling: f64,
    /// The shortest time that a message takes.
    pub delay_min: Duration,
    /// The longest time, usually.
    pub delay_max: Duration,
    /// How likely it takes ten times as long, so that others overtake it.
    pub straggling: f64,
}

impl Weather {
    /// Nothing goes wrong, at the speed of one place.
    pub const FAIR: Weather = Weather {
        loss: 0.0,
        doubling: 0.0,
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(4),
        straggling: 0.0,
    };
}

/// What happened on links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Messages and answers that arrived.
    pub carried: u64,
    /// Messages and answers that were lost by chance.
    pub lost: u64,
    /// Messages that came twice.
    pub doubled: u64,
    /// Messages and answers that a cut kept back.
    pub cut: u64,
}

/// A message at its receiver, and the way back; none for its double.
pub struct Arrival {
    /// Its bytes.
    pub message: Bytes,
    /// Where the answer goes.
    pub answer: Option<oneshot::Sender<Bytes>>,
}

/// All links. Clones are the same.
#[derive(Clone)]
pub struct SimLinks(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    weather: Weather,
    inboxes: BTreeMap<String, mpsc::UnboundedSender<Arrival>>,
    /// From whom nothing reaches whom.
    cuts: BTreeSet<(String, String)>,
    /// Who neither sends nor receives until when.
    stalls: BTreeMap<String, Duration>,
    carrier: Option<mpsc::UnboundedSender<Parcel>>,
    stats: LinkStats,
    trace: Trace,
}

/// Something on its way.
struct Parcel {
    from: String,
    to: String,
    after: Duration,
    what: What,
}

enum What {
    Message { message: Bytes, answer: Option<oneshot::Sender<Bytes>> },
    Answer { answer: Bytes, to: oneshot::Sender<Bytes> },
}

impl SimLinks {
    /// Links in fair weather; `rng` decides what becomes of each message.
    pub fn new(rng: Rng, trace: Trace) -> Self {
        SimLinks(Arc::new(Mutex::new(State {
            rng,
            weather: Weather::FAIR,
            inboxes: BTreeMap::new(),
            cuts: BTreeSet::new(),
            stalls: BTreeMap::new(),
            carrier: None,
            stats: LinkStats::default(),
            trace,
        })))
    }

    /// Carries what is sent, for ever: on a host of its own, which does not end with a node.
    pub async fn carry(self) {
        let (carrier, mut parcels) = mpsc::unbounded_channel();
        self.state().carrier = Some(carrier);
        while let Some(parcel) = parcels.recv().await {
            tokio::task::spawn_local(self.clone().deliver(parcel));
        }
    }

    /// The links as `node` has them.
    pub fn of(&self, node: &str) -> Arc<dyn Links> {
        Arc::new(NodeLinks { links: self.clone(), node: node.to_owned() })
    }

    /// What arrives at `node` from now on; nothing any more at who had this before.
    pub fn listen(&self, node: &str) -> mpsc::UnboundedReceiver<Arrival> {
        let (inbox, arrivals) = mpsc::unbounded_channel();
        self.state().inboxes.insert(node.to_owned(), inbox);
        arrivals
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Lets nothing from one to the other.
    pub fn cut(&self, from: &str, to: &str) {
        self.state().cuts.insert((from.to_owned(), to.to_owned()));
    }

    /// Ends all cuts.
    pub fn mend(&self) {
        self.state().cuts.clear();
    }

    /// Holds all that `node` sends and receives back until a time.
    pub fn stall(&self, node: &str, until: Duration) {
        self.state().stalls.insert(node.to_owned(), until);
    }

    /// What happened so far.
    pub fn stats(&self) -> LinkStats {
        self.state().stats
    }

    async fn deliver(self, parcel: Parcel) {
        tokio::time::sleep(parcel.after).await;
        while let Some(left) = self.stalled(&parcel) {
            tokio::time::sleep(left).await;
        }
        let Parcel { from, to, what, .. } = parcel;
        if let Some((answered, back)) = self.arrive(&from, &to, what)
            && let Ok(answer) = answered.await
        {
            self.send(&to, &from, What::Answer { answer, to: back });
        }
    }

    /// Puts what has come where it belongs; gives what is to be answered, and where the answer goes.
    fn arrive(
        &self,
        from: &str,
        to: &str,
        what: What,
    ) -> Option<(oneshot::Receiver<Bytes>, oneshot::Sender<Bytes>)> {
        let mut state = self.state();
        if state.cuts.contains(&(from.to_owned(), to.to_owned())) {
            state.stats.cut += 1;
            return None;
        }
        state.stats.carried += 1;
        match what {
            What::Answer { answer, to } => {
                // Who asked may be gone.
                let _ = to.send(answer);
                None
            }
            What::Message { message, answer: None } => {
                state.inboxes.get(to)?.send(Arrival { message, answer: None }).ok()?;
                None
            }
            What::Message { message, answer: Some(back) } => {
                let (answer, answered) = oneshot::channel();
                state.inboxes.get(to)?.send(Arrival { message, answer: Some(answer) }).ok()?;
                Some((answered, back))
            }
        }
    }

    fn stalled(&self, parcel: &Parcel) -> Option<Duration> {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let state = self.state();
        let until = [&parcel.from, &parcel.to].into_iter().filter_map(|node| state.stalls.get(node)).max();
        until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero())
    }

    fn send(&self, from: &str, to: &str, what: What) {
        let mut state = self.state();
        let weather = state.weather;
        if state.happens(weather.loss) {
            state.stats.lost += 1;
            state.trace.line("links", format_args!("{from} to {to} is lost"));
            return;
        }
        let double = match &what {
            What::Message { message, .. } if state.happens(weather.doubling) => {
                state.stats.doubled += 1;
                Some(What::Message { message: message.clone(), answer: None })
            }
            What::Message { .. } | What::Answer { .. } => None,
        };
        for what in std::iter::once(what).chain(double) {
            let after = state.delay();
            let parcel = Parcel { from: from.to_owned(), to: to.to_owned(), after, what };
            // Without a carrier nothing arrives.
            let _ = state.carrier.as_ref().map(|carrier| carrier.send(parcel));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn happens(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.rng.fraction() < chance
    }

    fn delay(&mut self) -> Duration {
        let Weather { delay_min, delay_max, straggling, .. } = self.weather;
        let spread = u64::try_from(delay_max.saturating_sub(delay_min).as_micros()).unwrap_or(u64::MAX);
        let delay = delay_min + Duration::from_micros(self.rng.below(spread));
        if self.happens(straggling) { delay * 10 } else { delay }
    }
}

struct NodeLinks {
    links: SimLinks,
    node: String,
}

impl Links for NodeLinks {
    fn call(&self, to: &Member, message: Bytes, deadline: Duration) -> Calling<'_> {
        let (answer, answered) = oneshot::channel();
        self.links.send(&self.node, &to.node, What::Message { message, answer: Some(answer) });
        Box::pin(async move {
            match tokio::time::timeout(deadline, answered).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => {
                    // Who waits does not learn that it is lost: a link cannot know.
                    tokio::time::sleep(deadline).await;
                    Err(LinkError::Lost)
                }
                Err(_) => Err(LinkError::Lost),
            }
        })
    }
}
