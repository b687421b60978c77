//! How a new node is let in: the side that asks, and the side that answers.

use super::messages::{JoinForm, JoinedForm, KnownForm};
use selvedge_mesh::Mesh;
use selvedge_mesh::rpc::{
    Answer, CallError, Deadline, Failure, Fault, FaultKind, Priority, Question, Service, Target,
};
use selvedge_mesh::ticket::{Claim, ClusterKey, Ticket};
use selvedge_rt::Clock;
use selvedge_rt::links::LinkError;
use selvedge_rt::links::side::Boxed;
use selvedge_state::{Command, NodeRecord, State};
use selvedge_types::resource::{PopName, RegionName, Text};
use selvedge_types::{ClusterId, NodeKey};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The name of the service.
pub const JOIN: &str = "join";

const VERSION: u16 = 1;

/// How long one node of the cluster may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(12);

/// How often all nodes that the ticket names are asked.
const ROUNDS: usize = 3;

/// How long is waited between rounds.
const PAUSE: Duration = Duration::from_secs(1);

/// Characters of a name.
const NAME_MAX: usize = 63;

/// What a node that was let in was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The nodes of the cluster.
    pub nodes: Vec<Known>,
}

/// A node of the cluster that a new one is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub key: NodeKey,
    /// In which PoP.
    pub pop: String,
    /// Where.
    pub addresses: Vec<SocketAddr>,
}

/// Why a node was not let in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The cluster refuses.
    #[error("the cluster does not let this node in: {0}")]
    Refused(String),
    /// Nobody answered.
    #[error("none of the {tried} nodes that the ticket names could be reached; the last said: {last}")]
    Unreachable {
        /// How many there are.
        tried: usize,
        /// What went wrong with the last.
        last: String,
    },
}

/// Asks the nodes that a ticket names to let `node` in. `mesh` links with the ticket's own key.
pub async fn join(mesh: &Mesh, ticket: &Ticket, node: &NodeRecord) -> Result<Joined, JoinError> {
    let form = JoinForm { claim: ticket.claim(node.key).encode(), node: node.encode() };
    // Writing to memory cannot fail, and no type here refuses to be encoded.
    let message = minicbor::to_vec(form).expect("encoding into memory");
    let mut last = "no node is named".to_owned();
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let (mut refused, mut silent) = (0, 0);
        for contact in ticket.contacts() {
            tracing::info!(at = ?contact.addresses, round = round + 1, "asks to be let in");
            let target = Target { service: JOIN, version: VERSION };
            let deadline = Deadline::after(ANSWER_MAX);
            let asked = mesh.call(contact.key, target, message.clone().into(), deadline, Priority::Normal);
            match asked.await {
                Ok(answer) => match minicbor::decode::<JoinedForm>(&answer) {
                    Ok(form) => {
                        let nodes = form.nodes.iter().map(|known| Known {
                            key: known.key,
                            pop: known.pop.clone(),
                            addresses: known.addresses(),
                        });
                        return Ok(Joined { nodes: nodes.collect() });
                    }
                    Err(error) => last = error.to_string(),
                },
                Err(error) => match refusal(&error) {
                    Some(text) => return Err(JoinError::Refused(text)),
                    None if matches!(error.failure, Failure::Link(LinkError::Refused(_))) => {
                        refused += 1;
                        last = error.to_string();
                    }
                    None => {
                        silent += 1;
                        last = error.to_string();
                    }
                },
            }
        }
        // A node that was just started may not know the ticket yet; those that are there do not fail to know a good one
        // for long.
        if refused > 0 && round + 1 == ROUNDS {
            let silent = if silent == 0 { String::new() } else { format!(" ({silent} could not be asked)") };
            let text = "no node knows this ticket: it was revoked, is used up or has expired";
            return Err(JoinError::Refused(format!("{text}{silent}")));
        }
    }
    Err(JoinError::Unreachable { tried: ticket.contacts().len(), last })
}

fn refusal(error: &CallError) -> Option<String> {
    match &error.failure {
        Failure::Fault(fault) if fault.kind == FaultKind::Refused => Some(fault.text.clone()),
        _ => None,
    }
}

/// Lets nodes in. Clones are the same; until it has the state it says "not now".
#[derive(Clone)]
pub struct JoinService {
    cluster: ClusterId,
    clock: Clock,
    state: Arc<OnceLock<State>>,
}

impl JoinService {
    /// For nodes of that cluster.
    pub fn new(cluster: ClusterId, clock: Clock) -> Self {
        JoinService { cluster, clock, state: Arc::default() }
    }

    /// Lets nodes into `state` from now on. Only the first call counts.
    pub fn serve(&self, state: State) {
        drop(self.state.set(state));
    }

    async fn let_in(&self, message: &[u8]) -> Result<Answer, Fault> {
        let refused = |text: String| Fault::new(FaultKind::Refused, text);
        let not_now = |text: &str| Fault::new(FaultKind::NotNow, text);
        let state = self.state.get().ok_or_else(|| not_now("this node is starting"))?;
        let cluster = state.cluster().ok_or_else(|| not_now("this node does not know its cluster yet"))?;
        let form: JoinForm = minicbor::decode(message).map_err(|error| refused(error.to_string()))?;
        let claim = Claim::decode(&form.claim).map_err(|error| refused(error.to_string()))?;
        let node = NodeRecord::decode(&form.node).map_err(|error| refused(error.to_string()))?;
        let now = self.clock.wall();
        let key = ClusterKey::from_seed(cluster.seed).public();
        claim.check(&key, self.cluster, now).map_err(|error| refused(error.to_string()))?;
        if claim.node != node.key {
            return Err(refused("the claim is another node's".to_owned()));
        }
        check_names(&node).map_err(refused)?;
        let command = Command::Admit { ticket: claim.grant.key, node: Box::new(node.clone()), at: now };
        state.apply(command).await.map_err(|error| match &error {
            selvedge_state::Error::Rejected(rejection) => refused(rejection.to_string()),
            other => not_now(&other.to_string()),
        })?;
        tracing::info!(node = node.name, pop = node.pop, "a node was let in");
        let nodes = state
            .nodes()
            .into_values()
            .map(|known| KnownForm::new(known.key, &known.pop, &known.mesh))
            .collect();
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        Ok(Answer::message(minicbor::to_vec(JoinedForm { nodes }).expect("encoding into memory")))
    }
}

/// Checks a node's names: they are shown and typed, so there is nothing in them that could pass for another.
pub(super) fn check_names(node: &NodeRecord) -> Result<(), String> {
    check_name(&node.name)?;
    let text = |error: selvedge_types::resource::TextError| format!("{}: {}", error.message, error.help);
    PopName::parse_text(&node.pop).map_err(text)?;
    RegionName::parse_text(&node.region).map_err(text).map(|_| ())
}

/// Checks a node's name.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_one = !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(fits);
    let help =
        || format!("{name:?} is no node's name: use 1 to {NAME_MAX} letters, digits, `-`, `_` and `.`");
    if is_one { Ok(()) } else { Err(help()) }
}

impl Service for JoinService {
    fn versions(&self) -> RangeInclusive<u16> {
        VERSION..=VERSION
    }

    fn answer(&self, question: Question) -> Boxed<'_, Result<Answer, Fault>> {
        Box::pin(async move { self.let_in(&question.message).await })
    }
}
