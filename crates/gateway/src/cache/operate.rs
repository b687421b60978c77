//! What operators ask of the cache: purging, inspecting, counting.

use super::keep::slice_key;
use super::object::{Object, Stored};
use super::record::disk_key;
use super::{Ask, Cache, CacheRules, Inner, pass_reason, uri_of, without_scheme};

use selvedge_cache::semantics::{KeyHash, RequestFacts, Reuse, RevalidateWhy, reuse};
use selvedge_cache::stamps::{PurgeKind, PurgeScope, Purged};
use selvedge_exchange::Request;
use selvedge_store::segments::{DiskTier, Error as DiskError};
use selvedge_types::{Hlc, UnixMillis, name};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The most slices of one object that are counted when it is inspected.
const SLICES_COUNTED_MAX: u64 = 1 << 20;

/// How full the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheUsage {
    /// Entries in memory.
    pub ram_objects: u64,
    /// Bytes that they take.
    pub ram_bytes: u64,
    /// Bytes that they may take.
    pub ram_capacity: u64,
    /// Entries that left memory, or were not admitted.
    pub evictions: u64,
    /// Objects on disk.
    pub disk_objects: u64,
    /// Objects that left the disk to make room.
    pub disk_evictions: u64,
    /// Bytes of the disk tier's files.
    pub disk_bytes: u64,
    /// Whether objects are written to disk; not for a while after it failed.
    pub disk_available: bool,
    /// Purges that are remembered.
    pub purges: u64,
    /// Fetches under way that others may join.
    pub fetches: u64,
    /// Large fetches under way that nobody waits for.
    pub unread_fetches: u64,
    /// Bytes that large responses under way hold.
    pub response_bytes: u64,
    /// Bytes that they may hold.
    pub response_bytes_max: u64,
}

/// What would become of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The key's text.
    pub key: String,
    /// `hit`, `stale`, `revalidate`, `miss` or `bypass`.
    pub decision: &'static str,
    /// Why.
    pub reason: String,
    /// What is stored, if something is.
    pub stored: Option<InspectedObject>,
}

/// A stored response, described.
#[derive(Debug, Clone, PartialEq)]
pub struct InspectedObject {
    /// Whether it is in memory; else on disk.
    pub in_memory: bool,
    /// Its status.
    pub status: u16,
    /// Its age.
    pub age: Duration,
    /// Milliseconds that it stays fresh; negative if it is stale.
    pub fresh_for_ms: i64,
    /// Bytes of content in all.
    pub length: u64,
    /// Bytes of content that are stored, in memory or on disk: less than all if slices are absent.
    pub stored: u64,
    /// Whether its content lies in slices, some of which may be absent.
    pub sliced: bool,
    /// Which rule gave it its lifetime.
    pub lifetime_rule: &'static str,
    /// Its Vary field.
    pub vary: String,
    /// Its ETag field.
    pub etag: Option<String>,
    /// Its own tags.
    pub tags: Vec<String>,
    /// A soft purge covers it.
    pub purged: bool,
}

impl Cache {
    /// Makes what `scope` covers and was fetched up to `at` gone or stale. O(1), whatever is stored.
    pub fn purge(&self, scope: &PurgeScope, kind: PurgeKind, at: Hlc) {
        let stamps = &self.0.memory.stamps;
        stamps.purge(stamps.hasher.scope(scope), kind, at);
    }

    /// Has that much memory from now on, in bytes; what is too much goes at once.
    pub fn resize(&self, ram_bytes: u64) {
        self.0.metrics.evicted(self.0.memory.resize(ram_bytes));
    }

    /// Lets that many requests wait for one fetch from now on.
    pub fn set_collapsed_waiters_max(&self, max: u32) {
        self.0.collapsed_waiters_max.store(max, Relaxed);
    }

    /// Lets large responses under way hold that many bytes from now on, and that many large fetches go on that
    /// nobody waits for.
    pub fn set_response_limits(&self, bytes_max: u64, unread_fetches_max: u32) {
        self.0.held.set_max(bytes_max);
        self.0.unread_max.store(unread_fetches_max, Relaxed);
    }

