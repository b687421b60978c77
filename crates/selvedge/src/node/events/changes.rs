//! Changes of the control state as events. Every node tells of each; whoever puts them together finds that they are one.

use selvedge_cache::stamps::PurgeScope;
use selvedge_observe::Events;
use selvedge_state::{Change, Kind, Stamp, Value};
use selvedge_types::event::SAME_WITHIN;
use selvedge_types::resource::{Namespace, Text};
use selvedge_types::{Event, Hlc, NodeKey};
use std::collections::{BTreeMap, BTreeSet};

/// Objects of a change that are named; more are counted.
const NAMED_MAX: usize = 8;

/// Tells of changes as they are seen.
pub(in crate::node) struct Recorder {
    events: Events,
    draining: BTreeSet<NodeKey>,
    /// The last revision of what was seen long after it was decided, until that is told.
    late: Option<u64>,
}

impl Recorder {
    pub(in crate::node) fn new(events: Events) -> Self {
        Recorder { events, draining: BTreeSet::new(), late: None }
    }

    /// The changes of one entry of the log, or many at once, of what others had decided; and when the last was.
    pub(in crate::node) fn observe(&mut self, changes: &[Change], time: Hlc) {
        let found = self.find(changes);
        let revisions: BTreeSet<u64> = found.iter().filter_map(Event::revision).collect();
        let is_late = self.events.now().millis().since(time.millis()) > SAME_WITHIN;
        if is_late || revisions.len() > 1 {
            self.late = self.late.max(revisions.last().copied());
            return;
        }
        if let Some(revision) = self.late.take() {
            self.events.tell(Event::CaughtUp { revision });
        }
        found.into_iter().for_each(|event| self.events.tell(event));
    }

    fn find(&mut self, changes: &[Change]) -> Vec<Event> {
        let (mut found, mut declared) = (Vec::new(), BTreeMap::<(u64, Namespace), Vec<String>>::new());
        for change in changes {
            match declaration(change) {
                Some((namespace, what)) => {
                    declared.entry((change.revision.0, namespace)).or_default().push(what);
                }
                None => found.extend(self.take(change)),
            }
        }
        let applied = declared.into_iter().map(|((revision, namespace), what)| Event::Applied {
            namespace,
            what: listed(&what),
            revision,
        });
        found.extend(applied);
        found
    }

    /// Takes note of a change; what it is, if that is told.
    fn take(&mut self, change: &Change) -> Option<Event> {
        let revision = change.revision.0;
        match (change.object.kind, &change.value) {
            (Kind::Node, Some((version, Value::Node(node)))) => {
                let was_draining = self.draining.contains(&node.key);
                if node.draining {
                    self.draining.insert(node.key);
                } else {
                    self.draining.remove(&node.key);
                }
                self.events.name(node.key, &node.name);
                if version.generation == 1 {
                    Some(Event::Joined { node: node.key, revision })
                } else {
                    let draining = node.draining;
                    (was_draining != draining).then_some(Event::Drained {
                        node: node.key,
                        draining,
                        revision,
                    })
                }
            }
            (Kind::Node, None) => {
                let node = change.object.name.parse().ok()?;
                self.draining.remove(&node);
                Some(Event::Removed { node, revision })
            }
            (Kind::Settings, _) => Some(Event::Settings { revision }),
            (Kind::Stamp, Some((_, Value::Stamp(stamp)))) => Some(purged(stamp, revision)),
            _ => None,
        }
    }
}

/// Whose object it is that was declared otherwise, and what became of it.
fn declaration(change: &Change) -> Option<(Namespace, String)> {
    let kind = change.object.kind;
    if !matches!(kind, Kind::Site | Kind::Keyspace) {
        return None;
    }
    let (namespace, name) = change.object.name.split_once('/')?;
    let namespace = Namespace::parse_text(namespace).ok()?;
    let became = match &change.value {
        None => "deleted",
        Some((version, _)) if version.generation == 1 => "added",
        Some(_) => "changed",
    };
    let what = if kind == Kind::Site { "site" } else { "keyspace" };
    Some((namespace, format!("{what} {name} {became}")))
}

