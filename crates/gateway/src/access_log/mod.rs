//! The access log: a line for each request, to standard output or a rotated file, and the live tail.
//!
//! A data-plane thread only copies what the line needs and puts it into a bounded queue; one task forms and
//! writes lines in batches. When the queue is full, lines are dropped and counted: a slow disk never slows
//! requests.
//!
//! ```text
//! begin(request) -> Entry -- routed(about) -- attach(response) --> (sent) --> queue --> writer --> output
//!                                                                                         \-----> tails
//! ```

mod line;
mod output;
mod record;
#[cfg(test)]
mod tests;

pub use record::Record;

use crate::site::About;
use crate::unanswered;
use line::Lines;
use output::Output;
use selvedge_exchange::{Finish, Request, Response, Sent};
use selvedge_observe::{Counter, Registry};
use selvedge_rt::{Clock, Disk, OnEnd, Tasks};
use selvedge_types::resource::{AccessLog as Options, LogFormat, LogTarget};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};

/// The access log. Clones share it.
#[derive(Clone)]
pub struct AccessLog(Arc<Inner>);

struct Inner {
    clock: Clock,
    options: Mutex<Options>,
    queue: Mutex<Vec<Record>>,
    /// A copy of the options' limit.
    queue_max: AtomicUsize,
    is_on: AtomicBool,
    followers: AtomicUsize,
    waiting: Notify,
    full: Notify,
    tail: broadcast::Sender<Arc<str>>,
    metrics: Metrics,
}

struct Metrics {
    lines: Counter,
    dropped: Counter,
}

/// How many lines a follower may lag behind before it misses some.
pub const TAIL_LINES_MAX: usize = 4096;
/// How long lines are gathered before they are written.
const BATCH: Duration = Duration::from_millis(50);

impl AccessLog {
    /// A log that writes as `options` say. Files are written in `disk`; the path in the options is a
    /// name there. Its writer is one of `tasks` and writes what is left when they are told to stop.
    pub fn start(
        options: &Options,
        disk: Option<Disk>,
        clock: Clock,
        tasks: &Tasks,
        registry: &Registry,
    ) -> Self {
        let metrics = Metrics {
            lines: registry.register(
                "access_log_lines",
                "Lines of the access log written",
                Counter::default(),
            ),
            dropped: registry.register(
                "access_log_dropped",
                "Lines of the access log dropped because the queue was full or writing failed",
                Counter::default(),
            ),
        };
        let inner = Arc::new(Inner {
            clock,
            options: Mutex::new(options.clone()),
            queue: Mutex::default(),
            queue_max: AtomicUsize::new(0),
            is_on: AtomicBool::new(false),
            followers: AtomicUsize::new(0),
            waiting: Notify::new(),
            full: Notify::new(),
            tail: broadcast::channel(TAIL_LINES_MAX).0,
            metrics,
        });
        let log = AccessLog(inner);
        log.configure(options);
        let writer = Writer {
            log: log.clone(),
            tasks: tasks.clone(),
            output: Some(Output::new(disk)),
            spare: Vec::new(),
            failing: false,
        };
        tasks.spawn("access log", OnEnd::Forget, writer.run());
        log
    }

    /// Goes by other options from the next batch on.
    pub fn configure(&self, options: &Options) {
        *lock(&self.0.options) = options.clone();
        self.0.queue_max.store(options.queue as usize, Ordering::Relaxed);
        self.0.is_on.store(options.to != LogTarget::Off, Ordering::Relaxed);
    }

    /// Begins the line of `request`, as it came, when the clock's monotonic time is `begun`; none if nobody
    /// wants it.
    pub fn begin(&self, request: &Request, begun: Duration) -> Option<Entry> {
        let inner = &self.0;
        let wanted = inner.is_on.load(Ordering::Relaxed) || inner.followers.load(Ordering::Relaxed) > 0;
        wanted.then(|| Entry { begun, record: Some(Record::of(request)), log: self.clone(), then: None })
    }

    /// Follows the log from now on, in JSON.
    pub fn follow(&self) -> Tail {
        self.0.followers.fetch_add(1, Ordering::Relaxed);
        Tail { lines: self.0.tail.subscribe(), log: self.clone() }
    }

    fn push(&self, record: Record) {
        let inner = &self.0;
        let max = inner.queue_max.load(Ordering::Relaxed);
        let len = {
            let mut queue = lock(&inner.queue);
            if queue.len() >= max {
                inner.metrics.dropped.inc();
                return;
            }
            queue.push(record);
            queue.len()
        };
        if len == 1 {
            inner.waiting.notify_one();
        }
        if len == max / 2 {
            inner.full.notify_one();
        }
    }
}

