//! Events as they happen. Each node is asked for what comes next; what comes waits a moment, so that what happened before it
//! elsewhere can come first. An event that comes later still is shown then.

use super::merge::{Same, Told};
use super::{Names, Wanted, earlier};
use crate::cluster::handle::Cluster;
use crate::wire::{EventLine, UnreachedNode};
use selvedge_rt::{OnEnd, Tasks};
use selvedge_state::NodeRecord;
use selvedge_types::{Hlc, NodeKey, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long what came waits for what happened before it.
const HOLD: Duration = Duration::from_millis(500);
/// How long a node waits for its next event before it says that there is none.
const WAIT: Duration = Duration::from_secs(5);
/// How long a node that was not reached is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked for new nodes.
const LOOK: Duration = Duration::from_secs(1);
/// A line comes at least that often, so that both ends notice when the other is gone.
const QUIET: Duration = Duration::from_secs(10);
/// Answers of nodes that wait to be looked at.
const ANSWERS_MAX: usize = 16;
/// Lines that wait to be sent; when there are more, nodes are not asked.
const LINES_MAX: usize = 256;

/// The lines for one follower. Dropping it ends that.
pub type EventLines = mpsc::Receiver<EventLine>;

/// Nobody follows any more.
struct Gone;

type Answer = (String, Result<Vec<Record>, String>);

struct Follower {
    cluster: Cluster,
    wanted: Wanted,
    /// What came until then is known to whoever follows.
    after: Hlc,
    same: Same,
    waiting: BTreeMap<(Hlc, String), (Instant, Record)>,
    unreached: BTreeMap<String, String>,
    shown: BTreeMap<String, String>,
    lines: mpsc::Sender<EventLine>,
    sent: Instant,
    tasks: Tasks,
    _place: OwnedSemaphorePermit,
}

impl Cluster {
    /// Follows all nodes' events after a reading; nothing if too many follow already.
    pub fn follow_events(&self, after: Hlc, wanted: Wanted, tasks: &Tasks) -> Option<EventLines> {
        let place = self.events.followers.clone().try_acquire_owned().ok()?;
        let (lines, follow) = mpsc::channel(LINES_MAX);
        let follower = Follower {
            cluster: self.clone(),
            wanted,
            after,
            same: Same::default(),
            waiting: BTreeMap::new(),
            unreached: BTreeMap::new(),
            shown: BTreeMap::new(),
            lines,
            sent: Instant::now(),
            tasks: tasks.clone(),
            _place: place,
        };
        tasks.spawn("events follower", OnEnd::Forget, follower.run());
        Some(follow)
    }

    /// Asks one node again and again, while it is one.
    async fn follow_node(self, node: NodeRecord, mut after: Hlc, answers: mpsc::Sender<Answer>) {
        while self.state.nodes().contains_key(&node.key) {
            let answer = self.ask(&node, after, None, Some(WAIT)).await;
            after = answer.iter().flatten().map(|record| record.at).fold(after, Hlc::max);
            let failed = answer.is_err();
            if answers.send((node.name.clone(), answer)).await.is_err() {
                return;
            }
            if failed {
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

impl Follower {
    async fn run(mut self) {
        let begin = earlier(self.after);
        let (answer, mut answers) = mpsc::channel(ANSWERS_MAX);
        let (mut asking, mut asked) = (JoinSet::new(), BTreeSet::<NodeKey>::new());
        let mut looked = None::<Instant>;
        loop {
            if looked.is_none_or(|at| at.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                for (key, node) in self.cluster.state.nodes() {
                    if asked.insert(key) {
                        asking.spawn(self.cluster.clone().follow_node(node, begin, answer.clone()));
                    }
                }
            }
            let next = self.waiting.values().map(|(came, _)| *came + HOLD).min();
            let next = next.unwrap_or_else(|| Instant::now() + LOOK).min(Instant::now() + LOOK);
            tokio::select! {
                Some((node, told)) = answers.recv() => self.take(&node, told),
                () = tokio::time::sleep_until(next) => {}
                () = self.lines.closed() => return,
                () = self.tasks.stopped() => return,
            }
            if self.show().await.is_err() {
                return;
            }
        }
    }

    fn take(&mut self, node: &str, told: Result<Vec<Record>, String>) {
        match told {
            Ok(records) => {
                self.unreached.remove(node);
                let now = Instant::now();
                let waiting = records.into_iter().map(|record| ((record.at, node.to_owned()), (now, record)));
                self.waiting.extend(waiting);
            }
            Err(why) => {
                self.unreached.insert(node.to_owned(), why);
            }
        }
    }

    /// Sends what has waited long enough, and what happened before it.
    async fn show(&mut self) -> Result<(), Gone> {
        if !self.unreached.keys().eq(self.shown.keys()) {
            self.shown = self.unreached.clone();
            let node =
                |(name, why): (&String, &String)| UnreachedNode { name: name.clone(), why: why.clone() };
            let unreached = Some(self.shown.iter().map(node).collect());
            self.send(EventLine { unreached, ..EventLine::default() }).await?;
        }
        let due = |(_, (came, _)): &(&(Hlc, String), &(Instant, Record))| came.elapsed() >= HOLD;
        let Some(last) = self.waiting.iter().filter(due).map(|(key, _)| key.clone()).max() else {
            return self.rest().await;
        };
        let names = Names::of(&self.cluster);
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= last) {
            let ((at, teller), (_, record)) = first.remove_entry();
            self.same.forget(at);
            if self.same.find(&record, &teller, 0).is_some() || at <= self.after {
                continue;
            }
            let event = names.info(Told { record, tellers: vec![teller] });
            if self.wanted.has(&event) {
                self.send(EventLine { event: Some(event), ..EventLine::default() }).await?;
            }
        }
        Ok(())
    }

    async fn rest(&mut self) -> Result<(), Gone> {
        if self.sent.elapsed() < QUIET { Ok(()) } else { self.send(EventLine::default()).await }
    }

    async fn send(&mut self, line: EventLine) -> Result<(), Gone> {
        self.sent = Instant::now();
        self.lines.send(line).await.map_err(|_| Gone)
    }
}
