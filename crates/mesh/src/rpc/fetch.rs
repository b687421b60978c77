//! A download that goes on where it broke off: how snapshots travel.

use super::body::Body;
use super::fault::{CallError, Failure};
use super::limits::RESUMES_MAX;
use super::{Deadline, Mesh, Priority, Target};
use bytes::Bytes;
use selvedge_rt::LinkError;
use selvedge_types::NodeKey;
use std::time::Duration;

/// Makes the question for the bytes from an offset on.
pub type FetchAt = Box<dyn Fn(u64) -> Bytes + Send + Sync>;

/// How long each attempt waits for the answer to begin.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A fetch under way.
pub struct Fetch {
    mesh: Mesh,
    peer: NodeKey,
    target: Target,
    ask: FetchAt,
    offset: u64,
    body: Option<Body>,
    /// How often in a row it broke off without one more byte.
    failures: u32,
}

impl Mesh {
    /// Fetches what a service of `peer` has, in bulk, from `offset` on. `ask` makes the question for an offset:
    /// its answer must be the same bytes each time, or a fault.
    pub fn fetch(&self, peer: NodeKey, target: Target, offset: u64, ask: FetchAt) -> Fetch {
        Fetch { mesh: self.clone(), peer, target, ask, offset, body: None, failures: 0 }
    }
}

impl Fetch {
    /// The next bytes; none at the end. Gives up after [`RESUMES_MAX`] attempts in a row that brought nothing, or
    /// when the service says that it cannot.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            match self.attempt().await {
                Ok(Some(bytes)) => {
                    self.failures = 0;
                    self.offset += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) => return Ok(None),
                Err(error) if !error.can_retry() || self.failures >= RESUMES_MAX => return Err(error),
                Err(_) => {
                    self.body = None;
                    self.failures += 1;
                    tokio::time::sleep(super::limits::REDIAL_AFTER * self.failures).await;
                }
            }
        }
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    async fn attempt(&mut self) -> Result<Option<Bytes>, CallError> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let deadline = Deadline::after(ANSWER_MAX);
                let question = (self.ask)(self.offset);
                let asked = self.mesh.download(self.peer, self.target, question, deadline, Priority::Bulk);
                self.body.insert(asked.await?.body)
            }
        };
        body.next().await.map_err(|error: LinkError| CallError {
            peer: self.peer,
            service: self.target.service,
            failure: Failure::Link(error),
            asked: true,
        })
    }
}
