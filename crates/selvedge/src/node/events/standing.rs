//! Who leads, who votes, and what fails, as events: how the node stands now is compared with how it stood before.

use super::super::cluster::Linked;
use super::super::following::InForce;
use selvedge_control::cluster::REMOVED;
use selvedge_gateway::cache::Cache;
use selvedge_observe::Events;
use selvedge_rt::Tasks;
use selvedge_state::State;
use selvedge_state::group::{Status, VoterId};
use selvedge_types::NodeKey;
use selvedge_types::event::{Event, Fault};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked for what nobody tells.
const LOOK: Duration = Duration::from_millis(500);
/// How long a node that starts may hear of no leader before it says so.
const LEADER_WAIT: Duration = Duration::from_secs(5);

/// Who leads, as far as the node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Leader {
    /// It has just started.
    #[default]
    Unknown,
    Nobody,
    Is {
        node: NodeKey,
        term: u64,
    },
}

/// How a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Standing {
    leader: Leader,
    /// None while one set takes over from another.
    voters: Option<BTreeSet<NodeKey>>,
    term: u64,
    faults: BTreeMap<Fault, String>,
}

/// Compares how the node stands, again and again.
pub(in crate::node) struct Watcher {
    pub(in crate::node) events: Events,
    pub(in crate::node) linked: Linked,
    pub(in crate::node) state: Option<State>,
    /// Why there is no state, if there is none.
    pub(in crate::node) state_problem: Option<String>,
    pub(in crate::node) cache: Cache,
    pub(in crate::node) in_force: InForce,
}

impl Watcher {
    /// Until the tasks are told to stop.
    pub(in crate::node) async fn run(self, tasks: Tasks) {
        let begun = Instant::now();
        let mut turns = self.state.as_ref().map(|state| state.group().turns());
        let mut before = Standing::default();
        loop {
            let mut now = self.look();
            if now.leader == Leader::Nobody
                && before.leader == Leader::Unknown
                && begun.elapsed() < LEADER_WAIT
            {
                now.leader = Leader::Unknown;
            }
            let name = |node: &NodeKey| self.events.name_of(node).unwrap_or_else(|| format!("{node:?}"));
            for event in differences(&before, &now, self.linked.key, name) {
                self.events.tell(event);
            }
            now.voters = now.voters.or(before.voters);
            before = now;
            let turn = async {
                match &mut turns {
                    Some(turns) => turns.next().await,
                    None => std::future::pending::<()>().await,
                }
            };
            tokio::select! {
                () = turn => {}
                () = tokio::time::sleep(LOOK) => {}
                () = tasks.stopped() => return,
            }
        }
    }

    fn look(&self) -> Standing {
        let status = self.state.as_ref().map(|state| state.group().status());
        let mut standing = status.as_ref().map(of_group).unwrap_or_default();
        let mut note = |fault, why: Option<String>| standing.faults.extend(why.map(|why| (fault, why)));
        if status.is_none() {
            note(Fault::State, self.state_problem.clone());
        }
        note(Fault::CacheDisk, self.cache.disk_problem());
        let problems = self.in_force.problems();
        note(Fault::Configuration, (!problems.is_empty()).then(|| problems.join("; ")));
        note(Fault::Removed, self.linked.refused.load(Ordering::Relaxed).then(|| REMOVED.to_owned()));
        standing
    }
}

fn of_group(status: &Status) -> Standing {
    let key = |id: &VoterId| status.members.get(id)?.node.parse::<NodeKey>().ok();
    let leader = match status.leader.as_ref().and_then(key) {
        Some(node) => Leader::Is { node, term: status.term },
        None => Leader::Nobody,
    };
    let voters: BTreeSet<NodeKey> = status.voters.iter().filter_map(key).collect();
    let torn = "its last batch was incomplete and was cut; this node votes again once it is caught up";
    let full = "the disk is full: no changes are taken until there is space";
    let faults = [
        (Fault::DiskSpace, status.disk_full.then(|| full.to_owned())),
        (Fault::State, status.stopped.clone()),
        (Fault::Log, status.catching_up.then(|| torn.to_owned())),
    ];
    let faults = faults.into_iter().filter_map(|(fault, why)| Some((fault, why?))).collect();
    let voters = (!status.changing && !voters.is_empty()).then_some(voters);
    Standing { leader, voters, term: status.term, faults }
}

