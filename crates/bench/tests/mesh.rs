//! Membership of small clusters, as a specification. The large ones are measured by `cargo xtask bench mesh`.

use selvedge_bench::mesh::{
    Crowd, ELSEWHERE_MAX, INSIDE_MAX, Size, detect, formed, percentile, pop_name, quiet_minute,
};
use selvedge_membership::limits::DATAGRAM_BYTES_MAX;
use selvedge_membership::{Load, Phase, State, Why};
use std::time::Duration;

const SMALL: Size = Size { pops: 1, nodes: 10 };
const SPREAD: Size = Size { pops: 3, nodes: 3 };

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn state(crowd: &Crowd, by: usize, of: usize) -> Option<State> {
    let (by, of) = (&crowd.nodes[by], &crowd.nodes[of]);
    by.core.as_ref().and_then(|core| core.state_of(&of.key, &of.pop_name))
}

fn all_see(crowd: &Crowd, of: usize, expected: State) -> bool {
    let running = (0..crowd.nodes.len()).filter(|by| *by != of && crowd.nodes[*by].core.is_some());
    running.into_iter().all(|by| state(crowd, by, of) == Some(expected))
}

#[test]
fn a_death_is_known_in_time_with_and_without_loss() {
    for size in [SMALL, SPREAD] {
        for loss in [0.0, 0.05] {
            let found = detect(size, loss, 12, 1);
            assert!(
                percentile(&found.inside, 0.99).is_none_or(|time| time <= INSIDE_MAX),
                "{size:?} {found:?}"
            );
            assert!(
                percentile(&found.elsewhere, 0.99).is_none_or(|t| t <= ELSEWHERE_MAX),
                "{size:?} {found:?}"
            );
            assert_eq!((found.missed, found.false_deaths), (0, 0), "{size:?} {found:?}");
            assert!(found.largest <= DATAGRAM_BYTES_MAX, "{found:?}");
            assert!(found.formed < secs(5), "{found:?}");
        }
    }
}

#[test]
fn nobody_who_runs_is_taken_for_dead_behind_lossy_links_or_when_many_stall() {
    for size in [SMALL, SPREAD] {
        for (loss, stalling) in [(0.2, 0.0), (0.0, 0.2)] {
            let found = quiet_minute(size, loss, stalling, 3);
            assert_eq!((found.false_deaths, found.pops_lost), (0, 0), "{size:?} {found:?}");
            assert!(found.suspicions > 0, "the trouble did not show: {found:?}");
        }
    }
}

#[test]
fn a_node_that_leaves_is_known_to_have_left_at_once() {
    let (mut crowd, _) = formed(SPREAD, 4);
    crowd.order(4, |core, now| core.leave(now));
    let took = crowd.run_until(secs(3), |crowd| all_see(crowd, 4, State::Gone(Why::Left)));
    assert!(took.is_some_and(|took| took < secs(2)), "{took:?}");
    assert!(crowd.watch.false_deaths.is_empty());
}

#[test]
fn a_node_that_restarts_comes_back_and_its_former_life_does_not() {
    let (mut crowd, _) = formed(SMALL, 5);
    crowd.kill(3);
    crowd.run(secs(5));
    assert!(all_see(&crowd, 3, State::Gone(Why::Failed)));
    // One that slept all the while still takes it for alive, and says so when it wakes.
    crowd.start(3);
    let back = crowd.run_until(secs(5), |crowd| crowd.is_whole() && all_see(crowd, 3, State::Alive));
    assert!(back.is_some_and(|took| took < secs(3)), "{back:?}");
    let generation = |by: usize| {
        let core = crowd.nodes[by].core.as_ref().expect("runs");
        core.member(&crowd.nodes[3].key).expect("known").identity.generation
    };
    assert_eq!((generation(0), generation(9)), (2_000, 2_000));
}

#[test]
fn a_restart_so_quick_that_nobody_noticed_the_death_is_a_new_life_all_the_same() {
    let (mut crowd, _) = formed(SMALL, 6);
    crowd.kill(3);
    crowd.run(Duration::from_millis(50));
    crowd.start(3);
    let renewed = |crowd: &Crowd, by: usize| {
        let core = crowd.nodes[by].core.as_ref().expect("runs");
        core.member(&crowd.nodes[3].key).is_some_and(|member| member.identity.generation == 2_000)
    };
    let all = |crowd: &Crowd| crowd.is_whole() && (0..10).all(|by| by == 3 || renewed(crowd, by));
    let took = crowd.run_until(secs(5), all);
    assert!(took.is_some_and(|took| took < secs(3)), "{took:?}");
}

#[test]
fn old_gossip_brings_nobody_back() {
    let (mut crowd, _) = formed(SMALL, 7);
    crowd.watch.tolerant = true;
    // It sleeps while another one leaves, and goes on as if nothing had been.
    crowd.stall(0, secs(20));
    crowd.run(Duration::from_millis(100));
    crowd.order(5, |core, now| core.leave(now));
    crowd.run(secs(5));
    crowd.kill(5);
    for _ in 0..150 {
        crowd.run(Duration::from_millis(200));
        for by in (1..10).filter(|by| *by != 5) {
            assert_eq!(state(&crowd, by, 5), Some(State::Gone(Why::Left)), "node {by} at {:?}", crowd.now);
        }
    }
    assert!(crowd.is_whole(), "the sleeper is back, and knows");
}

