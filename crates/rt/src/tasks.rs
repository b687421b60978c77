//! Named, owned, tracked background work.

use pin_project_lite::pin_project;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What it means when a task ends before it is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnd {
    /// Nothing: a connection, a fetch.
    Forget,
    /// The node cannot go on without it: everything is told to stop, and the node exits with an error.
    Essential,
}

/// An owner of tasks. Clones share the tasks; a child is stopped with its parent, or before it.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    stopping: Arc<Stopping>,
    abandoned: CancellationToken,
    failed: Arc<Mutex<Option<&'static str>>>,
    inline: bool,
    delay: Option<BlockingDelay>,
}

/// Whether tasks were told to stop, themselves or with a parent's: what the token says, without its lock, which
/// all tasks share.
#[derive(Default)]
struct Stopping {
    told: AtomicBool,
    parent: Option<Arc<Stopping>>,
}

impl Stopping {
    fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire) || self.parent.as_ref().is_some_and(|parent| parent.is_told())
    }
}

/// How long the next piece of simulated blocking work takes.
pub type BlockingDelay = Arc<dyn Fn() -> Duration + Send + Sync>;

impl Tasks {
    /// For a real node: blocking work goes to threads.
    pub fn real() -> Self {
        Self::with_inline(false)
    }

    /// For a simulated node: blocking work runs where it is called.
    pub fn simulated() -> Self {
        Self::with_inline(true)
    }

    /// For a simulated node whose blocking work takes virtual time: half before it is done, half after.
    pub fn simulated_slow(delay: BlockingDelay) -> Self {
        Tasks { delay: Some(delay), ..Self::with_inline(true) }
    }

    fn with_inline(inline: bool) -> Self {
        Tasks {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            stopping: Arc::default(),
            abandoned: CancellationToken::new(),
            failed: Arc::default(),
            inline,
            delay: None,
        }
    }

    /// An owner whose tasks can be stopped without stopping this one's.
    pub fn child(&self) -> Self {
        let stopping =
            Arc::new(Stopping { told: AtomicBool::new(false), parent: Some(self.stopping.clone()) });
        Tasks { tracker: TaskTracker::new(), stop: self.stop.child_token(), stopping, ..self.clone() }
    }

    /// The same owner, which also waits for these tasks; they can be stopped without stopping the others.
    pub fn part(&self) -> Self {
        let stopping =
            Arc::new(Stopping { told: AtomicBool::new(false), parent: Some(self.stopping.clone()) });
        Tasks { stop: self.stop.child_token(), stopping, ..self.clone() }
    }

    /// Runs `work` on this thread's runtime until it ends. It should watch [`Tasks::stopped`].
    ///
    /// A panic is contained to the task, logged, and treated as its end.
    pub fn spawn<F>(&self, name: &'static str, on_end: OnEnd, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = EndGuard { name, on_end, tasks: self.clone(), ended: false };
        self.spawn_tracked(Guarded { work, guard });
    }

    fn spawn_tracked(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn_here(self.tracked(work));
    }

