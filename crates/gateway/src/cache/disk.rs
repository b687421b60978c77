//! Looking on disk for what memory does not have.

use super::memory::Lookup;
use super::object::{Object, Stored};
use super::record::{decode, disk_key, disk_purge, disk_scope, encode};
use super::{Ask, Inner, without_scheme};
use selvedge_cache::semantics::{Forwarded, KeyHash, RequestFacts};
use selvedge_cache::stamps::{PurgeKind, PurgeScope, Purged, ScopeHash};
use selvedge_exchange::{Reply, Source};
use selvedge_store::segments::{Located, Offer};
use selvedge_types::{Fields, Hlc};
use std::sync::Arc;

/// What a record has beside what is stored, in bytes.
const RECORD_BYTES: usize = 128;

impl Inner {
    /// Keeps a value in memory, and on disk if there is one.
    pub(crate) fn put(&self, key: KeyHash, stored: Stored) {
        self.offer(key, &stored, true);
        self.keep_in_memory(key, stored);
    }

    /// Keeps a value that is on disk already, or need not be. What has to go for it is offered to the disk once
    /// more: it may have become worth it.
    pub(crate) fn keep_in_memory(&self, key: KeyHash, stored: Stored) {
        let evicted = self.memory.insert(key, stored);
        self.offer_others(key, &evicted);
    }

    fn offer_others(&self, key: KeyHash, evicted: &[(KeyHash, Stored)]) {
        let others = evicted.iter().filter(|(k, _)| *k != key);
        others.clone().for_each(|(key, stored)| self.offer(*key, stored, false));
        self.metrics.evicted(others.count() as u64);
    }

    /// Hands a value to the disk; one that no request brought only if it is not there.
    fn offer(&self, key: KeyHash, stored: &Stored, asked: bool) {
        let Some(disk) = &self.disk else { return };
        if !asked && disk.contains(disk_key(key)) {
            return;
        }
        let bytes = match stored {
            Stored::Object(object) => object.stored_bytes(),
            Stored::Slice(slice) => slice.bytes.len(),
            Stored::Varies(_) => 0,
            Stored::Pass(_) => return,
        };
        let (stored, now) = (stored.clone(), self.tick());
        let make = Box::new(move || encode(key, &stored, now, asked));
        disk.put(Offer { key: disk_key(key), at: now, bytes: bytes + RECORD_BYTES, asked, make });
    }

    /// Tells the disk's eviction policy of a hit in memory.
    pub(crate) fn note_hit(&self, key: KeyHash, bytes: usize) {
        if let Some(disk) = &self.disk {
            disk.note_hit(disk_key(key), bytes);
        }
    }

    /// Purges what `scope` covers and was fetched up to `at`, with a note on disk that outlives a restart.
    pub(crate) fn purge_here(&self, scope: ScopeHash, kind: PurgeKind, at: Hlc) {
        self.memory.stamps.purge(scope, kind, at);
        self.note_purge(scope, kind, at);
    }

    /// Purges what a visitor's request to `site` invalidates, with a note on disk.
    pub(crate) fn invalidate_here(&self, scope: ScopeHash, site: &str, at: Hlc) {
        let stamps = &self.memory.stamps;
        let site = stamps.hasher.scope(&PurgeScope::Site { site: site.to_owned() });
        if stamps.invalidate(scope, site, at) {
            self.metrics.invalidations_limit_reached();
        }
        self.note_purge(scope, PurgeKind::Hard, at);
    }

    fn note_purge(&self, scope: ScopeHash, kind: PurgeKind, at: Hlc) {
        if let Some(disk) = &self.disk {
            disk.stamp(disk_scope(scope), at, disk_purge(kind));
        }
    }

    /// Drops a value from both tiers.
    pub(crate) fn forget(&self, key: KeyHash) {
        drop(self.memory.remove(key));
        if let Some(disk) = &self.disk {
            disk.remove(disk_key(key), self.tick());
        }
    }

    /// Whether something may be stored under `key`, in either tier or on its way to the disk.
    pub(crate) fn may_have(&self, key: KeyHash) -> bool {
        // In this order: what is written meanwhile is in one of them.
        self.memory.peek(key).is_some()
            || self.disk.as_ref().is_some_and(|disk| disk.has_queued() || disk.contains(disk_key(key)))
    }

    /// Where a value is on disk.
    pub(crate) fn on_disk(&self, key: KeyHash) -> Option<Located> {
        self.disk.as_ref()?.locate(disk_key(key))
    }

