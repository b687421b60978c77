//! The store: entries in, answers, rows and changes out, the same on every node.

mod leases;

use crate::answer::{Answer, Outcome, RangeAnswer, Refusal, TxnAnswer};
use crate::change::{Change, Position};
use crate::codec::FORMAT;
use crate::command::{Call, Command, Due, Entry, Range, Txn};
use crate::id::{KeyspaceNumber, LeaseId, SessionId};
use crate::keyspace::Keyspace;
use crate::lease::LeaseInfo;
use crate::limits::{Limit, Limits};
use crate::row::{Meta, Place, Row, Rows};
use crate::session::{Kept, Sessions, slot};
use crate::txn::{self, Scene, within};
use selvedge_types::resource::KeyspaceId;
use selvedge_types::{Hlc, Revision, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All keyspaces, and what belongs to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub(crate) limits: Limits,
    pub(crate) revision: Revision,
    pub(crate) time: Hlc,
    /// The last number given out.
    pub(crate) last_number: u64,
    /// When all leases were renewed.
    pub(crate) all_renewed: UnixMillis,
    pub(crate) keyspaces: BTreeMap<KeyspaceNumber, Keyspace>,
    pub(crate) sessions: Sessions,
    /// Follows from the keyspaces, as do the next two.
    pub(crate) names: BTreeMap<KeyspaceId, KeyspaceNumber>,
    pub(crate) deadlines: BTreeSet<(UnixMillis, KeyspaceNumber, LeaseId)>,
    pub(crate) unswept: BTreeSet<KeyspaceNumber>,
}

/// A keyspace as it is seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceInfo {
    /// Its name.
    pub name: KeyspaceId,
    /// Its number.
    pub number: KeyspaceNumber,
    /// What keys, values and history may take, in bytes.
    pub quota_bytes: u64,
    /// What they take.
    pub bytes: u64,
    /// The revision that made it.
    pub created: Revision,
    /// The oldest revision that can be read; what came after it can be watched.
    pub compacted: Revision,
}

/// What an entry does beside its answer.
#[derive(Default)]
struct Effects {
    rows: Rows,
    changes: Vec<Arc<Change>>,
    removed: Option<KeyspaceNumber>,
}

impl Store {
    /// The store before everything, with its limits for good.
    pub fn new(limits: Limits) -> Self {
        Store {
            limits,
            revision: Revision(0),
            time: Hlc::ZERO,
            last_number: 0,
            all_renewed: UnixMillis(0),
            keyspaces: BTreeMap::new(),
            sessions: Sessions::default(),
            names: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            unswept: BTreeSet::new(),
        }
    }

    /// Does what the next entry of the log says.
    ///
    /// A command that is refused changes nothing but what is remembered of its session.
    pub fn apply(&mut self, entry: &Entry) -> Outcome {
        self.time = self.time.max(entry.time);
        let mut effects = Effects::default();
        let answer = match entry.call {
            Some(call) => self.execute_once(call, &entry.command, &mut effects),
            None => self.execute(&entry.command, &mut effects),
        };
        self.sweep(&mut effects.rows);
        effects.rows.put(&Row::Meta(self.meta()));
        let Effects { rows, changes, removed } = effects;
        Outcome { answer, revision: self.revision, removed, rows, changes }
    }

    /// The revision of the last change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The time of the latest entry.
    pub fn time(&self) -> Hlc {
        self.time
    }

    /// The store's limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The number of the keyspace of that name.
    pub fn keyspace(&self, name: &KeyspaceId) -> Option<KeyspaceNumber> {
        self.names.get(name).copied()
    }

    /// All keyspaces, by name.
    pub fn keyspaces(&self) -> impl Iterator<Item = KeyspaceInfo> {
        self.names.values().filter_map(|number| {
            let keyspace = self.find(*number).ok()?;
            Some(KeyspaceInfo {
                name: keyspace.about.name.clone(),
                number: *number,
                quota_bytes: keyspace.about.quota_bytes,
                bytes: keyspace.bytes(),
                created: keyspace.about.created,
                compacted: keyspace.about.compacted,
            })
        })
    }

    /// Reads keys.
    pub fn range(&self, keyspace: KeyspaceNumber, range: &Range) -> Result<RangeAnswer, Refusal> {
        txn::read(self.scene(keyspace)?, range)
    }

    /// What a transaction would answer as the next entry. Changes nothing: a read-only one is done by this.
    pub fn evaluate(&self, keyspace: KeyspaceNumber, txn: &Txn) -> Result<TxnAnswer, Refusal> {
        txn::check(txn, &self.limits)?;
        Ok(txn::evaluate(self.scene(keyspace)?, txn)?.0)
    }

    /// The leases of a keyspace, by name, from one on.
    pub fn leases(
        &self,
        keyspace: KeyspaceNumber,
        from: LeaseId,
    ) -> Result<impl Iterator<Item = (LeaseId, LeaseInfo)>, Refusal> {
        let leases = self.find(keyspace)?.leases.range(from..);
        Ok(leases.map(|(id, lease)| {
            let deadline = lease.deadline(self.all_renewed);
            let keys = lease.keys.iter().cloned().collect();
            (*id, LeaseInfo { ttl_ms: lease.ttl_ms, deadline, keys })
        }))
    }

