//! The disk tier shared by the data-plane threads: writes are queued, reads wait on other threads.

use super::read::Located;
use super::record::{Found, Key, NewRecord};
use super::set::{Opened, Segments};
use super::write::Tally;
use super::{Error, Options};
use selvedge_observe::{Counter, Gauge, Registry};
use selvedge_rt::{Clock, OnEnd, Tasks};
use selvedge_types::Hlc;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};

/// Objects written at once.
const BATCH_MAX: usize = 256;

/// One in so many hits in memory is told to the disk's eviction policy, and counts for all of them.
const ONE_HIT_IN: u8 = 8;

/// So many of these hits are gathered before they are told.
const HITS_GATHERED: usize = 64;

/// What the disk tier counts.
#[derive(Clone, Default)]
pub struct Metrics {
    written: Counter,
    written_bytes: Counter,
    rewritten_bytes: Counter,
    declined: Counter,
    dropped: Counter,
    failures: Counter,
    damaged: Gauge,
    available: Gauge,
    objects: Gauge,
    bytes: Gauge,
    index_bytes: Gauge,
}

impl Metrics {
    /// Registers the metrics of a node's disk tier.
    pub fn register(registry: &Registry) -> Self {
        let m = Metrics::default();
        registry.register("cache_disk_written", "Objects written to disk", m.written.clone());
        registry.register("cache_disk_written_bytes", "Bytes of objects written", m.written_bytes.clone());
        registry.register(
            "cache_disk_rewritten_bytes",
            "Bytes of objects written anew since they are hot and their file went",
            m.rewritten_bytes.clone(),
        );
        registry.register(
            "cache_disk_declined",
            "Objects not written because others on disk are asked for more",
            m.declined.clone(),
        );
        registry.register(
            "cache_disk_dropped",
            "Objects not written because the queue was full or the disk failed",
            m.dropped.clone(),
        );
        registry.register("cache_disk_failures", "Failed writes to the cache's disk", m.failures.clone());
        registry.register("cache_disk_damaged", "Reads that failed or found damage", m.damaged.clone());
        registry.register(
            "cache_disk_available",
            "Whether the cache's disk is written to",
            m.available.clone(),
        );
        registry.register("cache_disk_objects", "Objects on disk", m.objects.clone());
        registry.register("cache_disk_size_bytes", "Bytes of the cache's files", m.bytes.clone());
        registry.register(
            "cache_disk_index_bytes",
            "Memory of the index of what is on disk",
            m.index_bytes.clone(),
        );
        m
    }

    fn count(&self, tally: &Tally) {
        self.written.inc_by(tally.objects);
        self.written_bytes.inc_by(tally.bytes);
        self.rewritten_bytes.inc_by(tally.rewritten_bytes);
        self.declined.inc_by(tally.declined);
    }
}

/// A handle to the disk tier. Cheap to clone.
#[derive(Clone)]
pub struct DiskTier {
    shared: Arc<Shared>,
    queue: mpsc::Sender<NewRecord>,
}

struct Shared {
    segments: Segments,
    opened: Opened,
    /// Counts hits in memory.
    hits: AtomicU32,
    /// Some of them, with the objects' bytes.
    gathered: Mutex<Vec<(Key, usize)>>,
    /// Stamps to be written before anything else.
    stamps: Mutex<Vec<NewRecord>>,
    /// In place of stamps that were too many: a floor to be set, as bits.
    floor: AtomicU64,
    stamped: Notify,
    queued_bytes: AtomicUsize,
    available: AtomicBool,
    reads: Semaphore,
    tasks: Tasks,
    metrics: Metrics,
}

