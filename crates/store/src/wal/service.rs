//! The log shared by many: appends that arrive while a flush is under way join the next one.

use super::Error;
use super::log::{Log, Room};
use super::record::{GroupId, PAYLOAD_BYTES_MAX, Sequence};
use bytes::Bytes;
use selvedge_observe::{Counter, Gauge, Registry};
use selvedge_rt::{OnEnd, Tasks};
use std::sync::atomic::AtomicU64;
use tokio::sync::{mpsc, oneshot};

/// What the log counts.
#[derive(Clone, Default)]
pub struct Metrics {
    flushes: Counter,
    records: Counter,
    bytes: Counter,
    refused: Counter,
    failed: Gauge,
    size: Gauge<i64, std::sync::atomic::AtomicI64>,
    next: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// Registers the metrics of a node's log.
    pub fn register(registry: &Registry) -> Self {
        let m = Metrics::default();
        registry.register("wal_flushes", "Flushes of the write-ahead log", m.flushes.clone());
        registry.register("wal_records", "Records flushed to the write-ahead log", m.records.clone());
        registry.register("wal_written_bytes", "Payload bytes flushed to the log", m.bytes.clone());
        registry.register("wal_refused", "Appends refused because the disk was full", m.refused.clone());
        registry.register("wal_failed", "Whether the log has stopped after a failure", m.failed.clone());
        registry.register("wal_size_bytes", "Bytes that the log's files take", m.size.clone());
        registry.register("wal_next_sequence", "Place of the log's next record", m.next.clone());
        m
    }
}

/// A handle to the log's service.
#[derive(Clone)]
pub struct Wal {
    queue: mpsc::Sender<Request>,
}

enum Request {
    Append(Append),
    HasRoom { done: oneshot::Sender<Result<bool, Error>> },
    Trust { done: oneshot::Sender<Result<(), Error>> },
    Truncate { before: Sequence, done: oneshot::Sender<Result<(), Error>> },
    Read { from: Sequence, bytes_max: usize, done: oneshot::Sender<Result<Records, Error>> },
}

type Records = Vec<(Sequence, GroupId, Bytes)>;

impl Wal {
    /// Starts the service on this thread's runtime. It ends when `tasks` are told to stop, after what it
    /// was asked before.
    pub fn start(log: Log, tasks: &Tasks, metrics: Metrics) -> Wal {
        let (queue, requests) = mpsc::channel(log.options().queue_max);
        let service = Service { log: Some(log), requests, tasks: tasks.clone(), metrics };
        tasks.spawn("wal", OnEnd::Forget, service.run());
        Wal { queue }
    }

    /// Appends payloads, next to each other, and waits until they are flushed; returns the first's place.
    ///
    /// Not cancel-safe: a dropped future does not take the append back.
    pub async fn append(&self, group: GroupId, payloads: Vec<Bytes>) -> Result<Sequence, Error> {
        self.append_in(Room::Free, group, payloads).await
    }

    /// As [`Wal::append`], within as much of the disk as `room` says.
    pub async fn append_in(
        &self,
        room: Room,
        group: GroupId,
        payloads: Vec<Bytes>,
    ) -> Result<Sequence, Error> {
        // Refused here, so that it spoils no batch of others.
        if let Some(bytes) = payloads.iter().map(Bytes::len).find(|l| *l > PAYLOAD_BYTES_MAX) {
            return Err(Error::TooLong { bytes, limit: PAYLOAD_BYTES_MAX });
        }
        self.ask(|done| Request::Append(Append { room, group, payloads, done })).await
    }

    /// Whether the disk has more free than is kept in reserve.
    pub async fn has_room(&self) -> Result<bool, Error> {
        self.ask(|done| Request::HasRoom { done }).await
    }

    /// Says that whatever a torn batch may have held is made up for: see [`Log::trust`].
    pub async fn trust(&self) -> Result<(), Error> {
        self.ask(|done| Request::Trust { done }).await
    }

    /// Removes files all of whose records are before `before`.
    pub async fn truncate_before(&self, before: Sequence) -> Result<(), Error> {
        self.ask(|done| Request::Truncate { before, done }).await
    }

    /// Records from `from` on, until their payloads have `bytes_max` bytes, but one at least if there is one.
    pub async fn read(&self, from: Sequence, bytes_max: usize) -> Result<Records, Error> {
        self.ask(|done| Request::Read { from, bytes_max, done }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        let (done, answer) = oneshot::channel();
        self.queue.send(request(done)).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
    }
}

struct Service {
    /// Away while a blocking call has it.
    log: Option<Log>,
    requests: mpsc::Receiver<Request>,
    tasks: Tasks,
    metrics: Metrics,
}

struct Append {
    room: Room,
    group: GroupId,
    payloads: Vec<Bytes>,
    done: oneshot::Sender<Result<Sequence, Error>>,
}

impl Service {
    async fn run(mut self) {
        let tasks = self.tasks.clone();
        loop {
            let request = tokio::select! {
                biased;
                request = self.requests.recv() => request,
                () = tasks.stopped() => break,
            };
            let Some(request) = request else { break };
            if !self.serve(request).await {
                break;
            }
        }
    }

    /// Serves a request, and appends that wait behind it; says whether the log is still there.
    async fn serve(&mut self, request: Request) -> bool {
        let mut next = Some(request);
        while let Some(request) = next.take() {
            let alive = match request {
                Request::Append(append) => {
                    let (batch, other) = self.gather(append);
                    next = other;
                    self.append(batch).await
                }
                Request::HasRoom { done } => self.with_log(done, |log| log.has_room()).await,
                Request::Trust { done } => self.with_log(done, Log::trust).await,
                Request::Truncate { before, done } => {
                    self.with_log(done, move |log| log.truncate_before(before)).await
                }
                Request::Read { from, bytes_max, done } => {
                    self.with_log(done, move |log| log.read(from, bytes_max)).await
                }
            };
            if !alive {
                return false;
            }
        }
        true
    }

