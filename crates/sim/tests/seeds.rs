//! The simulation itself: a seed decides everything, and some seeds are played on every test run.

use std::process::{Command, Output};

fn play(seed: u64, trace: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_selvedge-sim"))
        .args(["--seed", &seed.to_string(), "--trace"])
        .arg(trace)
        .output()
        .unwrap()
}

#[test]
fn two_processes_with_one_seed_leave_the_same_trace() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("1"), dir.path().join("2"));
    let (first, second) = (play(7, &one), play(7, &two));
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(first.stdout, second.stdout);
    let trace = std::fs::read(&one).unwrap();
    assert!(trace.len() > 10_000);
    assert!(trace == std::fs::read(&two).unwrap(), "the traces differ");
    assert!(
        trace != {
            play(8, &two);
            std::fs::read(&two).unwrap()
        },
        "the seed decides nothing"
    );
}

#[test]
fn some_seeds_pass() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 100..104 {
        let output = play(seed, &dir.path().join("trace"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
