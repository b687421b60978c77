//! How members reach each other: over the mesh, or whatever else a test puts there.

use super::id::Member;
use bytes::Bytes;
use selvedge_mesh::rpc::Priority;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// An answer to come.
pub type Calling<'a> = Pin<Box<dyn Future<Output = Result<Bytes, LinkError>> + Send + 'a>>;

/// Carries a member's messages to others, who give them to [`super::Group::answer`], and brings back what
/// that says.
///
/// A message may be lost, come late, come twice, or overtake others: nothing here relies on more. It must
/// come whole, from the node it says it is from, to no other than the one it is for.
pub trait Links: Send + Sync + 'static {
    /// Sends a message and waits for the answer, for no longer than `deadline`. Many at once; what is more
    /// urgent goes before what is less.
    fn call(&self, to: &Member, message: Bytes, deadline: Duration, priority: Priority) -> Calling<'_>;
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The message certainly did not arrive.
    #[error("the member cannot be reached")]
    Unreachable,
    /// The message may have arrived, or may yet.
    #[error("the member did not answer in time")]
    Lost,
}
