//! The ends of a stream over a distance. What is written waits with a task of the stream's own until it is due; what is
//! read was delayed by the peer. What the writer hears of its reader is delayed here, as it is told by the transport itself.

use super::Path;
use bytes::Bytes;
use selvedge_rt::links::side::{Boxed, RecvSide, SendSide};
use selvedge_rt::links::{Code, Link, LinkError, RecvStream, SendStream};
use selvedge_rt::{OnEnd, Tasks};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc::{self, OwnedPermit, error::SendError};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// The largest piece that is sent on at once, in bytes.
const PIECE_BYTES_MAX: usize = 32 << 10;
/// How many pieces of a stream are on their way; its writer waits then. As many bytes as [`STREAM_WINDOW_BYTES`] allows.
///
/// [`STREAM_WINDOW_BYTES`]: selvedge_rt::links::STREAM_WINDOW_BYTES
const PIECES_MAX: usize = 64;

type Piece = (Instant, Bytes);

pub(super) struct Sender {
    /// To tell at once that it is over.
    link: Link,
    path: Path,
    /// None once it has ended.
    pieces: Option<mpsc::Sender<Piece>>,
    finish: Option<oneshot::Sender<Instant>>,
    reset: Option<oneshot::Sender<(Instant, Code)>>,
    priority: Arc<AtomicI32>,
    over: watch::Receiver<Option<LinkError>>,
    waits: Option<Boxed<'static, Result<OwnedPermit<Piece>, SendError<()>>>>,
    stops: Option<Boxed<'static, LinkError>>,
}

impl Sender {
    /// The end `near` of a stream of `link`, at a distance from now on.
    pub(super) fn begin(near: SendStream, link: Link, path: Path, tasks: &Tasks) -> Self {
        let (pieces, written) = mpsc::channel(PIECES_MAX);
        let (finish, finished) = oneshot::channel();
        let (reset, was_reset) = oneshot::channel();
        let (tell, over) = watch::channel(None);
        let priority = Arc::<AtomicI32>::default();
        let way = OnTheWay { near, path: path.clone(), priority: priority.clone() };
        let stopping = tasks.clone();
        tasks.spawn("distant stream", OnEnd::Forget, async move {
            tokio::select! {
                why = way.carry(written, finished, was_reset) => { tell.send_replace(Some(why)); }
                () = stopping.stopped() => {}
            }
        });
        let (finish, reset) = (Some(finish), Some(reset));
        Sender { link, path, pieces: Some(pieces), finish, reset, priority, over, waits: None, stops: None }
    }

    fn over(&self) -> Option<LinkError> {
        let link = || self.link.close_reason().map(|why| self.path.told(why));
        self.over.borrow().clone().or_else(link)
    }
}

impl SendSide for Sender {
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<Result<(), LinkError>> {
        if let Some(why) = self.over() {
            return Poll::Ready(Err(why));
        }
        let Some(pieces) = &self.pieces else { return Poll::Ready(Err(LinkError::Ended)) };
        let waits = self.waits.get_or_insert_with(|| Box::pin(pieces.clone().reserve_owned()));
        let place = ready!(waits.as_mut().poll(cx));
        self.waits = None;
        Poll::Ready(match place {
            Ok(place) => {
                let piece = chunk.split_to(chunk.len().min(PIECE_BYTES_MAX));
                drop(place.send((self.path.due(), piece)));
                Ok(())
            }
            Err(_) => Err(self.over().unwrap_or(LinkError::Lost)),
        })
    }

    fn finish(&mut self) -> Result<(), LinkError> {
        if let Some(why) = self.over() {
            return Err(why);
        }
        (self.pieces, self.waits) = (None, None);
        let finish = self.finish.take().ok_or(LinkError::Ended)?;
        // Nobody takes it if it is over meanwhile.
        let _ = finish.send(self.path.due());
        Ok(())
    }

    fn reset(&mut self, code: Code) {
        (self.pieces, self.waits) = (None, None);
        if let Some(reset) = self.reset.take() {
            // Nobody takes it if it is over already.
            let _ = reset.send((self.path.due(), code));
        }
    }

    fn set_priority(&mut self, priority: i32) {
        self.priority.store(priority, Ordering::Relaxed);
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let mut over = self.over.clone();
        let stops = self.stops.get_or_insert_with(|| {
            Box::pin(async move {
                let told = over.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
                told.unwrap_or(LinkError::Lost)
            })
        });
        let why = ready!(stops.as_mut().poll(cx));
        self.stops = None;
        Poll::Ready(why)
    }
}

/// What was written and has not arrived.
struct OnTheWay {
    near: SendStream,
    path: Path,
    priority: Arc<AtomicI32>,
}

impl OnTheWay {
    /// Sends it on when it is due; returns why there is nothing more to do.
    async fn carry(
        mut self,
        written: mpsc::Receiver<Piece>,
        finished: oneshot::Receiver<Instant>,
        was_reset: oneshot::Receiver<(Instant, Code)>,
    ) -> LinkError {
        let reset = async {
            match was_reset.await {
                Ok(reset) => reset,
                Err(_) => std::future::pending().await,
            }
        };
        let why = tokio::select! {
            why = self.send_all(written, finished) => why,
            (due, code) = reset => {
                let arrived = self.path.arrive(due).await;
                self.near.reset(code);
                return arrived.err().unwrap_or(LinkError::Ended);
            }
        };
        if !why.is_of_the_link() {
            // It comes from the reader.
            let heard = self.path.arrive(self.path.due()).await;
            return heard.err().unwrap_or(why);
        }
        self.path.told(why)
    }

    async fn send_all(
        &mut self,
        mut written: mpsc::Receiver<Piece>,
        finished: oneshot::Receiver<Instant>,
    ) -> LinkError {
        loop {
            let next = tokio::select! {
                next = written.recv() => next,
                why = self.near.stopped() => return why,
            };
            let Some((due, piece)) = next else { break };
            let arrived = tokio::select! {
                arrived = self.path.arrive(due) => arrived,
                why = self.near.stopped() => return why,
            };
            if let Err(why) = arrived {
                return why;
            }
            self.near.set_priority(self.priority.load(Ordering::Relaxed));
            if let Err(why) = self.near.write(piece).await {
                return why;
            }
        }
        // One that was reset instead is so any moment now.
        let Ok(due) = finished.await else { return std::future::pending().await };
        if let Err(why) = self.path.arrive(due).await {
            return why;
        }
        match self.near.finish() {
            Ok(()) => self.near.stopped().await,
            Err(why) => why,
        }
    }
}

pub(super) struct Receiver {
    near: RecvStream,
    path: Path,
    /// Waits for a way that is cut.
    held: Option<Boxed<'static, Result<(), LinkError>>>,
}

impl Receiver {
    pub(super) fn new(near: RecvStream, path: Path) -> Self {
        Receiver { near, path, held: None }
    }
}

impl RecvSide for Receiver {
    fn poll_read(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, LinkError>> {
        if self.held.is_none() && self.path.is_cut() {
            let mut path = self.path.clone();
            self.held = Some(Box::pin(async move { path.open().await }));
        }
        if let Some(held) = &mut self.held {
            let opened = ready!(held.as_mut().poll(cx));
            self.held = None;
            opened?;
        }
        // Cancel-safe, and the side that it polls remembers whom to wake.
        let read = ready!(pin!(self.near.read(max)).poll(cx));
        Poll::Ready(read.map_err(|error| self.path.told(error)))
    }

    fn stop(&mut self, code: Code) {
        self.near.stop(code);
    }
}