/// What happened between two moments. What a node finds when it starts is nothing that happens then, unless it leads.
fn differences(
    before: &Standing,
    now: &Standing,
    me: NodeKey,
    name: impl Fn(&NodeKey) -> String,
) -> Vec<Event> {
    let mut events = Vec::new();
    match (before.leader, now.leader) {
        (before, now) if before == now => {}
        (_, Leader::Unknown) => {}
        (_, Leader::Nobody) => events.push(Event::NoLeader),
        (Leader::Unknown, Leader::Is { node, .. }) if node != me => {}
        (_, Leader::Is { node, term }) => events.push(Event::Leads { node, term }),
    }
    if let (Some(before), Some(voters)) = (&before.voters, &now.voters)
        && before != voters
    {
        events.push(Event::Voters { voters: voters.iter().map(name).collect(), term: now.term });
    }
    for (what, why) in &now.faults {
        if before.faults.get(what) != Some(why) {
            events.push(Event::Fault { what: *what, why: Some(why.clone()) });
        }
    }
    for what in before.faults.keys().filter(|what| !now.faults.contains_key(what)) {
        events.push(Event::Fault { what: *what, why: None });
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> NodeKey {
        NodeKey::from_bytes([n; 32])
    }

    fn leads(n: u8, term: u64) -> Standing {
        Standing { leader: Leader::Is { node: key(n), term }, term, ..Standing::default() }
    }

    fn votes(nodes: &[u8]) -> Standing {
        Standing { voters: Some(nodes.iter().map(|n| key(*n)).collect()), term: 4, ..Standing::default() }
    }

    fn fails(why: &str) -> Standing {
        Standing { faults: BTreeMap::from([(Fault::State, why.to_owned())]), ..Standing::default() }
    }

    #[test]
    fn what_differs_is_what_happened() {
        let nothing = Standing::default;
        let nobody = || Standing { leader: Leader::Nobody, ..Standing::default() };
        let voters = |names: &[&str]| Event::Voters {
            voters: names.iter().map(|name| (*name).to_owned()).collect(),
            term: 4,
        };
        let fault = |why: Option<&str>| Event::Fault { what: Fault::State, why: why.map(str::to_owned) };
        for (before, now, expected) in [
            (nothing(), nothing(), vec![]),
            (nothing(), leads(2, 1), vec![]),
            (nothing(), leads(1, 1), vec![Event::Leads { node: key(1), term: 1 }]),
            (leads(1, 1), leads(2, 2), vec![Event::Leads { node: key(2), term: 2 }]),
            (leads(2, 1), leads(2, 3), vec![Event::Leads { node: key(2), term: 3 }]),
            (leads(2, 1), nobody(), vec![Event::NoLeader]),
            (nobody(), nobody(), vec![]),
            (nothing(), votes(&[1]), vec![]),
            (votes(&[1]), votes(&[1, 2, 3]), vec![voters(&["1", "2", "3"])]),
            (votes(&[1]), nothing(), vec![]),
            (nothing(), fails("a"), vec![fault(Some("a"))]),
            (fails("a"), fails("a"), vec![]),
            (fails("a"), fails("b"), vec![fault(Some("b"))]),
            (fails("a"), nothing(), vec![fault(None)]),
        ] {
            let name = |node: &NodeKey| node.as_bytes()[0].to_string();
            assert_eq!(differences(&before, &now, key(1), name), expected, "{before:?} {now:?}");
        }
    }
}
