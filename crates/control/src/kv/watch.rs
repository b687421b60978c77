//! A watch as content: lines of JSON.

use crate::wire::{KvEnd, KvEvent, KvWatched};
use bytes::Bytes;
use http_body::Frame;
use selvedge_kv::{Batch, WatchEnd};
use selvedge_rt::Tasks;
use selvedge_state::group::Subscription;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A line comes at least that often, if only to say up to where nothing happened: so both ends notice when the other is
/// gone.
const QUIET: Duration = Duration::from_secs(10);

/// What came of waiting; nothing when the node stops.
type Next = Option<Result<Batch, WatchEnd>>;

type Waiting = Pin<Box<dyn Future<Output = (Subscription, Next)> + Send>>;

/// The next batch is taken when the one before is sent: who reads slowly holds nothing here.
pub(crate) struct WatchBody {
    /// Away while the next batch is waited for.
    subscription: Option<Subscription>,
    waiting: Option<Waiting>,
    /// The last revision told.
    revision: u64,
    begun: bool,
    tasks: Tasks,
}

impl WatchBody {
    pub(crate) fn new(subscription: Subscription, tasks: Tasks) -> Self {
        WatchBody { subscription: Some(subscription), waiting: None, revision: 0, begun: false, tasks }
    }

    /// What is there at once the first time, so that the client knows from where on it watches.
    fn wait(&mut self, mut subscription: Subscription) {
        let (tasks, at_once) = (self.tasks.clone(), !self.begun);
        self.begun = true;
        self.waiting = Some(Box::pin(async move {
            if at_once {
                let batch = subscription.poll();
                return (subscription, Some(batch));
            }
            let next = tokio::select! {
                next = subscription.next() => Some(next),
                () = tokio::time::sleep(QUIET) => None,
                () = tasks.stopped() => return (subscription, None),
            };
            let next = next.unwrap_or_else(|| subscription.poll());
            (subscription, Some(next))
        }));
    }

    fn line(&mut self, next: Result<Batch, WatchEnd>) -> KvWatched {
        match next {
            Ok(batch) => {
                self.revision = batch.through.0;
                let events = batch.events.into_iter().map(KvEvent::from).collect();
                KvWatched { revision: self.revision, events, end: None }
            }
            Err(end) => {
                let end = match end {
                    WatchEnd::Compacted { compacted } => KvEnd::Compacted(compacted.0),
                    WatchEnd::Removed { .. } | WatchEnd::Unknown => KvEnd::Removed,
                };
                KvWatched { revision: self.revision, events: Vec::new(), end: Some(end) }
            }
        }
    }
}

impl http_body::Body for WatchBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(subscription) = self.subscription.take() {
            self.wait(subscription);
        }
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(None) };
        let (subscription, next) = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        let Some(next) = next else { return Poll::Ready(None) };
        let line = self.line(next);
        // After an end there is nothing more.
        self.subscription = line.end.is_none().then_some(subscription);
        // No type here refuses to be written.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Poll::Ready(Some(Ok(Frame::data(text.into()))))
    }
}