impl DiskTier {
    /// Starts the writer on this thread's runtime.
    pub fn start(
        (segments, opened): (Segments, Opened),
        tasks: &Tasks,
        clock: Clock,
        metrics: Metrics,
    ) -> DiskTier {
        let options = segments.options();
        let (queue, records) = mpsc::channel(options.queue_max);
        let shared = Arc::new(Shared {
            segments,
            opened,
            hits: AtomicU32::new(0),
            gathered: Mutex::new(Vec::with_capacity(HITS_GATHERED)),
            stamps: Mutex::default(),
            floor: AtomicU64::new(0),
            stamped: Notify::new(),
            queued_bytes: AtomicUsize::new(0),
            available: AtomicBool::new(true),
            reads: Semaphore::new(options.reads_max),
            tasks: tasks.clone(),
            metrics,
        });
        shared.observe();
        let writer = Writer { shared: shared.clone(), records, clock, pause: None, owes: false };
        tasks.spawn("cache disk", OnEnd::Forget, writer.run(tasks.clone()));
        DiskTier { shared, queue }
    }

    /// What was found when the files were opened.
    pub fn opened(&self) -> &Opened {
        &self.shared.opened
    }

    /// Hands an object over to be written, and says whether it was taken. Never waits.
    ///
    /// It is found once it is written, if the eviction policy finds it worth that. Not taken while the queue is
    /// full or the disk fails; what was there of its name is then forgotten, since it is not the newest.
    pub fn put(&self, record: NewRecord) -> bool {
        let (shared, bytes, key, asked) = (&self.shared, record.encoded_len(), record.head.key, record.asked);
        let queued = shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let taken = self.is_available()
            && queued + bytes <= shared.segments.options().queue_bytes_max
            && self.queue.try_send(record).is_ok();
        if !taken {
            shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            shared.metrics.dropped.inc();
            if asked {
                shared.segments.remove(key);
            }
        }
        taken
    }

    /// Notes that `scope` was invalidated up to `at`, so that it is so after a restart too. Never waits; while
    /// the disk fails it is kept to be written later.
    pub fn stamp(&self, scope: Key, at: Hlc, kind: u8) {
        let mut stamps = lock(&self.shared.stamps);
        stamps.push(NewRecord::stamp(scope, at, kind));
        if stamps.len() > self.shared.segments.options().stamps_max {
            stamps.clear();
            self.shared.floor.fetch_max(at.to_bits(), Ordering::Relaxed);
        }
        drop(stamps);
        self.shared.stamped.notify_one();
    }

    /// Sees to it that nothing fetched up to `at` is found any more, also after a restart: that holds from when
    /// this returns. What is asked for meanwhile may still be found.
    pub async fn raise_floor(&self, at: Hlc) -> Result<(), Error> {
        let shared = self.shared.clone();
        let raised =
            self.shared.tasks.blocking("cache disk floor", move || shared.segments.raise_floor(at)).await;
        raised.unwrap_or_else(|lost| Err(self.shared.segments.failure(lost)))
    }

    /// When the fetch of the oldest object began that may be found; none if there is none.
    pub fn oldest(&self) -> Option<Hlc> {
        self.shared.segments.oldest()
    }

    /// An object of so many bytes was asked for and found in memory. Only some of these count, for all of them:
    /// nothing here waits, nor costs more than a few nanoseconds on average.
    pub fn note_hit(&self, key: Key, bytes: usize) {
        let shared = &self.shared;
        if !shared.hits.fetch_add(1, Ordering::Relaxed).is_multiple_of(u32::from(ONE_HIT_IN)) {
            return;
        }
        let Ok(mut gathered) = shared.gathered.try_lock() else { return };
        gathered.push((key, bytes));
        if gathered.len() >= HITS_GATHERED {
            shared.segments.note_asked(&gathered, ONE_HIT_IN);
            gathered.clear();
        }
    }

    /// Whether an object is there. Counts no hit.
    pub fn contains(&self, key: Key) -> bool {
        self.shared.segments.contains(key)
    }

    /// Whether objects were taken that are not written yet: any of them may be there in a moment.
    pub fn has_queued(&self) -> bool {
        self.shared.queued_bytes.load(Ordering::Acquire) > 0
    }

