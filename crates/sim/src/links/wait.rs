//! Waiting until something arrives.

use super::SimMesh;
use super::state::State;
use selvedge_types::NodeKey;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// What a look at the network tells.
pub(super) enum Step<T> {
    /// It is there.
    Done(T),
    /// It is not there; look again at that time, or when something changes.
    Wait(Option<Duration>),
}

/// Looks again and again until it is there; the node `key` does, unless it is stalled. Cancel-safe if `look` is.
pub(super) async fn until<T>(
    mesh: &SimMesh,
    key: NodeKey,
    notify: &Arc<Notify>,
    mut look: impl FnMut(&mut State, Duration) -> Step<T>,
) -> T {
    loop {
        let changed = notify.clone().notified_owned();
        let now = mesh.now();
        let step = try_look(&mut mesh.state(), key, now, &mut look);
        match step {
            Step::Done(found) => return found,
            Step::Wait(at) => pause(changed, at, now).await,
        }
    }
}

/// The same, for a caller that polls: `pause` keeps what is waited for.
pub(super) struct Waiting(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Waiting {
    pub(super) const fn new() -> Self {
        Waiting(None)
    }

    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mesh: &SimMesh,
        key: NodeKey,
        notify: &Arc<Notify>,
        mut look: impl FnMut(&mut State, Duration) -> Step<T>,
    ) -> Poll<T> {
        loop {
            let changed = notify.clone().notified_owned();
            let now = mesh.now();
            let step = try_look(&mut mesh.state(), key, now, &mut look);
            let mut waits = match step {
                Step::Done(found) => return Poll::Ready(found),
                Step::Wait(at) => Box::pin(pause(changed, at, now)),
            };
            if waits.as_mut().poll(cx).is_pending() {
                self.0 = Some(waits);
                return Poll::Pending;
            }
        }
    }
}

fn try_look<T>(
    state: &mut State,
    key: NodeKey,
    now: Duration,
    look: &mut impl FnMut(&mut State, Duration) -> Step<T>,
) -> Step<T> {
    match state.awake_at(key, now) {
        at if at > now => Step::Wait(Some(at)),
        _ => look(state, now),
    }
}

async fn pause(changed: OwnedNotified, at: Option<Duration>, now: Duration) {
    let Some(at) = at else { return changed.await };
    // One more: timers are as coarse as milliseconds.
    let left = at.saturating_sub(now).max(Duration::from_millis(1));
    tokio::select! {
        biased;
        () = changed => {}
        () = tokio::time::sleep(left) => {}
    }
}
