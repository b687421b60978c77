//! What a cache would have saved: a log's requests replayed at several sizes through the core's own eviction.
//!
//! Logs say nothing of `Cache-Control`, so that freshness is stated, not read; the other things that have to
//! be supposed are listed in [`ASSUMPTIONS`]. Lines are untrusted: what is no request is counted and skipped,
//! and everything that grows has a limit.

pub mod log;

mod traffic;

use std::time::Duration;

use hashbrown::HashTable;
use selvedge_types::UnixMillis;

use crate::eviction::{Eviction, Slot};
use log::Record;
use traffic::Timeline;
pub use traffic::{BUCKETS_MAX, Bucket, Traffic};

/// What is supposed, to be shown beside the result.
pub const ASSUMPTIONS: &[&str] = &[
    "every cacheable response is fresh for the stated time; responses' own Cache-Control is not in logs",
    "only GET and HEAD are answered from cache; stored is what a GET brought with status 200, 203, 204, 206, 300, \
     301, 304, 308, 404, 405, 410, 414 or 501",
    "the key is host, path and query; responses do not vary by header or cookie",
    "an object is as large as the largest answer that was sent for it so far, and is kept whole",
    "a stale object is fetched again in full",
    "a successful request by an unsafe method (POST, PUT, DELETE ...) invalidates its key",
    "the cache is empty at the first line",
];

/// How many sizes may be estimated at once.
pub const SIZES_MAX: usize = 16;

/// How many different objects are followed; requests for others are counted as misses.
pub const OBJECTS_MAX: usize = 1 << 24;

/// How many requests are replayed together: few enough to stay in the processor's cache meanwhile.
const BATCH: usize = 256;

/// How to estimate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the caches to estimate; at most [`SIZES_MAX`] are looked at.
    pub capacities: Vec<u64>,
    /// For how long a stored response is fresh.
    pub freshness: Duration,
    /// Bytes that an object takes beside its body.
    pub overhead_bytes: u32,
    /// How much time a bucket of the report covers at least; it is doubled as often as [`BUCKETS_MAX`] demands.
    pub bucket: Duration,
}

/// What is estimated for one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SizeReport {
    /// Bytes of the cache.
    pub capacity: u64,
    /// What it answered.
    pub hits: Traffic,
    /// What went to the origin.
    pub origin: Traffic,
    /// How many of the origin's requests were for an object that was there, but stale.
    pub stale: u64,
    /// How many objects had to go for others, or were not admitted.
    pub evictions: u64,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// All requests and the bytes of their answers.
    pub total: Traffic,
    /// How many requests could not have been answered from cache, whatever its size: by their method.
    pub passed: u64,
    /// How many lines were no request: malformed or too long.
    pub skipped: u64,
    /// How many requests were for objects beyond [`OBJECTS_MAX`].
    pub unfollowed: u64,
    /// How many different objects were asked for by GET or HEAD.
    pub objects: usize,
    /// Bytes of all of these.
    pub footprint_bytes: u64,
    /// The earliest and the latest time in the log.
    pub span: Option<(UnixMillis, UnixMillis)>,
    /// By size, as in [`Options::capacities`].
    pub sizes: Vec<SizeReport>,
    /// How much time a bucket covers.
    pub bucket: Duration,
    /// Traffic over time, the earliest first; buckets without requests are left out.
    pub buckets: Vec<Bucket>,
}

impl SizeReport {
    /// Hits as a share of all requests, 0 to 1.
    pub fn hit_ratio(&self) -> f64 {
        share(self.hits.requests, self.origin.requests)
    }

    /// Bytes from cache as a share of all bytes, 0 to 1.
    pub fn byte_hit_ratio(&self) -> f64 {
        share(self.hits.bytes, self.origin.bytes)
    }
}

fn share(part: u64, rest: u64) -> f64 {
    part as f64 / (part + rest).max(1) as f64
}

/// What is needed of a [`Record`] to replay it, 32 bytes: so that lines can be read on one thread and replayed
/// on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    time: UnixMillis,
    hash: u64,
    bytes: u64,
    class: Class,
}

/// What a request means to a cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    /// It may be answered from cache; its answer may be stored if there is nothing, or bring up to date what
    /// there is.
    Lookup { store: bool, refresh: bool },
    /// It makes what is stored for its key invalid (RFC 9111 section 4.4).
    Invalidate,
    /// It has nothing to do with the cache.
    Pass,
}

impl From<&Record<'_>> for Request {
    fn from(record: &Record<'_>) -> Self {
        Request { time: record.time, hash: record.key_hash(), bytes: record.bytes, class: classify(record) }
    }
}

