//! Commands about nodes and tickets.

use super::{Plan, Rejection};
use crate::node::{ClusterRecord, NodeRecord};
use crate::object::{ObjectName, Value};
use crate::view::{Mark, View};
use selvedge_mesh::ticket::{NodeRole, TicketError, TicketProblem, TicketRecord};
use selvedge_types::{NodeKey, UnixMillis};

/// Makes the cluster where there is none.
pub(super) fn found(view: &View, cluster: &ClusterRecord, node: &NodeRecord) -> Plan {
    if view.cluster().is_some() {
        return Plan::default();
    }
    let mut plan = Plan::guarded_by(view, Mark::Nodes);
    plan.guard(view, &ObjectName::cluster());
    plan.writes.push((ObjectName::cluster(), Some(Value::Cluster(cluster.clone()))));
    plan.writes.push((ObjectName::node(&node.key), Some(Value::Node(node.clone()))));
    plan
}

pub(super) fn issue_ticket(view: &View, record: &TicketRecord, limit: usize) -> Result<Plan, Rejection> {
    let name = ObjectName::ticket(&record.grant.key);
    if view.version(&name).is_some() {
        return Err(Rejection::Exists(name));
    }
    let usable = |other: &&TicketRecord| other.usable(record.created).is_ok();
    if view.tickets().values().filter(usable).count() >= limit {
        return Err(Rejection::TooMany { what: "tickets that can be used", limit });
    }
    let mut plan = Plan::default();
    plan.guard(view, &name);
    plan.writes.push((name, Some(Value::Ticket(record.clone()))));
    // What has expired goes, some with each that comes.
    let over = view.tickets().values().filter(|other| other.grant.expires < record.created);
    for other in over.filter(|other| other.grant.key != record.grant.key).take(FORGOTTEN_MAX) {
        let name = ObjectName::ticket(&other.grant.key);
        plan.guard(view, &name);
        plan.writes.push((name, None));
    }
    Ok(plan)
}

/// Tickets that have expired and are forgotten with each new one.
const FORGOTTEN_MAX: usize = 10;

pub(super) fn revoke_ticket(view: &View, key: &NodeKey) -> Result<Plan, Rejection> {
    let name = ObjectName::ticket(key);
    let Some(record) = view.tickets().get(key) else { return Err(Rejection::NotFound(name)) };
    let mut record = record.clone();
    record.revoke();
    Ok(Plan::put(view, name, Value::Ticket(record)))
}

/// Lets a node in. What follows from it is decided by the ticket's record and the time of whoever asks.
pub(super) fn admit(
    view: &View,
    ticket: &NodeKey,
    node: &NodeRecord,
    at: UnixMillis,
    limit: usize,
) -> Result<Plan, Rejection> {
    let unknown = TicketError::Unusable { ticket: *ticket, problem: TicketProblem::Unknown };
    let mut record = view.tickets().get(ticket).cloned().ok_or(unknown)?;
    let was_let_in = view.nodes().contains_key(&node.key);
    if record.used_by.contains(&node.key) {
        // It did not hear the answer; or it was removed since, and this ticket brings it back no more.
        let used = TicketError::Unusable { ticket: *ticket, problem: TicketProblem::UsedUp };
        return if was_let_in { Ok(Plan::default()) } else { Err(used.into()) };
    }
    let role = record.redeem(node.key, at)?;
    check_name(view, node)?;
    if !was_let_in && view.nodes().len() >= limit {
        return Err(Rejection::TooMany { what: "nodes", limit });
    }
    let mut plan = Plan::guarded_by(view, Mark::Nodes);
    let name = ObjectName::ticket(ticket);
    plan.guard(view, &name);
    plan.writes.push((name, Some(Value::Ticket(record))));
    let voter = node.voter.filter(|_| role == NodeRole::Voter);
    let node = NodeRecord { role, joined: at, draining: false, voter, ..node.clone() };
    plan.writes.push((ObjectName::node(&node.key), Some(Value::Node(node))));
    Ok(plan)
}

