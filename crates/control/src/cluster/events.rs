//! What happened in the cluster: each node's events, asked of the nodes themselves and put into one order.
//!
//! The order is that of their hybrid clocks: what followed from something comes after it. Nobody waits for a node that
//! does not answer; who was not reached is named.

mod follow;
mod merge;
mod service;

pub use follow::EventLines;
pub use service::{EVENTS, EventsService};

use super::handle::Cluster;
use crate::wire::{EventInfo, EventList, UnreachedNode};
use merge::{Merged, Told};
use selvedge_mesh::rpc::{Deadline, Priority, Target};
use selvedge_state::NodeRecord;
use selvedge_types::event::SAME_WITHIN;
use selvedge_types::resource::Namespace;
use selvedge_types::{Hlc, NodeKey, Record};
use service::{AskForm, ToldForm, VERSION};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;

/// The most events that one answer has.
pub const LIMIT_MAX: usize = 10_000;
/// The most events that are held while an answer is made.
const HELD_MAX: usize = 50_000;
/// How many nodes are asked at once.
const ASKED_MAX: usize = 32;
/// How long a node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only those of these kinds; all if there are none.
    pub kinds: BTreeSet<String>,
    /// Only those that this node told, or that are about it.
    pub node: Option<String>,
    /// Only those of this namespace.
    pub namespace: Option<Namespace>,
}

impl Wanted {
    fn is_all(&self) -> bool {
        self.kinds.is_empty() && self.node.is_none() && self.namespace.is_none()
    }

    fn has(&self, event: &EventInfo) -> bool {
        let about = |name: &String| event.nodes.contains(name) || event.subject == *name;
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.node.as_ref().is_none_or(about)
            && self.namespace.as_ref().is_none_or(|own| event.namespace.as_ref() == Some(&own.to_string()))
    }
}

impl Cluster {
    /// The first `limit` events after a reading, or the last ones if none is given; [`LIMIT_MAX`] at most.
    pub async fn events(&self, after: Option<Hlc>, limit: usize, wanted: &Wanted) -> EventList {
        let limit = limit.min(LIMIT_MAX);
        let begin = after.map_or(Hlc::ZERO, earlier);
        let last = (after.is_none() && wanted.is_all()).then_some(limit + 1);
        let mut merged = Merged::new(HELD_MAX, after.is_some());
        let mut unreached = Vec::new();
        let mut nodes = self.state.nodes().into_values();
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < ASKED_MAX
                && let Some(node) = nodes.next()
            {
                let cluster = self.clone();
                asked.spawn(async move {
                    let told = cluster.ask(&node, begin, last, None).await;
                    (node.name, told)
                });
            }
            match asked.join_next().await {
                None => break,
                Some(Ok((name, Ok(records)))) => merged.add(&name, records),
                Some(Ok((name, Err(why)))) => unreached.push(UnreachedNode { name, why }),
                // The task was cut short: the node stops.
                Some(Err(_)) => {}
            }
        }
        unreached.sort_by(|a, b| a.name.cmp(&b.name));
        let names = Names::of(self);
        let told =
            merged.finish().into_iter().filter(|told| after.is_none_or(|after| told.record.at > after));
        let mut events: Vec<EventInfo> =
            told.map(|told| names.info(told)).filter(|event| wanted.has(event)).collect();
        let more = events.len() > limit;
        if after.is_some() {
            events.truncate(limit);
        } else {
            events.drain(..events.len().saturating_sub(limit));
        }
        EventList { events, unreached, more }
    }

    /// A node's events after a reading, the last so many if that is given; waits for one as long as `wait` says.
    async fn ask(
        &self,
        node: &NodeRecord,
        after: Hlc,
        last: Option<usize>,
        wait: Option<Duration>,
    ) -> Result<Vec<Record>, String> {
        let last = last.map(|last| u32::try_from(last).unwrap_or(u32::MAX));
        let form = AskForm { after, last, wait: wait.is_some() };
        let deadline = Deadline::after(wait.unwrap_or_default() + ANSWER_MAX);
        if node.key == self.me {
            return Ok(self.events.find(&form, deadline).await);
        }
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        let message = minicbor::to_vec(form).expect("encoding into memory");
        let target = Target { service: EVENTS, version: VERSION };
        let call = self.mesh.call(node.key, target, message.into(), deadline, Priority::Normal);
        let bytes = call.await.map_err(|error| error.failure.to_string())?;
        let told: ToldForm = minicbor::decode(&bytes).map_err(|error| error.to_string())?;
        Ok(told.records)
    }
}

/// So much before a reading that what other nodes told of the same is found.
fn earlier(at: Hlc) -> Hlc {
    let within = u64::try_from(SAME_WITHIN.as_millis()).unwrap_or(u64::MAX);
    Hlc::from_bits(at.millis().0.saturating_sub(within) << 16)
}

/// What nodes are called now.
struct Names(BTreeMap<NodeKey, String>);

impl Names {
    fn of(cluster: &Cluster) -> Self {
        Names(cluster.state.nodes().into_values().map(|node| (node.key, node.name)).collect())
    }

    fn info(&self, told: Told) -> EventInfo {
        let Told { record, tellers } = told;
        let short = || record.node.map(|node| format!("{node:?}")).unwrap_or_default();
        let known = record.node.and_then(|node| self.0.get(&node).cloned());
        let subject = known.unwrap_or_else(|| match record.subject.is_empty() {
            true => short(),
            false => record.subject.clone(),
        });
        EventInfo {
            at: format!("{:016x}", record.at.to_bits()),
            time_ms: record.at.millis().0,
            node: tellers.first().cloned().unwrap_or_default(),
            nodes: tellers,
            kind: record.kind,
            subject,
            subject_id: record.node.map(|node| node.to_string()),
            namespace: record.namespace,
            warning: record.warns,
            text: record.text,
        }
    }
}
