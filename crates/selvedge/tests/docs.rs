//! The reference pages of the documentation name everything that a node has.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use support::{ask_api, site, world};

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)).unwrap()
}

#[test]
fn every_metric_is_described_once() {
    let (dir, _origin, node) = world("Cache-Control: max-age=600\r\n");
    node.get("/a", "");
    let text = ask_api(dir.path(), &node, "/metrics");
    let mut names: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(names.len() > 50, "{text}");
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), distinct.len(), "a name is used twice");
    let page = page("metrics.md");
    names.retain(|name| !page.contains(&format!("| `{}", name.trim_start_matches("selvedge_"))));
    assert_eq!(names, Vec::<&str>::new(), "not in docs/metrics.md");
}

#[test]
fn every_path_of_the_api_is_described() {
    let (dir, _origin, node) = world("Cache-Control: max-age=600\r\n");
    let answer = ask_api(dir.path(), &node, "/v1/openapi.json");
    let document = answer.split_once("\r\n\r\n").unwrap().1;
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    let page = page("api.md");
    let missing: Vec<&String> =
        document["paths"].as_object().unwrap().keys().filter(|path| !page.contains(path.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/api.md: {missing:?}");
}

#[test]
fn every_field_of_the_access_log_is_described() {
    let (dir, origin, node) = world("Cache-Control: max-age=600\r\n");
    let settings = "[settings.access_log]\nto = \"file\"\n";
    support::apply(dir.path(), &format!("{}{settings}", site(origin.addr)));
    node.get("/a", "User-Agent: x\r\nReferer: y\r\n");
    node.get("/refused", "Host: twice.test\r\n");
    let path = dir.path().join("data/access.log");
    let started = std::time::Instant::now();
    let log = loop {
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        if log.lines().count() >= 2 {
            break log;
        }
        assert!(started.elapsed() < support::PATIENCE, "{log}");
        std::thread::yield_now();
    };
    let page = page("access-log.md");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for field in line.as_object().unwrap().keys() {
            assert!(page.contains(&format!("| `{field}` |")), "{field} is not in docs/access-log.md");
        }
    }
}

#[test]
fn the_commands_of_the_systemd_unit_are_understood() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/selvedge.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut commands = Vec::new();
    for line in unit.lines().filter_map(|line| line.strip_prefix("Exec")) {
        let (_, command) = line.split_once("=/usr/local/bin/selvedge ").unwrap();
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        // What comes before is checked first.
        assert!(support::say(home.path(), &words).0.contains("Usage:"), "{line}");
        commands.push(words[0].to_owned());
    }
    assert_eq!(commands, ["up", "upgrade"]);
}
