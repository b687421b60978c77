//! The tier answers as many bytes of a trace as its policy does alone, over a log of as many bytes without files.

use super::super::record::{Head, Kind, NewRecord};
use super::*;
use std::collections::{BTreeMap, VecDeque};

const OBJECTS: usize = 8000;
const REQUESTS: usize = 60_000;

/// Requests drawn by popularity (the inverse of the rank), and the objects' bodies' lengths.
fn trace() -> (Vec<usize>, Vec<usize>) {
    let mut rng = Rng::from_seed(7);
    let lengths = (0..OBJECTS).map(|_| 100 + usize::try_from(rng.below(64).pow(2)).unwrap()).collect();
    let mut sums = Vec::with_capacity(OBJECTS);
    let mut sum = 0.0;
    for rank in 1..=OBJECTS {
        sum += 1.0 / (rank as f64).powf(0.9);
        sums.push(sum);
    }
    let mut draw = || {
        let at = rng.below(1 << 53) as f64 / (1u64 << 53) as f64 * sum;
        sums.partition_point(|s| *s < at).min(OBJECTS - 1)
    };
    ((0..REQUESTS).map(|_| draw()).collect(), lengths)
}

fn record(object: usize, length: usize) -> NewRecord {
    let mut rng = Rng::from_seed(object as u64);
    let key = Key(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()));
    let head = Head { key, fetched: Hlc::from_bits(1), kind: Kind::Object, note: 0 };
    NewRecord { head, meta: Bytes::new(), body: vec![0; length].into(), asked: true }
}

/// The policy over a log of just its capacity, in which objects take what they take in files and no end of a
/// file stays empty.
struct Alone<'a> {
    policy: DiskPolicy,
    capacity: u64,
    used: u64,
    held: BTreeMap<usize, Mark>,
    log: VecDeque<usize>,
    costs: &'a [u32],
    names: &'a [u64],
}

impl Alone<'_> {
    fn request(&mut self, object: usize) -> bool {
        let (cost, name) = (self.costs[object], self.names[object]);
        if let Some(mark) = self.held.get_mut(&object) {
            self.policy.on_hit(mark, name, cost);
            return true;
        }
        self.policy.on_miss(name, cost);
        if let Some(mark) = self.policy.offer(name, cost) {
            self.make_room(cost);
            self.held.insert(object, mark);
            self.log.push_back(object);
            self.used += log_bytes(cost);
        }
        false
    }

    fn make_room(&mut self, cost: u32) {
        let mut to_judge = self.log.len();
        while self.used + log_bytes(cost) > self.capacity {
            let Some(oldest) = self.log.pop_front() else { return };
            let (mark, cost) = (self.held[&oldest], self.costs[oldest]);
            if to_judge > 0 && self.policy.keep(mark, self.names[oldest], cost) {
                self.log.push_back(oldest);
                to_judge -= 1;
            } else {
                if to_judge == 0 {
                    self.policy.remove(mark, self.names[oldest], cost);
                }
                self.held.remove(&oldest);
                self.used -= log_bytes(cost);
            }
        }
    }
}

/// With its place in the list of contents.
fn log_bytes(cost: u32) -> u64 {
    u64::from(cost) + file::list_len(1) as u64 - file::list_len(0) as u64
}

#[test]
fn the_tier_answers_as_many_bytes_as_its_policy_alone() {
    let (requests, lengths) = trace();
    let records: Vec<NewRecord> = lengths.iter().enumerate().map(|(o, l)| record(o, *l)).collect();
    let costs: Vec<u32> = records.iter().map(|r| u32::try_from(r.encoded_len()).unwrap()).collect();
    let footprint: u64 = costs.iter().map(|c| u64::from(*c)).sum();
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { bytes_max: footprint / 6, segment_bytes: 64 << 10, reserve_bytes: 0, ..Options::default() };
    let disk = Disk::real(dir.path()).unwrap();
    let (segments, _) = Segments::open(disk, options, Rng::from_seed(3)).unwrap();
    let names: Vec<u64> = records.iter().map(|r| segments.index.name(r.head.key)).collect();
    let capacity = policy_bytes(&segments.options);
    let mut alone = Alone {
        policy: DiskPolicy::new(capacity, 0, 9),
        capacity,
        used: 0,
        held: BTreeMap::new(),
        log: VecDeque::new(),
        costs: &costs,
        names: &names,
    };
    let (mut bytes, mut tier_bytes, mut alone_bytes) = (0, 0, 0);
    for object in requests {
        let record = &records[object];
        let cost = u64::from(costs[object]);
        bytes += cost;
        match segments.locate(record.head.key).and_then(|at| segments.read(&at)) {
            Some(found) => tier_bytes += if found.head == record.head { cost } else { 0 },
            None => drop(segments.write(std::slice::from_ref(record)).unwrap()),
        }
        alone_bytes += if alone.request(object) { cost } else { 0 };
    }
    let percent = |part: u64| 100.0 * part as f64 / bytes as f64;
    let (tier, alone) = (percent(tier_bytes), percent(alone_bytes));
    assert!(tier > alone * 0.99, "{tier:.2}% of the bytes from the tier, {alone:.2}% by its policy alone");
}
