//! What a command comes to: which keys it puts and deletes, provided that nothing was changed meanwhile of what
//! that follows from. Whoever proposes it plans it; the store only compares.

mod nodes;

use crate::codec::{CodecError, encode_key, encode_value};
use crate::command::Command;
use crate::object::{ObjectName, Stamp, Value};
use crate::view::{Mark, View};
use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_kv::{Compare, Delete, Key, KeyRange, Op, Put, Relation, Target, Txn};
use selvedge_mesh::ticket::TicketError;
use selvedge_types::{ApplyError, Hlc, Manifest, Permissions, Revision, Role, Token};
use std::sync::Arc;

/// How much the control state takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Purges in force; further ones are rejected until some expire.
    stamps: usize,
    /// Tokens.
    tokens: usize,
    /// Tickets that were not taken back and are not over.
    tickets: usize,
    /// Nodes.
    nodes: usize,
}

/// Of every control state.
pub(crate) const LIMITS: Limits = Limits { stamps: 1_000_000, tokens: 10_000, tickets: 1_000, nodes: 10_000 };

/// Purges that one command drops.
const EXPIRED_MAX: usize = 2_000;

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Another change came first.
    #[error("revision {expected} was expected, but {current} is the last change; look again and retry")]
    Conflict {
        /// What was expected.
        expected: Revision,
        /// The revision of the last change to sites or settings.
        current: Revision,
    },
    /// A manifest does more than it may.
    #[error(transparent)]
    Manifest(#[from] ApplyError),
    /// Nobody could make tokens any more.
    #[error("{0} is the last token that may do everything; make another one first")]
    Last(ObjectName),
    /// It is there already.
    #[error("{0} exists already; choose another name")]
    Exists(ObjectName),
    /// It is not there.
    #[error("{0} does not exist")]
    NotFound(ObjectName),
    /// A ticket lets nobody in.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// No node has that name.
    #[error("there is no node named {0}; `selvedge get nodes` lists them")]
    NoNode(String),
    /// Not a set of voters.
    #[error("{0}")]
    Voters(String),
    /// The cluster is not founded yet.
    #[error("this node does not know its cluster yet; try again when it has reached others")]
    NoCluster,
    /// Another node has that name.
    #[error("another node is named {0}; start this one with another `--name`")]
    NameTaken(String),
    /// It is the last of the nodes.
    #[error("{0} is the last node of the cluster; stop it and remove its data directory instead")]
    LastNode(String),
    /// There are as many as there may be.
    #[error("there are {limit} {what} already, as many as there may be; remove some first")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

/// What a command comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Keys that must not have been changed since these revisions.
    guards: Vec<(Key, Revision)>,
    marks: Vec<Mark>,
    writes: Vec<(ObjectName, Option<Value>)>,
    /// What that changes in what is declared.
    declared: selvedge_types::Plan,
}

impl Plan {
    /// What it changes in what is declared.
    pub(crate) fn into_declared(self) -> selvedge_types::Plan {
        self.declared
    }

    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The transaction that does it.
    pub(crate) fn txn(&self) -> Result<Txn, CodecError> {
        let unchanged = |(key, revision): &(Key, Revision)| Compare {
            keys: KeyRange::One(key.clone()),
            relation: Relation::Equal,
            target: Target::Modified(*revision),
        };
        let marks = self.marks.iter().map(|mark| Ok(Op::Put(Put::new(&mark.key()[..], &b""[..]))));
        let writes = self.writes.iter().map(|(name, value)| Ok(write(name, value.as_ref())?.0));
        let then = marks.chain(writes).collect::<Result<_, _>>()?;
        Ok(Txn { compare: self.guards.iter().map(unchanged).collect(), then, otherwise: Vec::new() })
    }

    /// Whether all of it is as it would make it.
    pub(crate) fn is_done(&self, view: &View) -> bool {
        self.writes.iter().all(|(name, value)| view.get(name) == *value)
    }

    /// One object, as it is to be.
    fn put(view: &View, name: ObjectName, value: Value) -> Self {
        let mut plan = Plan::default();
        plan.guard(view, &name);
        plan.writes.push((name, Some(value)));
        plan
    }

    fn guarded_by(view: &View, mark: Mark) -> Self {
        let guards = vec![(Key::from(&mark.key()[..]), view.mark(mark))];
        Plan { guards, marks: vec![mark], ..Plan::default() }
    }

    fn guard(&mut self, view: &View, name: &ObjectName) {
        let modified = view.version(name).map_or(Revision(0), |version| version.modified);
        self.guards.push((encode_key(name).into(), modified));
    }
}

/// What makes an object so, and the bytes that it takes.
pub(crate) fn write(name: &ObjectName, value: Option<&Value>) -> Result<(Op, usize), CodecError> {
    let key = encode_key(name);
    let Some(value) = value else {
        let bytes = key.len();
        return Ok((Op::Delete(Delete { keys: KeyRange::one(key), previous: false }), bytes));
    };
    let value = encode_value(value)?;
    let bytes = key.len() + value.len();
    Ok((Op::Put(Put::new(key, value)), bytes))
}

