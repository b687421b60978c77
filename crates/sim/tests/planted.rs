//! Bugs put back on purpose are found: else the simulation would show nothing by passing.

use selvedge_types::planted::Bug;
use std::process::Command;
use std::sync::Mutex;

/// How many seeds of the node may pass before a bug is found.
const NODE_SEEDS_MAX: u64 = 30;

/// How many seeds of the group may.
const GROUP_SEEDS_MAX: u64 = 200;

/// A bug, where it is looked for, and how its finding begins: that a run proved too little is none, and of
/// the group only the history counts.
type Hunt = (Bug, &'static str, &'static str, u64);

/// Where each bug is looked for.
fn hunts() -> Vec<Hunt> {
    let group = |bug| (bug, "group", "failed: group: history: ", GROUP_SEEDS_MAX);
    let node = |bug| (bug, "node", "failed: node: ", NODE_SEEDS_MAX);
    let of_group = [Bug::CommittedWithoutQuorum, Bug::ReadUnconfirmed, Bug::WatchSkips];
    let mut hunts = vec![group(Bug::AcknowledgedUnflushed)];
    for bug in Bug::ALL {
        hunts.push(if of_group.contains(&bug) { group(bug) } else { node(bug) });
    }
    hunts
}

#[test]
fn every_bug_put_back_is_found() {
    let hunts = Mutex::new(hunts().into_iter());
    let unfound = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(hunt) = hunts.lock().unwrap().next() else { return };
                    match (1..=hunt.3).find_map(|seed| find(hunt, seed)) {
                        Some(how) => println!("{:?} in {}: {how}", hunt.0, hunt.1),
                        None => unfound.lock().unwrap().push(hunt),
                    }
                }
            });
        }
    });
    let unfound = unfound.into_inner().unwrap();
    assert!(unfound.is_empty(), "not found: {unfound:?}");
}

/// How the run of a seed fails with that bug.
fn find((bug, scenario, finding, _): Hunt, seed: u64) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge-sim"))
        .args(["--seed", &seed.to_string(), "--scenario", scenario, "--quiet", "--bug", &format!("{bug:?}")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.lines().find(|line| line.contains(finding)).map(str::to_owned)
}
