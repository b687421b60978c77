//! The operator: forms the group, puts a repaired member in the place of the one it was, and moves voters and
//! leadership about.

use super::book::Book;
use super::machine::Machine;
use crate::run::Run;
use selvedge_kv::{Answer, Command};
use selvedge_rt::Rng;
use selvedge_state::group::{Change, Error, Group, Member, Role, VoterId};
use selvedge_types::resource::{KeyspaceId, Text};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a change may take.
const CHANGE_MAX: Duration = Duration::from_secs(3);

/// What the keyspace may take.
const QUOTA: u64 = 1 << 30;

pub(super) struct Operator {
    pub(super) run: Run,
    pub(super) rng: Rng,
    pub(super) book: Book,
    pub(super) machines: Vec<Machine>,
    /// How many of the machines vote at first, and at least.
    pub(super) voters: usize,
}

impl Operator {
    pub(super) async fn work(mut self) {
        self.form().await;
        loop {
            tokio::time::sleep(Duration::from_millis(100 + self.rng.below(600))).await;
            if self.replace_lost().await || self.book.is_closing() {
                continue;
            }
            match self.rng.below(10) {
                0 | 1 => self.transfer().await,
                2 => self.move_voters().await,
                _ => {}
            }
        }
    }

    async fn form(&mut self) {
        let voters: BTreeMap<VoterId, Member> = loop {
            let found = self.machines.iter().take(self.voters);
            let found = found.filter_map(|m| Some((m.id()?, m.member())));
            let found: BTreeMap<VoterId, Member> = found.collect();
            if found.len() == self.voters {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let first = self.machines[0].clone();
        let formed = at(&first, move |group| Box::pin(async move { group.form(voters).await })).await;
        self.run.trace.line("operator", format_args!("forms the group: {formed:?}"));
        let name = KeyspaceId::parse_text("played").unwrap_or_else(|_| unreachable!("a fixed name"));
        while self.book.keyspace().is_none() {
            let declare = Command::DeclareKeyspace { name: name.clone(), quota_bytes: QUOTA };
            let machine = self.machine();
            let book = self.book.clone();
            // Doing it twice changes nothing.
            let _ = at(&machine, move |group| {
                Box::pin(async move {
                    let answer = group.propose(declare, None, CHANGE_MAX).await?;
                    if let Answer::Keyspace { keyspace, .. } = answer {
                        book.set_keyspace(keyspace);
                    }
                    Ok(())
                })
            })
            .await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Puts those who came back as others in the place of whom they were. False if there is nothing to do.
    async fn replace_lost(&mut self) -> bool {
        let Some(group) = self.leader() else { return false };
        let status = group.status();
        let gone: BTreeSet<VoterId> =
            status.members.keys().copied().filter(|id| self.book.is_lost(*id)).collect();
        if gone.is_empty() {
            return false;
        }
        let came: BTreeMap<VoterId, Member> = self
            .machines
            .iter()
            .filter_map(|m| Some((m.id()?, m.member())))
            .filter(|(id, _)| !self.book.is_lost(*id))
            .collect();
        let voted: BTreeSet<&str> =
            gone.iter().filter(|id| status.voters.contains(id)).map(|id| &*status.members[id].node).collect();
        for (id, member) in came.iter().filter(|(id, _)| !status.members.contains_key(id)) {
            self.change(Change::AddLearner { id: *id, member: member.clone() }).await;
        }
        let stay = status.voters.iter().copied().filter(|id| !gone.contains(id));
        let new = came.iter().filter(|(_, member)| voted.contains(&*member.node)).map(|(id, _)| *id);
        let voters: BTreeSet<VoterId> = stay.chain(new).collect();
        if voters != status.voters && !self.change(Change::SetVoters(voters)).await {
            return true;
        }
        for id in gone {
            self.change(Change::Remove(id)).await;
        }
        self.run.exercised("group: members replaced", 1);
        true
    }

    async fn transfer(&mut self) {
        let Some(group) = self.leader() else { return };
        let others = group.status().voters.into_iter().filter(|id| *id != group.id()).collect::<Vec<_>>();
        if let Some(to) = self.choose(&others)
            && self.change(Change::TransferLeader(to)).await
        {
            self.run.exercised("group: transfers asked for", 1);
        }
    }

    /// A voter becomes a learner, or a machine that has no vote gets one.
    async fn move_voters(&mut self) {
        let Some(group) = self.leader() else { return };
        let status = group.status();
        let known: BTreeMap<VoterId, Member> =
            self.machines.iter().filter_map(|m| Some((m.id()?, m.member()))).collect();
        let idle: Vec<VoterId> = known.keys().copied().filter(|id| !status.voters.contains(id)).collect();
        let mut voters = status.voters.clone();
        match self.choose(&idle).filter(|_| self.rng.below(2) == 0 || voters.len() <= self.voters) {
            Some(id) => {
                if let Some(member) = known.get(&id).filter(|_| !status.members.contains_key(&id)) {
                    self.change(Change::AddLearner { id, member: member.clone() }).await;
                }
                voters.insert(id);
            }
            None if voters.len() > self.voters => {
                let voting: Vec<VoterId> = voters.iter().copied().collect();
                if let Some(out) = self.choose(&voting) {
                    voters.remove(&out);
                }
            }
            None => return,
        }
        if self.change(Change::SetVoters(voters)).await {
            self.run.exercised("group: voters changed", 1);
        }
    }

    /// Has a change made; says whether it was.
    async fn change(&mut self, change: Change) -> bool {
        let machine = self.machine();
        let asked = change.clone();
        let done = at(&machine, move |group| Box::pin(async move { group.change(asked, CHANGE_MAX).await }));
        let done = done.await;
        self.run.trace.line("operator", format_args!("{change:?} at {}: {done:?}", machine.name));
        matches!(done, Some(Ok(())))
    }

    fn leader(&self) -> Option<Group> {
        let groups = self.machines.iter().filter_map(Machine::group);
        groups.filter(|group| group.status().role == Role::Leader).max_by_key(|group| group.status().term)
    }

    fn machine(&mut self) -> Machine {
        let at = self.rng.below(self.machines.len() as u64);
        self.machines[usize::try_from(at).unwrap_or(0)].clone()
    }

    fn choose(&mut self, ids: &[VoterId]) -> Option<VoterId> {
        let at = self.rng.below(ids.len() as u64);
        ids.get(usize::try_from(at).unwrap_or(0)).copied()
    }
}

/// Has something done at a machine; none if nobody knows what became of it.
async fn at(
    machine: &Machine,
    work: impl FnOnce(Group) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> + Send + 'static,
) -> Option<Result<(), Error>> {
    let (done, result) = oneshot::channel();
    machine.send(Box::new(move |group| {
        Box::pin(async move {
            // The operator may have given up.
            let _ = done.send(work(group).await);
        })
    }));
    tokio::time::timeout(CHANGE_MAX * 3, result).await.ok()?.ok()
}