    /// Purges as [`Cache::purge`] does, for when nobody else remembers it: with a note on disk, if there is one
    /// that takes it, so that it holds after a restart too.
    pub fn purge_here(&self, scope: &PurgeScope, kind: PurgeKind) {
        let inner = &self.0;
        inner.purge_here(inner.memory.stamps.hasher.scope(scope), kind, inner.tick());
    }

    /// Makes all that was stored up to now count as purged, for when it is not known what was. After a restart
    /// that knows it is there again, as far as it is on disk.
    pub fn distrust(&self) {
        self.0.memory.stamps.raise_floor(self.0.tick());
    }

    /// As [`Cache::distrust`], and for good: also after a restart.
    pub async fn distrust_for_good(&self) -> Result<(), DiskError> {
        let at = self.0.tick();
        self.0.memory.stamps.raise_floor(at);
        match &self.0.disk {
            Some(disk) => disk.raise_floor(at).await,
            None => Ok(()),
        }
    }

    /// When the fetch of the oldest response in either tier, or of the oldest one on its way there, began; none
    /// if there is none. Visits all that is in memory.
    pub fn oldest(&self) -> Option<Hlc> {
        // In this order: what lands meanwhile is seen in one of them.
        let coming = self.0.beginnings.oldest();
        let disk = self.0.disk.as_ref().and_then(DiskTier::oldest);
        coming.into_iter().chain(disk).chain(self.0.memory.oldest()).min()
    }

    /// Drops purges with the last object that they could cover. If there were any, says when the fetch of the
    /// oldest object began: purges before need not be remembered elsewhere either. Visits all that is in memory.
    pub async fn expire_purges(&self) -> Result<Option<Hlc>, DiskError> {
        let inner = &self.0;
        if inner.memory.stamps.len() == 0 {
            return Ok(None);
        }
        // What was missed since it was on its way is older than the floor, and not used.
        let oldest = self.oldest().unwrap_or_else(|| inner.tick());
        if inner.memory.stamps.expire(oldest) == 0 {
            return Ok(None);
        }
        if let Some(disk) = &inner.disk {
            disk.raise_floor(Hlc::from_bits(oldest.to_bits().saturating_sub(1))).await?;
        }
        Ok(Some(oldest))
    }

    /// How full it is.
    pub fn usage(&self) -> CacheUsage {
        let inner = &self.0;
        let (ram_bytes, ram_capacity, ram_objects) = inner.memory.usage();
        CacheUsage {
            ram_objects,
            ram_bytes,
            ram_capacity,
            evictions: inner.metrics.evictions(),
            disk_objects: inner.disk.as_ref().map_or(0, |d| d.objects() as u64),
            disk_evictions: inner.disk.as_ref().map_or(0, DiskTier::evictions),
            disk_bytes: inner.disk.as_ref().map_or(0, |d| d.bytes()),
            disk_available: inner.disk.as_ref().is_some_and(DiskTier::is_available),
            purges: inner.memory.stamps.len() as u64,
            fetches: inner.flights.len() as u64,
            unread_fetches: inner.unread.count().into(),
            response_bytes: inner.held.bytes(),
            response_bytes_max: inner.held.max(),
        }
    }

    /// Why nothing is written to disk at present, if there is one and nothing is.
    pub fn disk_problem(&self) -> Option<String> {
        self.0.disk.as_ref().and_then(DiskTier::problem)
    }

    /// The URI of a request in its key, without the scheme: what a purge by URL names.
    pub fn uri_of(&self, rules: &CacheRules, request: &Request) -> String {
        without_scheme(&uri_of(rules, request)).to_string()
    }

