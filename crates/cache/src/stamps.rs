//! Purge stamps: one record says that everything in a scope, fetched before a moment, is gone or stale.
//!
//! Purging writes one stamp, whatever the number of objects. A look-up asks whether a stamp covers its
//! object: at most one question each for the site, the URL, every path prefix and every tag, and none at
//! all for an object that is younger than the newest stamp or was checked since.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use selvedge_types::Hlc;
use selvedge_types::planted::{Bug, is_planted};
use std::collections::VecDeque;

/// How many purges that visitors brought about are remembered one by one.
pub const INVALIDATIONS_MAX: usize = 100_000;

/// What a stamp covers, as a hash of its kind and name (see [`ScopeHasher`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ScopeHash(pub u128);

/// What becomes of an object that a stamp covers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PurgeKind {
    /// It is stale: served only as stale content may be, until it is revalidated.
    Soft,
    /// It is gone.
    Hard,
}

/// A purge that covers an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purged {
    /// The object is stale since then.
    Soft(Hlc),
    /// The object is gone.
    Hard,
}

/// What covers something in the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PurgeScope {
    /// Everything of one site.
    Site {
        /// The site's number or name, with its namespace.
        site: String,
    },
    /// A path and all below it, at segment boundaries: `/docs` covers `/docs`, `/docs/` and `/docs/a`.
    Prefix {
        /// The site, as above.
        site: String,
        /// The path; a `/` at its end is ignored.
        path: String,
    },
    /// One URL with all its variants.
    Url {
        /// The site, as above.
        site: String,
        /// Host, path and query, as in the cache key: `docs.example.com/a?b=1`.
        uri: String,
    },
    /// Everything with a tag, in one namespace or one site.
    Tag {
        /// The namespace, or the site with its namespace.
        namespace: String,
        /// The tag; case matters.
        tag: String,
    },
}

/// Hashes scopes with a key of the node's own, so that an outsider cannot make two scopes collide.
#[derive(Clone)]
pub struct ScopeHasher {
    key: [u8; 32],
}

/// How many segments of a path a prefix purge tells apart: a longer one is one of its first so many, which covers more
/// and never less.
pub const PREFIX_DEPTH_MAX: usize = 32;

impl ScopeHasher {
    /// A hasher; the same key always gives the same hashes.
    pub const fn new(key: [u8; 32]) -> Self {
        ScopeHasher { key }
    }

    fn hash(&self, kind: u8, owner: &str, name: &str) -> ScopeHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[kind]);
        hasher.update(&(owner.len() as u64).to_le_bytes());
        hasher.update(owner.as_bytes());
        hasher.update(name.as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        ScopeHash(u128::from_le_bytes(first))
    }

    /// The hash of a purge's scope.
    pub fn scope(&self, scope: &PurgeScope) -> ScopeHash {
        match scope {
            PurgeScope::Site { site } => self.hash(0, site, ""),
            PurgeScope::Prefix { site, path } => {
                let known = path.match_indices('/').nth(PREFIX_DEPTH_MAX).map_or(path.len(), |(end, _)| end);
                self.hash(1, site, path[..known].trim_end_matches('/'))
            }
            PurgeScope::Url { site, uri } => self.hash(2, site, uri),
            PurgeScope::Tag { namespace, tag } => self.hash(3, namespace, tag),
        }
    }

    /// The scopes that an object of `site` is in, tags and groups aside: `uri` is as in the cache key, without
    /// scheme, `path` is the path in it.
    pub fn of_uri<'a>(
        &'a self,
        site: &'a str,
        uri: &'a str,
        path: &'a str,
    ) -> impl Iterator<Item = ScopeHash> + 'a {
        let ends = path.match_indices('/').map(|(i, _)| i).chain([path.len()]);
        let prefixes = ends
            .take(PREFIX_DEPTH_MAX + 1)
            .map(move |end| self.hash(1, site, path[..end].trim_end_matches('/')));
        [self.hash(0, site, ""), self.hash(2, site, uri)].into_iter().chain(prefixes)
    }

    /// The scope of a cache group of one origin (RFC 9875).
    pub fn of_group(&self, origin: &str, group: &str) -> ScopeHash {
        self.hash(4, origin, group)
    }

    /// The scope of a tag.
    pub fn of_tag(&self, namespace: &str, tag: &str) -> ScopeHash {
        self.hash(3, namespace, tag)
    }
}

