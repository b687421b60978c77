//! What the API asks of the cluster.

use super::events::EventsService;
use super::rollout::{AskForm, ROLLOUT, RolloutService, ToldForm, VERSION, everywhere};
use crate::handles::StateError;
use crate::wire::{ClusterNode, KeyspaceResource, NodeAddresses, PopInfo, RolloutNode, TicketInfo, Voters};
use selvedge_mesh::members::{State as Seen, View, Why};
use selvedge_mesh::rpc::{Deadline, Priority, Target};
use selvedge_mesh::ticket::{
    ADDRESSES_MAX, CONTACTS_MAX, ClusterKey, Contact, NodeRole, TicketError, TicketOffer, TicketProblem,
    TicketRecord,
};
use selvedge_mesh::{Members, Mesh};
use selvedge_rt::{Clock, Secrets};
use selvedge_state::group::{Change, Error as GroupError, Level, Status, VoterId};
use selvedge_state::{BackupParts, Command, NodeRecord, State};
use selvedge_types::resource::{Keyspace, KeyspaceId, PopName, Text};
use selvedge_types::{ClusterId, Hlc, NodeKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a change of voters or leader is waited for.
const CHANGE_MAX: Duration = Duration::from_secs(15);

/// How many backups a node takes at once.
pub const BACKUPS_MAX: usize = 2;

/// How often it is looked whether it is there.
const LOOK: Duration = Duration::from_millis(50);

/// The cluster as this node sees it, and what can be done about it.
#[derive(Clone)]
pub struct Cluster {
    /// Which one.
    pub id: ClusterId,
    /// This node.
    pub me: NodeKey,
    /// The control state.
    pub state: State,
    /// The links with others.
    pub mesh: Mesh,
    /// Who is there.
    pub members: Members,
    /// The time.
    pub clock: Clock,
    /// Where tickets' secrets are drawn from.
    pub secrets: Secrets,
    /// What this node itself goes by.
    pub rollout: RolloutService,
    /// What this node tells of what happens to it.
    pub events: EventsService,
    /// How many more backups may be taken at once.
    pub backups: Arc<Semaphore>,
    /// Says how an error of the state is told to users.
    pub translate: fn(selvedge_state::Error) -> StateError,
}

impl Cluster {
    /// The nodes, by name.
    pub fn nodes(&self) -> Vec<ClusterNode> {
        let (status, view) = (self.state.group().status(), self.members.view());
        let mut nodes: Vec<ClusterNode> =
            self.state.nodes().values().map(|node| self.node(node, &status, &view)).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    fn node(&self, node: &NodeRecord, status: &Status, view: &View) -> ClusterNode {
        use Seen::{Alive, Gone, Suspect};
        let control = match node.voter {
            Some(id) if status.leader == Some(id) => "leader",
            Some(id) if status.voters.contains(&id) => "voter",
            Some(id) if status.members.contains_key(&id) => "learner",
            _ => "",
        };
        let seen = PopName::parse_text(&node.pop).ok().and_then(|pop| view.state_of(&node.key, &pop));
        // An edge node takes no part in the group; it has said where it answers once it has said anything.
        let has_joined = node.voter.is_some() || (node.role == NodeRole::Edge && !node.serves.api.is_empty());
        let state = match (has_joined, seen) {
            (false, _) => "joining",
            (_, Some(Alive)) if node.draining => "draining",
            (_, Some(Alive)) => "alive",
            (_, Some(Suspect)) => "suspect",
            (_, Some(Gone(Why::Left))) => "left",
            (_, Some(Gone(_))) => "gone",
            (_, None) => "unknown",
        };
        ClusterNode {
            name: node.name.clone(),
            id: node.key.to_string(),
            pop: node.pop.clone(),
            region: node.region.clone(),
            state: state.into(),
            role: node.role.as_str().into(),
            control: control.into(),
            version: node.version.clone(),
            addresses: NodeAddresses {
                mesh: node.mesh.iter().map(ToString::to_string).collect(),
                http: node.serves.http.clone(),
                https: node.serves.https.clone(),
                api: node.serves.api.clone(),
            },
            round_trip_us: self
                .round_trip(node, view)
                .map(|time| time.as_micros().try_into().unwrap_or(u64::MAX)),
            joined_ms: node.joined.0,
        }
    }

    /// The time to a node and back.
    fn round_trip(&self, node: &NodeRecord, view: &View) -> Option<Duration> {
        if node.key == self.me {
            return Some(Duration::ZERO);
        }
        let of_pop = || view.pops.get(&PopName::parse_text(&node.pop).ok()?)?.round_trip;
        self.members.round_trip(&node.key).or_else(of_pop)
    }

    /// The keyspaces as they are declared, by name, and what they take here.
    pub async fn keyspaces(&self) -> Result<Vec<KeyspaceResource>, GroupError> {
        let look = |store: &selvedge_kv::Store| store.keyspaces().collect::<Vec<_>>();
        let made = self.state.group().read(Level::Local, Duration::ZERO, look).await?.value;
        let (_, declared) = self.state.keyspaces();
        let form = |(id, (_, keyspace)): (KeyspaceId, (_, Keyspace))| {
            let made = made.iter().find(|info| info.name == id);
            KeyspaceResource {
                namespace: id.namespace.to_string(),
                name: id.name.to_string(),
                consistency: keyspace.consistency.to_string(),
                quota: keyspace.quota.get(),
                bytes: made.map(|info| info.bytes),
                compacted: made.map_or(0, |info| info.compacted.0),
            }
        };
        Ok(declared.into_iter().map(form).collect())
    }

    /// A copy of everything, with all that `level` promises.
    pub async fn backup(&self, level: Level) -> Result<BackupParts, StateError> {
        let taken = self.state.backup(level, self.id, env!("CARGO_PKG_VERSION")).await;
        taken.map_err(self.translate)
    }

    /// How far each node is with a revision: waits until it goes by it, for `patience` at most.
    pub async fn rollout(&self, revision: u64, patience: Duration) -> Vec<RolloutNode> {
        let told = self.ask_all(revision, patience).await;
        let mut nodes: Vec<RolloutNode> = told
            .into_iter()
            .map(|(name, told)| match told {
                Ok(ToldForm { revision: now, problems, .. }) => {
                    RolloutNode { name, done: now >= revision, revision: now, problems }
                }
                Err(error) => RolloutNode { name, done: false, revision: 0, problems: vec![error] },
            })
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    /// Nothing is cached on any node whose fetch began before then; none unless every node says so of itself.
    pub async fn oldest(&self, patience: Duration) -> Option<Hlc> {
        let told = self.ask_all(0, patience).await;
        everywhere(told.into_iter().map(|(_, told)| told.ok()?.oldest))
    }

    async fn ask_all(&self, revision: u64, patience: Duration) -> Vec<(String, Result<ToldForm, String>)> {
        let mut set = JoinSet::new();
        for node in self.state.nodes().into_values() {
            let (mesh, me, own) = (self.mesh.clone(), self.me, self.rollout.clone());
            set.spawn(async move {
                let deadline = Deadline::after(patience);
                if node.key == me {
                    return (
                        node.name,
                        own.wait(revision, deadline).await.map_err(|fault| fault.to_string()),
                    );
                }
                // Writing to memory cannot fail, and no type here refuses to be encoded.
                let message = minicbor::to_vec(AskForm { revision }).expect("encoding into memory");
                let target = Target { service: ROLLOUT, version: VERSION };
                let asked = mesh.call(node.key, target, message.into(), deadline, Priority::Normal).await;
                let told = asked.map_err(|error| error.failure.to_string()).and_then(|bytes| {
                    minicbor::decode::<ToldForm>(&bytes).map_err(|error| error.to_string())
                });
                (node.name, told)
            });
        }
        set.join_all().await
    }

    /// The points of presence, by name.
    pub fn pops(&self) -> Vec<PopInfo> {
        let mut pops: BTreeMap<String, PopInfo> = BTreeMap::new();
        for node in self.nodes() {
            let pop = pops.entry(node.pop.clone()).or_default();
            pop.name = node.pop;
            pop.region = node.region;
            pop.nodes += 1;
            pop.alive += usize::from(matches!(node.state.as_str(), "alive" | "draining"));
            pop.voters += usize::from(matches!(node.control.as_str(), "leader" | "voter"));
        }
        pops.into_values().collect()
    }

    /// Who votes.
    pub fn voters(&self) -> Voters {
        let status = self.state.group().status();
        let names = self.names();
        let name = |id: &VoterId| names.get(id).cloned().unwrap_or_else(|| format!("({id})"));
        let is_learner = |id: &&VoterId| !status.voters.contains(id);
        Voters {
            leader: status.leader.as_ref().map(name),
            term: status.term,
            voters: status.voters.iter().map(name).collect(),
            learners: status.members.keys().filter(is_learner).map(name).collect(),
            changing: status.changing,
            chosen: self.state.cluster().is_some_and(|cluster| !cluster.voters.is_empty()),
        }
    }

    fn names(&self) -> BTreeMap<VoterId, String> {
        self.state.nodes().into_values().filter_map(|node| Some((node.voter?, node.name))).collect()
    }

    /// Has these vote, or whom the leader chooses, and waits until they do.
    pub async fn choose_voters(&self, names: Vec<String>) -> Result<Voters, StateError> {
        let chosen: BTreeSet<String> = names.iter().cloned().collect();
        self.change(Command::ChooseVoters { names }).await?;
        let end = Instant::now() + CHANGE_MAX;
        while !chosen.is_empty() {
            let now = self.voters();
            if !now.changing && now.voters.iter().cloned().collect::<BTreeSet<_>>() == chosen {
                return Ok(now);
            }
            if Instant::now() >= end {
                let what = format!(
                    "the choice is written down, but not in force within {CHANGE_MAX:?}: a voter-to-be may not be \
                     caught up; `selvedge get voters` tells when it is"
                );
                return Err(StateError::Unknown(what));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(self.voters())
    }

    /// Has a voter lead.
    pub async fn choose_leader(&self, name: &str) -> Result<Voters, StateError> {
        let names = self.names();
        let found = names.iter().find(|(_, known)| *known == name).map(|(id, _)| *id);
        let id = found.ok_or_else(|| StateError::NotFound(format!("a node {name} that takes part")))?;
        let group = self.state.group();
        if !group.status().voters.contains(&id) {
            let what = format!("{name} does not vote: name one that does, see `selvedge get voters`");
            return Err(StateError::Invalid(what));
        }
        let end = Instant::now() + CHANGE_MAX;
        loop {
            if group.status().leader == Some(id) {
                return Ok(self.voters());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StateError::Unknown(format!("{name} does not lead after {CHANGE_MAX:?}")));
            }
            match group.change(Change::TransferLeader(id), left).await {
                Ok(()) | Err(GroupError::Unknown { .. }) => {}
                Err(error) => return Err((self.translate)(error.into())),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Makes a ticket; its text is told to nobody else.
    pub async fn issue_ticket(
        &self,
        role: NodeRole,
        uses: u32,
        ttl: Duration,
    ) -> Result<(TicketInfo, String), StateError> {
        let cluster = self.state.cluster().ok_or_else(|| {
            StateError::Unavailable("this node does not know its cluster yet; it has to reach others".into())
        })?;
        let offer = TicketOffer {
            cluster: self.id,
            role,
            uses,
            ttl,
            now: self.clock.wall(),
            contacts: self.contacts(),
        };
        let seed = self.secrets.bytes().map_err(|error| StateError::Refused(error.to_string()))?;
        let issued = ClusterKey::from_seed(cluster.seed).issue(&offer, seed);
        let (ticket, record) = issued.map_err(|error| StateError::Invalid(error.to_string()))?;
        self.change(Command::IssueTicket(record.clone())).await?;
        Ok((self.ticket(&record), ticket.to_string()))
    }

    /// This node first, then others, of as many PoPs as there are.
    fn contacts(&self) -> Vec<Contact> {
        let nodes = self.state.nodes();
        let mut known: Vec<&NodeRecord> =
            nodes.values().filter(|node| node.role == NodeRole::Voter && !node.mesh.is_empty()).collect();
        let mut pops = BTreeMap::new();
        for node in &known {
            let place = pops.entry(node.pop.clone()).or_insert_with(Vec::new);
            place.push(node.key);
        }
        let rank = |node: &NodeRecord| {
            pops.get(&node.pop).and_then(|keys| keys.iter().position(|key| *key == node.key))
        };
        known.sort_by_key(|node| (node.key != self.me, rank(node), node.key));
        let contact = |node: &NodeRecord| Contact {
            key: node.key,
            addresses: node.mesh.iter().take(ADDRESSES_MAX).copied().collect(),
        };
        known.into_iter().map(contact).take(CONTACTS_MAX).collect()
    }

    /// The tickets, the newest first.
    pub fn tickets(&self) -> Vec<TicketInfo> {
        let mut tickets: Vec<TicketInfo> =
            self.state.tickets().values().map(|record| self.ticket(record)).collect();
        tickets.sort_by_key(|ticket| std::cmp::Reverse(ticket.created_ms));
        tickets
    }

    fn ticket(&self, record: &TicketRecord) -> TicketInfo {
        let state = match record.usable(self.clock.wall()) {
            Ok(()) => "good",
            Err(TicketError::Unusable { problem: TicketProblem::UsedUp, .. }) => "used up",
            Err(TicketError::Unusable { problem: TicketProblem::Revoked, .. }) => "revoked",
            Err(_) => "expired",
        };
        TicketInfo {
            id: record.grant.key.to_string(),
            role: record.grant.role.as_str().into(),
            uses: record.grant.uses,
            used: u32::try_from(record.used_by.len()).unwrap_or(u32::MAX),
            state: state.into(),
            created_ms: record.created.0,
            expires_ms: record.grant.expires.0,
        }
    }

    /// Takes a ticket back that is named by its id, or by how that begins.
    pub async fn revoke_ticket(&self, id: &str) -> Result<(), StateError> {
        let tickets = self.state.tickets();
        let mut found = tickets.keys().filter(|key| !id.is_empty() && key.to_string().starts_with(id));
        match (found.next(), found.next()) {
            (Some(key), None) => self.change(Command::RevokeTicket { key: *key }).await,
            (Some(_), Some(_)) => {
                Err(StateError::Invalid(format!("several tickets begin with {id}: give more of it")))
            }
            (None, _) => Err(StateError::NotFound(format!("a ticket that begins with {id}"))),
        }
    }

    /// Has a node take no new work, or take it again.
    pub async fn drain(&self, name: String, draining: bool) -> Result<(), StateError> {
        self.change(Command::DrainNode { name, draining }).await
    }

    /// Takes a node out of the cluster.
    pub async fn remove(&self, name: String) -> Result<(), StateError> {
        self.change(Command::RemoveNode { name }).await
    }

    async fn change(&self, command: Command) -> Result<(), StateError> {
        self.state.apply(command).await.map(|_| ()).map_err(self.translate)
    }
}
