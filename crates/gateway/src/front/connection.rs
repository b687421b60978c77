//! What all protocols of a front share: the front itself, and one connection's circumstances.

use super::admission::{Admission, Place};
use super::certificates::Shown;
use super::counters::{Cause, Counters};
use super::options::FrontOptions;
use arc_swap::ArcSwap;
use selvedge_exchange::{Client, Handler};
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Deadline, Tasks};
use selvedge_types::Scheme;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;
use tokio::time::Instant;

/// Reads requests from clients, gives them to a handler and writes the answers.
pub struct Front {
    pub(crate) handler: Arc<dyn Handler>,
    options: ArcSwap<FrontOptions>,
    pub(crate) clock: Clock,
    pub(crate) counters: Counters,
    pub(crate) admission: Admission,
}

impl Front {
    /// A front before `handler`, whose metrics go to `registry`. It accepts nothing before
    /// [`Front::serve`](Front::serve) is called for a listener.
    pub fn new(
        handler: Arc<dyn Handler>,
        options: FrontOptions,
        clock: Clock,
        registry: &Registry,
    ) -> Arc<Front> {
        let counters = Counters::register(registry);
        let options = ArcSwap::from_pointee(options);
        Arc::new(Front { handler, options, clock, counters, admission: Admission::default() })
    }

    /// Goes by other options from the next connection on; those that are open keep theirs.
    pub fn set_options(&self, options: FrontOptions) {
        self.options.store(Arc::new(options));
    }

    pub(crate) fn options(&self) -> Arc<FrontOptions> {
        self.options.load_full()
    }
}

/// One connection's circumstances, whatever protocol it speaks.
pub(crate) struct Link {
    pub(crate) front: Arc<Front>,
    /// Those in force when it began.
    pub(crate) options: Arc<FrontOptions>,
    pub(crate) client: Client,
    pub(crate) scheme: Scheme,
    /// The operator's certificate that the client was shown, if it was one.
    pub(crate) certificate: Option<Shown>,
    pub(crate) tasks: Tasks,
    pub(crate) timer: Deadline,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_watching: bool,
    stopped_at: Option<Instant>,
    pub(crate) place: Place,
}

impl Link {
    /// A connection that begins now.
    pub(crate) fn new(
        front: Arc<Front>,
        options: Arc<FrontOptions>,
        client: Client,
        tasks: Tasks,
        place: Place,
    ) -> Link {
        front.counters.accepted.inc();
        front.counters.open.inc();
        let watched = tasks.clone();
        Link {
            timer: Deadline::at(Instant::now() + options.timeouts.handshake),
            front,
            options,
            client,
            scheme: Scheme::Http,
            certificate: None,
            tasks,
            stopping: Box::pin(async move { watched.stopped().await }),
            is_watching: false,
            stopped_at: None,
            place,
        }
    }

    /// Since when the node is stopping, if it is; wakes the task when it begins to.
    pub(crate) fn poll_stopping(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        // Polled once to be woken, and again only when there is something to see: each poll takes a lock that
        // all connections share.
        if self.stopped_at.is_none() && (!self.is_watching || self.tasks.is_stopping()) {
            self.is_watching = true;
            if self.stopping.as_mut().poll(cx).is_ready() {
                self.stopped_at = Some(Instant::now());
            }
        }
        self.stopped_at
    }

    /// Whether responses should close their connections.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopped_at.is_some() || self.tasks.is_stopping()
    }

    /// Counts a connection that ends other than by its client's or the protocol's wish.
    pub(crate) fn count(&self, cause: Cause) {
        tracing::debug!(client = %self.client.addr, ?cause, "connection cut");
        self.front.counters.cut(cause);
    }
}

/// What `work` gives, or None if it takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

impl Drop for Link {
    fn drop(&mut self) {
        self.front.counters.open.dec();
    }
}
