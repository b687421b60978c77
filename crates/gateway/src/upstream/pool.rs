//! The HTTP/1.1 connections to one endpoint: how many may be in use, and those that wait to be used again.
//!
//! A connection stays with the runtime (the data-plane thread) that made it, whose reactor drives it: each
//! runtime has a shelf of its own. The limits are for all of them together.

use super::error::{FetchError, Stage};
use super::h1::Conn;
use super::lock;
use selvedge_cache::semantics::ProxyError;
use selvedge_types::resource::OriginTable;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{self, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Leave to use one connection, or one stream of one.
pub(super) type Slot = OwnedSemaphorePermit;

/// The limits of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolLimits {
    /// Requests under way to the endpoint at once; with HTTP/1.1 each has a connection. Open connections
    /// are never more.
    pub(super) in_use_max: u32,
    /// Requests that wait for a slot.
    pub(super) waiting_max: u32,
    /// Idle connections kept.
    pub(super) idle_max: u32,
    /// How long one is kept idle.
    pub(super) idle_time: Duration,
}

impl PoolLimits {
    pub(super) fn of(origin: &OriginTable) -> Self {
        PoolLimits {
            in_use_max: origin.max_connections.max(1),
            waiting_max: origin.max_waiting,
            idle_max: origin.keepalive,
            idle_time: origin.keepalive_idle.get(),
        }
    }
}

/// The runtime that polls the caller.
pub(super) fn this_runtime() -> Option<runtime::Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

pub(super) struct Pool {
    limits: PoolLimits,
    slots: Arc<Semaphore>,
    waiting: AtomicU32,
    shelves: Mutex<Vec<Shelf>>,
}

struct Shelf {
    runtime: Option<runtime::Id>,
    /// The last one used is the last.
    idle: Vec<Idle>,
}

struct Idle {
    conn: Box<Conn>,
    since: Instant,
}

impl Pool {
    pub(super) fn new(limits: PoolLimits) -> Self {
        let slots = Arc::new(Semaphore::new(limits.in_use_max as usize));
        Pool { limits, slots, waiting: AtomicU32::new(0), shelves: Mutex::default() }
    }

    /// Waits for leave to use a connection, `until` at the latest. In order of arrival. Cancel-safe.
    pub(super) async fn slot(&self, until: Instant) -> Result<Slot, FetchError> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        let over = |detail| FetchError::new(ProxyError::ConnectionLimitReached, Stage::Unsent, detail);
        let Some(_place) = Waiting::enter(&self.waiting, self.limits.waiting_max) else {
            return Err(over("all connections are in use, and too many requests wait (`max_waiting`)"));
        };
        match timeout_at(until, self.slots.clone().acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(over("no connection came free in time (`max_connections`)")),
        }
    }

    /// An idle connection of this runtime that is still good. Those found dead are dropped.
    pub(super) fn take(&self, now: Instant) -> Option<Box<Conn>> {
        let runtime = this_runtime();
        loop {
            let mut idle = {
                let mut shelves = lock(&self.shelves);
                let shelf = shelves.iter_mut().find(|shelf| shelf.runtime == runtime)?;
                shelf.idle.pop()?
            };
            if now.saturating_duration_since(idle.since) < self.limits.idle_time && idle.conn.is_ready() {
                return Some(idle.conn);
            }
        }
    }

    /// Makes room for a connection about to be opened.
    pub(super) fn make_room(&self) {
        let in_use = self.limits.in_use_max as usize - self.slots.available_permits();
        self.trim((self.limits.in_use_max as usize).saturating_sub(in_use));
    }

    /// Keeps an idle connection for the next request of this runtime.
    pub(super) fn put(&self, conn: Box<Conn>, now: Instant) {
        if self.limits.idle_max == 0 {
            return;
        }
        let (runtime, idle) = (this_runtime(), Idle { conn, since: now });
        let mut shelves = lock(&self.shelves);
        match shelves.iter_mut().find(|shelf| shelf.runtime == runtime) {
            Some(shelf) => shelf.idle.push(idle),
            None => shelves.push(Shelf { runtime, idle: vec![idle] }),
        }
        let is_over =
            shelves.iter().map(|shelf| shelf.idle.len()).sum::<usize>() > self.limits.idle_max as usize;
        drop(shelves);
        if is_over {
            self.trim(self.limits.idle_max as usize);
        }
    }

    /// Closes connections that were idle for too long.
    pub(super) fn sweep(&self, now: Instant) {
        let is_old = |idle: &Idle| now.saturating_duration_since(idle.since) >= self.limits.idle_time;
        let mut old = Vec::new();
        let mut shelves = lock(&self.shelves);
        for shelf in shelves.iter_mut() {
            let fresh = shelf.idle.iter().position(|idle| !is_old(idle)).unwrap_or(shelf.idle.len());
            old.extend(shelf.idle.drain(..fresh));
        }
        drop(shelves);
        // Closed outside the lock.
        drop(old);
    }

    /// Closes the connections that are idle now.
    pub(super) fn close_idle(&self) {
        self.trim(0);
    }

    /// How many connections are idle.
    pub(super) fn idle(&self) -> usize {
        lock(&self.shelves).iter().map(|shelf| shelf.idle.len()).sum()
    }

    /// Closes the oldest idle connections beyond `kept`.
    fn trim(&self, kept: usize) {
        let mut dropped = Vec::new();
        let mut shelves = lock(&self.shelves);
        let mut count: usize = shelves.iter().map(|shelf| shelf.idle.len()).sum();
        while count > kept {
            let oldest = shelves.iter_mut().filter(|s| !s.idle.is_empty());
            let Some(shelf) = oldest.min_by_key(|s| s.idle.first().map(|idle| idle.since)) else { break };
            dropped.push(shelf.idle.remove(0));
            count -= 1;
        }
        drop(shelves);
        drop(dropped);
    }
}

/// A place among those who wait.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicU32, max: u32) -> Option<Self> {
        let before = count.fetch_add(1, Relaxed);
        let place = Waiting(count);
        (before < max).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(in_use_max: u32, waiting_max: u32) -> Pool {
        Pool::new(PoolLimits { in_use_max, waiting_max, idle_max: 1, idle_time: Duration::from_secs(1) })
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_next_free_slot() {
        let pool = pool(1, 1);
        let until = Instant::now() + Duration::from_secs(1);
        let first = pool.slot(until).await.unwrap();
        let (second, ()) = tokio::join!(pool.slot(until), async { drop(first) });
        assert!(second.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_is_bounded_in_number_and_time() {
        let pool = pool(1, 1);
        let until = Instant::now() + Duration::from_secs(1);
        let _first = pool.slot(until).await.unwrap();
        let (second, third) = tokio::join!(pool.slot(until), pool.slot(until));
        for (result, limit) in [(second, "max_connections"), (third, "max_waiting")] {
            let error = result.unwrap_err();
            assert_eq!(error.kind, ProxyError::ConnectionLimitReached);
            assert!(error.detail.contains(limit), "{error}");
        }
        assert_eq!(pool.waiting.load(Relaxed), 0);
    }
}
