//! Members' messages as calls between nodes.

use super::Group;
use super::id::Member;
use super::links::{Calling, LinkError, Links};
use bytes::Bytes;
use selvedge_mesh::Mesh;
use selvedge_mesh::rpc::{
    Answer, CallError, Deadline, Fault, FaultKind, Outcome, Priority, Question, Service, Target,
};
use selvedge_rt::links::side::Boxed;
use selvedge_types::NodeKey;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The name of the service that takes members' messages.
pub const SERVICE: &str = "group";

/// The version of its messages.
const VERSION: u16 = 1;

/// Says whether a node may take part in groups: one that is but an edge may not.
pub type Admission = Arc<dyn Fn(&NodeKey) -> bool + Send + Sync>;

/// The way to other members by calls. [`Member::node`] is a node's key, as text.
#[derive(Clone)]
pub struct MeshLinks(Mesh);

impl MeshLinks {
    /// Links over `mesh`.
    pub fn new(mesh: Mesh) -> Self {
        MeshLinks(mesh)
    }
}

impl Links for MeshLinks {
    fn call(&self, to: &Member, message: Bytes, deadline: Duration, priority: Priority) -> Calling<'_> {
        let peer = to.node.parse::<NodeKey>();
        let target = Target { service: SERVICE, version: VERSION };
        Box::pin(async move {
            let peer = peer.map_err(|_| LinkError::Unreachable)?;
            let answer = self.0.call(peer, target, message, Deadline::after(deadline), priority).await;
            answer.map_err(|error| LinkError::from(&error))
        })
    }
}

impl From<&CallError> for LinkError {
    fn from(error: &CallError) -> Self {
        match error.outcome() {
            Outcome::NotDone => LinkError::Unreachable,
            Outcome::Unknown => LinkError::Lost,
        }
    }
}

/// Takes members' messages that come as calls. Clones are the same.
///
/// It is made before the mesh, which is made before the group: until it has that, it says "not now".
#[derive(Clone)]
pub struct Receiver {
    group: Arc<OnceLock<Group>>,
    admission: Admission,
}

impl Receiver {
    /// One that takes messages from nodes that `admission` lets in.
    pub fn new(admission: Admission) -> Self {
        Receiver { group: Arc::default(), admission }
    }

    /// Gives messages to `group` from now on. False if they go to another already.
    pub fn serve(&self, group: Group) -> bool {
        self.group.set(group).is_ok()
    }

    fn check(&self, peer: &NodeKey) -> Result<&Group, Fault> {
        if !(self.admission)(peer) {
            return Err(Fault::new(FaultKind::Refused, "this node may not take part in groups"));
        }
        self.group.get().ok_or_else(|| Fault::new(FaultKind::NotNow, "the group is not open here"))
    }
}

impl Service for Receiver {
    fn versions(&self) -> RangeInclusive<u16> {
        VERSION..=VERSION
    }

    fn answer(&self, question: Question) -> Boxed<'_, Result<Answer, Fault>> {
        Box::pin(async move {
            let group = self.check(&question.peer)?;
            let answer = group.answer(&question.peer.to_string(), &question.message).await;
            Ok(Answer::message(answer))
        })
    }
}
