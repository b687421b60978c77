//! The disk tier shared by the data-plane threads: writes are queued, reads wait on other threads.

use super::read::Located;
use super::record::{Found, Key, NewRecord};
use super::set::{Opened, Segments};
use super::write::Tally;
use super::{Error, Options};
use selvedge_observe::{Counter, Gauge, Registry};
use selvedge_rt::{Clock, OnEnd, Tasks};
use selvedge_types::{Hlc, HlcClock};
use std::collections::BTreeMap;
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
    evicted: Counter,
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
        registry.register(
            "cache_disk_evictions",
            "Objects that left the disk with their file to make room",
            m.evicted.clone(),
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
        self.evicted.inc_by(tally.evicted);
    }
}

/// A handle to the disk tier. Cheap to clone.
#[derive(Clone)]
pub struct DiskTier {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Queued>,
}

/// An object to be written, of which the record is made when it is.
///
/// A queue of records would cost more memory than their bytes: a copy of a header is about as large as the object it
/// is of, so that the allocator lays them side by side, and what is left of the copies is holes between objects.
pub struct Offer {
    /// Its name.
    pub key: Key,
    /// About how many bytes it has, of memory and on disk.
    pub bytes: usize,
    /// See [`NewRecord::asked`].
    pub asked: bool,
    /// Makes the record, on another thread; none if that cannot be done.
    pub make: Box<dyn FnOnce() -> Option<NewRecord> + Send>,
}

impl From<NewRecord> for Offer {
    fn from(record: NewRecord) -> Self {
        let (key, bytes, asked) = (record.head.key, record.encoded_len(), record.asked);
        Offer { key, bytes, asked, make: Box::new(move || Some(record)) }
    }
}

/// An object on its way, and when it came.
type Queued = (Turn, Offer);