/// All stamps in force.
#[derive(Debug, Default)]
pub struct Stamps {
    by_scope: HashMap<ScopeHash, Stamp, foldhash::fast::FixedState>,
    newest: Hlc,
    /// Whatever was fetched up to then counts as purged: the stamps that might cover it are gone.
    floor: Hlc,
    generation: u32,
    /// Those that visitors brought about, the oldest first.
    invalidations: VecDeque<Invalidation>,
}

#[derive(Debug, Clone, Copy)]
struct Invalidation {
    scope: ScopeHash,
    site: ScopeHash,
    at: Hlc,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stamp {
    hard: Hlc,
    soft: Hlc,
    /// Whether it is among the invalidations, where each scope is once at most.
    is_listed: bool,
}

impl Stamp {
    fn newest(&self) -> Hlc {
        self.hard.max(self.soft)
    }
}

impl Stamps {
    /// No stamp.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the stamps ever written, to remember that an object was checked against all of them.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The time of the newest stamp there ever was, or of the floor.
    pub fn newest(&self) -> Hlc {
        self.newest
    }

    /// How many scopes have a stamp.
    pub fn len(&self) -> usize {
        self.by_scope.len()
    }

    /// Whether there is no stamp.
    pub fn is_empty(&self) -> bool {
        self.by_scope.is_empty()
    }

    /// Writes a stamp. One that is older than what the scope has changes nothing.
    pub fn purge(&mut self, scope: ScopeHash, kind: PurgeKind, at: Hlc) {
        let stamp = self.by_scope.entry(scope).or_default();
        match kind {
            PurgeKind::Hard => stamp.hard = stamp.hard.max(at),
            PurgeKind::Soft => stamp.soft = stamp.soft.max(at),
        }
        self.newest = self.newest.max(at);
        self.generation = self.generation.wrapping_add(1);
    }

    /// Purges `scope`, which lies in `site`, because of a visitor's request (RFC 9111 section 4.4). Only
    /// [`INVALIDATIONS_MAX`] scopes of these are told apart: before there are more, the one that was invalidated the
    /// longest ago becomes one of its whole site, up to the same moment, which covers more and never less. Says whether
    /// it came to that.
    pub fn invalidate(&mut self, scope: ScopeHash, site: ScopeHash, at: Hlc) -> bool {
        self.purge(scope, PurgeKind::Hard, at);
        if let Some(stamp) = self.by_scope.get_mut(&scope)
            && !std::mem::replace(&mut stamp.is_listed, true)
        {
            self.invalidations.push_back(Invalidation { scope, site, at });
        }
        if self.invalidations.len() <= INVALIDATIONS_MAX {
            return false;
        }
        let Some(oldest) = self.oldest_invalidation() else { return false };
        self.purge(oldest.site, PurgeKind::Hard, oldest.at);
        if let Entry::Occupied(mut stamp) = self.by_scope.entry(oldest.scope) {
            stamp.get_mut().is_listed = false;
            if oldest.scope != oldest.site && stamp.get().newest() <= oldest.at {
                stamp.remove();
            }
        }
        true
    }

    /// Takes the scope that was invalidated the longest ago off the list. Those that were again since they came to its
    /// front go to its end: each such step is paid for by the invalidation that made it necessary.
    fn oldest_invalidation(&mut self) -> Option<Invalidation> {
        for _ in 0..=self.invalidations.len() {
            let first = self.invalidations.pop_front()?;
            match self.by_scope.get(&first.scope) {
                Some(stamp) if stamp.hard > first.at => {
                    self.invalidations.push_back(Invalidation { at: stamp.hard, ..first });
                }
                _ => return Some(first),
            }
        }
        None
    }

