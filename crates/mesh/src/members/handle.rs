//! What the rest of the node holds of membership.

use super::driver::{Driver, Order};
use super::inbox::Inbox;
use super::limits::ORDERS_MAX;
use super::view::View;
use super::{Options, Seed};
use crate::rpc::Mesh;
use selvedge_membership::Load;
use selvedge_rt::{Clock, OnEnd, Rng, Tasks};
use selvedge_types::NodeKey;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// A node's membership. Clones are handles to the same. Orders given after it stopped do nothing.
#[derive(Clone)]
pub struct Members {
    mesh: Mesh,
    view: watch::Receiver<Arc<View>>,
    orders: mpsc::Sender<Order>,
}

impl Members {
    /// Takes part in the cluster until `tasks` are told to stop. Others take a node that stops without
    /// [`Members::leave`] for failed.
    ///
    /// `inbox` is what was registered with `mesh`.
    pub fn start(
        mesh: &Mesh,
        inbox: Inbox,
        options: Options,
        clock: &Clock,
        rng: &Rng,
        tasks: &Tasks,
    ) -> Self {
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let driver = Driver::new(mesh.clone(), inbox, taken, options, clock, rng, tasks);
        let view = driver.watch();
        tasks.spawn("membership", OnEnd::Essential, driver.run());
        Members { mesh: mesh.clone(), view, orders }
    }

    /// The cluster as it is seen now. Cheap.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// The views from now on.
    pub fn changes(&self) -> Changes {
        let mut view = self.view.clone();
        view.mark_unchanged();
        Changes(view)
    }

    /// The time to a node and back: as the link with it has measured it, or else as coordinates have it.
    pub fn round_trip(&self, node: &NodeKey) -> Option<Duration> {
        let measured = self.mesh.rtt(node);
        measured.or_else(|| self.view.borrow().members.get(node)?.round_trip)
    }

    /// Names a node that may know the way in.
    pub async fn add_seed(&self, seed: Seed) {
        self.order(Order::Seed(seed)).await;
    }

    /// Stops taking new work, or takes it again. Others are told.
    pub async fn drain(&self, draining: bool) {
        self.order(Order::Drain(draining)).await;
    }

    /// Says how busy this node is. Others hear of it with its next messages.
    pub async fn set_load(&self, load: Load) {
        self.order(Order::Load(load)).await;
    }

    /// A node was removed from the cluster: it is gone for good, and what is said of it is not taken up. Its links
    /// are cut off by [`Mesh::remove`].
    pub async fn remove(&self, node: NodeKey) {
        self.order(Order::Remove(node)).await;
    }

    /// Leaves, and waits until others had the time to hear of it: [`super::LEAVE_TAKES`]. To be called before a
    /// node stops, while its links are open.
    pub async fn leave(&self) {
        let (done, left) = oneshot::channel();
        self.order(Order::Leave(done)).await;
        // Stopped meanwhile: there is nothing to wait for.
        let _ = left.await;
    }

    async fn order(&self, order: Order) {
        // Fails when membership has stopped.
        let _ = self.orders.send(order).await;
    }
}

/// Waits for views.
pub struct Changes(watch::Receiver<Arc<View>>);

impl Changes {
    /// The next view that this has not shown, the latest of several; none once membership has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<View>> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }
}
