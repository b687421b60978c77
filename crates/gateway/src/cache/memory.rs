//! The memory tier: shards behind locks, and the purge stamps that what they hold is checked against.

use super::object::{Object, Stored};
use super::purge::Purge;
use selvedge_cache::semantics::{KeyHash, KeyHasher, VaryNames};
use selvedge_cache::shard::Shard;
use selvedge_cache::stamps::{PurgeKind, Purged, ScopeHash, ScopeHasher, Stamps};
use selvedge_types::{Fields, Hlc, UnixMillis};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// How many bytes a shard should have at least: smaller ones evict less well.
const SHARD_BYTES_MIN: u64 = 16 << 20;
const SHARDS_MAX: usize = 16;

/// The memory tier.
pub(crate) struct Memory {
    shards: Box<[Mutex<Shard<Stored>>]>,
    pub(crate) stamps: StampBook,
    hasher: KeyHasher,
    capacity: AtomicU64,
}

/// What a look-up finds.
pub(crate) enum Lookup {
    /// A response, under that key; and since when a soft purge covers it, if one does.
    Object { object: Object, key: KeyHash, purged: Option<Hlc> },
    /// Nothing, for a request that would be stored under that key.
    Absent {
        key: KeyHash,
        /// There are responses for other variants of the request.
        varies: bool,
    },
    /// Until then, requests for this key are not to wait for each other.
    Pass(UnixMillis),
}

impl Memory {
    pub(crate) fn new(capacity: u64, seed: u64, secret: [u8; 32]) -> Self {
        let count = usize::try_from(capacity / SHARD_BYTES_MIN).unwrap_or(SHARDS_MAX).clamp(1, SHARDS_MAX);
        let shard = |i| Mutex::new(Shard::new(capacity / count as u64, seed.wrapping_add(i as u64)));
        Memory {
            shards: (0..count).map(shard).collect(),
            stamps: StampBook::new(ScopeHasher::new(secret)),
            hasher: KeyHasher::new(secret),
            capacity: AtomicU64::new(capacity),
        }
    }

    pub(crate) fn shard(&self, key: KeyHash) -> MutexGuard<'_, Shard<Stored>> {
        // A shard's operations leave it whole even if they panic between two entries.
        self.shards[shard_of(key, self.shards.len())].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the response that a request with those fields would get, and checks it against purges.
    /// `scopes` lists the purge scopes of the request's target; it is only asked when it matters.
    pub(crate) fn look_up<I>(&self, primary: KeyHash, fields: &Fields, scopes: impl Fn() -> I) -> Lookup
    where
        I: Iterator<Item = ScopeHash>,
    {
        let mut shard = self.shard(primary);
        let mut key = primary;
        let mut varies = false;
        let (object, checked) = loop {
            match shard.get(key).map(|found| (found.value.clone(), found.checked)) {
                Some((Stored::Object(object), checked)) => break (object, checked),
                Some((Stored::Varies(vary), _)) if !varies => {
                    varies = true;
                    key = self.variant_key(primary, &vary, fields);
                }
                Some((Stored::Pass(until), _)) => return Lookup::Pass(until),
                _ => return Lookup::Absent { key, varies },
            }
        };
        if !self.stamps.must_check(object.fetched, checked) {
            return Lookup::Object { object, key, purged: None };
        }
        let generation = self.stamps.generation();
        match self.stamps.covering(scopes().chain(object.labels()), object.fetched) {
            None => {
                shard.mark_checked(key, generation);
                Lookup::Object { object, key, purged: None }
            }
            Some(Purged::Soft(since)) => Lookup::Object { object, key, purged: Some(since) },
            Some(Purged::Hard) => {
                drop(shard.remove(key));
                Lookup::Absent { key, varies }
            }
        }
    }

    /// What a request with those fields would find, and under which key. Counts no use, and checks no purges.
    pub(crate) fn peek_for(&self, primary: KeyHash, fields: &Fields) -> (KeyHash, Option<Stored>) {
        let shard = self.shard(primary);
        match shard.peek(primary) {
            Some(Stored::Varies(vary)) => {
                let key = self.variant_key(primary, vary, fields);
                (key, shard.peek(key).cloned())
            }
            other => (primary, other.cloned()),
        }
    }

    /// The hash of a canonical key.
    pub(crate) fn key(&self, canonical: &[u8]) -> KeyHash {
        self.hasher.hash(canonical)
    }

    /// The key of the variant of `primary` that a request with those fields gets. It stays in the shard.
    pub(crate) fn variant_key(&self, primary: KeyHash, vary: &VaryNames, fields: &Fields) -> KeyHash {
        derived(primary, vary.key(fields, &self.hasher, &mut Vec::with_capacity(128)).low())
    }

    /// Keeps `stored` under `key`; returns what had to go.
    pub(crate) fn insert(&self, key: KeyHash, stored: Stored) -> Vec<(KeyHash, Stored)> {
        let cost = stored.cost();
        let mut out = Vec::new();
        self.shard(key).insert(key, stored, cost, 0, &mut out);
        out
    }

    /// Keeps `stored` under `key` if nothing is there; returns what had to go, or else what is there.
    pub(crate) fn insert_if_absent(
        &self,
        key: KeyHash,
        stored: Stored,
    ) -> Result<Vec<(KeyHash, Stored)>, Stored> {
        let cost = stored.cost();
        let mut out = Vec::new();
        let mut shard = self.shard(key);
        if let Some(there) = shard.peek(key) {
            return Err(there.clone());
        }
        shard.insert(key, stored, cost, 0, &mut out);
        Ok(out)
    }