    /// Finds an object, counting a hit; does not wait.
    pub fn locate(&self, key: Key) -> Option<Located> {
        self.shared.segments.locate(key)
    }

    /// Finds an object; counts no hit, does not wait.
    pub fn peek(&self, key: Key) -> Option<Located> {
        self.shared.segments.peek(key)
    }

    /// Reads an object if that needs no waiting for the device: none if it does. What is damaged is a miss.
    pub fn try_read(&self, at: &Located) -> Option<Option<Found>> {
        self.shared.segments.try_read(at)
    }

    /// Reads an object, on another thread. What is damaged is a miss. Cancel-safe.
    pub async fn read(&self, at: Located) -> Option<Found> {
        self.blocking(move |segments| segments.read(&at)).await
    }

    /// Reads an object with a part of its body, on another thread. What is damaged is a miss. Cancel-safe.
    pub async fn read_part(&self, at: Located, part: Range<u64>) -> Option<Found> {
        self.blocking(move |segments| segments.read_part(&at, part)).await
    }

    /// Forgets an object, and says whether it was there.
    pub fn remove(&self, key: Key) -> bool {
        self.shared.segments.remove(key)
    }

    /// Forgets what is in a place, and nothing that has been written of the same name since.
    pub fn remove_at(&self, at: &Located) {
        self.shared.segments.lose(at.key, at.location);
    }

    /// Whether objects are written. Not for a while after a failure; what is there is read all the same.
    pub fn is_available(&self) -> bool {
        self.shared.available.load(Ordering::Relaxed)
    }

    /// Objects on disk.
    pub fn objects(&self) -> usize {
        self.shared.segments.index().len()
    }

    /// Bytes of the files on disk.
    pub fn bytes(&self) -> u64 {
        self.shared.segments.bytes()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Segments) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let _turn = self.shared.reads.acquire().await.ok()?;
        let shared = self.shared.clone();
        self.shared.tasks.blocking("cache disk read", move || work(&shared.segments)).await.ok()?
    }
}

impl Shared {
    fn write(&self, batch: &[NewRecord], floor: Hlc) -> Result<Tally, Error> {
        if floor > Hlc::ZERO {
            self.segments.set_floor(floor);
        }
        self.segments.write(batch)
    }

    fn observe(&self) {
        let m = &self.metrics;
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        m.available.set(i64::from(self.available.load(Ordering::Relaxed)));
        m.damaged.set(i64::try_from(self.segments.damaged()).unwrap_or(i64::MAX));
        m.objects.set(number(self.segments.index().len()));
        m.bytes.set(i64::try_from(self.segments.bytes()).unwrap_or(i64::MAX));
        m.index_bytes.set(number(self.segments.index().memory_bytes()));
    }
}

struct Writer {
    shared: Arc<Shared>,
    records: mpsc::Receiver<NewRecord>,
    clock: Clock,
    /// Since the last failure: how long to pause, and since when.
    pause: Option<(Duration, Duration)>,
    /// Whether stamps could not be written.
    owes: bool,
}

impl Writer {
    async fn run(mut self, tasks: Tasks) {
        loop {
            let mut batch = Vec::new();
            let pause = pause(self.pause_left());
            tokio::select! {
                biased;
                count = self.records.recv_many(&mut batch, BATCH_MAX) => if count == 0 { break },
                () = self.shared.stamped.notified() => {}
                () = pause => {
                    self.shared.available.store(true, Ordering::Relaxed);
                    self.shared.observe();
                }
                () = tasks.stopped() => break,
            }
            self.write(batch).await;
        }
    }

    /// How long it is until writing is to be tried again; none while it goes well.
    fn pause_left(&self) -> Option<Duration> {
        let paused = !self.shared.available.load(Ordering::Relaxed);
        let (length, since) = self.pause.filter(|_| paused)?;
        Some((since + length).saturating_sub(self.clock.monotonic()))
    }

