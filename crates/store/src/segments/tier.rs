//! The disk tier shared by the data-plane threads: writes are queued, reads wait on other threads.

mod metrics;
mod writer;

pub use metrics::Metrics;

use super::Error;
use super::read::Located;
use super::record::{Found, Key, NewRecord};
use super::set::{Opened, Segments};
use super::write::Tally;
use selvedge_rt::{Clock, OnEnd, Tasks};
use selvedge_types::Hlc;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};
use writer::Writer;

/// How long a read may take, with waiting for others'. Then it is a miss, and nothing is read for a while.
const READ_TIME: Duration = Duration::from_secs(2);

/// One in so many hits in memory is told to the disk's eviction policy, and counts for all of them.
const ONE_HIT_IN: u8 = 8;

/// So many of these hits are gathered before they are told.
const HITS_GATHERED: usize = 64;

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
    /// Now, by the clock that orders fetches: what was there of its name was fetched before.
    pub at: Hlc,
    /// About how many bytes it has, of memory and on disk.
    pub bytes: usize,
    /// See [`NewRecord::asked`].
    pub asked: bool,
    /// Makes the record, on another thread; none if that cannot be done.
    pub make: Box<dyn FnOnce() -> Option<NewRecord> + Send>,
}

impl From<NewRecord> for Offer {
    fn from(record: NewRecord) -> Self {
        let (key, at) = (record.head.key, record.head.fetched);
        let (bytes, asked) = (record.encoded_len(), record.asked);
        Offer { key, at, bytes, asked, make: Box::new(move || Some(record)) }
    }
}

/// An object that was asked for and is not written.
struct Dropped {
    key: Key,
    gone: Gone,
    /// Whether another of its name was there when it was to be written.
    was_there: bool,
}

/// An object on its way, and when it came.
type Queued = (Turn, Offer);

/// Counts what objects and removals come, in their order.
type Turn = u64;

/// That an object was removed.
#[derive(Clone, Copy)]
struct Gone {
    turn: Turn,
    /// When, by the clock that orders fetches.
    at: Hlc,
}

