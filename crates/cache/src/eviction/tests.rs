use proptest::prelude::*;
use std::collections::BTreeMap;

use super::*;

/// A cache around the policy: keys in slots, hits by key.
struct Cache {
    policy: Eviction,
    slots: BTreeMap<u64, Slot>,
    keys: BTreeMap<Slot, u64>,
    next: u32,
}

impl Cache {
    fn new(capacity: u64) -> Self {
        Cache {
            policy: Eviction::new(capacity, 0, 1),
            slots: BTreeMap::new(),
            keys: BTreeMap::new(),
            next: 0,
        }
    }

    fn request(&mut self, key: u64, cost: u32) -> bool {
        if let Some(&slot) = self.slots.get(&key) {
            self.policy.on_hit(slot, spread(key));
            return true;
        }
        let slot = Slot(self.next);
        self.next += 1;
        self.slots.insert(key, slot);
        self.keys.insert(slot, key);
        self.policy.insert(slot, spread(key), cost);
        self.evict();
        false
    }

    fn evict(&mut self) -> usize {
        let mut evicted = 0;
        while let Some(victim) = self.policy.pop_victim() {
            let key = self.keys.remove(&victim).expect("a victim is an entry");
            self.slots.remove(&key);
            evicted += 1;
        }
        evicted
    }

    fn holds(&self, key: u64) -> bool {
        self.slots.contains_key(&key)
    }
}