    /// What would become of a request, without making it. Counts as no use.
    pub async fn inspect(&self, ask: Ask) -> Inspected {
        let facts = RequestFacts::parse(
            &ask.request.method,
            &ask.request.fields,
            ask.rules.freshness.client_directives,
        );
        let (primary, key) = self.0.primary_key(&ask);
        if let Some(why) = pass_reason(&ask, &facts) {
            let reason = format!("the request goes past the cache ({})", why.as_str());
            return Inspected { key, decision: "bypass", reason, stored: None };
        }
        let found = match self.0.memory.peek_for(primary, &ask.request.fields) {
            (variant, Some(Stored::Object(object))) => Some((variant, object, true)),
            (_, Some(Stored::Pass(until))) if until > self.0.clock.wall() => {
                let reason = "responses to it were not storable lately".into();
                return Inspected { key, decision: "miss", reason, stored: None };
            }
            (variant, _) => {
                let object = self.0.peek_on_disk(primary, variant, &ask.request.fields).await;
                object.map(|(key, object)| (key, object, false))
            }
        };
        let Some((stored_as, object, in_memory)) = found else {
            let reason = "nothing is stored for it".into();
            return Inspected { key, decision: "miss", reason, stored: None };
        };
        let now = self.0.clock.wall();
        let purge = self.0.purge_of(&ask, &key, &object);
        let since = match purge {
            Some(Purged::Soft(since)) => Some(since),
            Some(Purged::Hard) | None => None,
        };
        let freshness = object.freshness_since(since, now);
        let (decision, reason) = match (purge, reuse(&freshness, &facts, now)) {
            (Some(Purged::Hard), _) => ("miss", "a purge covers what is stored".to_string()),
            (_, Reuse::Fresh { .. }) => ("hit", "it is fresh".to_string()),
            (_, Reuse::Stale(stale)) => ("stale", format!("it is stale, and may be served: {:?}", stale.why)),
            (_, Reuse::Revalidate(why)) => ("revalidate", describe(why).to_string()),
            (_, Reuse::GatewayTimeout) => {
                ("miss", "it is not fresh, and the request says only-if-cached".into())
            }
        };
        let stored_bytes = self.0.stored_bytes(stored_as, &object);
        let described = described(&object, &freshness, now, in_memory, since.is_some());
        let stored = Some(InspectedObject { stored: stored_bytes, ..described });
        Inspected { key, decision, reason, stored }
    }
}

impl Inner {
    /// Bytes of an object's content that are in memory or on disk.
    fn stored_bytes(&self, key: KeyHash, object: &Object) -> u64 {
        let Some(layout) = object.layout() else { return object.length() };
        let slices = layout.length.div_ceil(layout.slice_bytes.max(1)).min(SLICES_COUNTED_MAX);
        let of_slice = |index: u64| {
            let slice = slice_key(key, layout.id, index);
            let whole = (layout.length - index * layout.slice_bytes).min(layout.slice_bytes);
            match self.memory.peek(slice) {
                Some(Stored::Slice(slice)) => slice.bytes.len() as u64,
                _ if self.disk.as_ref().is_some_and(|disk| disk.contains(disk_key(slice))) => whole,
                _ => 0,
            }
        };
        (0..slices).map(of_slice).sum()
    }

    fn purge_of(&self, ask: &Ask, uri: &str, object: &Object) -> Option<Purged> {
        let stamps = &self.memory.stamps;
        let scopes = stamps.hasher.of_uri(&ask.rules.site, without_scheme(uri), ask.request.path());
        stamps.covering(scopes.chain(object.labels()), object.fetched)
    }
}

fn described(
    object: &Object,
    freshness: &selvedge_cache::semantics::Freshness,
    now: UnixMillis,
    in_memory: bool,
    purged: bool,
) -> InspectedObject {
    let fields = object.fields().unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let tags = selvedge_cache::semantics::tags::tags(&fields).unwrap_or_default();
    InspectedObject {
        in_memory,
        status: object.status.code(),
        age: freshness.age(now),
        fresh_for_ms: freshness.ttl_left_ms(now),
        length: object.length(),
        stored: object.length(),
        sliced: object.layout().is_some(),
        lifetime_rule: freshness.rule.describe(),
        vary: fields.joined(name::VARY).map(|v| text(&v)).unwrap_or_default(),
        etag: fields.get(name::ETAG).map(text),
        tags: tags.iter().map(|tag| text(tag)).collect(),
        purged,
    }
}

const fn describe(why: RevalidateWhy) -> &'static str {
    match why {
        RevalidateWhy::Stale => "it is stale",
        RevalidateWhy::ResponseNoCache => "the response says no-cache",
        RevalidateWhy::RequestNoCache => "the request says no-cache",
        RevalidateWhy::RequestMaxAge => "it is older than the request's max-age",
        RevalidateWhy::RequestMinFresh => "it does not stay fresh for the request's min-fresh",
    }
}