    /// The purges that were written at `at` or later, in no order.
    pub fn since(&self, at: Hlc) -> impl Iterator<Item = (ScopeHash, PurgeKind, Hlc)> + '_ {
        let both = self.by_scope.iter().flat_map(|(scope, stamp)| {
            [(*scope, PurgeKind::Hard, stamp.hard), (*scope, PurgeKind::Soft, stamp.soft)]
        });
        both.filter(move |(_, _, written)| *written >= at)
    }

    /// Whether an object whose fetch began at `fetched` may be covered at all; if not, no scope need be
    /// hashed.
    pub fn may_cover(&self, fetched: Hlc) -> bool {
        fetched <= self.newest
    }

    /// The strictest purge that covers an object in `scopes` whose fetch began at `fetched`; of several soft
    /// ones the first that is remembered.
    ///
    /// A fetch that began at the very moment of the purge is covered: it may have seen the old content.
    pub fn covering(&self, scopes: impl Iterator<Item = ScopeHash>, fetched: Hlc) -> Option<Purged> {
        if fetched <= self.floor {
            return Some(Purged::Hard);
        }
        let mut stale_since: Option<Hlc> = None;
        for stamp in scopes.filter_map(|s| self.by_scope.get(&s)) {
            if (fetched <= stamp.hard) != is_planted(Bug::StampReversed) {
                return Some(Purged::Hard);
            }
            if fetched <= stamp.soft {
                stale_since = Some(stale_since.map_or(stamp.soft, |since| since.min(stamp.soft)));
            }
        }
        stale_since.map(Purged::Soft)
    }

    /// Drops stamps that no object can be covered by, when the oldest one's fetch began at `oldest`; says
    /// how many were dropped.
    ///
    /// If any were, an older object counts as purged from then on: one that was on its way when the oldest was
    /// looked for.
    pub fn expire(&mut self, oldest: Hlc) -> usize {
        let before = self.by_scope.len();
        self.retain(|stamp| stamp.newest() >= oldest);
        let dropped = before - self.by_scope.len();
        if dropped > 0 {
            self.set_floor(Hlc::from_bits(oldest.to_bits().saturating_sub(1)));
        }
        dropped
    }

    /// Makes everything that was fetched up to `at` count as purged, whatever its scopes.
    pub fn raise_floor(&mut self, at: Hlc) {
        self.retain(|stamp| stamp.newest() > at);
        self.set_floor(at);
    }

    fn retain(&mut self, stays: impl Fn(&Stamp) -> bool) {
        self.by_scope.retain(|_, stamp| stays(stamp));
        self.invalidations.retain(|i| self.by_scope.contains_key(&i.scope));
    }