fn spread(key: u64) -> u64 {
    key.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[test]
fn nothing_goes_while_there_is_room() {
    let mut cache = Cache::new(1000);
    (0..10).for_each(|key| assert!(!cache.request(key, 100)));
    assert!((0..10).all(|key| cache.request(key, 100)));
    assert_eq!((cache.policy.used_bytes(), cache.policy.len()), (1000, 10));
}

#[test]
fn what_is_asked_for_again_survives_a_scan() {
    let mut cache = Cache::new(1000);
    for _ in 0..5 {
        (0..8).for_each(|key| _ = cache.request(key, 100));
    }
    (100..140).for_each(|key| _ = cache.request(key, 100));
    assert!((0..8).all(|key| cache.holds(key)));
}

#[test]
fn of_equally_popular_entries_the_large_one_goes() {
    let mut cache = Cache::new(1000);
    cache.request(1, 600);
    (2..6).for_each(|key| _ = cache.request(key, 100));
    cache.request(6, 100);
    assert!(!cache.holds(1));
    assert!((2..7).all(|key| cache.holds(key)));
}

#[test]
fn a_newcomer_that_is_as_popular_as_the_others_waits_until_the_oldest_is_clearly_older() {
    let mut cache = Cache::new(1000);
    (0..11).for_each(|key| _ = cache.request(key, 100));
    assert!(!cache.holds(10));
    (11..45).for_each(|key| _ = cache.request(key, 100));
    assert!(!cache.holds(0) && cache.holds(9));
}

#[test]
fn a_loop_over_more_than_fits_has_hits() {
    let mut cache = Cache::new(1000);
    let requests = (0..200).flat_map(|_| 0..15);
    let hits = requests.filter(|&key| cache.request(key, 100)).count();
    assert!(hits > 1000, "{hits} of 3000; LRU has none");
}

#[test]
fn what_is_larger_than_the_capacity_is_not_admitted_and_displaces_nothing() {
    let mut cache = Cache::new(1000);
    (0..10).for_each(|key| _ = cache.request(key, 100));
    cache.request(99, 1001);
    assert!(!cache.holds(99));
    assert!((0..10).all(|key| cache.holds(key)));
}

#[test]
fn popularity_is_remembered_after_eviction_and_misses_count() {
    for by_miss in [false, true] {
        let mut policy = Eviction::new(400, 0, 1);
        for slot in 0..4 {
            policy.insert(Slot(slot), u64::from(slot), 100);
            policy.on_hit(Slot(slot), u64::from(slot));
        }
        if by_miss {
            (0..5).for_each(|_| policy.record_miss(77));
        }
        policy.insert(Slot(9), 77, 100);
        let admitted = policy.pop_victim() != Some(Slot(9));
        assert_eq!(admitted, by_miss);
    }
}

#[test]
fn a_replaced_entry_inherits_its_history() {
    let mut policy = Eviction::new(200, 0, 1);
    policy.insert(Slot(0), 7, 100);
    (0..5).for_each(|_| policy.on_hit(Slot(0), 7));
    policy.remove(Slot(0));
    policy.insert(Slot(0), 7, 100);
    policy.insert(Slot(1), 8, 100);
    policy.record_miss(9);
    policy.insert(Slot(2), 9, 100);
    assert_eq!(policy.pop_victim(), Some(Slot(1)));
    assert_eq!(policy.pop_victim(), None);
}

#[test]
fn less_capacity_or_a_grown_entry_makes_victims() {
    let mut cache = Cache::new(1000);
    (0..10).for_each(|key| _ = cache.request(key, 100));
    cache.policy.set_capacity(500);
    assert_eq!(cache.evict(), 5);
    let slot = *cache.slots.values().next().unwrap();
    cache.policy.set_cost(slot, 200);
    assert_eq!(cache.policy.used_bytes(), 600);
    cache.evict();
    assert!(cache.policy.used_bytes() <= 500);
}

#[test]
fn unknown_slots_are_ignored() {
    let mut policy = Eviction::new(1000, 0, 1);
    policy.on_hit(Slot(3), 3);
    policy.remove(Slot(u32::MAX));
    policy.set_cost(Slot(7), 3);
    policy.insert(Slot(Slot::LIMIT), 1, 1);
    assert!(policy.is_empty() && policy.pop_victim().is_none());
}

#[test]
fn bursts_bring_aging_to_rule_and_steady_popularity_brings_density_back() {
    let mut cache = Cache::new(100);
    assert_eq!(cache.policy.rank(), Rank::Density);
    // Visits of a hundred objects, many times each, one group after the other, and each group for a while only.
    for group in 0..400 {
        for round in 0..6 {
            for key in 0..30 {
                let early = group * 20 + (key * 7 + round) % 30;
                (0..2).for_each(|_| _ = cache.request(early, 1));
            }
        }
    }
    assert_eq!(cache.policy.rank(), Rank::Aging);
    let mut x = 1u64;
    for _ in 0..60_000 {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let u = (x >> 33) as f64 / f64::from(1u32 << 31);
        cache.request(1_000_000 + (2000f64.powf(u) as u64), 1);
    }
    assert_eq!(cache.policy.rank(), Rank::Density);
    assert_eq!(cache.policy.len(), cache.slots.len());
}

#[test]
fn an_eviction_after_many_hits_is_bounded_work_and_hits_nothing_hot() {
    let mut cache = Cache::new(10_000);
    (0..10_000).for_each(|key| _ = cache.request(key, 1));
    (0..9_990).for_each(|key| _ = cache.request(key, 1));
    (20_000..20_100).for_each(|key| _ = cache.request(key, 1));
    let lost = (0..9_990).filter(|&key| !cache.holds(key)).count();
    assert!(lost <= 100, "{lost}");
    assert_eq!(cache.policy.used_bytes(), 10_000);
}

#[derive(Debug, Clone)]
enum Op {
    Hit(u32),
    Insert(u32, u64, u32),
    Miss(u64),
    Remove(u32),
    SetCost(u32, u32),
    SetCapacity(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let slot = 0..64u32;
    let cost = prop_oneof![Just(0), Just(u32::MAX), 1..200u32];
    prop_oneof![
        4 => slot.clone().prop_map(Op::Hit),
        4 => (slot.clone(), 0..500u64, cost.clone()).prop_map(|(s, h, c)| Op::Insert(s, h, c)),
        1 => any::<u64>().prop_map(Op::Miss),
        1 => slot.clone().prop_map(Op::Remove),
        1 => (slot, cost).prop_map(|(s, c)| Op::SetCost(s, c)),
        1 => (0..5000u64).prop_map(Op::SetCapacity),
    ]
}

fn apply(policy: &mut Eviction, op: &Op) {
    match *op {
        Op::Hit(slot) => policy.on_hit(Slot(slot), u64::from(slot)),
        Op::Insert(slot, hash, cost) => policy.insert(Slot(slot), hash, cost),
        Op::Miss(hash) => policy.record_miss(hash),
        Op::Remove(slot) => policy.remove(Slot(slot)),
        Op::SetCost(slot, cost) => policy.set_cost(Slot(slot), cost),
        Op::SetCapacity(bytes) => policy.set_capacity(bytes),
    }
}

proptest! {
    #[test]
    fn accounts_exactly_for_what_it_holds(ops in proptest::collection::vec(op(), 0..400)) {
        let mut policy = Eviction::new(2000, 0, 3);
        let mut model = BTreeMap::new();
        for op in ops {
            apply(&mut policy, &op);
            match op {
                Op::Insert(slot, _, cost) => _ = model.insert(slot, u64::from(cost.max(1))),
                Op::Remove(slot) => _ = model.remove(&slot),
                Op::SetCost(slot, cost) => _ = model.entry(slot).and_modify(|c| *c = u64::from(cost.max(1))),
                Op::Hit(_) | Op::Miss(_) | Op::SetCapacity(_) => {}
            }
            while let Some(victim) = policy.pop_victim() {
                prop_assert!(model.values().sum::<u64>() > policy.capacity_bytes());
                prop_assert!(model.remove(&victim.0).is_some());
            }
            prop_assert_eq!(policy.used_bytes(), model.values().sum::<u64>());
            prop_assert_eq!(policy.len(), model.len());
            prop_assert!(policy.used_bytes() <= policy.capacity_bytes());
        }
    }

    #[test]
    fn the_same_calls_have_the_same_victims(ops in proptest::collection::vec(op(), 0..200)) {
        let victims = || {
            let mut policy = Eviction::new(1000, 0, 3);
            let mut victims = Vec::new();
            for op in &ops {
                apply(&mut policy, op);
                victims.extend(std::iter::from_fn(|| policy.pop_victim()));
            }
            victims
        };
        prop_assert_eq!(victims(), victims());
    }
}
