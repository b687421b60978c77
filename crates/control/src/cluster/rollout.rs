//! How far each node is with what was applied, and since when it caches: asked of the nodes themselves.

use minicbor::{Decode, Encode};
use selvedge_mesh::rpc::{Answer, Deadline, Fault, FaultKind, Question, Service};
use selvedge_rt::links::side::Boxed;
use selvedge_types::Hlc;
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
    /// Nothing is cached here whose fetch began before then, nor will be after a restart; none if that is not known.
    fn oldest(&self) -> Option<Hlc>;
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
    #[n(2)]
    pub(super) oldest: Option<u64>,
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
        let oldest = in_force.oldest().map(Hlc::to_bits);
        Ok(ToldForm { revision: in_force.revision(), problems, oldest })
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

/// What holds of every node; nothing if one of them does not know or was not reached.
pub(super) fn everywhere(each: impl Iterator<Item = Option<u64>>) -> Option<Hlc> {
    let each: Option<Vec<u64>> = each.collect();
    each?.into_iter().min().map(Hlc::from_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_is_kept_while_one_node_may_need_it() {
        for (each, expected) in
            [(&[Some(5), Some(3), Some(9)][..], Some(3)), (&[Some(5), None], None), (&[], None)]
        {
            assert_eq!(everywhere(each.iter().copied()).map(Hlc::to_bits), expected);
        }
    }
}
