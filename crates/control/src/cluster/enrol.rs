//! What a node says of itself once it is let in: kept up to date in the control state, whoever leads.

use super::join::check_names;
use selvedge_mesh::Mesh;
use selvedge_mesh::rpc::{Answer, Deadline, Failure, Fault, FaultKind, Priority, Question, Service, Target};
use selvedge_rt::Tasks;
use selvedge_rt::links::LinkError;
use selvedge_rt::links::side::Boxed;
use selvedge_state::{Command, NodeRecord, State};
use selvedge_types::NodeKey;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The name of the service.
pub const ENROL: &str = "enrol";

const VERSION: u16 = 1;

/// What is said of a node that all others refuse.
pub const REMOVED: &str = "every other node refuses this one: it was removed from the cluster; stop it, and let it join anew \
     with an empty data directory";

/// How long another node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(12);

/// How long is waited after nobody could be told.
const RETRY: Duration = Duration::from_millis(300);

/// How often it is looked whether what is known of this node is right still.
const LOOK: Duration = Duration::from_secs(1);

/// Takes what nodes say of themselves. Clones are the same; until it has the state it says "not now".
#[derive(Clone, Default)]
pub struct EnrolService(Arc<OnceLock<State>>);

impl EnrolService {
    /// Writes to `state` from now on. Only the first call counts.
    pub fn serve(&self, state: State) {
        drop(self.0.set(state));
    }

    async fn take(&self, peer: NodeKey, message: &[u8]) -> Result<Answer, Fault> {
        let refused = |text: String| Fault::new(FaultKind::Refused, text);
        let state = self.0.get().ok_or_else(|| Fault::new(FaultKind::NotNow, "this node is starting"))?;
        let node = NodeRecord::decode(message).map_err(|error| refused(error.to_string()))?;
        if node.key != peer {
            return Err(refused("a node speaks for itself alone".to_owned()));
        }
        check_names(&node).map_err(refused)?;
        match state.apply(Command::UpdateNode(Box::new(node))).await {
            Ok(_) => Ok(Answer::message(Vec::new())),
            Err(selvedge_state::Error::Rejected(rejection)) => Err(refused(rejection.to_string())),
            Err(error) => Err(Fault::new(FaultKind::NotNow, error.to_string())),
        }
    }
}

impl Service for EnrolService {
    fn versions(&self) -> RangeInclusive<u16> {
        VERSION..=VERSION
    }

    fn answer(&self, question: Question) -> Boxed<'_, Result<Answer, Fault>> {
        Box::pin(async move { self.take(question.peer, &question.message).await })
    }
}

/// Keeps this node's record right.
pub struct Enrolment {
    /// The control state, as far as it is here.
    pub state: State,
    /// The way to others, who write it down as long as this node is no member of the group.
    pub mesh: Mesh,
    /// Set while every other node refuses this one: it was removed.
    pub refused: Arc<AtomicBool>,
    /// Whether this is an edge node, which others have to write down.
    pub is_edge: bool,
    /// What this node is, now.
    pub record: Box<dyn Fn() -> NodeRecord + Send + Sync>,
}

impl Enrolment {
    /// Goes on until the tasks end.
    pub async fn run(self, tasks: Tasks) {
        let mut said = String::new();
        loop {
            let told = async {
                let record = (self.record)();
                let is_told = self.is_edge || self.state.group().status().leader.is_some();
                if is_told && self.is_known(&record) {
                    self.refused.store(false, Ordering::Relaxed);
                    return LOOK;
                }
                if self.tell(&record, &mut said).await { LOOK } else { RETRY }
            };
            tokio::select! {
                pause = told => tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = tasks.stopped() => return,
                },
                () = tasks.stopped() => return,
            }
        }
    }

    fn is_known(&self, record: &NodeRecord) -> bool {
        let nodes = self.state.nodes();
        nodes.get(&record.key).is_some_and(|known| {
            let NodeRecord { role, joined, draining, .. } = known.clone();
            *known == NodeRecord { role, joined, draining, ..record.clone() }
        })
    }

    /// Says what this node is; what stands against it is logged once, in `said` until another reason comes.
    async fn tell(&self, record: &NodeRecord, said: &mut String) -> bool {
        if !self.is_edge && self.state.group().status().leader.is_some() {
            match self.state.apply(Command::UpdateNode(Box::new(record.clone()))).await {
                Ok(_) => {
                    said.clear();
                    return true;
                }
                Err(error) => {
                    let why = match &error {
                        selvedge_state::Error::Rejected(rejection) => rejection.to_string(),
                        other => other.to_string(),
                    };
                    if *said != why {
                        tracing::warn!(why, "what others know of this node stays as it was");
                        *said = why;
                    }
                    if matches!(error, selvedge_state::Error::Rejected(_)) {
                        // Whoever else is asked goes by the same rules.
                        return false;
                    }
                }
            }
        }
        let peers = self.mesh.links().peers().all();
        let mut refusals = 0;
        for peer in &peers {
            let target = Target { service: ENROL, version: VERSION };
            let message = record.encode().into();
            let deadline = Deadline::after(ANSWER_MAX);
            match self.mesh.call(*peer, target, message, deadline, Priority::Normal).await {
                Ok(_) => {
                    self.refused.store(false, Ordering::Relaxed);
                    return true;
                }
                Err(error) => {
                    refusals += usize::from(matches!(error.failure, Failure::Link(LinkError::Refused(_))));
                    tracing::debug!(%error, "not enrolled");
                }
            }
        }
        let refused = !peers.is_empty() && refusals == peers.len();
        if refused {
            self.refused.store(true, Ordering::Relaxed);
        }
        false
    }
}
