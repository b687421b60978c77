//! What a leader does, step by step.

use super::*;
use selvedge_state::Serves;
use selvedge_types::{Revision, UnixMillis};

/// A cluster as a leader sees it: nodes by number, with their PoP and member.
struct World {
    nodes: BTreeMap<NodeKey, NodeRecord>,
    status: Status,
    passed_over: BTreeSet<VoterId>,
    chosen: Vec<NodeKey>,
}

impl World {
    fn new(pops: &[&str]) -> Self {
        let nodes = pops.iter().enumerate().map(|(i, pop)| node(i as u64 + 1, pop));
        let status = Status {
            id: VoterId(1),
            role: Role::Leader,
            term: 1,
            leader: Some(VoterId(1)),
            voters: BTreeSet::from([VoterId(1)]),
            changing: false,
            members: BTreeMap::from([(VoterId(1), member(1))]),
            log_next: 1,
            log_first: 0,
            applied_next: 1,
            revision: Revision(1),
            catching_up: false,
            disk_full: false,
            stopped: None,
        };
        let nodes = nodes.map(|node| (node.key, node)).collect();
        World { nodes, status, passed_over: BTreeSet::new(), chosen: Vec::new() }
    }

    fn step(&self) -> Option<Step> {
        next_step(&self.status, &self.nodes, &self.chosen, &self.passed_over)
    }

    /// Takes steps until there are none; who votes then.
    fn settle(&mut self) -> Vec<u64> {
        for _ in 0..50 {
            let Some(step) = self.step() else {
                return self.status.voters.iter().map(|id| id.0).collect();
            };
            match step {
                Step::AddLearner(id, member) => drop(self.status.members.insert(id, member)),
                Step::SetVoters(voters) => self.status.voters = voters,
                Step::Remove(id) => drop(self.status.members.remove(&id)),
                Step::HandOver(to) => self.status.id = to,
            }
        }
        panic!("it goes on without end: {:?}", self.step());
    }

    fn remove(&mut self, number: u64) {
        self.nodes.remove(&key(number));
    }
}

fn key(number: u64) -> NodeKey {
    NodeKey::from_bytes([number as u8; 32])
}

fn member(number: u64) -> Member {
    Member { node: key(number).to_string() }
}

fn node(number: u64, pop: &str) -> NodeRecord {
    NodeRecord {
        key: key(number),
        name: format!("n{number}"),
        pop: pop.into(),
        region: "eu".into(),
        role: NodeRole::Voter,
        voter: Some(VoterId(number)),
        mesh: Vec::new(),
        serves: Serves::default(),
        version: "1".into(),
        joined: UnixMillis(number),
        draining: false,
    }
}

#[test]
fn the_second_node_follows_and_the_third_makes_three_voters_at_once() {
    let mut world = World::new(&["a", "b"]);
    assert_eq!(world.step(), Some(Step::AddLearner(VoterId(2), member(2))));
    assert_eq!(world.settle(), [1]);
    world.nodes.insert(key(3), node(3, "c"));
    assert_eq!(world.step(), Some(Step::AddLearner(VoterId(3), member(3))));
    assert_eq!(world.settle(), [1, 2, 3]);
}

#[test]
fn voters_are_in_different_pops_where_there_are_any() {
    assert_eq!(World::new(&["a", "a", "a"]).settle(), [1, 2, 3]);
    assert_eq!(World::new(&["a", "a", "b", "c"]).settle(), [1, 3, 4]);
    assert_eq!(World::new(&["a", "a", "a", "b"]).settle(), [1, 2, 4]);
}

#[test]
fn a_removed_voter_is_replaced_and_then_forgotten() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    assert_eq!(world.settle(), [1, 2, 3]);
    world.remove(2);
    assert_eq!(world.settle(), [1, 3, 4]);
    assert!(!world.status.members.contains_key(&VoterId(2)));
}

#[test]
fn a_leader_that_is_removed_hands_over_first() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.settle();
    world.remove(1);
    assert_eq!(world.step(), Some(Step::HandOver(VoterId(2))));
    assert_eq!(world.settle(), [2, 3, 4]);
}

#[test]
fn of_three_voters_one_may_go_without_a_replacement() {
    let mut world = World::new(&["a", "b", "c"]);
    world.settle();
    world.remove(3);
    assert_eq!(world.settle(), [1, 2]);
    world.nodes.insert(key(4), node(4, "d"));
    assert_eq!(world.settle(), [1, 2, 4]);
}

#[test]
fn who_is_not_caught_up_is_passed_over() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.passed_over.insert(VoterId(2));
    assert_eq!(world.settle(), [1, 3, 4]);
}

#[test]
fn a_node_that_comes_back_as_another_member_takes_its_old_ones_place() {
    let mut world = World::new(&["a", "b", "c"]);
    world.settle();
    let again = NodeRecord { voter: Some(VoterId(9)), ..node(2, "b") };
    world.nodes.insert(key(2), again);
    assert_eq!(world.settle(), [1, 3, 9]);
    assert!(!world.status.members.contains_key(&VoterId(2)));
}

#[test]
fn nothing_is_done_while_voters_change_or_by_edges() {
    let mut world = World::new(&["a", "b", "c"]);
    world.status.changing = true;
    assert_eq!(world.step(), None);
    let mut edges = World::new(&["a"]);
    edges.nodes.insert(key(2), NodeRecord { role: NodeRole::Edge, ..node(2, "b") });
    assert_eq!(edges.settle(), [1]);
}

#[test]
fn those_whom_the_operator_chose_vote() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.settle();
    world.chosen = vec![key(2), key(3), key(4)];
    assert_eq!(world.settle(), [2, 3, 4]);
    world.chosen = vec![key(3)];
    assert_eq!(world.settle(), [3]);
    world.chosen.clear();
    assert_eq!(world.settle(), [1, 2, 3]);
}