    /// The leases and sessions whose time is over at `now`, for the leader to propose [`Command::Expire`];
    /// no more than one entry ends.
    pub fn due(&self, now: UnixMillis) -> Due {
        let max = usize::try_from(self.limits.expire_max).unwrap_or(usize::MAX);
        let over = self.deadlines.iter().take_while(|(deadline, ..)| *deadline <= now);
        let counts = over.filter(|(_, keyspace, _)| self.find(*keyspace).is_ok());
        Due {
            leases: counts.map(|(_, keyspace, lease)| (*keyspace, *lease)).take(max).collect(),
            sessions: self.sessions.due(now, &self.limits).take(max).collect(),
        }
    }

    /// When [`Store::due`] may next find something.
    pub fn next_due(&self) -> Option<UnixMillis> {
        let lease = self.deadlines.first().map(|(deadline, ..)| *deadline);
        lease.into_iter().chain(self.sessions.next_due(&self.limits)).min()
    }

    /// Whether compacted or removed changes wait to be dropped, which happens with the entries that follow:
    /// a leader that has none proposes an [`Command::Expire`] with nothing in it.
    pub fn is_sweeping(&self) -> bool {
        !self.unswept.is_empty()
    }

    pub(crate) fn find(&self, number: KeyspaceNumber) -> Result<&Keyspace, Refusal> {
        let found = self.keyspaces.get(&number).filter(|k| !k.about.removed);
        found.ok_or(Refusal::NoKeyspace { keyspace: number })
    }

    pub(crate) fn meta(&self) -> Meta {
        Meta {
            format: FORMAT,
            limits: self.limits.clone(),
            revision: self.revision,
            time: self.time,
            last_number: self.last_number,
            all_renewed: self.all_renewed,
        }
    }

    fn find_mut(&mut self, number: KeyspaceNumber) -> Result<&mut Keyspace, Refusal> {
        let found = self.keyspaces.get_mut(&number).filter(|k| !k.about.removed);
        found.ok_or(Refusal::NoKeyspace { keyspace: number })
    }

