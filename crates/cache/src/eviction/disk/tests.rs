use proptest::prelude::*;
use std::collections::BTreeMap;

use super::*;

#[test]
fn everything_is_admitted_while_there_is_room() {
    let mut policy = DiskPolicy::new(10_000, 0, 1);
    for hash in 0..80 {
        policy.on_miss(hash, 100);
        assert!(policy.offer(hash, 100).is_some());
    }
}

#[test]
fn hot_entries_are_kept_and_others_are_let_go() {
    are_kept(|policy, mark, hash| (0..3).for_each(|_| policy.on_hit(mark, hash, 100)));
}

#[test]
fn hits_told_together_count_as_those_told_one_by_one() {
    are_kept(|policy, mark, hash| policy.on_hits(mark, hash, 100, 3));
}

fn are_kept(hit: impl Fn(&mut DiskPolicy, &mut Mark, u64)) {
    let mut policy = DiskPolicy::new(10_000, 0, 1);
    let mut marks: Vec<Mark> = (0..100)
        .map(|hash| {
            policy.on_miss(hash, 100);
            policy.offer(hash, 100).unwrap()
        })
        .collect();
    (0..50).for_each(|hash| hit(&mut policy, &mut marks[hash], hash as u64));
    let kept: Vec<usize> = (0..100).filter(|&hash| policy.keep(marks[hash], hash as u64, 100)).collect();
    assert!((0..50).all(|hash| kept.contains(&hash)));
    assert!((85..=95).contains(&kept.len()), "nine tenths may be kept: {}", kept.len());
}

#[test]
fn a_full_disk_of_hot_entries_admits_only_what_is_as_hot() {
    let mut policy = DiskPolicy::new(10_000, 0, 1);
    for hash in 0..100 {
        (0..8).for_each(|_| policy.on_miss(hash, 100));
        policy.offer(hash, 100);
    }
    policy.on_miss(500, 100);
    assert_eq!(policy.offer(500, 100), None);
    (0..12).for_each(|_| policy.on_miss(500, 100));
    assert!(policy.offer(500, 100).is_some());
}

#[test]
fn what_is_larger_than_the_disk_is_not_written() {
    let mut policy = DiskPolicy::new(1000, 0, 1);
    policy.on_miss(1, 1001);
    assert_eq!(policy.offer(1, 1001), None);
}

#[test]
fn adopted_entries_count_as_asked_for_once() {
    let mut policy = DiskPolicy::new(1000, 0, 1);
    let marks: Vec<Mark> = (0..10).map(|_| policy.adopt(100)).collect();
    assert!(marks.iter().all(|&mark| mark == marks[0]));
    assert!(policy.offer(77, 100).is_some());
}

proptest! {
    #[test]
    fn any_order_of_calls_is_harmless(
        calls in proptest::collection::vec((0..6u8, 0..40u64, prop_oneof![0..300u32, Just(u32::MAX)]), 0..500)
    ) {
        let mut policy = DiskPolicy::new(2000, 0, 1);
        let mut marks = BTreeMap::new();
        for (call, hash, cost) in calls {
            match (call, marks.get_mut(&hash)) {
                (0 | 1, Some((mark, cost))) => policy.on_hit(mark, hash, *cost),
                (2, Some((mark, cost))) => if !policy.keep(*mark, hash, *cost) {
                    marks.remove(&hash);
                },
                (3, Some((mark, cost))) => {
                    policy.remove(*mark, hash, *cost);
                    marks.remove(&hash);
                }
                (4, _) => policy.set_capacity(u64::from(cost)),
                (_, None) => {
                    policy.on_miss(hash, cost);
                    if let Some(mark) = policy.offer(hash, cost) {
                        marks.insert(hash, (mark, cost));
                    }
                }
                (_, Some(_)) => {}
            }
            prop_assert_eq!(policy.entries, marks.len());
        }
    }
}