#[test]
fn a_node_that_was_removed_is_heard_no_more() {
    let (mut crowd, _) = formed(SMALL, 8);
    crowd.watch.tolerant = true;
    let key = crowd.nodes[2].key;
    for by in (0..10).filter(|by| *by != 2) {
        crowd.order(by, |core, now| core.remove(now, key));
    }
    crowd.run(secs(10));
    assert!(all_see(&crowd, 2, State::Gone(Why::Removed)));
    crowd.kill(2);
    crowd.start(2);
    crowd.run(secs(5));
    assert!(all_see(&crowd, 2, State::Gone(Why::Removed)), "not even under a new generation");
}

#[test]
fn the_halves_of_a_pop_find_each_other_again() {
    let (mut crowd, _) = formed(SMALL, 9);
    crowd.watch.tolerant = true;
    crowd.network.cut = Box::new(|a, b| (a < 5) != (b < 5));
    crowd.run(secs(10));
    assert_eq!(state(&crowd, 0, 9), Some(State::Gone(Why::Failed)));
    crowd.network.cut = Box::new(|_, _| false);
    let healed = crowd.run_until(secs(30), Crowd::is_whole);
    assert!(healed.is_some_and(|took| took < secs(15)), "{healed:?}");
}

#[test]
fn a_pop_that_was_cut_off_is_missed_and_found_again() {
    let (mut crowd, _) = formed(SPREAD, 10);
    crowd.watch.tolerant = true;
    crowd.network.cut = Box::new(|a, b| (a < 3) != (b < 3));
    crowd.run(secs(6));
    let reachable = |crowd: &Crowd, by: usize, pop: usize| {
        let core = crowd.nodes[by].core.as_ref().expect("runs");
        core.pop(&pop_name(pop)).is_some_and(|pop| pop.reachable)
    };
    for (by, pop) in [(0, 1), (1, 2), (3, 0), (8, 0)] {
        assert!(!reachable(&crowd, by, pop), "node {by} and PoP {pop}");
    }
    assert!(reachable(&crowd, 0, 0) && reachable(&crowd, 3, 2));
    assert_eq!(state(&crowd, 4, 0), Some(State::Gone(Why::PopUnreachable)));
    crowd.network.cut = Box::new(|_, _| false);
    let healed = crowd.run_until(secs(30), Crowd::is_whole);
    assert!(healed.is_some_and(|took| took < secs(15)), "{healed:?}");
}

#[test]
fn a_cut_in_one_direction_does_no_harm_while_others_can_help() {
    let (mut crowd, _) = formed(SMALL, 11);
    crowd.network.cut = Box::new(|a, b| (a, b) == (1, 2));
    crowd.run(secs(20));
    assert!(crowd.watch.false_deaths.is_empty(), "{:?}", crowd.watch.false_deaths);
    assert!(crowd.is_whole());
}

#[test]
fn a_node_that_drains_is_known_to_and_speaks_for_its_pop_no_more() {
    let (mut crowd, _) = formed(Size { pops: 2, nodes: 5 }, 12);
    crowd.run(secs(3));
    let speaks =
        |crowd: &Crowd, node: usize| crowd.nodes[node].core.as_ref().is_some_and(|core| core.is_delegate());
    assert_eq!((0..5).filter(|node| speaks(&crowd, *node)).count(), 3);
    let node = (0..5).find(|node| speaks(&crowd, *node)).expect("a delegate");
    crowd.order(node, |core, now| core.drain(now, true));
    crowd.run(secs(2));
    for by in (0..5).filter(|by| *by != node) {
        let core = crowd.nodes[by].core.as_ref().expect("runs");
        let view = core.member(&crowd.nodes[node].key).expect("known");
        assert_eq!((view.state, view.phase, view.takes_work()), (State::Alive, Phase::Draining, false));
    }
    assert!(!speaks(&crowd, node));
    assert_eq!((0..5).filter(|node| speaks(&crowd, *node)).count(), 3, "the next one steps in");
    crowd.order(node, |core, now| core.drain(now, false));
    crowd.run(secs(2));
    assert!(speaks(&crowd, node));
    assert!(crowd.watch.pops_lost.is_empty(), "{:?}", crowd.watch.pops_lost);
}

#[test]
fn load_reaches_the_pop_with_the_probes_and_the_world_with_the_digest() {
    let (mut crowd, _) = formed(SPREAD, 13);
    for node in 0..3 {
        crowd.order(node, |core, _| core.set_load(Load(60)));
    }
    crowd.run(secs(40));
    let inside = crowd.nodes[0].core.as_ref().expect("runs");
    assert!(inside.members().all(|member| member.load == Load(60)));
    let outside = crowd.nodes[8].core.as_ref().expect("runs");
    assert_eq!(outside.pop(&pop_name(0)).expect("known").digest.load, Load(60));
}

#[test]
fn distances_are_known_without_measuring_each() {
    let (mut crowd, _) = formed(Size { pops: 4, nodes: 3 }, 14);
    crowd.run(secs(60));
    let core = crowd.nodes[0].core.as_ref().expect("runs");
    for pop in 1..4 {
        let real = 2 * crowd.network.one_way(0, pop);
        let view = core.pop(&pop_name(pop)).expect("known");
        let told = view.round_trip.unwrap_or_else(|| panic!("{:?} and {:?}", core.coordinate(), view.digest));
        let off = told.as_secs_f64() / real.as_secs_f64();
        assert!((0.6..1.6).contains(&off), "PoP {pop}: {told:?} for {real:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let bytes = |seed| {
        let (mut crowd, _) = formed(SPREAD, seed);
        crowd.network.loss = 0.1;
        crowd.run(secs(5));
        crowd.nodes.iter().map(|node| node.bytes).collect::<Vec<_>>()
    };
    assert_eq!(bytes(15), bytes(15));
    assert_ne!(bytes(15), bytes(16));
}
