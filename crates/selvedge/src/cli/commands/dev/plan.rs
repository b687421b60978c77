//! Where the nodes of the world are, and how far from each other.

use selvedge_mesh::distance::Way;
use selvedge_types::NodeKey;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The PoPs, by number: their names and regions.
const POPS: [(&str, &str); 9] = [
    ("ams", "eu"),
    ("fra", "eu"),
    ("nyc", "us"),
    ("sin", "ap"),
    ("gru", "sa"),
    ("lax", "us"),
    ("nrt", "ap"),
    ("jnb", "af"),
    ("syd", "oc"),
];

/// The most PoPs of a world.
pub(super) const POPS_MAX: u8 = POPS.len() as u8;
/// The most nodes of a PoP.
pub(super) const NODES_PER_POP_MAX: u8 = 5;

/// Round trips between the first three PoPs.
const NEAR: [(usize, usize, Duration); 3] =
    [(0, 1, Duration::from_millis(5)), (1, 2, Duration::from_millis(40)), (0, 2, Duration::from_millis(120))];

/// The place of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The node's name.
    pub(super) name: String,
    /// Its PoP's number.
    pub(super) number: usize,
    /// Its PoP.
    pub(super) pop: &'static str,
    /// Its region.
    pub(super) region: &'static str,
}

/// The places of a world: one alone is a world of its own kind.
pub(super) fn places(pops: u8, nodes_per_pop: u8) -> Vec<Place> {
    if pops == 1 && nodes_per_pop == 1 {
        return vec![Place { name: "dev".into(), number: 0, pop: "local", region: "local" }];
    }
    let pops = POPS.iter().enumerate().take(usize::from(pops));
    let nodes = |(number, (pop, region)): (usize, &(&'static str, &'static str))| {
        let (pop, region) = (*pop, *region);
        let name = move |n| if nodes_per_pop == 1 { pop.to_owned() } else { format!("{pop}-{n}") };
        (1..=nodes_per_pop).map(move |n| Place { name: name(n), number, pop, region })
    };
    pops.flat_map(nodes).collect()
}

/// The time from one PoP to another and back. Shorter than the time between two heartbeats of a leader.
pub(super) fn round_trip(one: usize, other: usize) -> Duration {
    let (near, far) = (one.min(other), one.max(other));
    let known = NEAR.iter().find(|(a, b, _)| (*a, *b) == (near, far));
    match (far - near, known) {
        (0, _) => Duration::ZERO,
        (_, Some((_, _, time))) => *time,
        (apart, None) => Duration::from_millis(40 + 15 * apart as u64),
    }
}

/// The ways from a node to the others, where some PoPs are cut off from all others.
pub(super) fn ways(
    from: &Place,
    nodes: &[(Place, NodeKey)],
    cut: &BTreeSet<&'static str>,
) -> BTreeMap<NodeKey, Way> {
    let others = nodes.iter().filter(|(place, _)| place.number != from.number);
    let way = |place: &Place| Way {
        delay: round_trip(from.number, place.number) / 2,
        cut: cut.contains(from.pop) || cut.contains(place.pop),
    };
    others.map(|(place, key)| (*key, way(place))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pops: u8, nodes: u8) -> Vec<String> {
        places(pops, nodes).into_iter().map(|place| place.name).collect()
    }

    #[test]
    fn nodes_are_named_by_their_pops() {
        assert_eq!(names(1, 1), ["dev"]);
        assert_eq!(names(3, 1), ["ams", "fra", "nyc"]);
        assert_eq!(names(2, 2), ["ams-1", "ams-2", "fra-1", "fra-2"]);
        assert_eq!(names(POPS_MAX, NODES_PER_POP_MAX).len(), 45);
    }

    #[test]
    fn round_trips_are_the_same_both_ways_and_shorter_than_heartbeats() {
        let far = |a, b| round_trip(a, b).as_millis();
        assert_eq!((far(0, 1), far(2, 1), far(0, 2), far(2, 2)), (5, 40, 120, 0));
        for (a, b) in (0..POPS.len()).flat_map(|a| (0..POPS.len()).map(move |b| (a, b))) {
            assert!(far(a, b) == far(b, a) && far(a, b) < 200);
        }
    }

    #[test]
    fn a_pop_that_is_cut_off_is_so_from_all_others_and_not_within() {
        let nodes: Vec<(Place, NodeKey)> =
            places(3, 2).into_iter().zip((0..).map(|n| NodeKey::from_bytes([n; 32]))).collect();
        let cut = BTreeSet::from(["fra"]);
        let of = |n: usize| ways(&nodes[n].0, &nodes, &cut).into_values().map(|way| way.cut);
        assert_eq!(of(0).collect::<Vec<_>>(), [true, true, false, false]);
        assert_eq!(of(2).collect::<Vec<_>>(), [true; 4]);
        let delays = ways(&nodes[0].0, &nodes, &cut).into_values().map(|way| way.delay.as_micros());
        assert_eq!(delays.collect::<Vec<_>>(), [2500, 2500, 60_000, 60_000]);
    }
}