    fn scene(&self, number: KeyspaceNumber) -> Result<Scene<'_>, Refusal> {
        let keyspace = self.find(number)?;
        Ok(Scene { keyspace, number, limits: &self.limits, current: self.revision })
    }

    fn now(&self) -> UnixMillis {
        self.time.millis()
    }

    /// Executes a command unless it is the repetition of one.
    fn execute_once(
        &mut self,
        call: Call,
        command: &Command,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        if let Some(answer) = self.sessions.recall(call, &self.limits) {
            return answer;
        }
        let answer = self.execute(command, effects);
        if self.sessions.is_notable(call.session, self.now(), &self.limits) {
            self.sessions.put(call.session, self.now());
            effects.rows.put(&Row::Session(call.session, self.now()));
        }
        // The command may have ended its own session.
        if self.sessions.get(call.session).is_some() {
            let kept = Kept::new(call.sequence, self.revision, &answer, &self.limits);
            let slot = slot(call.sequence, &self.limits);
            effects.rows.put(&Row::Answer(call.session, slot, kept.clone()));
            self.sessions.keep(call.session, slot, kept);
        }
        answer
    }

    fn execute(&mut self, command: &Command, effects: &mut Effects) -> Result<Answer, Refusal> {
        match command {
            Command::DeclareKeyspace { name, quota_bytes } => self.declare(name, *quota_bytes, effects),
            Command::RemoveKeyspace { keyspace } => self.remove(*keyspace, effects),
            Command::Txn { keyspace, txn } => self.transact(*keyspace, txn, effects),
            Command::Compact { keyspace, revision } => self.compact(*keyspace, *revision, effects),
            Command::GrantLease { keyspace, lease, ttl_ms } => {
                self.grant(*keyspace, *lease, *ttl_ms, effects)
            }
            Command::RenewLease { keyspace, lease } => self.renew(*keyspace, *lease, effects),
            Command::RevokeLease { keyspace, lease } => {
                self.find(*keyspace)?.leases.get(lease).ok_or(Refusal::NoLease { lease: *lease })?;
                self.end_leases(&[(*keyspace, *lease)], effects);
                Ok(self.done())
            }
            Command::RenewAllLeases => {
                self.all_renewed = self.now();
                self.deadlines = self.list_deadlines();
                Ok(self.done())
            }
            Command::OpenSession => self.open_session(effects),
            Command::Expire(due) => {
                self.expire(due, effects);
                Ok(self.done())
            }
        }
    }

    fn done(&self) -> Answer {
        Answer::Done { revision: self.revision }
    }

    /// A number that was not given out before.
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn declare(
        &mut self,
        name: &KeyspaceId,
        quota_bytes: u64,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        within(Limit::QuotaBytes, quota_bytes, self.limits.quota_bytes_max)?;
        let number = match self.names.get(name) {
            Some(number) => *number,
            None => self.make_keyspace(name)?,
        };
        let keyspace = self.find_mut(number)?;
        keyspace.about.quota_bytes = quota_bytes;
        effects.rows.put(&Row::Keyspace(number, keyspace.about.clone()));
        Ok(Answer::Keyspace { revision: self.revision, keyspace: number })
    }

    fn make_keyspace(&mut self, name: &KeyspaceId) -> Result<KeyspaceNumber, Refusal> {
        within(Limit::Keyspaces, self.names.len() as u64 + 1, self.limits.keyspaces_max)?;
        self.revision.0 += 1;
        let number = KeyspaceNumber(self.next_number());
        self.keyspaces.insert(number, Keyspace::new(name.clone(), 0, self.revision));
        self.names.insert(name.clone(), number);
        Ok(number)
    }

    fn remove(&mut self, number: KeyspaceNumber, effects: &mut Effects) -> Result<Answer, Refusal> {
        let keyspace = self.find_mut(number)?;
        keyspace.about.removed = true;
        // What was kept so far goes too.
        keyspace.about.swept = Position::default();
        let about = keyspace.about.clone();
        self.names.remove(&about.name);
        self.unswept.insert(number);
        self.revision.0 += 1;
        effects.removed = Some(number);
        effects.rows.put(&Row::Keyspace(number, about));
        Ok(self.done())
    }

    fn transact(
        &mut self,
        number: KeyspaceNumber,
        txn: &Txn,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        txn::check(txn, &self.limits)?;
        let (answer, changes) = txn::evaluate(self.scene(number)?, txn)?;
        self.commit(changes, effects);
        Ok(Answer::Txn(answer))
    }

    /// Makes changes, which are all of the next revision.
    fn commit(&mut self, changes: Vec<Change>, effects: &mut Effects) {
        if changes.is_empty() {
            return;
        }
        self.revision.0 += 1;
        let mut changed = BTreeSet::new();
        for change in changes {
            effects.rows.put(&Row::Change(change.clone()));
            let change = Arc::new(change);
            if let Some(keyspace) = self.keyspaces.get_mut(&change.keyspace) {
                keyspace.add(change.clone());
                changed.insert(change.keyspace);
            }
            effects.changes.push(change);
        }
        for number in changed {
            let Some(keyspace) = self.keyspaces.get_mut(&number) else { continue };
            if keyspace.trim(self.limits.history_max) {
                self.unswept.insert(number);
                effects.rows.put(&Row::Keyspace(number, keyspace.about.clone()));
            }
        }
    }

    fn compact(
        &mut self,
        number: KeyspaceNumber,
        revision: Revision,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        let current = self.revision;
        let keyspace = self.find_mut(number)?;
        let compacted = keyspace.about.compacted;
        if revision < compacted {
            return Err(Refusal::Compacted { revision, compacted });
        }
        if revision > current {
            return Err(Refusal::Future { revision, current });
        }
        keyspace.compact(revision);
        effects.rows.put(&Row::Keyspace(number, keyspace.about.clone()));
        self.unswept.insert(number);
        Ok(self.done())
    }

    fn open_session(&mut self, effects: &mut Effects) -> Result<Answer, Refusal> {
        within(Limit::Sessions, self.sessions.len() as u64 + 1, self.limits.sessions_max)?;
        let session = SessionId(self.next_number());
        self.sessions.put(session, self.now());
        effects.rows.put(&Row::Session(session, self.now()));
        Ok(Answer::Session { session })
    }

    fn end_session(&mut self, session: SessionId, effects: &mut Effects) {
        let Some(ended) = self.sessions.remove(session) else { return };
        effects.rows.delete(Place::Session(session));
        for slot in ended.answers.into_keys() {
            effects.rows.delete(Place::Answer(session, slot));
        }
    }

    /// Drops some of what compaction and removal left behind, of one keyspace.
    fn sweep(&mut self, rows: &mut Rows) {
        let Some(number) = self.unswept.first().copied() else { return };
        let Some(keyspace) = self.keyspaces.get_mut(&number) else { return };
        let gone = keyspace.sweep(self.limits.sweep_max);
        gone.into_iter().for_each(|position| rows.delete(Place::Change(number, position)));
        if keyspace.about.removed {
            for _ in 0..self.limits.sweep_max {
                let Some((id, lease)) = keyspace.leases.pop_first() else { break };
                self.deadlines.remove(&(lease.deadline(self.all_renewed), number, id));
                rows.delete(Place::Lease(number, id));
            }
        }
        if keyspace.about.removed && keyspace.is_empty() {
            rows.delete(Place::Keyspace(number));
            self.keyspaces.remove(&number);
            self.unswept.remove(&number);
        } else {
            rows.put(&Row::Keyspace(number, keyspace.about.clone()));
            if !keyspace.is_unswept() {
                self.unswept.remove(&number);
            }
        }
    }
}
