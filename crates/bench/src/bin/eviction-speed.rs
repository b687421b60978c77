//! `cargo xtask bench eviction-speed`: what a hit, an insertion and a miss cost in the eviction policy alone.

use std::hint::black_box;
use std::time::Instant;

use selvedge_cache::eviction::{Eviction, Slot};

const REQUESTS: u64 = 250_000;
const ROUNDS: u64 = 16;

fn main() {
    println!(
        "{:>10} {:>12} {:>14} {:>12} {:>14}",
        "entries", "hit, ns", "replace, ns", "miss, ns", "bytes/entry"
    );
    for entries in [1_000u32, 10_000, 100_000, 1_000_000] {
        let mut policy = Eviction::new(u64::from(entries) * 1000, entries as usize, 1);
        (0..entries).for_each(|slot| policy.insert(Slot(slot), hash(u64::from(slot)), 1000));
        let hit = nanos(|i| {
            let slot = below(entries, hash(i));
            policy.on_hit(Slot(slot), hash(u64::from(slot)));
        });
        let replace = nanos(|i| {
            // A free slot is always the one that went last.
            policy.insert(Slot(entries), hash(i % 3_000_000 + (1 << 32)), 900 + (hash(i) % 200) as u32);
            while let Some(victim) = policy.pop_victim() {
                if victim.0 != entries {
                    policy.remove(Slot(entries));
                }
            }
        });
        let miss = nanos(|i| policy.record_miss(hash(i % 3_000_000)));
        let overhead = black_box(&policy).overhead_bytes() / entries as usize;
        println!("{entries:>10} {hit:>12.1} {replace:>14.1} {miss:>12.1} {overhead:>14}");
    }
}

fn hash(n: u64) -> u64 {
    let mixed = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 3
}

/// Evenly spread below `end`, without a division: those take as long as what is measured.
fn below(end: u32, hash: u64) -> u32 {
    (((hash >> 29) * u64::from(end)) >> 32) as u32
}

/// Of the quickest of several rounds: the others were disturbed.
fn nanos(mut f: impl FnMut(u64)) -> f64 {
    let rounds = (0..ROUNDS).map(|round| {
        let start = Instant::now();
        (round * REQUESTS..(round + 1) * REQUESTS).for_each(&mut f);
        start.elapsed().as_nanos() as f64 / REQUESTS as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}
