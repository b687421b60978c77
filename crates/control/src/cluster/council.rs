//! Who takes part in the control group: what the leader does so that it is as the control state has it.
//!
//! A node that may vote follows as a learner from the start. A single voter is joined by two more when they are
//! there, in other PoPs if there are any; an operator can choose others. A voter that was removed, or came back as another member, is replaced by
//! a learner if there is one. Nobody loses a vote for being silent.

use selvedge_mesh::ticket::NodeRole;
use selvedge_rt::Tasks;
use selvedge_state::group::{Change, Error, Group, Member, Role, Status, VoterId};
use selvedge_state::{NodeRecord, State};
use selvedge_types::NodeKey;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How often the leader looks.
const LOOK: Duration = Duration::from_millis(200);

/// How long one step may take.
const STEP_MAX: Duration = Duration::from_secs(5);

/// How long a member that was not caught up is passed over.
const PASS_OVER: Duration = Duration::from_secs(5);

/// How many vote, once there are enough.
const VOTERS: usize = 3;

/// What the leader does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Has a node follow.
    AddLearner(VoterId, Member),
    /// Has these vote.
    SetVoters(BTreeSet<VoterId>),
    /// Forgets a member that does not vote.
    Remove(VoterId),
    /// Has another lead, as this node is to go.
    HandOver(VoterId),
}

/// What is to be done next for the group to be as the nodes say; none if it is. An operator may have `chosen` who
/// votes; of those that nobody chose, members in `passed_over` are not made voters now.
pub fn next_step(
    status: &Status,
    nodes: &BTreeMap<NodeKey, NodeRecord>,
    chosen: &[NodeKey],
    passed_over: &BTreeSet<VoterId>,
) -> Option<Step> {
    if status.changing {
        return None;
    }
    let mut candidates: Vec<(&NodeRecord, VoterId)> = nodes
        .values()
        .filter(|node| node.role == NodeRole::Voter)
        .filter_map(|node| Some((node, node.voter?)))
        .collect();
    candidates.sort_by_key(|(node, _)| (node.joined, node.key));
    let missing = candidates.iter().find(|(_, id)| !status.members.contains_key(id));
    if let Some((node, id)) = missing {
        return Some(Step::AddLearner(*id, Member { node: node.key.to_string() }));
    }
    let may: BTreeMap<VoterId, &NodeRecord> = candidates.iter().map(|(node, id)| (*id, *node)).collect();
    // Without the record of its own node a leader knows too little to judge.
    let staying: BTreeSet<VoterId> =
        status.voters.iter().copied().filter(|id| may.contains_key(id)).collect();
    let chosen: BTreeSet<VoterId> =
        candidates.iter().filter(|(node, _)| chosen.contains(&node.key)).map(|(_, id)| *id).collect();
    let wanted =
        if chosen.is_empty() { wanted(&staying, &status.voters, &candidates, passed_over) } else { chosen };
    if !wanted.is_empty() && wanted != status.voters {
        if !wanted.contains(&status.id) {
            let to = wanted.intersection(&status.voters).next();
            return to.map(|to| Step::HandOver(*to));
        }
        return Some(Step::SetVoters(wanted));
    }
    let gone = |id: &&VoterId| !may.contains_key(id) && !status.voters.contains(id);
    status.members.keys().find(gone).map(|id| Step::Remove(*id))
}

/// Who should vote: as many as now, or [`VOTERS`] instead of one; an odd number.
fn wanted(
    staying: &BTreeSet<VoterId>,
    voters: &BTreeSet<VoterId>,
    candidates: &[(&NodeRecord, VoterId)],
    passed_over: &BTreeSet<VoterId>,
) -> BTreeSet<VoterId> {
    let is_free = |id: &VoterId| !voters.contains(id) && !passed_over.contains(id);
    let mut free: Vec<(&NodeRecord, VoterId)> =
        candidates.iter().filter(|(_, id)| is_free(id)).copied().collect();
    let size = voters.len().max(VOTERS);
    let mut wanted = staying.clone();
    let pop = |id: &VoterId| candidates.iter().find(|(_, other)| other == id).map(|(node, _)| &node.pop);
    while wanted.len() < size {
        let pops: BTreeSet<_> = wanted.iter().filter_map(pop).collect();
        let elsewhere = free.iter().position(|(node, _)| !pops.contains(&node.pop));
        let Some(place) = elsewhere.or(if free.is_empty() { None } else { Some(0) }) else { break };
        wanted.insert(free.remove(place).1);
    }
    // An even number tolerates no more losses than one less.
    if wanted.len().is_multiple_of(2) {
        let surplus = wanted.iter().rev().find(|id| !voters.contains(id)).copied();
        match surplus {
            Some(id) => drop(wanted.remove(&id)),
            // Two that are left of three go on as two: to take the vote of one that is there is for the operator.
            None => return wanted,
        }
    }
    wanted
}

/// Does what [`next_step`] says wherever the leader is.
pub struct Council {
    /// The control state.
    pub state: State,
}

impl Council {
    /// Goes on until the tasks end.
    pub async fn run(self, tasks: Tasks) {
        let mut passed_over: BTreeMap<VoterId, Instant> = BTreeMap::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = tasks.stopped() => return,
            }
            let group = self.state.group();
            let status = group.status();
            if status.role != Role::Leader {
                continue;
            }
            let now = Instant::now();
            passed_over.retain(|_, until| *until > now);
            let passed = passed_over.keys().copied().collect();
            let chosen = self.state.cluster().map(|cluster| cluster.voters).unwrap_or_default();
            let Some(step) = next_step(&status, &self.state.nodes(), &chosen, &passed) else { continue };
            tokio::select! {
                done = take(group, &step) => match done {
                    Ok(()) => tracing::info!(?step, "the control group was changed"),
                    Err(Error::NotCaughtUp { member }) => {
                        passed_over.insert(member, Instant::now() + PASS_OVER);
                    }
                    Err(error) => tracing::debug!(%error, ?step, "the control group was not changed"),
                },
                () = tasks.stopped() => return,
            }
        }
    }
}

async fn take(group: &Group, step: &Step) -> Result<(), Error> {
    let change = match step.clone() {
        Step::AddLearner(id, member) => Change::AddLearner { id, member },
        Step::SetVoters(voters) => Change::SetVoters(voters),
        Step::Remove(id) => Change::Remove(id),
        Step::HandOver(to) => Change::TransferLeader(to),
    };
    group.change(change, STEP_MAX).await
}

#[cfg(test)]
mod tests;