/// An object's place in the tables.
#[derive(Debug, Clone, Copy)]
struct Known {
    hash: u64,
    object: u32,
}

/// Not stored; stored ones are fresh until a time that is later.
const ABSENT: u64 = 0;

/// Replays requests, in the log's order.
///
/// It takes them a batch at a time: first each one's object is looked up, then one size after the other replays
/// the batch. What is being worked on so stays in the processor's cache, and nothing waits for one table after
/// the other.
#[derive(Debug)]
pub struct Estimate {
    freshness_ms: u64,
    overhead_bytes: u32,
    /// Not replayed yet; fewer than [`BATCH`].
    pending: Vec<Request>,
    /// The batch that is replayed; empty in between.
    steps: Vec<Step>,
    sizes: Vec<Size>,
    known: HashTable<Known>,
    /// By object: the largest answer so far.
    bytes: Vec<u64>,
    timeline: Timeline,
    total: Traffic,
    passed: u64,
    skipped: u64,
    unfollowed: u64,
}

impl Estimate {
    /// Empty caches.
    pub fn new(options: &Options) -> Self {
        let capacities = options.capacities.iter().take(SIZES_MAX);
        let sizes: Vec<Size> = capacities.map(|capacity| Size::new(*capacity)).collect();
        Estimate {
            freshness_ms: u64::try_from(options.freshness.as_millis()).unwrap_or(u64::MAX),
            overhead_bytes: options.overhead_bytes,
            pending: Vec::with_capacity(BATCH),
            steps: Vec::with_capacity(BATCH),
            timeline: Timeline::new(options.bucket, sizes.len()),
            sizes,
            known: HashTable::new(),
            bytes: Vec::new(),
            total: Traffic::default(),
            passed: 0,
            skipped: 0,
            unfollowed: 0,
        }
    }

    /// Replays one line of a log, without its line end; a line that is no request is counted and skipped.
    pub fn line(&mut self, line: &[u8]) {
        match log::parse(line) {
            Ok(record) => self.request(&Request::from(&record)),
            Err(_) => self.skip(1),
        }
    }

    /// Counts lines that could not even be read, being too long.
    pub fn skip(&mut self, lines: u64) {
        self.skipped += lines;
    }

    /// Replays one request, with those that follow or when somebody asks for a result.
    pub fn request(&mut self, request: &Request) {
        self.pending.push(*request);
        if self.pending.len() >= BATCH {
            self.replay();
        }
    }

    /// What the cache of the size at that place in [`Options::capacities`] answered so far.
    pub fn hits(&mut self, size: usize) -> Traffic {
        self.replay();
        self.sizes.get(size).map(|size| size.report.hits).unwrap_or_default()
    }

    /// What came out so far.
    pub fn report(&mut self) -> Report {
        self.replay();
        let (bucket, buckets) = self.timeline.buckets();
        Report {
            total: self.total,
            passed: self.passed,
            skipped: self.skipped,
            unfollowed: self.unfollowed,
            objects: self.bytes.len(),
            footprint_bytes: self.bytes.iter().sum(),
            span: self.timeline.span(),
            sizes: self.sizes.iter().map(|size| size.report).collect(),
            bucket,
            buckets,
        }
    }

    /// Replays what is pending.
    fn replay(&mut self) {
        for at in 0..self.pending.len() {
            let step = self.step(self.pending[at]);
            self.steps.push(step);
        }
        for (at, size) in self.sizes.iter_mut().enumerate() {
            size.grow(self.bytes.len());
            for step in &mut self.steps {
                step.hits |= u16::from(size.replay(step)) << at;
            }
        }
        for step in &self.steps {
            self.timeline.request(step.request.time, step.request.bytes);
            let missed = (0..self.sizes.len()).filter(|at| step.hits >> at & 1 == 0);
            missed.for_each(|at| self.timeline.origin(at, step.request.bytes));
        }
        self.pending.clear();
        self.steps.clear();
    }

