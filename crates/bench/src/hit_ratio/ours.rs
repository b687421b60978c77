//! Our policies behind the interface of the others.

use std::collections::VecDeque;

use selvedge_cache::eviction::disk::{DiskPolicy, Mark};
use selvedge_cache::eviction::{Eviction, Slot};

use super::reference::{Cache, Object};

const SEED: u64 = 1;

/// As a key's hash would be: all bits depend on all bits.
fn hash(object: Object) -> u64 {
    let mixed = (object as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

fn cost(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// RAM: the shard's driver, without content.
#[derive(Debug)]
pub(super) struct OurRam {
    policy: Eviction,
    held: Vec<bool>,
}

impl OurRam {
    pub(super) fn new(capacity: u64, objects: usize) -> Self {
        OurRam { policy: Eviction::new(capacity, 0, SEED), held: vec![false; objects] }
    }
}

impl Cache for OurRam {
    fn request(&mut self, object: Object, size: u64) -> bool {
        let slot = Slot(object as u32);
        if self.held[object] {
            self.policy.on_hit(slot, hash(object));
            return true;
        }
        self.held[object] = true;
        self.policy.insert(slot, hash(object), cost(size));
        while let Some(victim) = self.policy.pop_victim() {
            self.held[victim.0 as usize] = false;
        }
        false
    }

    fn holds(&self, object: Object) -> bool {
        self.held[object]
    }
}

/// The disk: a log that is reclaimed from its beginning.
#[derive(Debug)]
pub(super) struct OurDisk {
    policy: DiskPolicy,
    capacity: u64,
    used: u64,
    held: Vec<Option<(Mark, u64)>>,
    log: VecDeque<Object>,
    admitted: u64,
    rewritten: u64,
}

impl OurDisk {
    pub(super) fn new(capacity: u64, objects: usize) -> Self {
        OurDisk {
            policy: DiskPolicy::new(capacity, 0, SEED),
            capacity,
            used: 0,
            held: vec![None; objects],
            log: VecDeque::new(),
            admitted: 0,
            rewritten: 0,
        }
    }

    /// Bytes written for each byte admitted.
    pub(super) fn write_amplification(&self) -> f64 {
        (self.admitted + self.rewritten) as f64 / self.admitted.max(1) as f64
    }

    /// At most once around the log; whoever is then still in the way has to go.
    fn make_room(&mut self, size: u64) {
        let mut to_judge = self.log.len();
        while self.used + size > self.capacity {
            let Some(oldest) = self.log.pop_front() else { return };
            let Some((mark, bytes)) = self.held[oldest] else { continue };
            if !self.policy.keep(mark, hash(oldest), cost(bytes)) {
                self.drop(oldest, bytes);
            } else if to_judge == 0 {
                self.policy.remove(mark, hash(oldest), cost(bytes));
                self.drop(oldest, bytes);
            } else {
                self.log.push_back(oldest);
                self.rewritten += bytes;
                to_judge -= 1;
            }
        }
    }

    fn drop(&mut self, object: Object, bytes: u64) {
        self.held[object] = None;
        self.used -= bytes;
    }
}

impl Cache for OurDisk {
    fn request(&mut self, object: Object, size: u64) -> bool {
        if let Some((mark, bytes)) = &mut self.held[object] {
            self.policy.on_hit(mark, hash(object), cost(*bytes));
            return true;
        }
        self.policy.on_miss(hash(object), cost(size));
        if let Some(mark) = self.policy.offer(hash(object), cost(size)) {
            self.make_room(size);
            self.held[object] = Some((mark, size));
            self.log.push_back(object);
            self.used += size;
            self.admitted += size;
        }
        false
    }

    fn holds(&self, object: Object) -> bool {
        self.held[object].is_some()
    }
}