/// A line that is being made while its request is answered. It is written when the response was sent, or when it is
/// dropped: then there was no answer, or nobody to send it to.
pub struct Entry {
    begun: Duration,
    /// Until it is written.
    record: Option<Record>,
    log: AccessLog,
    then: Option<Box<dyn Finish>>,
}

impl Entry {
    /// Notes what was decided about the request.
    pub fn routed(&mut self, about: &About) {
        self.record.as_mut().into_iter().for_each(|record| record.routed(about));
    }

    /// Notes the response; the line is written when it was sent. What else waits for that still does.
    pub fn attach(mut self, response: &mut Response) {
        self.record.as_mut().into_iter().for_each(|record| record.answered(response));
        self.then = response.finish.take();
        response.finish = Some(Box::new(self));
    }

    fn write(&mut self, sent: Sent) {
        let Some(mut record) = self.record.take() else { return };
        record.sent = sent;
        record.took = self.log.0.clock.monotonic().saturating_sub(self.begun);
        if record.status == 0 {
            record.status = unanswered::status();
        }
        self.log.push(record);
    }
}

impl Finish for Entry {
    fn finish(mut self: Box<Self>, sent: Sent) {
        if let Some(then) = self.then.take() {
            then.finish(sent);
        }
        self.write(sent);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.write(Sent::default());
    }
}

/// The log as it is written, in JSON.
pub struct Tail {
    lines: broadcast::Receiver<Arc<str>>,
    log: AccessLog,
}

/// What a follower sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailItem {
    /// A line, without line feed.
    Line(Arc<str>),
    /// The follower was too slow for that many lines.
    Missed(u64),
}

impl Tail {
    /// The next line; none when the log has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<TailItem> {
        match self.lines.recv().await {
            Ok(line) => Some(TailItem::Line(line)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(TailItem::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.log.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Writer {
    log: AccessLog,
    tasks: Tasks,
    /// Absent only while it writes, and after a write that did not come back.
    output: Option<Output>,
    /// The queue's other buffer: while one is written, the other fills.
    spare: Vec<Record>,
    failing: bool,
}

impl Writer {
    async fn run(mut self) {
        while !self.tasks.is_stopping() {
            let inner = self.log.0.clone();
            tokio::select! {
                () = inner.waiting.notified() => {}
                () = self.tasks.stopped() => {}
            }
            tokio::select! {
                () = tokio::time::sleep(BATCH) => {}
                () = inner.full.notified() => {}
                () = self.tasks.stopped() => {}
            }
            self.write_batch().await;
        }
        self.write_batch().await;
    }

    async fn write_batch(&mut self) {
        let records = std::mem::replace(&mut *lock(&self.log.0.queue), std::mem::take(&mut self.spare));
        if records.is_empty() {
            self.spare = records;
            return;
        }
        let options = lock(&self.log.0.options).clone();
        let has_followers = self.log.0.followers.load(Ordering::Relaxed) > 0;
        let tail = has_followers.then(|| self.log.0.tail.clone());
        let count = records.len() as u64;
        let Some(mut output) = self.output.take() else {
            self.log.0.metrics.dropped.inc_by(count);
            return;
        };
        let work = move || {
            let mut records = records;
            let written = output.write(&form(&records, &options, tail.as_ref()), &options);
            records.clear();
            (output, records, written)
        };
        let done = self.tasks.blocking("access log", work).await;
        let written = done.and_then(|(output, spare, written)| {
            (self.output, self.spare) = (Some(output), spare);
            written
        });
        match &written {
            Ok(()) => self.log.0.metrics.lines.inc_by(count),
            Err(_) => self.log.0.metrics.dropped.inc_by(count),
        };
        self.tell(&written);
    }

    /// Logs a failure once, and that it is over.
    fn tell(&mut self, written: &std::io::Result<()>) {
        match written {
            Err(error) if !self.failing => {
                tracing::warn!(%error, "the access log cannot be written; its lines are dropped until it can");
            }
            Ok(()) if self.failing => tracing::info!("the access log is written again"),
            _ => {}
        }
        self.failing = written.is_err();
    }
}

/// The records' lines for the output; followers are given theirs.
fn form(records: &[Record], options: &Options, tail: Option<&broadcast::Sender<Arc<str>>>) -> Vec<u8> {
    let mut lines = Vec::with_capacity(records.len() * 256);
    let (mut json, mut form) = (Vec::new(), Lines::default());
    for record in records {
        if options.to != LogTarget::Off {
            form.push(record, options.format, &mut lines);
        }
        if let Some(tail) = tail {
            json.clear();
            form.push(record, LogFormat::Json, &mut json);
            let line = String::from_utf8_lossy(json.trim_ascii_end());
            // Fails only when nobody follows any more.
            let _ = tail.send(line.into());
        }
    }
    lines
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