    /// Looks up a request's object, and counts what is the same for all sizes.
    fn step(&mut self, request: Request) -> Step {
        self.total.add(request.bytes);
        let object = match request.class {
            Class::Pass => None,
            Class::Lookup { .. } => self.object(request.hash),
            Class::Invalidate => self.known_object(request.hash),
        };
        match request.class {
            Class::Pass | Class::Invalidate => self.passed += 1,
            Class::Lookup { .. } => self.unfollowed += u64::from(object.is_none()),
        }
        let largest = match (request.class, object) {
            (Class::Lookup { .. }, Some(object)) => {
                let largest = &mut self.bytes[object as usize];
                *largest = (*largest).max(request.bytes);
                u32::try_from(*largest).unwrap_or(u32::MAX)
            }
            _ => 0,
        };
        Step {
            request,
            object,
            cost: largest.saturating_add(self.overhead_bytes).max(1),
            fresh_until: request.time.0.saturating_add(self.freshness_ms).max(ABSENT + 1),
            hits: 0,
        }
    }

    fn known_object(&self, hash: u64) -> Option<u32> {
        self.known.find(hash, |known| known.hash == hash).map(|known| known.object)
    }

    /// The number of an object, a new one if there may be more.
    fn object(&mut self, hash: u64) -> Option<u32> {
        let found = self.known_object(hash);
        if found.is_some() || self.bytes.len() >= OBJECTS_MAX {
            return found;
        }
        let object = self.bytes.len() as u32;
        self.known.insert_unique(hash, Known { hash, object }, |known| known.hash);
        self.bytes.push(0);
        Some(object)
    }
}

/// One request of a batch, as every size sees it.
#[derive(Debug)]
struct Step {
    request: Request,
    /// What it is for; none if that is not followed, or does not matter.
    object: Option<u32>,
    cost: u32,
    fresh_until: u64,
    /// By size, from the lowest bit on: whether it was a hit.
    hits: u16,
}

/// One cache that is estimated.
#[derive(Debug)]
struct Size {
    policy: Eviction,
    /// By object: until when it is fresh, or [`ABSENT`].
    fresh_until: Vec<u64>,
    report: SizeReport,
}

impl Size {
    fn new(capacity: u64) -> Self {
        let report = SizeReport { capacity, ..SizeReport::default() };
        Size { policy: Eviction::new(capacity, 0, capacity), fresh_until: Vec::new(), report }
    }

    /// There are that many objects.
    fn grow(&mut self, objects: usize) {
        self.fresh_until.resize(objects, ABSENT);
    }

    /// Whether it is a hit.
    fn replay(&mut self, step: &Step) -> bool {
        let bytes = step.request.bytes;
        let hit = match (step.request.class, step.object) {
            (Class::Lookup { store, refresh }, Some(object)) => self.look_up(step, object, store, refresh),
            (Class::Invalidate, Some(object)) => {
                self.policy.remove(Slot(object));
                self.fresh_until[object as usize] = ABSENT;
                false
            }
            (Class::Lookup { .. } | Class::Invalidate | Class::Pass, _) => false,
        };
        let counted = if hit { &mut self.report.hits } else { &mut self.report.origin };
        counted.add(bytes);
        hit
    }

    /// Whether it is a hit. If not, the answer is stored if it may be (`store`), and brings up to date what is
    /// stored if it can (`refresh`).
    fn look_up(&mut self, step: &Step, object: u32, store: bool, refresh: bool) -> bool {
        let (slot, hash) = (Slot(object), step.request.hash);
        let until = &mut self.fresh_until[object as usize];
        if *until > step.request.time.0 {
            self.policy.on_hit(slot, hash);
            return true;
        }
        if *until != ABSENT {
            self.report.stale += 1;
            self.policy.on_hit(slot, hash);
            if refresh {
                self.policy.set_cost(slot, step.cost);
                *until = step.fresh_until;
            }
        } else if store {
            self.policy.insert(slot, hash, step.cost);
            *until = step.fresh_until;
        } else {
            self.policy.record_miss(hash);
        }
        while let Some(victim) = self.policy.pop_victim() {
            self.report.evictions += 1;
            self.fresh_until[victim.0 as usize] = ABSENT;
        }
        false
    }
}

fn classify(record: &Record<'_>) -> Class {
    match record.method.as_ref() {
        b"GET" => Class::Lookup { store: is_cacheable(record.status), refresh: is_cacheable(record.status) },
        b"HEAD" => Class::Lookup { store: false, refresh: is_cacheable(record.status) },
        b"OPTIONS" | b"TRACE" | b"CONNECT" => Class::Pass,
        _ if (200..400).contains(&record.status) => Class::Invalidate,
        _ => Class::Pass,
    }
}

/// Whether an answer with that status is taken for cacheable: by default (RFC 9110 section 15.1), or 304, by which
/// the client has what the cache would have.
pub fn is_cacheable(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 304 | 308 | 404 | 405 | 410 | 414 | 501)
}

#[cfg(test)]
mod tests;