pub(super) fn update(view: &View, node: &NodeRecord) -> Result<Plan, Rejection> {
    let name = ObjectName::node(&node.key);
    let Some(now) = view.nodes().get(&node.key) else { return Err(Rejection::NotFound(name)) };
    let NodeRecord { role, joined, draining, .. } = now.clone();
    // Whatever an edge node says of itself, it is no member.
    let voter = node.voter.filter(|_| role == NodeRole::Voter);
    let next = NodeRecord { role, joined, draining, voter, ..node.clone() };
    if next == *now {
        return Ok(Plan::default());
    }
    if next.name == now.name {
        return Ok(Plan::put(view, name, Value::Node(next)));
    }
    check_name(view, &next)?;
    let mut plan = Plan::guarded_by(view, Mark::Nodes);
    plan.guard(view, &name);
    plan.writes.push((name, Some(Value::Node(next))));
    Ok(plan)
}

pub(super) fn drain(view: &View, name: &str, draining: bool) -> Result<Plan, Rejection> {
    let node = find(view, name)?;
    if node.draining == draining {
        return Ok(Plan::default());
    }
    let node = NodeRecord { draining, ..node.clone() };
    Ok(Plan::put(view, ObjectName::node(&node.key), Value::Node(node)))
}

/// Voters that may be chosen.
const VOTERS_MAX: usize = 7;

pub(super) fn choose_voters(view: &View, names: &[String]) -> Result<Plan, Rejection> {
    let cluster = view.cluster().ok_or(Rejection::NoCluster)?;
    let mut voters = Vec::new();
    for name in names {
        let node = find(view, name)?;
        if node.role != NodeRole::Voter {
            return Err(Rejection::Voters(format!("{name} is an edge node, which cannot vote")));
        }
        if node.voter.is_none() {
            return Err(Rejection::Voters(format!(
                "{name} has not said that it is ready; wait until it has"
            )));
        }
        voters.push(node.key);
    }
    voters.sort();
    voters.dedup();
    let odd = voters.len() % 2 == 1 || voters.is_empty();
    if !odd || voters.len() != names.len() || voters.len() > VOTERS_MAX {
        let text =
            format!("name 1, 3, 5 or {VOTERS_MAX} different nodes; an even number survives no more losses");
        return Err(Rejection::Voters(text));
    }
    if voters == cluster.voters {
        return Ok(Plan::default());
    }
    let mut plan = Plan::guarded_by(view, Mark::Nodes);
    plan.guard(view, &ObjectName::cluster());
    let cluster = ClusterRecord { voters, ..cluster.clone() };
    plan.writes.push((ObjectName::cluster(), Some(Value::Cluster(cluster))));
    Ok(plan)
}

pub(super) fn remove(view: &View, name: &str) -> Result<Plan, Rejection> {
    let node = find(view, name)?;
    if view.nodes().len() == 1 {
        return Err(Rejection::LastNode(name.to_owned()));
    }
    let mut plan = Plan::guarded_by(view, Mark::Nodes);
    plan.writes.push((ObjectName::node(&node.key), None));
    if let Some(cluster) = view.cluster().filter(|cluster| cluster.voters.contains(&node.key)) {
        // What was chosen holds no longer: the leader chooses.
        let cluster = ClusterRecord { voters: Vec::new(), ..cluster.clone() };
        plan.guard(view, &ObjectName::cluster());
        plan.writes.push((ObjectName::cluster(), Some(Value::Cluster(cluster))));
    }
    Ok(plan)
}

fn find<'v>(view: &'v View, name: &str) -> Result<&'v NodeRecord, Rejection> {
    let missing = || Rejection::NoNode(name.to_owned());
    view.nodes().values().find(|node| node.name == name).ok_or_else(missing)
}

fn check_name(view: &View, node: &NodeRecord) -> Result<(), Rejection> {
    let taken = view.nodes().values().any(|other| other.name == node.name && other.key != node.key);
    if taken { Err(Rejection::NameTaken(node.name.clone())) } else { Ok(()) }
}
