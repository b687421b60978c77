//! The data plane's threads: each runs a runtime of its own, so that a connection stays on one core.

use crate::tasks::Tasks;
use std::future::Future;
use std::io;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};

/// Threads that run tasks until they are told to stop.
pub struct Workers {
    runtimes: WorkerRuntimes,
    threads: Vec<JoinHandle<()>>,
}

/// The runtimes of workers. Clones share them.
#[derive(Clone)]
pub struct WorkerRuntimes {
    handles: Vec<Handle>,
    tasks: Tasks,
}

impl WorkerRuntimes {
    /// How many runtimes there are.
    pub fn count(&self) -> usize {
        self.handles.len().max(1)
    }

    /// Runs what `make` returns for each runtime's number on that runtime.
    pub fn on_each<F>(&self, make: impl Fn(usize) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for i in 0..self.count() {
            let work = self.tasks.tracked(make(i));
            match self.handles.get(i) {
                Some(handle) => drop(handle.spawn(work)),
                None => self.tasks.spawn_here(work),
            }
        }
    }
}

impl Workers {
    /// Starts `count` threads (one at least), which run until `tasks` are told to stop and have ended, or
    /// until [`Workers::ended`] has waited for them.
    pub fn start(count: usize, name: &str, tasks: &Tasks) -> io::Result<Self> {
        let mut workers = Workers::inline(tasks);
        for i in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            workers.runtimes.handles.push(runtime.handle().clone());
            let tasks = tasks.clone();
            let body = move || {
                runtime.block_on(tasks.ended());
                // Without waiting for blocking work: a disk that hangs must not keep the node from ending.
                runtime.shutdown_background();
            };
            workers.threads.push(spawn_thread(format!("{name}-{i}"), body)?);
        }
        Ok(workers)
    }

    /// For a simulation: tasks run on the runtime of the caller.
    pub fn inline(tasks: &Tasks) -> Self {
        let runtimes = WorkerRuntimes { handles: Vec::new(), tasks: tasks.clone() };
        Workers { runtimes, threads: Vec::new() }
    }

    /// Where their tasks run.
    pub fn runtimes(&self) -> WorkerRuntimes {
        self.runtimes.clone()
    }

    /// Waits for the threads, whose tasks must have been told to stop; says whether all ended soundly.
    #[allow(clippy::disallowed_methods)] // joining threads blocks, and the tasks that could wait are ending
    pub async fn ended(self) -> bool {
        let join = || self.threads.into_iter().all(|thread| thread.join().is_ok());
        tokio::task::spawn_blocking(join).await.unwrap_or(false)
    }
}

#[allow(clippy::disallowed_methods)] // the one place that starts threads
fn spawn_thread(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(body)
}