    pub(crate) fn peek(&self, key: KeyHash) -> Option<Stored> {
        self.shard(key).peek(key).cloned()
    }

    pub(crate) fn get(&self, key: KeyHash) -> Option<Stored> {
        self.shard(key).get(key).map(|found| found.value.clone())
    }

    pub(crate) fn remove(&self, key: KeyHash) -> Option<Stored> {
        self.shard(key).remove(key)
    }

    /// Has room for `capacity` bytes from now on; returns how many entries had to go. The number of shards stays.
    pub(crate) fn resize(&self, capacity: u64) -> u64 {
        if self.capacity.swap(capacity, Ordering::Relaxed) == capacity {
            return 0;
        }
        let share = capacity / self.shards.len() as u64;
        let mut gone = 0;
        for shard in &self.shards {
            let mut out = Vec::new();
            shard.lock().unwrap_or_else(PoisonError::into_inner).set_capacity(share, &mut out);
            gone += out.len() as u64;
        }
        gone
    }

    /// Bytes used, bytes allowed, and how many entries there are.
    pub(crate) fn usage(&self) -> (u64, u64, u64) {
        let lock = |s: &Mutex<Shard<Stored>>| {
            let shard = s.lock().unwrap_or_else(PoisonError::into_inner);
            (shard.bytes(), shard.len() as u64)
        };
        let (bytes, entries) = self.shards.iter().map(lock).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        (bytes, self.capacity.load(Ordering::Relaxed), entries)
    }

    /// When the fetch of the oldest response began; none if there is none. Visits every entry.
    pub(crate) fn oldest(&self) -> Option<Hlc> {
        let oldest_of = |s: &Mutex<Shard<Stored>>| {
            let shard = s.lock().unwrap_or_else(PoisonError::into_inner);
            let fetched = |(_, stored): (KeyHash, &Stored)| match stored {
                Stored::Object(object) => Some(object.fetched),
                _ => None,
            };
            shard.iter().filter_map(fetched).min()
        };
        self.shards.iter().filter_map(oldest_of).min()
    }
}

/// A key that belongs to another one and lies in its shard; `salt` tells apart those of one key and must be
/// a hash's bits.
pub(crate) fn derived(key: KeyHash, salt: u64) -> KeyHash {
    let mut bytes = key.to_bytes();
    bytes[..8].copy_from_slice(&(key.low().rotate_left(32) ^ salt).to_le_bytes());
    KeyHash::from_bytes(bytes)
}

/// Which of `count` shards a key belongs to. Its table uses other bits.
fn shard_of(key: KeyHash, count: usize) -> usize {
    ((key.high() >> 32) as usize * count) >> 32
}

/// The purge stamps, readable without a lock in the common case that there is nothing to check.
pub(crate) struct StampBook {
    pub(crate) hasher: ScopeHasher,
    stamps: RwLock<Stamps>,
    newest: AtomicU64,
    generation: AtomicU32,
}

impl StampBook {
    fn new(hasher: ScopeHasher) -> Self {
        StampBook {
            hasher,
            stamps: RwLock::default(),
            newest: AtomicU64::new(0),
            generation: AtomicU32::new(0),
        }
    }

    pub(crate) fn purge(&self, scope: ScopeHash, kind: PurgeKind, at: Hlc) {
        self.change(|stamps| stamps.purge(scope, kind, at));
    }

    /// Purges what a visitor's request invalidates; says whether they have become too many to be told apart.
    pub(crate) fn invalidate(&self, scope: ScopeHash, site: ScopeHash, at: Hlc) -> bool {
        self.change(|stamps| stamps.invalidate(scope, site, at))
    }

    fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    fn must_check(&self, fetched: Hlc, checked: u32) -> bool {
        self.may_cover(fetched) && checked != self.generation()
    }

    /// Whether something whose fetch began at `fetched` may be covered at all.
    pub(crate) fn may_cover(&self, fetched: Hlc) -> bool {
        fetched.to_bits() <= self.newest.load(Ordering::Acquire)
    }

    /// The strictest purge that covers something in `scopes` whose fetch began at `fetched`.
    pub(crate) fn covering(&self, scopes: impl Iterator<Item = ScopeHash>, fetched: Hlc) -> Option<Purged> {
        self.stamps.read().unwrap_or_else(PoisonError::into_inner).covering(scopes, fetched)
    }

    /// The purges that were written at `at` or later.
    pub(crate) fn since(&self, at: Hlc) -> Vec<Purge> {
        let stamps = self.stamps.read().unwrap_or_else(PoisonError::into_inner);
        stamps.since(at).map(|(scope, kind, at)| Purge { scope, kind, at }).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.stamps.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn expire(&self, oldest: Hlc) -> usize {
        self.change(|stamps| stamps.expire(oldest))
    }

    pub(crate) fn raise_floor(&self, at: Hlc) {
        self.change(|stamps| stamps.raise_floor(at));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Stamps) -> T) -> T {
        let mut stamps = self.stamps.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut stamps);
        self.newest.store(stamps.newest().to_bits(), Ordering::Release);
        self.generation.store(stamps.generation(), Ordering::Release);
        changed
    }
}
