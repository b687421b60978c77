//! How many calls may be under way with one peer, by their urgency and direction.

use super::limits::{BULK_CALLS_MAX, NORMAL_CALLS_MAX, QUESTION_BYTES_MAX, URGENT_CALLS_MAX};
use super::service::Priority;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One peer's places.
pub(super) struct Gates {
    ours: [Arc<Semaphore>; 3],
    theirs: [Arc<Semaphore>; 3],
    question_bytes: Arc<Semaphore>,
}

impl Default for Gates {
    fn default() -> Self {
        let places =
            || [BULK_CALLS_MAX, NORMAL_CALLS_MAX, URGENT_CALLS_MAX].map(|n| Arc::new(Semaphore::new(n)));
        let question_bytes = Arc::new(Semaphore::new(QUESTION_BYTES_MAX as usize));
        Gates { ours: places(), theirs: places(), question_bytes }
    }
}

impl Gates {
    /// Waits for a place for a call of this node's.
    pub(super) async fn ask(&self, priority: Priority) -> Option<OwnedSemaphorePermit> {
        self.ours[urgency(priority)].clone().acquire_owned().await.ok()
    }

    /// A place for a call of the peer's, if there is one.
    pub(super) fn answer(&self, priority: Priority) -> Option<OwnedSemaphorePermit> {
        self.theirs[urgency(priority)].clone().try_acquire_owned().ok()
    }

    /// Waits for room for a question of the peer's.
    pub(super) async fn room(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        self.question_bytes.clone().acquire_many_owned(bytes).await.ok()
    }
}

fn urgency(priority: Priority) -> usize {
    match priority {
        Priority::Bulk => 0,
        Priority::Normal => 1,
        Priority::Consensus | Priority::Probe => 2,
    }
}
