//! What happened on this node, as it came: a bounded list in memory, and a line in the log for each.

use crate::{Counter, Family, Registry};
use selvedge_types::{Event, Hlc, NodeKey, Record};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Events that are kept in memory; the oldest go for the next.
pub const EVENTS_MAX: usize = 2_048;
/// Names of nodes that are remembered, also of those that were removed; further ones are shown by their key.
const NAMES_MAX: usize = 4_096;

/// A node's events. Clones are handles to the same.
#[derive(Clone)]
pub struct Events(Arc<Shared>);

struct Shared {
    time: Box<dyn Fn() -> Hlc + Send + Sync>,
    kept: Mutex<Kept>,
    /// The reading of the last event.
    last: watch::Sender<Hlc>,
    count: Family<[(&'static str, &'static str); 1], Counter>,
}

#[derive(Default)]
struct Kept {
    /// In the order of their readings.
    records: VecDeque<Record>,
    names: BTreeMap<NodeKey, String>,
    /// Up to which revision of the control state all was told before a restart.
    told: u64,
}

impl Events {
    /// None yet. `time` is the node's hybrid clock, each reading later than the one before; it must not ask for events.
    pub fn new(time: impl Fn() -> Hlc + Send + Sync + 'static, registry: &Registry) -> Self {
        let count = registry.register("events", "Events of this node, by kind", Family::default());
        let (time, last) = (Box::new(time), watch::Sender::new(Hlc::ZERO));
        Events(Arc::new(Shared { time, kept: Mutex::default(), last, count }))
    }

    /// Takes over what was kept before a restart. To be called before anything else is told.
    pub fn restore(&self, records: Vec<Record>) {
        let mut kept = self.kept();
        kept.told = records.iter().filter_map(Record::revision).max().unwrap_or(0);
        kept.records = records.into();
        let surplus = kept.records.len().saturating_sub(EVENTS_MAX);
        kept.records.drain(..surplus);
        let last = kept.records.back().map_or(Hlc::ZERO, |record| record.at);
        self.0.last.send_replace(last);
    }

    /// Tells of something that happens now.
    ///
    /// What was told of the control state before a restart is not told again.
    pub fn tell(&self, event: Event) {
        let record = {
            let mut kept = self.kept();
            if event.revision().is_some_and(|revision| revision <= kept.told) {
                return;
            }
            let name = event.node().and_then(|node| kept.names.get(&node).cloned());
            self.0.count.get_or_create(&[("kind", event.kind())]).inc();
            // Drawn while nobody else can put one before it.
            let record = event.record((self.0.time)(), name);
            kept.keep(record.clone());
            record
        };
        self.0.last.send_replace(record.at);
        log(&record);
    }

    /// A reading of the clock that events are stamped with.
    pub fn now(&self) -> Hlc {
        (self.0.time)()
    }

    /// What a node is called, for the events that are about it.
    pub fn name(&self, node: NodeKey, name: &str) {
        let names = &mut self.kept().names;
        if names.len() < NAMES_MAX || names.contains_key(&node) {
            names.insert(node, name.to_owned());
        }
    }

    /// What a node is called, if that was ever known.
    pub fn name_of(&self, node: &NodeKey) -> Option<String> {
        self.kept().names.get(node).cloned()
    }

    /// Those after a reading, in their order: all that are kept.
    pub fn after(&self, at: Hlc) -> Vec<Record> {
        let kept = self.kept();
        let begin = kept.records.partition_point(|record| record.at <= at);
        kept.records.range(begin..).cloned().collect()
    }

    /// The last ones, in their order.
    pub fn last(&self, count: usize) -> Vec<Record> {
        let kept = self.kept();
        let begin = kept.records.len().saturating_sub(count);
        kept.records.range(begin..).cloned().collect()
    }

    /// Waits until there is one after a reading. Cancel-safe.
    pub async fn wait(&self, after: Hlc) {
        // It fails only without a sender, which this has.
        let _ = self.0.last.subscribe().wait_for(|last| *last > after).await;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, record: Record) {
        if self.records.len() >= EVENTS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }
}

fn log(record: &Record) {
    let Record { kind, subject, text, node, .. } = record;
    let short = || node.map(|node| format!("{node:?}")).unwrap_or_default();
    let about = if subject.is_empty() { short() } else { subject.clone() };
    let about = (!about.is_empty()).then_some(about);
    if record.warns {
        tracing::warn!(kind, about, "{text}");
    } else {
        tracing::info!(kind, about, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::resource::Namespace;
    use selvedge_types::{HlcClock, UnixMillis};

    fn events() -> Events {
        let clock = Mutex::new(HlcClock::default());
        Events::new(move || clock.lock().unwrap().tick(UnixMillis(1_000)), &Registry::default())
    }

    fn applied(revision: u64) -> Event {
        Event::Applied { namespace: Namespace::default(), what: "site a".into(), revision }
    }

    #[test]
    fn the_last_ones_are_kept_in_their_order() {
        let events = events();
        (0..EVENTS_MAX as u64 + 10).for_each(|n| events.tell(applied(n + 1)));
        let all = events.after(Hlc::ZERO);
        assert_eq!((all.len(), all[0].number), (EVENTS_MAX, Some(11)));
        assert!(all.is_sorted_by(|a, b| a.at < b.at));
        assert_eq!(events.after(all[EVENTS_MAX - 3].at), events.last(2));
        assert_eq!(events.after(all[EVENTS_MAX - 1].at), []);
    }

    #[test]
    fn what_was_told_before_a_restart_is_not_told_again() {
        let before = events();
        [applied(1), applied(2), Event::Stopping].into_iter().for_each(|event| before.tell(event));
        let after = events();
        after.restore(before.after(Hlc::ZERO));
        [applied(2), Event::Stopping, applied(3)].into_iter().for_each(|event| after.tell(event));
        let told: Vec<_> = after.last(9).into_iter().map(|record| (record.kind, record.number)).collect();
        let expected = [("applied", 1), ("applied", 2), ("stopping", 0), ("stopping", 0), ("applied", 3)];
        let expected = expected.map(|(kind, n)| (kind.to_owned(), Some(n).filter(|n| *n > 0)));
        assert_eq!(told, expected);
    }

    #[test]
    fn a_node_is_called_by_its_name_once_that_is_known() {
        let (events, node) = (events(), NodeKey::from_bytes([1; 32]));
        events.tell(Event::Joined { node, revision: 1 });
        events.name(node, "ams-1");
        events.tell(Event::Removed { node, revision: 2 });
        let subjects: Vec<String> = events.last(2).into_iter().map(|record| record.subject).collect();
        assert_eq!(subjects, ["", "ams-1"]);
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_the_next_one() {
        let events = events();
        let waiting = events.wait(Hlc::ZERO);
        let ((), ()) = tokio::join!(waiting, async { events.tell(Event::Stopping) });
    }
}
