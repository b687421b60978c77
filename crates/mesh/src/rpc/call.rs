//! The side of a call that asks.

use super::body::Body;
use super::fault::{CallError, Failure};
use super::frame::{AnswerHead, FrameError, QuestionHead};
use super::limits::{MESSAGE_BYTES_MAX, STALL_MAX};
use super::links::protocol;
use super::reader::{ReadError, Reader};
use super::{Deadline, Mesh, Priority, Shared, Target};
use bytes::Bytes;
use selvedge_rt::links::{Link, LinkError, SendStream};
use selvedge_types::NodeKey;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// An answer with a body.
pub struct Download {
    /// The answer's message.
    pub message: Bytes,
    /// What follows it.
    pub body: Body,
}

/// A question with a body that is being sent. Dropping it cancels the call.
pub struct Upload {
    call: Asked,
}

/// A call whose question is sent, but for its body.
struct Asked {
    shared: Arc<Shared>,
    link: Link,
    send: SendStream,
    reader: Reader,
    place: OwnedSemaphorePermit,
    peer: NodeKey,
    target: Target,
    deadline: Deadline,
    begun: Instant,
}

impl Mesh {
    /// Asks a service of `peer`; what it answers is one message. Dropping the future cancels the work there.
    pub async fn call(
        &self,
        peer: NodeKey,
        target: Target,
        message: Bytes,
        deadline: Deadline,
        priority: Priority,
    ) -> Result<Bytes, CallError> {
        Ok(self.download(peer, target, message, deadline, priority).await?.message)
    }

    /// Asks a service of `peer` for an answer with a body. The deadline is that of the answer's message; the
    /// body takes as long as it goes on.
    pub async fn download(
        &self,
        peer: NodeKey,
        target: Target,
        message: Bytes,
        deadline: Deadline,
        priority: Priority,
    ) -> Result<Download, CallError> {
        let mut call = self.ask(peer, target, message, deadline, priority).await?;
        // Fails when the link is over, or the peer wants no more: either shows in the answer.
        let _ = call.send.finish();
        call.answer().await
    }

    /// Asks a service of `peer` a question with a body. The deadline is that of the answer.
    pub async fn upload(
        &self,
        peer: NodeKey,
        target: Target,
        message: Bytes,
        deadline: Deadline,
        priority: Priority,
    ) -> Result<Upload, CallError> {
        Ok(Upload { call: self.ask(peer, target, message, deadline, priority).await? })
    }

    /// Sends a question without its end.
    async fn ask(
        &self,
        peer: NodeKey,
        target: Target,
        message: Bytes,
        deadline: Deadline,
        priority: Priority,
    ) -> Result<Asked, CallError> {
        let failed = |asked| move |failure| CallError { peer, service: target.service, failure, asked };
        let shared = self.0.clone();
        if !shared.links.peers().knows(&peer) {
            return Err(failed(false)(Failure::Link(LinkError::Unknown)));
        }
        let begin = async {
            let place =
                within(deadline, shared.peer(peer).gates.ask(priority)).await.map_err(|_| Failure::Busy)?;
            let place = place.ok_or(Failure::Busy)?;
            let link =
                within(deadline, shared.link(peer, protocol(priority))).await?.map_err(Failure::Link)?;
            let begun = Instant::now();
            let opened = within(deadline, link.open()).await;
            if opened.is_err() {
                shared.doubt(&link, begun);
            }
            let (mut send, recv) = opened?.map_err(Failure::Link)?;
            send.set_priority(i32::from(priority.number()));
            Ok::<_, Failure>((place, link, send, Reader::new(recv), begun))
        };
        let (place, link, mut send, reader, begun) = begin.await.map_err(failed(false))?;
        let question = question(&shared, target, &message, deadline, priority).map_err(failed(false))?;
        let mut written = false;
        let sent = within(deadline, async {
            send.write(question).await?;
            written = true;
            send.write(message).await
        });
        let sent = sent.await.and_then(|sent| sent.map_err(Failure::Link));
        match sent {
            // Told to stop: its answer says why.
            Ok(()) | Err(Failure::Link(LinkError::Stopped(_))) => {}
            Err(failure) => return Err(failed(written)(failure)),
        }
        Ok(Asked { shared, link, send, reader, place, peer, target, deadline, begun })
    }
}

impl Upload {
    /// Sends a part of the body; waits while the peer does not take it.
    pub async fn write(&mut self, part: Bytes) -> Result<(), CallError> {
        let sent = tokio::time::timeout(STALL_MAX, self.call.send.write(part)).await;
        sent.unwrap_or(Err(LinkError::Lost)).map_err(|e| self.call.error(Failure::Link(e)))
    }

    /// Ends the body; the answer.
    pub async fn finish(mut self) -> Result<Bytes, CallError> {
        // A service may answer before it has read all.
        let _ = self.call.send.finish();
        Ok(self.call.answer().await?.message)
    }
}

impl Asked {
    async fn answer(mut self) -> Result<Download, CallError> {
        let read = within(self.deadline, self.read_answer()).await;
        match &read {
            Ok(_) => self.shared.heard(&self.link),
            Err(_) => self.shared.doubt(&self.link, self.begun),
        }
        let message = match read.and_then(|read| read) {
            Ok(message) => message,
            Err(failure) => return Err(self.error(failure)),
        };
        Ok(Download { message, body: Body::new(self.reader, Some(self.place)) })
    }

    async fn read_answer(&mut self) -> Result<Bytes, Failure> {
        let head = AnswerHead::decode(&self.reader.head().await?).map_err(Failure::Answer)?;
        self.shared.observe(self.peer, head.time);
        match head.fault() {
            Some(fault) => Err(Failure::Fault(fault)),
            None => Ok(self.reader.exactly(head.message_bytes as usize).await?),
        }
    }

    fn error(&self, failure: Failure) -> CallError {
        CallError { peer: self.peer, service: self.target.service, failure, asked: true }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Link(error) => Failure::Link(error),
            ReadError::Frame(error) => Failure::Answer(error),
        }
    }
}

/// The head of a question.
fn question(
    shared: &Shared,
    target: Target,
    message: &Bytes,
    deadline: Deadline,
    priority: Priority,
) -> Result<Bytes, Failure> {
    let message_bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
    if message.len() > MESSAGE_BYTES_MAX {
        let (bytes, max) = (message.len(), MESSAGE_BYTES_MAX);
        return Err(Failure::Question(FrameError::TooLarge { what: "message", bytes, max }));
    }
    let mut head = QuestionHead::new(shared.hybrid.now(), target.service, target.version);
    head.deadline_ms = u32::try_from(deadline.left().as_millis()).unwrap_or(u32::MAX);
    head.priority = priority.number();
    head.message_bytes = message_bytes;
    head.encode().map(Bytes::from).map_err(Failure::Question)
}

async fn within<T>(deadline: Deadline, what: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout_at(deadline.at(), what).await.map_err(|_| Failure::Deadline)
}
