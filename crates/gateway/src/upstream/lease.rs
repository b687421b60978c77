//! A request's hold on an endpoint: its load, its slot, and where its connection goes afterwards.

use super::endpoint::Endpoint;
use super::error::FetchError;
use super::group::Group;
use super::h1::Conn;
use super::pool::Slot;
use std::sync::Arc;
use tokio::time::Instant;

/// Counts as a request under way to the endpoint until dropped.
pub(super) struct Lease {
    group: Arc<Group>,
    endpoint: Arc<Endpoint>,
    /// None only while it is waited for.
    slot: Option<Slot>,
}

impl Lease {
    /// Waits for a slot, `until` at the latest.
    pub(super) async fn take(
        group: &Arc<Group>,
        endpoint: &Arc<Endpoint>,
        until: Instant,
    ) -> Result<Self, FetchError> {
        group.handle_start(endpoint.id);
        let mut lease = Lease { group: group.clone(), endpoint: endpoint.clone(), slot: None };
        lease.slot = Some(endpoint.pool.slot(until).await?);
        Ok(lease)
    }

    /// Ends the lease; the connection is kept for the next request.
    pub(super) fn give_back(mut self, conn: Box<Conn>) {
        self.endpoint.pool.put(conn, Instant::now());
        self.slot = None;
    }

    /// The answer's content broke off or was malformed.
    pub(super) fn handle_broken_content(&self) {
        self.group.counters().broken_content.inc();
        self.group.handle_failure(&self.endpoint);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.group.handle_end(self.endpoint.id);
    }
}