    /// `work`, counted among the tasks, for a runtime of the caller's.
    pub(crate) fn tracked<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.tracker.track_future(work)
    }

    #[allow(clippy::disallowed_methods)] // the one place that spawns
    pub(crate) fn spawn_here(&self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(work);
    }

    /// Resolves when the tasks were told to stop, the owner waits for no more of them, and all ended.
    pub(crate) async fn ended(&self) {
        let all = async {
            self.stopped().await;
            self.tracker.wait().await;
        };
        tokio::select! {
            () = all => {}
            () = self.abandoned.cancelled() => {}
        }
    }

    /// Gives up on tasks that still run: runtimes that wait for them end, which drops the tasks.
    pub fn abandon(&self) {
        self.abandoned.cancel();
    }

    /// Runs blocking work: on a thread of the runtime's pool, or inline in simulation.
    ///
    /// Not cancel-safe: the work goes on when the future is dropped.
    #[allow(clippy::disallowed_methods)]
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        if self.inline {
            return Ok(self.inline_blocking(work).await);
        }
        let join = tokio::task::spawn_blocking(work);
        join.await.map_err(|e| io::Error::other(format!("{name} did not finish: {e}")))
    }

    async fn inline_blocking<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(delay) = &self.delay else { return work() };
        let half = delay() / 2;
        tokio::time::sleep(half).await;
        let done = work();
        tokio::time::sleep(half).await;
        done
    }

    /// Whether blocking work runs inline, as in a simulation.
    pub fn is_inline(&self) -> bool {
        self.inline
    }

    /// Resolves when the tasks are told to stop. Cancel-safe.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the tasks were told to stop. Takes no lock.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_told()
    }

    /// Tells the tasks, and those of children, to stop.
    pub fn stop(&self) {
        self.stopping.told.store(true, Ordering::Release);
        self.stop.cancel();
    }

    /// Tells the tasks to stop and waits for them, `grace` at most; says whether all ended.
    pub async fn shut_down(&self, grace: Duration) -> bool {
        self.stop();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }

    /// Resolves when none of the tasks runs, whether they were told to stop or not. Cancel-safe.
    pub async fn idle(&self) {
        // Closed, it still takes tasks: that only says that somebody waits.
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// The essential task that ended too early, if one did.
    pub fn failed(&self) -> Option<&'static str> {
        self.failed.lock().map_or(Some("poisoned"), |f| *f)
    }
}

pin_project! {
    /// Work and what happens at its end, in that order. Not an async block: that keeps room for what it is
    /// given and again for what it awaits, which counts where there is a task for each connection.
    struct Guarded<F> {
        #[pin]
        work: F,
        guard: EndGuard,
    }
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let polled = this.work.poll(cx);
        this.guard.ended |= polled.is_ready();
        polled
    }
}

struct EndGuard {
    name: &'static str,
    on_end: OnEnd,
    tasks: Tasks,
    /// It ran to its end.
    ended: bool,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "task panicked");
        } else if !self.ended {
            // Its runtime went away: whoever ended that knows.
            return;
        }
        if self.on_end == OnEnd::Essential && !self.tasks.is_stopping() {
            tracing::error!(task = self.name, "an essential task ended; the node stops");
            if let Ok(mut failed) = self.tasks.failed.lock() {
                failed.get_or_insert(self.name);
            }
            self.tasks.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_essential_task_that_ends_stops_the_rest() {
        let tasks = Tasks::real();
        let other = tasks.clone();
        tasks.spawn("waits", OnEnd::Forget, async move { other.stopped().await });
        tasks.spawn("ends", OnEnd::Essential, async {});
        tasks.stopped().await;
        assert_eq!(tasks.failed(), Some("ends"));
        assert!(tasks.shut_down(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_child_stops_alone() {
        let tasks = Tasks::real();
        let child = tasks.child();
        let inner = child.clone();
        child.spawn("waits", OnEnd::Essential, async move { inner.stopped().await });
        assert!(child.shut_down(Duration::from_secs(5)).await);
        assert!(child.is_stopping() && !tasks.is_stopping());
        assert_eq!(tasks.failed(), None);
    }

    #[tokio::test]
    async fn idle_waits_for_tasks_that_nobody_stops() {
        let tasks = Tasks::real();
        tasks.idle().await;
        for _ in 0..2 {
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            tasks.spawn("ends by itself", OnEnd::Forget, async move { drop(ended.await) });
            let idle = tokio::time::timeout(Duration::ZERO, tasks.idle());
            assert!(idle.await.is_err());
            drop(end);
            tasks.idle().await;
        }
        assert!(!tasks.is_stopping());
    }

    #[tokio::test]
    async fn a_parent_stops_its_children() {
        let tasks = Tasks::real();
        let grandchild = tasks.child().child();
        assert!(!grandchild.is_stopping());
        tasks.stop();
        assert!(grandchild.is_stopping());
        grandchild.stopped().await;
    }
}
