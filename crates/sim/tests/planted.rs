//! Bugs put back on purpose are found: else the simulation would show nothing by passing.

use selvedge_types::planted::Bug;
use std::process::Command;
use std::sync::Mutex;

/// How many seeds may pass before a bug is found.
const SEEDS_MAX: u64 = 30;

#[test]
fn every_bug_put_back_is_found() {
    let bugs = Mutex::new(Bug::ALL.into_iter());
    let unfound = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(bug) = bugs.lock().unwrap().next() else { return };
                    match (1..=SEEDS_MAX).find_map(|seed| find(bug, seed)) {
                        Some(how) => println!("{bug:?}: {how}"),
                        None => unfound.lock().unwrap().push(bug),
                    }
                }
            });
        }
    });
    let unfound = unfound.into_inner().unwrap();
    assert!(unfound.is_empty(), "{unfound:?} pass {SEEDS_MAX} seeds");
}

/// How the run of a seed fails with that bug.
fn find(bug: Bug, seed: u64) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge-sim"))
        .args(["--seed", &seed.to_string(), "--scenario", "node", "--quiet", "--bug", &format!("{bug:?}")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // That a run proved too little is no finding.
    said.lines().find(|line| line.contains("failed: node: ")).map(str::to_owned)
}