    /// The appends that wait, up to a batch's bytes, and the request that ended the search, if one did.
    fn gather(&mut self, first: Append) -> (Vec<Append>, Option<Request>) {
        let limit = self.log.as_ref().map_or(0, |l| l.options().batch_bytes_max);
        let (mut bytes, room) = (first.bytes(), first.room);
        let mut batch = vec![first];
        while bytes < limit {
            match self.requests.try_recv() {
                Ok(Request::Append(append)) if append.room == room => {
                    bytes += append.bytes();
                    batch.push(append);
                }
                Ok(other) => return (batch, Some(other)),
                Err(_) => break,
            }
        }
        (batch, None)
    }

    async fn append(&mut self, batch: Vec<Append>) -> bool {
        let Some((result, batch)) = self.blocking(move |log| (flush(log, &batch), batch)).await else {
            return false;
        };
        self.count(&result, &batch);
        match result {
            Ok(mut place) => {
                for append in batch {
                    let count = append.payloads.len() as u64;
                    // Who no longer waits does not want to know.
                    let _ = append.done.send(Ok(place));
                    place = place.plus(count);
                }
            }
            Err(error) => batch.into_iter().for_each(|a| drop(a.done.send(Err(error.clone())))),
        }
        true
    }

    async fn with_log<T: Send + 'static>(
        &mut self,
        done: oneshot::Sender<Result<T, Error>>,
        work: impl FnOnce(&mut Log) -> Result<T, Error> + Send + 'static,
    ) -> bool {
        let Some(result) = self.blocking(work).await else { return false };
        // Who no longer waits does not want to know.
        let _ = done.send(result);
        true
    }

    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Log) -> T + Send + 'static,
    ) -> Option<T> {
        let mut log = self.log.take()?;
        let done = self.tasks.blocking("wal", move || {
            let result = work(&mut log);
            (log, result)
        });
        let (log, result) = done.await.ok()?;
        self.log = Some(log);
        Some(result)
    }

    fn count(&self, result: &Result<Sequence, Error>, batch: &[Append]) {
        let m = &self.metrics;
        match result {
            Ok(_) => {
                m.flushes.inc();
                m.records.inc_by(batch.iter().map(|a| a.payloads.len() as u64).sum());
                m.bytes.inc_by(batch.iter().map(|a| a.bytes() as u64).sum());
            }
            Err(error) if error.is_refusal() => {
                m.refused.inc_by(batch.len() as u64);
                tracing::debug!(%error, "append refused");
            }
            Err(error) => {
                m.failed.set(1);
                tracing::error!(%error, "the log has stopped");
            }
        }
        if let Some(log) = &self.log {
            m.size.set(i64::try_from(log.bytes()).unwrap_or(i64::MAX));
            m.next.set(log.next().0);
        }
    }
}

impl Append {
    fn bytes(&self) -> usize {
        self.payloads.iter().map(Bytes::len).sum()
    }
}

fn flush(log: &mut Log, batch: &[Append]) -> Result<Sequence, Error> {
    let room = batch.first().map_or(Room::Free, |append| append.room);
    log.append_in(room, batch.iter().flat_map(|a| a.payloads.iter().map(|p| (a.group, &p[..]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::Options;
    use selvedge_rt::Disk;
    use std::time::Duration;

    fn log(dir: &tempfile::TempDir) -> (Log, Vec<Vec<u8>>) {
        let disk = Disk::real(dir.path()).unwrap();
        let options = Options { reserve_bytes: 0, ..Options::default() };
        let mut payloads = Vec::new();
        let (log, _) = Log::open(disk, options, |r| payloads.push(r.payload.to_vec())).unwrap();
        (log, payloads)
    }

    #[tokio::test]
    async fn appends_that_wait_share_a_flush_and_each_learns_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::real();
        let metrics = Metrics::default();
        let wal = Wal::start(log(&dir).0, &tasks, metrics.clone());
        let mut waiting = tokio::task::JoinSet::new();
        for i in 0..100u32 {
            let wal = wal.clone();
            waiting.spawn(async move {
                let payload = Bytes::from(i.to_string());
                (wal.append(GroupId(0), vec![payload.clone()]).await.unwrap(), payload)
            });
        }
        let acknowledged = waiting.join_all().await;
        assert!(metrics.flushes.get() < 50, "{} flushes", metrics.flushes.get());
        assert_eq!(metrics.records.get(), 100);
        let read = wal.read(Sequence::FIRST, 1 << 20).await.unwrap();
        for (place, payload) in acknowledged {
            assert_eq!(read[usize::try_from(place.0).unwrap() - 1].2, payload);
        }
        assert!(tasks.shut_down(Duration::from_secs(5)).await);
        assert!(matches!(wal.append(GroupId(0), vec![]).await, Err(Error::Stopped)));
        assert_eq!(log(&dir).1.len(), 100);
    }

    #[tokio::test]
    async fn a_refused_append_leaves_the_log_open() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::real();
        let wal = Wal::start(log(&dir).0, &tasks, Metrics::default());
        let long = Bytes::from(vec![0; crate::wal::PAYLOAD_BYTES_MAX + 1]);
        assert!(wal.append(GroupId(0), vec![long]).await.unwrap_err().is_refusal());
        assert_eq!(wal.append(GroupId(0), vec![Bytes::from_static(b"x")]).await.unwrap(), Sequence(1));
        assert!(tasks.shut_down(Duration::from_secs(5)).await);
    }
}
