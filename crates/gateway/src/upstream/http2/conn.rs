//! HTTP/2 connections to one endpoint.

use crate::upstream::error::{FetchError, Stage};
use crate::upstream::io::Io;
use crate::upstream::lock;
use crate::upstream::pool::this_runtime;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use selvedge_cache::semantics::ProxyError;
use selvedge_rt::{OnEnd, Tasks};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime;
use tokio::time::Instant;

/// What an origin may send of one response before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// What it may send in all: many responses that nobody reads do not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// A response's header section.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// Streams that we use of a connection, whatever the origin allows.
const STREAMS_MAX: usize = 256;

/// A connection that speaks HTTP/2. Clones share it; it closes when all are gone.
#[derive(Clone)]
pub(in crate::upstream) struct Conn {
    pub(super) send: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    streams: AtomicU32,
    served: AtomicU32,
    /// It ended, or nothing new is to be sent over it.
    is_closed: AtomicBool,
}

impl Conn {
    /// Starts HTTP/2 over `io`. A task drives the connection on this runtime.
    pub(in crate::upstream) async fn open(io: Io, tasks: &Tasks) -> Result<Self, FetchError> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEADER_BYTES_MAX);
        let (send, connection) = builder.handshake::<_, Bytes>(io).await.map_err(|e| {
            FetchError::new(ProxyError::HttpProtocolError, Stage::Unsent, format!("HTTP/2: {e}"))
        })?;
        let shared = Arc::<Shared>::default();
        let ended = shared.clone();
        tasks.spawn("origin HTTP/2 connection", OnEnd::Forget, async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to an origin failed");
            }
            ended.is_closed.store(true, Relaxed);
        });
        Ok(Conn { send, shared })
    }

    /// Takes a stream.
    pub(in crate::upstream) fn lend(&self) -> Lent {
        self.shared.streams.fetch_add(1, Relaxed);
        Lent(self.clone())
    }

    fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Relaxed)
    }

    fn is_full(&self) -> bool {
        let max = self.send.current_max_send_streams().min(STREAMS_MAX);
        self.shared.streams.load(Relaxed) as usize >= max
    }
}

/// A connection with a stream taken.
pub(in crate::upstream) struct Lent(Conn);

impl Lent {
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.0.send.clone()
    }

    /// Whether it answered before.
    pub(super) fn is_reused(&self) -> bool {
        self.0.shared.served.load(Relaxed) > 0
    }

    pub(super) fn handle_answer(&self) {
        self.0.shared.served.store(1, Relaxed);
    }

    /// Nothing new is sent over it.
    pub(super) fn retire(&self) {
        self.0.shared.is_closed.store(true, Relaxed);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.shared.streams.fetch_sub(1, Relaxed);
    }
}

/// The connections to one endpoint.
pub(in crate::upstream) struct Pool {
    idle_time: Duration,
    entries: Mutex<Vec<Entry>>,
    /// Held while connecting, so that requests that come together share one connection.
    pub(in crate::upstream) connecting: tokio::sync::Mutex<()>,
}

struct Entry {
    runtime: Option<runtime::Id>,
    conn: Conn,
    used: Instant,
}

impl Pool {
    pub(in crate::upstream) fn new(idle_time: Duration) -> Self {
        Pool { idle_time, entries: Mutex::default(), connecting: tokio::sync::Mutex::new(()) }
    }

    /// A stream of a connection of this runtime, if there is one free.
    pub(in crate::upstream) fn take(&self, now: Instant) -> Option<Lent> {
        let runtime = this_runtime();
        let mut entries = lock(&self.entries);
        entries.retain(|entry| !entry.conn.is_closed());
        let entry = entries.iter_mut().find(|e| e.runtime == runtime && !e.conn.is_full())?;
        entry.used = now;
        Some(entry.conn.lend())
    }

    /// Adds a connection of this runtime and takes a stream of it.
    pub(in crate::upstream) fn put(&self, conn: Conn, now: Instant) -> Lent {
        let lent = conn.lend();
        lock(&self.entries).push(Entry { runtime: this_runtime(), conn, used: now });
        lent
    }

    /// Lets connections go that were idle for too long.
    pub(in crate::upstream) fn sweep(&self, now: Instant) {
        self.keep(|entry| now.saturating_duration_since(entry.used) < self.idle_time);
    }

    /// Lets the connections go that are idle now.
    pub(in crate::upstream) fn close_idle(&self) {
        self.keep(|_| false);
    }

    /// Of those that are idle, keeps some.
    fn keep(&self, is_kept: impl Fn(&Entry) -> bool) {
        lock(&self.entries).retain(|entry| {
            let in_use = entry.conn.shared.streams.load(Relaxed) > 0;
            !entry.conn.is_closed() && (in_use || is_kept(entry))
        });
    }
}
