//! What is worth its place on disk: the eviction policy, asked for each object.
//!
//! The policy's lock comes before those of the index, and is never held while anything is read or written.

use super::location::Location;
use super::record::{Key, NewRecord};
use super::set::Segments;
use selvedge_cache::eviction::disk::{DiskPolicy, Mark};
use std::sync::{MutexGuard, PoisonError, TryLockError};

/// What becomes of an object whose file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There was none any more.
    Absent,
    /// It is to be written anew.
    Kept,
    /// It is forgotten.
    Evicted,
}

impl Segments {
    /// Finds an object, counting a hit.
    pub(super) fn hit(&self, key: Key) -> Option<Location> {
        let mut policy = self.policy();
        let name = self.index.name(key);
        self.index.update(key, |mark, at| policy.on_hit(mark, name, cost(at.len())))
    }

    /// Objects of that many bytes each were asked for, so often, and memory had them. Not counted if that would
    /// have to wait.
    pub fn note_asked(&self, asked: &[(Key, usize)], times: u8) {
        let mut policy = match self.policy.try_lock() {
            Ok(policy) => policy,
            Err(TryLockError::Poisoned(policy)) => policy.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        for (key, bytes) in asked {
            let name = self.index.name(*key);
            let hits = |mark: &mut Mark, at: Location| policy.on_hits(mark, name, cost(at.len()), times);
            if self.index.update(*key, hits).is_none() {
                (0..times).for_each(|_| policy.on_miss(name, cost(*bytes)));
            }
        }
    }

    /// Whether to write an object, and with which mark; what was there of its name is forgotten.
    ///
    /// One that nobody asked for just now is not written where one of its name is.
    pub(super) fn admit(&self, record: &NewRecord, bytes: usize) -> Option<Mark> {
        let key = record.head.key;
        let name = self.index.name(key);
        let mut policy = self.policy();
        let known = self.index.get(key);
        match known {
            Some(_) if !record.asked => return None,
            Some(mut known) => {
                policy.on_hit(&mut known.mark, name, cost(known.location.len()));
                self.index.remove(key);
                policy.remove(known.mark, name, cost(known.location.len()));
            }
            None if record.asked => policy.on_miss(name, cost(bytes)),
            None => {}
        }
        if !self.can_hold(bytes) {
            return None;
        }
        // One that replaces another is written in any case: the other is in its file, and might come back.
        policy.offer(name, cost(bytes)).or_else(|| known.map(|_| policy.adopt(cost(bytes))))
    }

    /// Judges the object there, whose file goes; one that is not to be written anew is forgotten.
    pub(super) fn verdict(&self, key: Key, location: Location, may_keep: bool) -> Verdict {
        let mut policy = self.policy();
        let Some(known) = self.index.get(key).filter(|known| known.location == location) else {
            return Verdict::Absent;
        };
        let (name, cost) = (self.index.name(key), cost(location.len()));
        let kept = may_keep && policy.keep(known.mark, name, cost);
        if !kept {
            self.index.remove_at(key, location);
        }
        if !may_keep {
            policy.remove(known.mark, name, cost);
        }
        if kept { Verdict::Kept } else { Verdict::Evicted }
    }

    /// What was admitted is at its place now.
    pub(super) fn placed(&self, key: Key, location: Location, mark: Mark) {
        let mut policy = self.policy();
        if let Some(former) = self.index.insert(key, location, mark) {
            policy.remove(former.mark, self.index.name(key), cost(former.location.len()));
        }
    }

    /// What was admitted could not be written.
    pub(super) fn not_placed(&self, key: Key, bytes: usize, mark: Mark) {
        self.policy().remove(mark, self.index.name(key), cost(bytes));
    }

    /// Forgets an object, and says whether it was there. After a restart it may be back.
    pub fn remove(&self, key: Key) -> bool {
        let mut policy = self.policy();
        let Some(known) = self.index.remove(key) else { return false };
        policy.remove(known.mark, self.index.name(key), cost(known.location.len()));
        true
    }

    /// Forgets an object if it is still there.
    pub(super) fn lose(&self, key: Key, location: Location) {
        let mut policy = self.policy();
        if let Some(known) = self.index.remove_at(key, location) {
            policy.remove(known.mark, self.index.name(key), cost(location.len()));
        }
    }

    /// Forgets all that is in one file, by walking the whole index.
    pub(super) fn lose_file(&self, id: u64) {
        let newest = self.newest();
        for share in 0..self.index.shares() {
            let mut policy = self.policy();
            self.index.retain(share, |name, known| {
                let stays = known.location.segment(newest) != id;
                if !stays {
                    policy.remove(known.mark, name, cost(known.location.len()));
                }
                stays
            });
        }
    }

    /// Tells the policy what a start found.
    pub(super) fn adopt_all(&self) {
        for share in 0..self.index.shares() {
            let mut policy = self.policy();
            self.index.retain(share, |_, known| {
                known.mark = policy.adopt(cost(known.location.len()));
                true
            });
        }
    }

    fn policy(&self) -> MutexGuard<'_, DiskPolicy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
