//! How far each node is with what was applied: asked of the nodes themselves.

use minicbor::{Decode, Encode};
use selvedge_mesh::rpc::{Answer, Deadline, Fault, FaultKind, Question, Service};
use selvedge_rt::links::side::Boxed;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The name of the service.
pub const ROLLOUT: &str = "rollout";

pub(super) const VERSION: u16 = 1;

/// How often it is looked whether a revision is in force.
const LOOK: Duration = Duration::from_millis(5);

/// What is told to the asker before its patience ends.
const MARGIN: Duration = Duration::from_millis(500);

/// Problems that are told, at most.
const PROBLEMS_MAX: usize = 20;

/// What this node goes by.
pub trait InForce: Send + Sync + 'static {
    /// The revision that every part of it goes by.
    fn revision(&self) -> u64;
    /// What of the declared does not work here.
    fn problems(&self) -> Vec<String>;
}

#[derive(Encode, Decode)]
pub(super) struct AskForm {
    #[n(0)]
    pub(super) revision: u64,
}

#[derive(Encode, Decode)]
pub(super) struct ToldForm {
    #[n(0)]
    pub(super) revision: u64,
    #[n(1)]
    pub(super) problems: Vec<String>,
}

/// Says when this node goes by a revision. Clones are the same; until it knows it says "not now".
#[derive(Clone, Default)]
pub struct RolloutService(Arc<OnceLock<Box<dyn InForce>>>);

impl RolloutService {
    /// Tells of `in_force` from now on. Only the first call counts.
    pub fn serve(&self, in_force: Box<dyn InForce>) {
        drop(self.0.set(in_force));
    }

    async fn tell(&self, message: &[u8], deadline: Deadline) -> Result<Answer, Fault> {
        let malformed = |error: minicbor::decode::Error| Fault::new(FaultKind::Malformed, error.to_string());
        let wanted = minicbor::decode::<AskForm>(message).map_err(malformed)?.revision;
        let told = self.wait(wanted, deadline).await?;
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        Ok(Answer::message(minicbor::to_vec(told).expect("encoding into memory")))
    }

    /// Waits until this node goes by a revision; tells how far it is shortly before the deadline at the latest.
    pub(super) async fn wait(&self, wanted: u64, deadline: Deadline) -> Result<ToldForm, Fault> {
        let starting = || Fault::new(FaultKind::NotNow, "this node is starting");
        let in_force = self.0.get().ok_or_else(starting)?;
        while in_force.revision() < wanted && deadline.left() > MARGIN {
            tokio::time::sleep(LOOK).await;
        }
        let problems = in_force.problems().into_iter().take(PROBLEMS_MAX).collect();
        Ok(ToldForm { revision: in_force.revision(), problems })
    }
}

impl Service for RolloutService {
    fn versions(&self) -> RangeInclusive<u16> {
        VERSION..=VERSION
    }

    fn answer(&self, question: Question) -> Boxed<'_, Result<Answer, Fault>> {
        Box::pin(async move { self.tell(&question.message, question.deadline).await })
    }
}
