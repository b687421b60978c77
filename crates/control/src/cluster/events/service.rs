//! A node's own events, for the others.

use minicbor::{Decode, Encode};
use selvedge_mesh::rpc::{Answer, Deadline, Fault, FaultKind, Question, Service};
use selvedge_observe::Events;
use selvedge_rt::links::side::Boxed;
use selvedge_types::{Hlc, NodeKey, Record};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The name of the service.
pub const EVENTS: &str = "events";

pub(super) const VERSION: u16 = 1;

/// How many may follow the cluster's events at one node.
const FOLLOWERS_MAX: usize = 16;

/// What is told before the asker's patience ends.
const MARGIN: Duration = Duration::from_secs(1);

#[derive(Clone, Encode, Decode)]
pub(super) struct AskForm {
    #[n(0)]
    pub(super) after: Hlc,
    #[n(1)]
    pub(super) last: Option<u32>,
    #[n(2)]
    pub(super) wait: bool,
}

#[derive(Encode, Decode)]
pub(super) struct ToldForm {
    #[n(0)]
    pub(super) records: Vec<Record>,
}

/// Whether a node may be told what happens to others than itself.
type Admission = Arc<dyn Fn(&NodeKey) -> bool + Send + Sync>;

/// Tells other nodes of this one's events. Clones are the same.
#[derive(Clone)]
pub struct EventsService {
    events: Events,
    admission: Admission,
    pub(super) followers: Arc<Semaphore>,
}

impl EventsService {
    /// Tells those whom `admission` lets.
    pub fn new(events: Events, admission: Arc<dyn Fn(&NodeKey) -> bool + Send + Sync>) -> Self {
        EventsService { events, admission, followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)) }
    }

    pub(super) async fn find(&self, form: &AskForm, deadline: Deadline) -> Vec<Record> {
        if form.wait {
            let patience = deadline.left().saturating_sub(MARGIN);
            // Nothing is an answer, too.
            let _ = tokio::time::timeout(patience, self.events.wait(form.after)).await;
        }
        let found = self.events.after(form.after);
        let surplus = form.last.map_or(0, |last| found.len().saturating_sub(last as usize));
        found.into_iter().skip(surplus).collect()
    }

    async fn tell(&self, question: Question) -> Result<Answer, Fault> {
        if !(self.admission)(&question.peer) {
            let why = "a node that serves only is not told what happens to others";
            return Err(Fault::new(FaultKind::Refused, why));
        }
        let malformed = |error: minicbor::decode::Error| Fault::new(FaultKind::Malformed, error.to_string());
        let form: AskForm = minicbor::decode(&question.message).map_err(malformed)?;
        let records = self.find(&form, question.deadline).await;
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        Ok(Answer::message(minicbor::to_vec(ToldForm { records }).expect("encoding into memory")))
    }
}

impl Service for EventsService {
    fn versions(&self) -> RangeInclusive<u16> {
        VERSION..=VERSION
    }

    fn answer(&self, question: Question) -> Boxed<'_, Result<Answer, Fault>> {
        Box::pin(self.tell(question))
    }
}
