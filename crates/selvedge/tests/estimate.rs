//! `estimate --live`: what was estimated is what a node does.

mod support;

use std::path::Path;
use support::{Node, free_address, run, selvedge};

/// Sends a log through a node with that on its command line, and returns what `estimate` prints, as JSON.
fn live(log: &Path, more: &[&str]) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let origin = free_address();
    let manifest = format!("[site.a]\nhosts = [\"*\"]\norigin = \"http://{origin}\"\n");
    let file = dir.path().join("site.toml");
    std::fs::write(&file, manifest).unwrap();
    let node = Node::start_with(dir.path(), more);
    run(dir.path(), &["apply", file.to_str().unwrap()]);
    let output = selvedge(dir.path())
        .args(["estimate", log.to_str().unwrap(), "-o", "json", "--ttl", "1d"])
        .args(["--live", &format!("http://{}", node.http), "--origin", &origin.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_same(printed: &serde_json::Value) {
    let live = &printed["live"];
    assert_eq!(live["same"], true, "{live:#}");
    assert_eq!(live["live"], live["estimated"]);
    assert_eq!(live["sent"], printed["requests"]);
}

#[test]
fn the_examples_log_gives_the_same_counts_live_and_estimated() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/access.log");
    let printed = live(&log, &[]);
    is_same(&printed);
    // With a freshness that covers the log, they are also what the log alone gives.
    let size = printed["sizes"].as_array().unwrap().last().unwrap();
    assert_eq!(size["hits"], printed["live"]["live"]["hits"]);
}

#[test]
fn methods_statuses_parts_and_large_objects_count_the_same() {
    let mut log = String::new();
    let mut say = |request: &str, status: u16, bytes: u64| {
        let line =
            format!("1.2.3.4 - - [01/Jan/2026:00:00:00 +0000] \"{request} HTTP/1.1\" {status} {bytes}\n");
        log.push_str(&line);
    };
    for _ in 0..2 {
        say("GET /page", 304, 0);
        say("GET /page", 200, 5_000);
        say("HEAD /page", 200, 0);
        say("HEAD /only-head", 200, 0);
        say("GET /part", 206, 70_000);
        say("GET /part", 416, 300);
        say("GET /gone", 410, 200);
        say("GET /moved", 301, 0);
        say("GET /empty", 204, 0);
        say("GET /broken", 500, 10);
        say("GET /forbidden", 403, 10);
        say("POST /page", 200, 10);
        say("GET /page", 200, 5_000);
        say("POST /page", 404, 10);
        say("GET /page?b&a", 200, 10);
        say("GET /a%20b", 200, 10);
        say("OPTIONS /page", 200, 0);
        say("GET http://other.example/page", 200, 9_000);
        // In slices, more than one shard of the memory holds.
        say("GET /large", 200, 40 << 20);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    std::fs::write(&file, log).unwrap();
    is_same(&live(&file, &["--cache-ram", "128MiB"]));
}