    /// Reads a value from disk, and keeps it in memory, unless a newer one came there meanwhile, which it then is.
    /// What is damaged is not there.
    pub(crate) async fn read_disk(&self, key: KeyHash, at: Located) -> Option<Stored> {
        let disk = self.disk.as_ref()?;
        let found = match disk.try_read(&at) {
            Some(found) => found,
            None => disk.read(at.clone()).await,
        };
        match decode(found?) {
            Some(stored) => Some(self.keep_if_absent(key, stored)),
            None => {
                // Another version wrote it. A newer value may be elsewhere by now.
                disk.remove_at(&at);
                None
            }
        }
    }

    fn keep_if_absent(&self, key: KeyHash, stored: Stored) -> Stored {
        match self.memory.insert_if_absent(key, stored.clone()) {
            Ok(evicted) => {
                self.offer_others(key, &evicted);
                stored
            }
            Err(newer) => newer,
        }
    }

    /// Answers from disk what memory does not have.
    pub(crate) fn answer_from_disk(
        self: &Arc<Self>,
        ask: Ask,
        facts: RequestFacts,
        primary: KeyHash,
        uri: String,
        found: (KeyHash, Located),
        varies: bool,
    ) -> Reply {
        let inner = self.clone();
        Reply::later(async move {
            let (key, at) = found;
            let stored = inner.read_disk(key, at).await;
            let (key, object) = match stored {
                Some(Stored::Object(object)) => (key, Some(object)),
                Some(Stored::Varies(names)) if !varies => {
                    let key = inner.memory.variant_key(primary, &names, &ask.request.fields);
                    (key, inner.read_object(key).await)
                }
                _ => (key, None),
            };
            let now = inner.clock.wall();
            let path = ask.request.path();
            let object = object.map(|object| {
                let scopes = inner.memory.stamps.hasher.of_uri(&ask.rules.site, without_scheme(&uri), path);
                let kind = inner.memory.stamps.covering(scopes.chain(object.labels()), object.fetched);
                (object, kind)
            });
            match object {
                Some((_, Some(Purged::Hard))) => inner.forget(key),
                Some((object, kind)) => {
                    let since = match kind {
                        Some(Purged::Soft(since)) => Some(since),
                        Some(Purged::Hard) | None => None,
                    };
                    let lookup = (key, object, since);
                    return inner.answer_stored(ask, facts, primary, lookup, now, Source::Disk).wait().await;
                }
                None => {}
            }
            let why = if varies || key != primary { Forwarded::VaryMiss } else { Forwarded::UriMiss };
            inner.answer_absent(ask, facts, primary, key, why).wait().await
        })
    }

    /// The response that is on disk for a request, if one is. Counts no use, and keeps nothing in memory.
    pub(crate) async fn peek_on_disk(
        &self,
        primary: KeyHash,
        key: KeyHash,
        fields: &Fields,
    ) -> Option<(KeyHash, Object)> {
        match self.peek_disk(key).await? {
            Stored::Object(object) => Some((key, object)),
            Stored::Varies(names) => {
                let key = self.memory.variant_key(primary, &names, fields);
                let stored = match self.memory.peek(key) {
                    Some(stored) => Some(stored),
                    None => self.peek_disk(key).await,
                };
                match stored? {
                    Stored::Object(object) => Some((key, object)),
                    _ => None,
                }
            }
            Stored::Pass(_) | Stored::Slice(_) => None,
        }
    }

    async fn peek_disk(&self, key: KeyHash) -> Option<Stored> {
        let disk = self.disk.as_ref()?;
        decode(disk.read(disk.peek(disk_key(key))?).await?)
    }

    async fn read_object(&self, key: KeyHash) -> Option<Object> {
        let stored = match self.memory.get(key) {
            Some(stored) => Some(stored),
            None => self.read_disk(key, self.on_disk(key)?).await,
        };
        match stored {
            Some(Stored::Object(object)) => Some(object),
            _ => None,
        }
    }

    /// What memory has for a request, or where it is on disk.
    pub(crate) fn look_up(
        &self,
        rules_site: &str,
        primary: KeyHash,
        uri: &str,
        path: &str,
        fields: &Fields,
    ) -> Lookup {
        let scopes = || self.memory.stamps.hasher.of_uri(rules_site, without_scheme(uri), path);
        self.memory.look_up(primary, fields, scopes)
    }
}
