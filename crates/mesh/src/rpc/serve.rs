//! The side of a call that answers.

use super::Shared;
use super::body::Body;
use super::fault::{Fault, FaultKind};
use super::frame::{AnswerHead, Datagram, QuestionHead};
use super::limits::{HEAD_MAX, MESSAGE_BYTES_MAX, STALL_MAX};
use super::reader::{ReadError, Reader};
use super::service::{Answer, BodySource, Deadline, Priority, Question, Service};
use bytes::Bytes;
use selvedge_rt::OnEnd;
use selvedge_rt::links::{Code, Link, LinkError, SendStream};
use selvedge_types::NodeKey;
use std::sync::Arc;
use std::time::Duration;

/// Serves every link that others make.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            link = shared.links.accept() => match link {
                Some(link) => shared.take(&link),
                None => return,
            },
            () = shared.tasks.stopped() => return,
        }
    }
}

/// Answers what is asked in one link.
pub(super) async fn link(shared: Arc<Shared>, link: Link) {
    loop {
        let streams = tokio::select! {
            streams = link.accept() => streams,
            () = shared.tasks.stopped() => return,
        };
        let Ok((send, recv)) = streams else { return };
        let call = Call { shared: shared.clone(), peer: link.peer(), send, reader: Reader::new(recv) };
        shared.tasks.spawn("mesh call", OnEnd::Forget, call.run());
    }
}

/// Hands out what comes in one link's datagrams.
pub(super) async fn datagrams(shared: Arc<Shared>, link: Link) {
    loop {
        let bytes = tokio::select! {
            bytes = link.recv_datagram() => bytes,
            () = shared.tasks.stopped() => return,
        };
        let Ok(bytes) = bytes else { return };
        let Ok(datagram) = Datagram::decode(&bytes) else { continue };
        shared.observe(link.peer(), datagram.time);
        if let Some(service) = shared.services.get(datagram.service.as_str()) {
            service.datagram(link.peer(), datagram.content);
        }
    }
}

struct Call {
    shared: Arc<Shared>,
    peer: NodeKey,
    send: SendStream,
    reader: Reader,
}

impl Call {
    async fn run(mut self) {
        let head = match tokio::time::timeout(HEAD_MAX, self.head()).await {
            Ok(Ok(head)) => head,
            Ok(Err(ReadError::Frame(error))) => {
                return self.fail(&Fault::new(FaultKind::Malformed, error.to_string())).await;
            }
            // Nobody is there to be told, or nobody who speaks.
            Ok(Err(ReadError::Link(_))) | Err(_) => return self.send.reset(Code::MALFORMED),
        };
        self.shared.observe(self.peer, head.time);
        let priority = Priority::from_number(head.priority);
        self.send.set_priority(i32::from(priority.number()));
        let deadline = Deadline::after(Duration::from_millis(u64::from(head.deadline_ms)));
        match self.service(&head) {
            Ok(service) => self.answer(head, service, priority, deadline).await,
            Err(fault) => self.fail(&fault).await,
        }
    }

    async fn head(&mut self) -> Result<QuestionHead, ReadError> {
        Ok(QuestionHead::decode(&self.reader.head().await?)?)
    }

    fn service(&self, head: &QuestionHead) -> Result<Arc<dyn Service>, Fault> {
        let Some(service) = self.shared.services.get(head.service.as_str()) else {
            return Err(Fault::new(FaultKind::NoService, format!("`{}` is not answered here", head.service)));
        };
        let versions = service.versions();
        if versions.contains(&head.version) {
            return Ok(service.clone());
        }
        let text = format!("`{}` is spoken in versions {versions:?} here", head.service);
        Err(Fault { kind: FaultKind::Version, text, versions: Some(versions) })
    }

    async fn answer(
        mut self,
        head: QuestionHead,
        service: Arc<dyn Service>,
        priority: Priority,
        deadline: Deadline,
    ) {
        let peer = self.shared.peer(self.peer);
        let Some(_place) = peer.gates.answer(priority) else {
            self.shared.limits.reached("mesh_calls_per_peer");
            return self.fail(&Fault::new(FaultKind::Overloaded, "too many calls from this node")).await;
        };
        let read = async {
            let room = peer.gates.room(head.message_bytes).await;
            (self.reader.exactly(head.message_bytes as usize).await, room)
        };
        let (message, _room) = match tokio::time::timeout_at(deadline.at(), read).await {
            Ok((Ok(message), room)) => (message, room),
            Ok((Err(_), _)) => return self.send.reset(Code::MALFORMED),
            Err(_) => {
                return self.fail(&Fault::new(FaultKind::Deadline, "the question came too slowly")).await;
            }
        };
        let body = Body::new(self.reader, None);
        let question = Question { peer: self.peer, version: head.version, message, body, deadline, priority };
        // The one who asked went away: the work is dropped.
        let answer = tokio::select! {
            answer = tokio::time::timeout_at(deadline.at(), service.answer(question)) => answer,
            _ = self.send.stopped() => return,
        };
        let late = || Fault::new(FaultKind::Deadline, "the answer was not there in time");
        let sender = Sender { shared: self.shared, send: self.send };
        match answer.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => sender.answer(answer).await,
            Err(fault) => sender.fault(&fault).await,
        }
    }

    async fn fail(self, fault: &Fault) {
        Sender { shared: self.shared, send: self.send }.fault(fault).await;
    }
}

/// Sends answers. A peer that does not read is given up after [`STALL_MAX`].
struct Sender {
    shared: Arc<Shared>,
    send: SendStream,
}

impl Sender {
    async fn answer(mut self, answer: Answer) {
        let Some(length) =
            u32::try_from(answer.message.len()).ok().filter(|n| *n as usize <= MESSAGE_BYTES_MAX)
        else {
            return self.fault(&Fault::new(FaultKind::Failed, "the answer is too large for a message")).await;
        };
        let head = AnswerHead::new(self.shared.hybrid.now(), Ok(length));
        let sent = self.write(&head).await.is_ok() && self.part(answer.message).await.is_ok();
        let whole = match answer.body {
            Some(body) if sent => self.body(body).await.is_ok(),
            _ => sent,
        };
        if whole {
            // Fails when the link is over, which the peer knows too.
            let _ = self.send.finish();
        }
    }

    async fn fault(mut self, fault: &Fault) {
        let head = AnswerHead::new(self.shared.hybrid.now(), Err(fault));
        if self.write(&head).await.is_ok() {
            // As above.
            let _ = self.send.finish();
        }
    }

    async fn write(&mut self, head: &AnswerHead) -> Result<(), LinkError> {
        let bytes = head.encode().map_err(|_| LinkError::Ended)?;
        self.part(bytes.into()).await
    }

    async fn body(&mut self, mut body: Box<dyn BodySource>) -> Result<(), LinkError> {
        loop {
            let part = tokio::select! {
                part = body.next() => part,
                gone = self.send.stopped() => return Err(gone),
            };
            match part {
                Ok(Some(part)) => self.part(part).await?,
                Ok(None) => return Ok(()),
                Err(_) => {
                    self.send.reset(Code::CANCELLED);
                    return Err(LinkError::Ended);
                }
            }
        }
    }

    async fn part(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        tokio::time::timeout(STALL_MAX, self.send.write(bytes)).await.unwrap_or(Err(LinkError::Lost))
    }
}