    fn set_floor(&mut self, at: Hlc) {
        self.floor = self.floor.max(at);
        self.newest = self.newest.max(at);
        self.generation = self.generation.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Hlc = Hlc::from_bits(10);
    const PURGE: Hlc = Hlc::from_bits(20);
    const NEW: Hlc = Hlc::from_bits(30);

    fn hasher() -> ScopeHasher {
        ScopeHasher::new([7; 32])
    }

    fn covered(purge: &PurgeScope, site: &str, target: &str) -> bool {
        let uri = format!("a.example{target}");
        let mut stamps = Stamps::new();
        stamps.purge(hasher().scope(purge), PurgeKind::Hard, PURGE);
        assert_eq!(
            stamps.covering(hasher().of_uri(site, &uri, target.split('?').next().unwrap()), NEW),
            None
        );
        stamps.covering(hasher().of_uri(site, &uri, target.split('?').next().unwrap()), OLD)
            == Some(Purged::Hard)
    }

    #[test]
    fn a_prefix_covers_whole_segments() {
        let site = || "default/a".to_string();
        for (path, target, expect) in [
            ("/docs", "/docs", true),
            ("/docs", "/docs/", true),
            ("/docs/", "/docs/a/b?q=1", true),
            ("/docs", "/docs?q=/x", true),
            ("/docs", "/docs2", false),
            ("/docs/a", "/docs", false),
            ("/", "/anything/at/all", true),
            ("/", "/", true),
        ] {
            let purge = PurgeScope::Prefix { site: site(), path: path.into() };
            assert_eq!(covered(&purge, "default/a", target), expect, "{path} over {target}");
            assert!(!covered(&purge, "default/b", target));
        }
    }

    #[test]
    fn a_prefix_that_is_too_deep_covers_all_below_what_is_told_apart() {
        for depth in [PREFIX_DEPTH_MAX, PREFIX_DEPTH_MAX + 1, PREFIX_DEPTH_MAX + 2, 3 * PREFIX_DEPTH_MAX] {
            let path: String = (0..depth).map(|i| format!("/{i}")).collect();
            let purge = PurgeScope::Prefix { site: "default/a".into(), path: path.clone() };
            assert!(covered(&purge, "default/a", &path), "{depth}");
            assert!(covered(&purge, "default/a", &format!("{path}/more")), "{depth}");
            assert!(covered(&purge, "default/a", &format!("{path}/")), "{depth}");
            assert!(!covered(&purge, "default/a", "/0/1/other"), "{depth}");
        }
    }

    #[test]
    fn a_url_covers_itself_alone_and_a_site_everything() {
        let url = PurgeScope::Url { site: "a".into(), uri: "a.example/x?y=1".into() };
        assert!(covered(&url, "a", "/x?y=1"));
        assert!(!covered(&url, "a", "/x"));
        let site = PurgeScope::Site { site: "a".into() };
        assert!(covered(&site, "a", "/x?y=1"));
        assert!(!covered(&site, "aa", "/x"));
    }

    #[test]
    fn a_fetch_begun_at_or_before_the_purge_is_covered_and_a_later_one_is_not() {
        let mut stamps = Stamps::new();
        let tag = hasher().of_tag("default", "news");
        stamps.purge(tag, PurgeKind::Soft, PURGE);
        let soft = Some(Purged::Soft(PURGE));
        for (fetched, expect) in [(OLD, soft), (PURGE, soft), (NEW, None)] {
            assert_eq!(stamps.covering([tag].into_iter(), fetched), expect);
            assert_eq!(stamps.may_cover(fetched), expect.is_some());
        }
        stamps.purge(tag, PurgeKind::Hard, OLD);
        assert_eq!(stamps.covering([tag].into_iter(), OLD), Some(Purged::Hard));
        assert_eq!(stamps.covering([tag].into_iter(), PURGE), soft);
    }

    #[test]
    fn too_many_invalidations_become_one_of_the_site() {
        let (site, other) = (ScopeHash(1), ScopeHash(2));
        let scope = |i: u64| ScopeHash(1000 + u128::from(i));
        let at = |i: u64| Hlc::from_bits(100 + i);
        let mut stamps = Stamps::new();
        let folded =
            (0..INVALIDATIONS_MAX as u64 + 50).filter(|i| stamps.invalidate(scope(*i), site, at(*i)));
        assert_eq!(folded.count(), 50);
        assert_eq!(stamps.len(), INVALIDATIONS_MAX + 1, "with that of the site");
        let covered = |scopes: &[ScopeHash], fetched| stamps.covering(scopes.iter().copied(), fetched);
        for i in [0, 49, 50, INVALIDATIONS_MAX as u64 + 49] {
            assert_eq!(covered(&[scope(i), site], at(i)), Some(Purged::Hard), "{i} is covered as before");
            assert_eq!(covered(&[scope(i), site], at(i + 50)), None, "{i}");
        }
        assert_eq!(covered(&[ScopeHash(9), site], at(49)), Some(Purged::Hard), "covers more");
        assert_eq!(covered(&[ScopeHash(9), other], at(49)), None, "but only of its site");
    }

    #[test]
    fn one_scope_counts_once_however_often_it_is_invalidated() {
        let (site, own) = (ScopeHash(1), ScopeHash(7));
        let at = Hlc::from_bits;
        let mut stamps = Stamps::new();
        stamps.invalidate(ScopeHash(8), site, at(5));
        for i in 0..2 * INVALIDATIONS_MAX as u64 {
            assert!(!stamps.invalidate(own, site, at(10 + i)));
        }
        // All but one of those there may be are there now; that one is the oldest: the other came again.
        (0..INVALIDATIONS_MAX as u128 - 2)
            .for_each(|i| assert!(!stamps.invalidate(ScopeHash(1000 + i), site, at(20))));
        stamps.invalidate(ScopeHash(8), site, at(30 + 2 * INVALIDATIONS_MAX as u64));
        assert!(stamps.invalidate(ScopeHash(9), site, at(40 + 2 * INVALIDATIONS_MAX as u64)));
        assert_eq!(stamps.covering([ScopeHash(5000), site].into_iter(), at(21)), None, "{stamps:?}");
        // What has expired is not counted any more, nor forgotten when it comes again.
        stamps.raise_floor(at(u64::MAX / 2));
        assert!(stamps.is_empty() && stamps.invalidations.is_empty());
        stamps.invalidate(own, site, at(u64::MAX));
        assert_eq!(stamps.invalidations.len(), 1);
    }

    #[test]
    fn a_purge_of_the_same_scope_outlives_the_folding() {
        let (site, scope) = (ScopeHash(1), ScopeHash(7));
        let mut stamps = Stamps::new();
        stamps.invalidate(scope, site, OLD);
        stamps.purge(scope, PurgeKind::Soft, NEW);
        for i in 0..INVALIDATIONS_MAX as u128 {
            stamps.invalidate(ScopeHash(1000 + i), site, PURGE);
        }
        assert_eq!(stamps.covering([scope, site].into_iter(), NEW), Some(Purged::Soft(NEW)));
    }

    #[test]
    fn what_was_purged_since_a_moment_can_be_told() {
        let mut stamps = Stamps::new();
        stamps.purge(ScopeHash(1), PurgeKind::Soft, OLD);
        stamps.purge(ScopeHash(1), PurgeKind::Hard, PURGE);
        stamps.purge(ScopeHash(2), PurgeKind::Soft, NEW);
        let mut since: Vec<_> = stamps.since(PURGE).collect();
        since.sort();
        assert_eq!(since, [(ScopeHash(1), PurgeKind::Hard, PURGE), (ScopeHash(2), PurgeKind::Soft, NEW)]);
    }

    #[test]
    fn a_stamp_expires_with_the_last_object_it_could_cover() {
        let mut stamps = Stamps::new();
        stamps.purge(ScopeHash(1), PurgeKind::Hard, PURGE);
        assert_eq!(stamps.expire(PURGE), 0);
        assert_eq!(stamps.expire(NEW), 1);
        assert!(stamps.is_empty());
    }

    #[test]
    fn what_was_on_its_way_when_its_stamp_expired_counts_as_purged() {
        let mut stamps = Stamps::new();
        stamps.purge(ScopeHash(1), PurgeKind::Soft, PURGE);
        let generation = stamps.generation();
        stamps.expire(NEW);
        assert_ne!(stamps.generation(), generation, "what was checked has to be checked again");
        assert!(stamps.may_cover(OLD));
        assert_eq!(stamps.covering([ScopeHash(9)].into_iter(), OLD), Some(Purged::Hard));
        assert_eq!(stamps.covering([ScopeHash(9)].into_iter(), NEW), None);
    }

    #[test]
    fn a_floor_covers_everything_fetched_up_to_it() {
        let mut stamps = Stamps::new();
        stamps.purge(ScopeHash(1), PurgeKind::Hard, NEW);
        stamps.raise_floor(PURGE);
        for (fetched, scope, expect) in [
            (PURGE, ScopeHash(9), Some(Purged::Hard)),
            (NEW, ScopeHash(9), None),
            (NEW, ScopeHash(1), Some(Purged::Hard)),
        ] {
            assert_eq!(stamps.covering([scope].into_iter(), fetched), expect);
        }
    }
}
