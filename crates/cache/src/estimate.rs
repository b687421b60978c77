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

impl Report {
    /// This report with the sizes of another one, of the same requests, after its own.
    pub fn join(mut self, other: Report) -> Report {
        self.sizes.extend(other.sizes);
        for (bucket, others) in self.buckets.iter_mut().zip(other.buckets) {
            bucket.origin.extend(others.origin);
        }
        self
    }
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
/// on others, each with some of the sizes (see [`Report::join`]).
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

/// One cache that is estimated.
#[derive(Debug)]
struct Size {
    policy: Eviction,
    report: SizeReport,
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
#[derive(Debug)]
pub struct Estimate {
    freshness_ms: u64,
    overhead_bytes: u32,
    sizes: Vec<Size>,
    known: HashTable<Known>,
    /// By object: the largest answer so far.
    bytes: Vec<u64>,
    /// By object and size: until when it is fresh, or [`ABSENT`].
    fresh_until: Vec<u64>,
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
        let size = |&capacity: &u64| Size {
            policy: Eviction::new(capacity, 0, capacity),
            report: SizeReport { capacity, ..SizeReport::default() },
        };
        let sizes: Vec<Size> = capacities.map(size).collect();
        Estimate {
            freshness_ms: u64::try_from(options.freshness.as_millis()).unwrap_or(u64::MAX),
            overhead_bytes: options.overhead_bytes,
            timeline: Timeline::new(options.bucket, sizes.len()),
            sizes,
            known: HashTable::new(),
            bytes: Vec::new(),
            fresh_until: Vec::new(),
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

    /// Replays one request.
    pub fn request(&mut self, request: &Request) {
        self.total.add(request.bytes);
        self.timeline.request(request.time, request.bytes);
        let object = match request.class {
            Class::Pass => None,
            Class::Lookup { .. } => self.object(request.hash),
            Class::Invalidate => self.known_object(request.hash),
        };
        match (request.class, object) {
            (Class::Lookup { store, refresh }, Some(object)) => self.look_up(object, request, store, refresh),
            (Class::Lookup { .. }, None) => {
                self.unfollowed += 1;
                self.count_origin(request.bytes);
            }
            (Class::Invalidate, Some(object)) => {
                self.passed += 1;
                self.invalidate(object);
                self.count_origin(request.bytes);
            }
            (Class::Invalidate | Class::Pass, _) => {
                self.passed += 1;
                self.count_origin(request.bytes);
            }
        }
    }

    /// What the cache of the size at that place in [`Options::capacities`] answered so far.
    pub fn hits(&self, size: usize) -> Traffic {
        self.sizes.get(size).map(|size| size.report.hits).unwrap_or_default()
    }

    /// What came out so far.
    pub fn report(&self) -> Report {
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

    fn look_up(&mut self, object: u32, request: &Request, store: bool, refresh: bool) {
        let Some(bytes) = self.bytes.get_mut(object as usize) else { return };
        *bytes = (*bytes).max(request.bytes);
        let body = u32::try_from(*bytes).unwrap_or(u32::MAX);
        let lookup = Lookup {
            slot: Slot(object),
            hash: request.hash,
            cost: body.saturating_add(self.overhead_bytes).max(1),
            now: request.time.0,
            fresh_until: request.time.0.saturating_add(self.freshness_ms).max(ABSENT + 1),
            store,
            refresh,
        };
        let sizes = self.sizes.len();
        for at in 0..sizes {
            if self.sizes[at].look_up(&lookup, &mut self.fresh_until[at..], sizes) {
                self.sizes[at].report.hits.add(request.bytes);
            } else {
                self.sizes[at].report.origin.add(request.bytes);
                self.timeline.origin(at, request.bytes);
            }
        }
    }

    fn invalidate(&mut self, object: u32) {
        let sizes = self.sizes.len();
        for (at, size) in self.sizes.iter_mut().enumerate() {
            size.policy.remove(Slot(object));
            self.fresh_until[object as usize * sizes + at] = ABSENT;
        }
    }

    fn count_origin(&mut self, bytes: u64) {
        for (at, size) in self.sizes.iter_mut().enumerate() {
            size.report.origin.add(bytes);
            self.timeline.origin(at, bytes);
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
        self.fresh_until.resize(self.fresh_until.len() + self.sizes.len(), ABSENT);
        Some(object)
    }
}

/// One look-up, as every size sees it.
struct Lookup {
    slot: Slot,
    hash: u64,
    cost: u32,
    now: u64,
    fresh_until: u64,
    /// Whether the answer is stored if there is nothing yet.
    store: bool,
    /// Whether the answer brings what is stored up to date.
    refresh: bool,
}

impl Size {
    /// Whether it is a hit. `fresh_until` begins with this size's first object; objects are `stride` apart.
    fn look_up(&mut self, request: &Lookup, fresh_until: &mut [u64], stride: usize) -> bool {
        let place = request.slot.0 as usize * stride;
        let until = fresh_until[place];
        if until > request.now {
            self.policy.on_hit(request.slot, request.hash);
            return true;
        }
        if until != ABSENT {
            self.report.stale += 1;
            self.policy.on_hit(request.slot, request.hash);
            if request.refresh {
                self.policy.set_cost(request.slot, request.cost);
                fresh_until[place] = request.fresh_until;
            }
        } else if request.store {
            self.policy.insert(request.slot, request.hash, request.cost);
            fresh_until[place] = request.fresh_until;
        } else {
            self.policy.record_miss(request.hash);
        }
        while let Some(victim) = self.policy.pop_victim() {
            self.report.evictions += 1;
            fresh_until[victim.0 as usize * stride] = ABSENT;
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