fn listed(what: &[String]) -> String {
    let named = what.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match what.len().checked_sub(NAMED_MAX) {
        None | Some(0) => named,
        Some(more) => format!("{named} and {more} more"),
    }
}

fn purged(stamp: &Stamp, revision: u64) -> Event {
    let (owner, scope) = match &stamp.scope {
        PurgeScope::Site { site } => (site, format!("site {site}")),
        PurgeScope::Prefix { site, path } => (site, format!("{path} of {site}")),
        PurgeScope::Url { site, uri } => (site, format!("{uri} of {site}")),
        PurgeScope::Tag { namespace, tag } => (namespace, format!("tag {tag} of {namespace}")),
    };
    let namespace = owner.split('/').next().and_then(|name| Namespace::parse_text(name).ok());
    Event::Purged { namespace, scope, soft: stamp.soft > stamp.hard, revision }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_observe::Registry;
    use selvedge_state::{ObjectName, Version};
    use selvedge_types::{HlcClock, Revision, UnixMillis};
    use std::sync::Mutex;

    const NOW_MS: u64 = 1_000_000;

    fn at(ms: u64) -> Hlc {
        Hlc::from_bits(ms << 16)
    }

    fn recorder() -> Recorder {
        let clock = Mutex::new(HlcClock::default());
        let time = move || clock.lock().unwrap().tick(UnixMillis(NOW_MS));
        Recorder::new(Events::new(time, &Registry::default()))
    }

    fn site(name: &str, revision: u64, generation: u64) -> Change {
        let version = Version { generation, created: Revision(1), modified: Revision(revision) };
        let object = ObjectName { kind: Kind::Site, name: name.into() };
        let value = (generation > 0).then(|| (version, Value::Site(Default::default())));
        Change { revision: Revision(revision), object, value }
    }

    fn purge(site: &str, revision: u64) -> Change {
        let scope = PurgeScope::Site { site: site.into() };
        let stamp = Stamp { scope, hard: Hlc::from_bits(revision), soft: Hlc::ZERO };
        let object = ObjectName { kind: Kind::Stamp, name: format!("site {site}") };
        let version = Version { generation: 1, created: Revision(1), modified: Revision(revision) };
        Change { revision: Revision(revision), object, value: Some((version, Value::Stamp(stamp))) }
    }

    fn told(recorder: &Recorder) -> Vec<(String, Option<String>, String)> {
        let records = recorder.events.after(Hlc::ZERO).into_iter();
        records.map(|record| (record.kind, record.namespace, record.text)).collect()
    }

    #[test]
    fn what_was_declared_is_one_event_for_each_namespace() {
        let mut recorder = recorder();
        recorder.observe(&[site("a/x", 3, 1), site("b/y", 3, 2), site("a/z", 3, 0)], at(NOW_MS));
        recorder.observe(&[purge("b/y", 4)], at(NOW_MS - 50_000));
        let of = |kind: &str, namespace: &str, text: &str| (kind.into(), Some(namespace.into()), text.into());
        let expected = [
            of("applied", "a", "revision 3: site x added, site z deleted"),
            of("applied", "b", "revision 3: site y changed"),
            of("purged", "b", "revision 4"),
        ];
        assert_eq!(told(&recorder), expected);
    }

    #[test]
    fn what_others_had_decided_long_before_is_one_event() {
        let mut recorder = recorder();
        recorder.observe(&[site("a/x", 3, 1)], at(NOW_MS - 61_000));
        recorder.observe(&[purge("a/x", 4), site("a/y", 5, 1)], at(NOW_MS));
        recorder.observe(&[site("a/x", 6, 2)], at(NOW_MS));
        let found: Vec<String> = told(&recorder).into_iter().map(|(_, _, text)| text).collect();
        assert_eq!(
            found,
            ["took over what the others had decided, up to revision 5", "revision 6: site x changed"]
        );
    }

    #[test]
    fn many_objects_are_counted() {
        let names: Vec<String> = (0..10).map(|n| format!("site {n} added")).collect();
        assert!(listed(&names).ends_with("site 7 added and 2 more"));
    }
}