struct Shared {
    segments: Segments,
    opened: Opened,
    /// Counts hits in memory.
    hits: AtomicU32,
    /// Some of them, with the objects' bytes.
    gathered: Mutex<Vec<(Key, usize)>>,
    /// Stamps to be written before anything else, by scope and kind.
    stamps: Mutex<BTreeMap<(Key, u8), Hlc>>,
    /// In place of stamps or removals that were too many: a floor to be set, as bits.
    floor: AtomicU64,
    stamped: Notify,
    turns: AtomicU64,
    /// Objects that were removed, to be noted before anything else, and when.
    gone: Mutex<BTreeMap<Key, Gone>>,
    queued_bytes: AtomicUsize,
    available: AtomicBool,
    /// Why the last write failed.
    problem: Mutex<String>,
    reads: Arc<Semaphore>,
    /// Until when nothing is read, since the device hangs; in milliseconds of the monotonic clock.
    unread_until: AtomicU64,
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
            reads: Arc::new(Semaphore::new(options.reads_max)),
            unread_until: AtomicU64::new(0),
            clock,
            tasks: tasks.clone(),
            metrics,
        });
        shared.observe();
        tasks.spawn("cache disk", OnEnd::Forget, Writer::new(shared.clone(), offers).run());
        DiskTier { shared, queue }
    }

    /// What was found when the files were opened.
    pub fn opened(&self) -> &Opened {
        &self.shared.opened
    }

    /// Hands an object over to be written, and says whether it was taken. Never waits.
    ///
    /// It is found once it is written, if the eviction policy finds it worth that. Not taken while the queue is
    /// full, the disk fails or the tier stops; what was there of its name is then forgotten, since it is not the newest.
    pub fn put(&self, offer: impl Into<Offer>) -> bool {
        let offer = offer.into();
        let (shared, bytes, key) = (&self.shared, offer.bytes, offer.key);
        let asked_at = offer.asked.then_some(offer.at);
        // Before its turn is drawn: while anything is queued, removals are remembered.
        let queued = shared.queued_bytes.fetch_add(bytes, Ordering::SeqCst);
        let taken = self.is_available()
            && !shared.tasks.is_stopping()
            && queued + bytes <= shared.segments.options().queue_bytes_max
            && self.queue.try_send((shared.turn(), offer)).is_ok();
        if !taken {
            shared.queued_bytes.fetch_sub(bytes, Ordering::SeqCst);
            shared.metrics.dropped.inc();
            if let Some(at) = asked_at {
                self.remove(key, at);
            }
        }
        taken
    }

    /// Notes that `scope` was invalidated up to `at`, so that it is so after a restart too. Never waits; while
    /// the disk fails it is kept to be written later.
    pub fn stamp(&self, scope: Key, at: Hlc, kind: u8) {
        let mut stamps = lock(&self.shared.stamps);
        let stamp = stamps.entry((scope, kind)).or_default();
        *stamp = at.max(*stamp);
        if stamps.len() > self.shared.segments.options().stamps_max {
            let latest = stamps.values().max().copied().unwrap_or(at);
            stamps.clear();
            self.shared.floor.fetch_max(latest.to_bits(), Ordering::SeqCst);
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
        self.shared.queued_bytes.load(Ordering::SeqCst) > 0
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
    /// disk fails it is kept to be noted later. `at` is now, by the clock that orders fetches.
    pub fn remove(&self, key: Key, at: Hlc) {
        let shared = &self.shared;
        // In this order: what is written meanwhile is in one of them.
        if self.has_queued() || self.contains(key) {
            shared.note_gone(key, Gone { turn: shared.turn(), at });
            shared.segments.remove(key);
            shared.stamped.notify_one();
        }
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

    /// Reads on another thread, unless the device hangs: whoever waits for it then would be better off without.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Segments) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let shared = self.shared.clone();
        if shared.now_ms() < shared.unread_until.load(Ordering::Relaxed) {
            return None;
        }
        let reading = async {
            let turn = shared.reads.clone().acquire_owned().await.ok()?;
            let of = shared.clone();
            // The turn goes with the work, which goes on when nobody waits for it any more.
            let work = move || (work(&of.segments), turn).0;
            shared.tasks.blocking("cache disk read", work).await.ok()?
        };
        let read = tokio::time::timeout(READ_TIME, reading).await;
        read.unwrap_or_else(|_| {
            shared.pause_reading();
            None
        })
    }
}

impl Shared {
    fn turn(&self) -> Turn {
        self.turns.fetch_add(1, Ordering::SeqCst)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    fn pause_reading(&self) {
        let pause = self.segments.options().retry_after;
        let until = self.now_ms() + u64::try_from(pause.as_millis()).unwrap_or(u64::MAX / 2);
        if self.unread_until.fetch_max(until, Ordering::Relaxed) + 1000 < until {
            tracing::warn!(
                pause_s = pause.as_secs(),
                "the cache's disk does not answer; it is not read for a while"
            );
        }
    }

    /// An object is to be noted as removed. Of too many none is: nothing that is there now is used any more instead.
    fn note_gone(&self, key: Key, removed: Gone) {
        let mut gone = lock(&self.gone);
        let known = gone.entry(key).or_insert(removed);
        if known.turn < removed.turn {
            *known = removed;
        }
        if gone.len() > self.segments.options().stamps_max {
            let latest = gone.values().map(|gone| gone.at).max().unwrap_or(removed.at);
            gone.clear();
            self.floor.fetch_max(latest.to_bits(), Ordering::SeqCst);
        }
    }

    /// Those that were asked for: one that was not leaves what is there of its name.
    fn asked(&self, queued: &[Queued]) -> Vec<Dropped> {
        let dropped = |(turn, offer): &Queued| Dropped {
            key: offer.key,
            gone: Gone { turn: *turn, at: offer.at },
            was_there: self.segments.contains(offer.key),
        };
        queued.iter().filter(|(_, offer)| offer.asked).map(dropped).collect()
    }

    /// What was asked for and is not written is not what is there of its name either.
    fn drop_offers<'a>(&self, offers: impl Iterator<Item = &'a Dropped>) {
        for Dropped { key, gone, was_there } in offers {
            if self.segments.remove(*key) || *was_there {
                self.note_gone(*key, *gone);
            }
        }
    }

    fn write(&self, batch: Vec<Offer>, notes: Vec<NewRecord>, floor: Hlc) -> Result<Tally, Error> {
        if floor > Hlc::ZERO {
            self.segments.set_floor(floor);
        }
        let mut records = notes;
        records.extend(batch.into_iter().filter_map(|offer| {
            let (key, asked) = (offer.key, offer.asked);
            (offer.make)().or_else(|| asked.then(|| NewRecord::gone(key)))
        }));
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