    async fn write(&mut self, mut batch: Vec<NewRecord>) {
        let bytes: usize = batch.iter().map(NewRecord::encoded_len).sum();
        let count = batch.len() as u64;
        let m = self.shared.metrics.clone();
        if !self.shared.available.load(Ordering::Relaxed) {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            m.dropped.inc_by(count);
            return;
        }
        batch.append(&mut lock(&self.shared.stamps));
        let floor = Hlc::from_bits(self.shared.floor.swap(0, Ordering::Relaxed));
        if batch.is_empty() && floor == Hlc::ZERO && !self.owes {
            return;
        }
        let shared = self.shared.clone();
        let written =
            self.shared.tasks.blocking("cache disk write", move || shared.write(&batch, floor)).await;
        self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match written {
            Ok(Ok(tally)) => {
                self.pause = None;
                self.owes = false;
                m.count(&tally);
            }
            Ok(Err(error)) => self.fail(&error),
            Err(error) => tracing::error!(%error, "a write to the cache's disk was lost"),
        }
        self.shared.observe();
    }

    fn fail(&mut self, error: &Error) {
        let Options { retry_after, retry_after_max, .. } = self.shared.segments.options();
        let length = self.pause.map_or(retry_after, |(length, _)| (length * 2).min(retry_after_max));
        self.pause = Some((length, self.clock.monotonic()));
        self.owes = true;
        self.shared.available.store(false, Ordering::Relaxed);
        self.shared.metrics.failures.inc();
        tracing::warn!(%error, retry_s = length.as_secs(), "the cache goes on in RAM alone");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn pause(left: Option<Duration>) {
    match left {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::{Head, Kind};
    use selvedge_rt::{Disk, Rng};

    fn record(i: u128, body_len: usize) -> NewRecord {
        let head = Head { key: Key(i << 8), fetched: Hlc::from_bits(1), kind: Kind::Object, note: 0 };
        NewRecord { head, meta: "m".into(), body: vec![7; body_len].into(), asked: true }
    }

    async fn start(dir: &tempfile::TempDir, options: Options) -> (DiskTier, Tasks) {
        let disk = Disk::real(dir.path()).unwrap();
        let opened = Segments::open(disk, options, Rng::from_seed(1)).unwrap();
        let tasks = Tasks::real();
        (DiskTier::start(opened, &tasks, Clock::real(), Metrics::default()), tasks)
    }

    #[tokio::test]
    async fn what_was_put_is_read_after_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let (tier, tasks) = start(&dir, Options { reserve_bytes: 0, ..Options::default() }).await;
        assert!(tier.put(record(1, 5000)));
        while !tier.contains(Key(1 << 8)) {
            tokio::task::yield_now().await;
        }
        let at = tier.locate(Key(1 << 8)).unwrap();
        assert_eq!(tier.read(at.clone()).await.unwrap().body.len(), 5000);
        assert_eq!(tier.read_part(at, 10..20).await.unwrap().body.len(), 10);
        assert!(tasks.shut_down(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_full_queue_takes_nothing_and_never_waits() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { reserve_bytes: 0, queue_bytes_max: 100_000, ..Options::default() };
        let (tier, _tasks) = start(&dir, options).await;
        let taken = (0..10).filter(|i| tier.put(record(*i, 30_000))).count();
        assert_eq!(taken, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_space_it_pauses_and_tries_again() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { reserve_bytes: u64::MAX, ..Options::default() };
        let (tier, _tasks) = start(&dir, options).await;
        assert!(tier.put(record(1, 10)));
        while tier.is_available() {
            tokio::task::yield_now().await;
        }
        assert!(!tier.put(record(2, 10)));
        tokio::time::sleep(options.retry_after).await;
        while !tier.is_available() {
            tokio::task::yield_now().await;
        }
        assert!(tier.put(record(3, 10)), "tried again after the pause");
    }
}
