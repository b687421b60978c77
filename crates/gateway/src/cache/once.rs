//! Work whose result all who ask for it meanwhile share.

use hashbrown::HashMap;
use selvedge_cache::semantics::KeyHash;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

type Cells<T> = HashMap<KeyHash, Arc<OnceCell<T>>, foldhash::fast::FixedState>;

/// Work under way, by what it is for.
pub(crate) struct Once<T>(Mutex<Cells<T>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Once(Mutex::default())
    }
}

impl<T: Clone> Once<T> {
    fn lock(&self) -> MutexGuard<'_, Cells<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of the work for `key` that is under way, or of `work`. If the one who does it leaves, the next
    /// goes on with a `work` of its own.
    pub(crate) async fn run(&self, key: KeyHash, work: impl Future<Output = T>) -> T {
        let cell = self.lock().entry(key).or_default().clone();
        let place = Leave { once: self, key, cell };
        place.cell.get_or_init(|| work).await.clone()
    }
}

/// Forgets the work when its result is there, or when nobody is left who waits for it.
struct Leave<'a, T> {
    once: &'a Once<T>,
    key: KeyHash,
    cell: Arc<OnceCell<T>>,
}

impl<T> Drop for Leave<'_, T> {
    fn drop(&mut self) {
        let mut cells = self.once.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listed) = cells.get(&self.key).filter(|c| Arc::ptr_eq(c, &self.cell)) else { return };
        // The list's and this one: nobody else waits.
        if listed.initialized() || Arc::strong_count(listed) <= 2 {
            cells.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn all_who_ask_meanwhile_share_one_result_and_nothing_stays() {
        let (once, runs, gate) = (Once::<u32>::default(), AtomicU32::new(0), Notify::new());
        let key = KeyHash::from_bytes([7; 16]);
        let work = || async {
            gate.notified().await;
            runs.fetch_add(1, Ordering::SeqCst)
        };
        let (a, b, ()) =
            tokio::join!(once.run(key, work()), once.run(key, work()), async { gate.notify_one() });
        assert_eq!((a, b, runs.load(Ordering::SeqCst)), (0, 0, 1));
        assert!(once.lock().is_empty());
    }

    #[tokio::test]
    async fn the_next_one_goes_on_when_the_first_leaves() {
        let once = Once::<u32>::default();
        let key = KeyHash::from_bytes([7; 16]);
        let mut first = Box::pin(once.run(key, std::future::pending()));
        let mut second = Box::pin(once.run(key, async { 2 }));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        drop(first);
        assert_eq!(second.await, 2);
        assert!(once.lock().is_empty());
    }
}