/// Counts what objects and removals come, in their order.
type Turn = u64;

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
    turns: AtomicU64,
    /// Objects that were removed, to be noted before anything else, and when.
    gone: Mutex<BTreeMap<Key, Turn>>,
    queued_bytes: AtomicUsize,
    available: AtomicBool,
    /// Why the last write failed.
    problem: Mutex<String>,
    reads: Semaphore,
    clock: Clock,
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
        let (queue, offers) = mpsc::channel(options.queue_max);
        let shared = Arc::new(Shared {
            segments,
            opened,
            hits: AtomicU32::new(0),
            gathered: Mutex::new(Vec::with_capacity(HITS_GATHERED)),
            stamps: Mutex::default(),
            floor: AtomicU64::new(0),
            stamped: Notify::new(),
            turns: AtomicU64::new(0),
            gone: Mutex::default(),
            queued_bytes: AtomicUsize::new(0),
            available: AtomicBool::new(true),
            problem: Mutex::default(),
            reads: Semaphore::new(options.reads_max),
            clock: clock.clone(),
            tasks: tasks.clone(),
            metrics,
        });
        shared.observe();
        let gone = BTreeMap::new();
        let writer = Writer { shared: shared.clone(), offers, clock, pause: None, owes: false, gone };
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
    pub fn put(&self, offer: impl Into<Offer>) -> bool {
        let offer = offer.into();
        let (shared, bytes, key, asked) = (&self.shared, offer.bytes, offer.key, offer.asked);
        let queued = shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let taken = self.is_available()
            && queued + bytes <= shared.segments.options().queue_bytes_max
            && self.queue.try_send((shared.turn(), offer)).is_ok();
        if !taken {
            shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            shared.metrics.dropped.inc();
            if asked {
                self.remove(key);
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

    /// How many objects left with their file to make room, since the start.
    pub fn evictions(&self) -> u64 {
        self.shared.metrics.evicted.get()
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

    /// Forgets an object, for good: what was written of it is not found after a restart either. Never waits; while the
    /// disk fails it is kept to be noted later.
    pub fn remove(&self, key: Key) {
        let shared = &self.shared;
        // In this order: what is written meanwhile is in one of them.
        let is_coming = self.has_queued();
        if !shared.segments.remove(key) && !is_coming {
            return;
        }
        let mut gone = lock(&shared.gone);
        gone.insert(key, shared.turn());
        if gone.len() > shared.segments.options().stamps_max {
            // Too many to be told apart: nothing that is there now is used any more.
            gone.clear();
            let now = HlcClock::default().tick(shared.clock.wall());
            shared.floor.fetch_max(now.to_bits(), Ordering::Relaxed);
        }
        drop(gone);
        shared.stamped.notify_one();
    }

    /// Forgets what is in a place, and nothing that has been written of the same name since.
    pub fn remove_at(&self, at: &Located) {
        self.shared.segments.lose(at.key, at.location);
    }

    /// Whether objects are written. Not for a while after a failure; what is there is read all the same.
    pub fn is_available(&self) -> bool {
        self.shared.available.load(Ordering::Relaxed)
    }

    /// Why nothing is written at present, if nothing is: the disk is full, or fails.
    pub fn problem(&self) -> Option<String> {
        (!self.is_available()).then(|| lock(&self.shared.problem).clone())
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
    fn turn(&self) -> Turn {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    fn write(&self, batch: Vec<Offer>, notes: Vec<NewRecord>, floor: Hlc) -> Result<Tally, Error> {
        if floor > Hlc::ZERO {
            self.segments.set_floor(floor);
        }
        let mut records = notes;
        records.extend(batch.into_iter().filter_map(|offer| (offer.make)()));
        self.segments.write(&records)
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
    offers: mpsc::Receiver<Queued>,
    clock: Clock,
    /// What was removed while something older of its name may be on its way.
    gone: BTreeMap<Key, Turn>,
    /// Since the last failure: how long to pause, and since when.
    pause: Option<(Duration, Duration)>,
    /// Whether stamps could not be written.
    owes: bool,
}

impl Writer {
    async fn run(mut self, tasks: Tasks) {
        loop {
            let mut batch = Vec::with_capacity(BATCH_MAX);
            let pause = pause(self.pause_left());
            tokio::select! {
                biased;
                count = self.offers.recv_many(&mut batch, BATCH_MAX) => if count == 0 { break },
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

    async fn write(&mut self, queued: Vec<Queued>) {
        let bytes: usize = queued.iter().map(|(_, offer)| offer.bytes).sum();
        let count = queued.len() as u64;
        let m = self.shared.metrics.clone();
        if !self.shared.available.load(Ordering::Relaxed) {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            m.dropped.inc_by(count);
            return;
        }
        let removed = std::mem::take(&mut *lock(&self.shared.gone));
        self.gone.extend(removed.iter().map(|(key, turn)| (*key, *turn)));
        let is_newest = |(turn, offer): &Queued| self.gone.get(&offer.key).is_none_or(|gone| gone < turn);
        let batch: Vec<Offer> = queued.into_iter().filter(is_newest).map(|(_, offer)| offer).collect();
        if self.offers.is_empty() {
            self.gone.clear();
        }
        let mut notes = std::mem::take(&mut *lock(&self.shared.stamps));
        notes.extend(removed.keys().map(|key| NewRecord::gone(*key)));
        let floor = Hlc::from_bits(self.shared.floor.swap(0, Ordering::Relaxed));
        if batch.is_empty() && notes.is_empty() && floor == Hlc::ZERO && !self.owes {
            return;
        }
        let shared = self.shared.clone();
        let written =
            self.shared.tasks.blocking("cache disk write", move || shared.write(batch, notes, floor)).await;
        self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match written {
            Ok(Ok(tally)) => {
                self.pause = None;
                self.owes = false;
                m.count(&tally);
            }
            Ok(Err(error)) => {
                self.fail(&error);
                // To be noted again; a later removal of the same name stays.
                let mut gone = lock(&self.shared.gone);
                for (key, turn) in removed {
                    gone.entry(key).or_insert(turn);
                }
            }
            Err(error) => tracing::error!(%error, "a write to the cache's disk was lost"),
        }
        self.shared.observe();
    }

    fn fail(&mut self, error: &Error) {
        let Options { retry_after, retry_after_max, .. } = self.shared.segments.options();
        let length = self.pause.map_or(retry_after, |(length, _)| (length * 2).min(retry_after_max));
        self.pause = Some((length, self.clock.monotonic()));
        self.owes = true;
        let why = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
        *lock(&self.shared.problem) =
            format!("{error}{why}; tried again every {} s", length.as_secs().max(1));
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
    async fn what_is_removed_is_not_found_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { reserve_bytes: 0, ..Options::default() };
        let (tier, tasks) = start(&dir, options).await;
        let key = |i: u128| Key(i << 8);
        for i in 1..=3 {
            assert!(tier.put(record(i, 100)));
        }
        // On its way still, and on disk.
        tier.remove(key(1));
        while tier.has_queued() {
            tokio::task::yield_now().await;
        }
        assert!(!tier.contains(key(1)) && tier.contains(key(2)));
        tier.remove(key(2));
        tier.remove(key(3));
        // What comes after its removal is there.
        assert!(tier.put(record(3, 200)));
        while tier.has_queued() {
            tokio::task::yield_now().await;
        }
        assert!(tasks.shut_down(Duration::from_secs(5)).await);
        drop(tier);
        let (tier, _tasks) = start(&dir, options).await;
        assert!(!tier.contains(key(1)) && !tier.contains(key(2)));
        let at = tier.locate(key(3)).unwrap();
        assert_eq!(tier.read(at).await.unwrap().body.len(), 200);
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
        let problem = tier.problem().unwrap();
        assert!(problem.contains("MiB free, and the cache leaves"), "{problem}");
        tokio::time::sleep(options.retry_after).await;
        while !tier.is_available() {
            tokio::task::yield_now().await;
        }
        assert_eq!(tier.problem(), None);
        assert!(tier.put(record(3, 10)), "tried again after the pause");
    }
}
