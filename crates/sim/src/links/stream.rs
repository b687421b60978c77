//! The ends of a stream.

use super::link::EndHandle;
use super::wait::Waiting;
use bytes::Bytes;
use selvedge_rt::links::side::{RecvSide, SendSide};
use selvedge_rt::links::{Code, LinkError, RecvStream, SendStream};
use std::sync::Arc;
use std::task::{Context, Poll};

pub(super) fn streams(end: &Arc<EndHandle>, stream: u64) -> (SendStream, RecvStream) {
    let send = Sender { end: end.clone(), stream, writes: Waiting::new(), stops: Waiting::new() };
    let recv = Receiver { end: end.clone(), stream, waits: Waiting::new() };
    (SendStream::new(Box::new(send)), RecvStream::new(Box::new(recv)))
}

struct Sender {
    end: Arc<EndHandle>,
    stream: u64,
    writes: Waiting,
    stops: Waiting,
}

impl SendSide for Sender {
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<Result<(), LinkError>> {
        let EndHandle { mesh, id, side, key, notify } = &*self.end;
        let stream = self.stream;
        self.writes.poll(cx, mesh, *key, notify, |state, now| state.write(*id, *side, stream, chunk, now))
    }

    fn finish(&mut self) -> Result<(), LinkError> {
        let now = self.end.mesh.now();
        self.end.mesh.state().finish(self.end.id, self.end.side, self.stream, now)
    }

    fn reset(&mut self, code: Code) {
        let now = self.end.mesh.now();
        self.end.mesh.state().reset(self.end.id, self.end.side, self.stream, code, now);
    }

    fn set_priority(&mut self, _: i32) {}

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let EndHandle { mesh, id, side, key, notify } = &*self.end;
        let stream = self.stream;
        self.stops.poll(cx, mesh, *key, notify, |state, now| state.stopped(*id, *side, stream, now))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.end.mesh.state().drop_half(self.end.id, self.stream, self.end.side, true);
    }
}

struct Receiver {
    end: Arc<EndHandle>,
    stream: u64,
    waits: Waiting,
}

impl RecvSide for Receiver {
    fn poll_read(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, LinkError>> {
        let EndHandle { mesh, id, side, key, notify } = &*self.end;
        let stream = self.stream;
        self.waits.poll(cx, mesh, *key, notify, |state, now| state.read(*id, *side, stream, max, now))
    }

    fn stop(&mut self, code: Code) {
        let now = self.end.mesh.now();
        self.end.mesh.state().stop(self.end.id, self.end.side, self.stream, code, now);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.end.mesh.state().drop_half(self.end.id, self.stream, 1 - self.end.side, false);
    }
}
