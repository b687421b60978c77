//! Who learnt of which death when, and who was taken for dead while it ran.

use selvedge_membership::{Event, Membership, State, Why};
use selvedge_types::NodeKey;
use std::collections::HashMap;
use std::time::Duration;

/// A node that was killed, and when each other node knew.
#[derive(Clone, Debug)]
pub struct Death {
    /// Which node.
    pub node: usize,
    /// Its PoP.
    pub pop: usize,
    /// When it died.
    pub at: Duration,
    /// After how long each node knew.
    pub known: Vec<Option<Duration>>,
    key: NodeKey,
    over: bool,
}

/// What is measured in a crowd.
pub struct Watch {
    /// Deaths, in their order.
    pub deaths: Vec<Death>,
    /// Who took whom for dead while it ran.
    pub false_deaths: Vec<(Duration, usize, NodeKey)>,
    /// PoPs that somebody could not reach: when, who, which.
    pub pops_lost: Vec<(Duration, usize, String)>,
    /// How many suspicions were raised, by all who heard of them.
    pub suspicions: u64,
    /// Nodes that went on under a new generation.
    pub renewals: u64,
    running: HashMap<NodeKey, bool>,
    total: usize,
    /// Nodes are expected to be taken for gone: cut off, or leaving.
    pub tolerant: bool,
}

impl Watch {
    pub(super) fn new(total: usize) -> Self {
        Watch {
            deaths: Vec::new(),
            false_deaths: Vec::new(),
            pops_lost: Vec::new(),
            suspicions: 0,
            renewals: 0,
            running: HashMap::new(),
            total,
            tolerant: false,
        }
    }

    pub(super) fn killed(&mut self, node: usize, key: NodeKey, pop: usize, at: Duration) {
        self.running.insert(key, false);
        self.deaths.push(Death { node, pop, at, known: vec![None; self.total], key, over: false });
    }

    /// From now on that node counts as running again, and its deaths are over.
    pub(super) fn started(&mut self, node: usize) {
        self.deaths.iter_mut().filter(|death| death.node == node).for_each(|death| {
            death.over = true;
            self.running.insert(death.key, true);
        });
    }

    pub(super) fn saw(&mut self, by: usize, pop: usize, event: &Event, core: &Membership, now: Duration) {
        match event {
            Event::Gone(identity, why) => {
                let running = self.running.get(&identity.node) != Some(&false);
                if running && *why == Why::Failed && !self.tolerant {
                    self.false_deaths.push((now, by, identity.node));
                }
                self.learnt_inside(by, pop, identity.node, now);
            }
            Event::PopChanged(name) | Event::PopLost(name) => {
                if matches!(event, Event::PopLost(_)) {
                    self.pops_lost.push((now, by, name.to_string()));
                }
                self.learnt_outside(by, pop, name.as_str(), core, now);
            }
            Event::Suspected(_) => self.suspicions += 1,
            Event::Renewed(_) => self.renewals += 1,
            _ => {}
        }
    }

    fn learnt_inside(&mut self, by: usize, pop: usize, key: NodeKey, now: Duration) {
        let open = self.deaths.iter_mut().filter(|death| death.key == key && death.pop == pop && !death.over);
        open.for_each(|death| death.note(by, now));
    }

    fn learnt_outside(&mut self, by: usize, pop: usize, name: &str, core: &Membership, now: Duration) {
        let open = self.deaths.iter_mut().filter(|death| death.pop != pop && !death.over);
        for death in open.filter(|death| super::crowd::pop_name(death.pop).as_str() == name) {
            let state = core.state_of(&death.key, &super::crowd::pop_name(death.pop));
            if matches!(state, Some(State::Gone(_))) {
                death.note(by, now);
            }
        }
    }
}

impl Death {
    fn note(&mut self, by: usize, now: Duration) {
        self.known[by].get_or_insert(now - self.at);
    }
}