/// Plans a command, whose time is `now`.
pub(crate) fn plan(view: &View, command: &Command, now: Hlc, limits: &Limits) -> Result<Plan, Rejection> {
    match command {
        Command::ApplyManifest { manifest, expected, permitted } => {
            apply_manifest(view, manifest, *expected, permitted)
        }
        Command::CreateToken(token) => create_token(view, token, limits.tokens),
        Command::RevokeToken { name } => revoke_token(view, name),
        Command::Purge { scope, kind } => purge(view, scope, *kind, now, limits.stamps),
        Command::ExpireStamps { oldest } => Ok(expire_stamps(view, *oldest)),
        Command::Found { cluster, node } => Ok(nodes::found(view, cluster, node)),
        Command::IssueTicket(record) => nodes::issue_ticket(view, record, limits.tickets),
        Command::RevokeTicket { key } => nodes::revoke_ticket(view, key),
        Command::Admit { ticket, node, at } => nodes::admit(view, ticket, node, *at, limits.nodes),
        Command::UpdateNode(node) => nodes::update(view, node),
        Command::DrainNode { name, draining } => nodes::drain(view, name, *draining),
        Command::ChooseVoters { names } => nodes::choose_voters(view, names),
        Command::RemoveNode { name } => nodes::remove(view, name),
    }
}

fn apply_manifest(
    view: &View,
    manifest: &Manifest,
    expected: Option<Revision>,
    permitted: &Permissions,
) -> Result<Plan, Rejection> {
    let current = view.mark(Mark::Declared);
    if let Some(expected) = expected.filter(|e| *e != current) {
        return Err(Rejection::Conflict { expected, current });
    }
    let now = view.resources();
    let next = manifest.apply_to(now, permitted)?;
    let mut plan = Plan::guarded_by(view, Mark::Declared);
    plan.declared = selvedge_types::Plan::between(now, &next);
    if next.settings != now.settings {
        plan.writes.push((ObjectName::settings(), Some(Value::Settings(Arc::new(next.settings.clone())))));
    }
    for id in now.sites.keys().filter(|id| !next.sites.contains_key(*id)) {
        plan.writes.push((ObjectName::site(id), None));
    }
    for (id, site) in next.sites {
        if now.sites.get(&id) != Some(&site) {
            plan.writes.push((ObjectName::site(&id), Some(Value::Site(Arc::new(site)))));
        }
    }
    for id in now.keyspaces.keys().filter(|id| !next.keyspaces.contains_key(*id)) {
        plan.writes.push((ObjectName::keyspace(id), None));
    }
    for (id, keyspace) in next.keyspaces {
        if now.keyspaces.get(&id) != Some(&keyspace) {
            plan.writes.push((ObjectName::keyspace(&id), Some(Value::Keyspace(keyspace))));
        }
    }
    Ok(plan)
}

fn create_token(view: &View, token: &Token, limit: usize) -> Result<Plan, Rejection> {
    let name = ObjectName::token(&token.name);
    if view.tokens().contains_key(&token.name) {
        return Err(Rejection::Exists(name));
    }
    if view.tokens().len() >= limit {
        return Err(Rejection::TooMany { what: "tokens", limit });
    }
    let mut plan = Plan::guarded_by(view, Mark::Tokens);
    plan.writes.push((name, Some(Value::Token(token.clone()))));
    Ok(plan)
}

fn revoke_token(view: &View, name: &str) -> Result<Plan, Rejection> {
    let object = ObjectName::token(name);
    let Some(token) = view.tokens().get(name) else { return Err(Rejection::NotFound(object)) };
    let is_root = |token: &Token| token.role == Role::Admin && token.namespace.is_none();
    let roots = view.tokens().values().filter(|t| is_root(t)).count();
    if is_root(token) && roots == 1 {
        return Err(Rejection::Last(object));
    }
    let mut plan = Plan::guarded_by(view, Mark::Tokens);
    plan.writes.push((object, None));
    Ok(plan)
}

fn purge(
    view: &View,
    scope: &PurgeScope,
    kind: PurgeKind,
    now: Hlc,
    limit: usize,
) -> Result<Plan, Rejection> {
    let name = ObjectName::stamp(scope);
    let former = view.stamps().get(&name.name);
    if former.is_none() && view.stamps().len() >= limit {
        return Err(Rejection::TooMany { what: "purges in force", limit });
    }
    let new = || Stamp { scope: scope.clone(), hard: Hlc::ZERO, soft: Hlc::ZERO };
    let mut stamp = former.cloned().unwrap_or_else(new);
    let time = match kind {
        PurgeKind::Hard => &mut stamp.hard,
        PurgeKind::Soft => &mut stamp.soft,
    };
    *time = (*time).max(now);
    Ok(Plan::put(view, name, Value::Stamp(stamp)))
}

fn expire_stamps(view: &View, oldest: Hlc) -> Plan {
    let mut plan = Plan::default();
    let expired = view.stamps().values().filter(|stamp| stamp.hard.max(stamp.soft) < oldest);
    for stamp in expired.take(EXPIRED_MAX) {
        let name = ObjectName::stamp(&stamp.scope);
        plan.guard(view, &name);
        plan.writes.push((name, None));
    }
    plan
}

#[cfg(test)]
mod tests;
