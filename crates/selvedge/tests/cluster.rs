//! Several nodes as one cluster, as their operator meets it.

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;
use support::{Node, PATIENCE, selvedge};

/// The first node's home is `a`, and so on.
struct Cluster {
    dir: tempfile::TempDir,
    token: String,
    /// Where their meshes are, also after a restart.
    meshes: Vec<String>,
    nodes: Vec<Option<Node>>,
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const POPS: [&str; 3] = ["ams", "fra", "iad"];

impl Cluster {
    /// Without a node.
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let meshes = NAMES.map(|_| support::free_udp_address().to_string()).to_vec();
        let cluster = Cluster { dir, token: String::new(), meshes, nodes: vec![None] };
        std::fs::create_dir(cluster.home(0)).unwrap();
        cluster
    }

    /// One node.
    fn found() -> Self {
        let mut cluster = Cluster::empty();
        cluster.found_with(&[]);
        cluster
    }

    /// Starts the first node.
    fn found_with(&mut self, more: &[&str]) {
        self.nodes[0] = Some(Node::start_with(&self.home(0), &[more, &self.place(0)[..]].concat()));
        let context = std::fs::read_to_string(self.home(0).join("data/context.json")).unwrap();
        let context: Value = serde_json::from_str(&context).unwrap();
        self.token = context["token"].as_str().unwrap().to_owned();
    }

    /// Three voters in three PoPs.
    fn three() -> Self {
        let mut cluster = Cluster::found();
        let ticket = cluster.ticket(0, &["--uses", "2"]);
        cluster.join(&ticket);
        cluster.join(&ticket);
        cluster.wait(0, &["get", "voters", "-o", "json"], |now| list(&now["voters"]).len() == 3);
        cluster
    }

    fn home(&self, i: usize) -> PathBuf {
        self.dir.path().join(NAMES[i])
    }

    fn ticket(&self, at: usize, more: &[&str]) -> String {
        let (code, out, error) = self.run(at, &[&["ticket", "create"], more].concat());
        assert_eq!(code, 0, "{error}");
        out.trim().to_owned()
    }

    fn join(&mut self, ticket: &str) {
        let i = self.nodes.len();
        let home = self.home(i);
        std::fs::create_dir(&home).unwrap();
        self.nodes.push(Some(Node::start_with(&home, &[&["--join", ticket], &self.place(i)[..]].concat())));
        // Until it has heard from the others it says so.
        let nodes = ["get", "nodes", "-o", "json"];
        self.wait(i, &nodes, |nodes| list(nodes).len() == i + 1);
    }

    /// Starts a node again, as it was.
    fn start(&mut self, i: usize) {
        self.nodes[i] = Some(Node::start_with(&self.home(i), &self.place(i)));
    }

    fn place(&self, i: usize) -> [&str; 8] {
        ["--mesh", &self.meshes[i], "--name", NAMES[i], "--pop", POPS[i], "--region", "eu"]
    }

    fn kill(&mut self, i: usize) {
        self.nodes[i].take().unwrap().kill();
    }

    fn node(&self, i: usize) -> &Node {
        self.nodes[i].as_ref().unwrap()
    }

    /// Runs a command against a node: its exit code, standard output and standard error.
    fn run(&self, at: usize, words: &[&str]) -> (i32, String, String) {
        let output = selvedge(&self.home(at))
            .env("SELVEDGE_TOKEN", &self.token)
            .env("SELVEDGE_API", format!("http://{}", self.node(at).api))
            .args(words)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Repeats a command until what it prints is as wanted.
    fn wait(&self, at: usize, words: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let (_, out, err) = self.run(at, words);
            let value: Value = serde_json::from_str(&out).unwrap_or_default();
            if wanted(&value) {
                return value;
            }
            assert!(started.elapsed() < PATIENCE, "{words:?} at {at}: {out}{err}");
            std::thread::yield_now();
        }
    }

    /// Applies a site that answers with `text`.
    fn apply(&self, at: usize, text: &str) -> (i32, String, String) {
        let file = self.dir.path().join("site.toml");
        std::fs::write(&file, site(text)).unwrap();
        self.run(at, &["apply", file.to_str().unwrap()])
    }

    fn serves(&self, at: usize, text: &str) {
        self.node(at).get_until("/", |answer| answer.ends_with(text));
    }
}

fn site(text: &str) -> String {
    format!(
        "[site.a]\nhosts = [\"a.test\"]\n[[site.a.route]]\npath = \"/*\"\nrespond = {{ status = 200, body = \"{text}\" }}\n"
    )
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn names(nodes: &Value) -> Vec<&str> {
    list(nodes).iter().filter_map(|node| node["name"].as_str()).collect()
}

#[test]
fn what_is_applied_at_one_node_is_served_by_all_and_any_node_answers_any_command() {
    let cluster = Cluster::three();
    assert_eq!(cluster.apply(1, "hello").0, 0);
    for at in 0..3 {
        cluster.serves(at, "hello");
        let nodes = cluster.wait(at, &["get", "nodes", "-o", "json"], |nodes| {
            let is_known = |node: &Value| node["state"] == "alive" && node["control"] != "";
            list(nodes).len() == 3 && list(nodes).iter().all(is_known)
        });
        assert_eq!(names(&nodes), NAMES);
        for (node, pop) in list(&nodes).iter().zip(POPS) {
            assert_eq!(node["pop"], pop);
            for field in ["id", "region", "role", "version"] {
                assert!(node[field].as_str().is_some_and(|text| !text.is_empty()), "{node}");
            }
            assert_eq!(list(&node["addresses"]["mesh"]).len(), 1, "{node}");
        }
        assert_eq!(cluster.run(at, &["cache", "purge", "--site", "a", "--all"]).0, 0);
    }
    let file = cluster.dir.path().join("site.toml");
    std::fs::write(&file, site("more")).unwrap();
    let (code, _, said) = cluster.run(1, &["apply", file.to_str().unwrap(), "--wait"]);
    assert_eq!(code, 0, "{said}");
    assert!(NAMES.iter().all(|name| said.contains(&format!("{name} goes by it after"))), "{said}");
    for at in 0..3 {
        assert!(cluster.node(at).get("/", "").ends_with("more"));
    }
    let (code, table, _) = cluster.run(2, &["get", "pops"]);
    assert_eq!((code, table.lines().count()), (0, 4), "{table}");
}

#[test]
fn a_cluster_of_three_goes_on_when_its_leader_is_killed_and_takes_it_back() {
    let mut cluster = Cluster::three();
    assert_eq!(cluster.apply(0, "before").0, 0);
    let voters = cluster.wait(1, &["get", "voters", "-o", "json"], |now| now["leader"].is_string());
    let leader = NAMES.iter().position(|name| voters["leader"] == **name).unwrap();
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(leader);
    let started = Instant::now();
    while cluster.apply(one, "after").0 != 0 {
        assert!(started.elapsed() < PATIENCE);
    }
    cluster.serves(other, "after");
    cluster.start(leader);
    cluster.serves(leader, "after");
    let all = |nodes: &Value| list(nodes).iter().filter(|node| node["state"] == "alive").count() == 3;
    cluster.wait(leader, &["get", "nodes", "-o", "json"], all);
}

#[test]
fn a_node_without_the_others_serves_also_after_a_restart_and_catches_up_by_itself() {
    let mut cluster = Cluster::three();
    assert_eq!(cluster.apply(0, "one").0, 0);
    cluster.serves(2, "one");
    cluster.kill(0);
    cluster.kill(1);
    cluster.kill(2);
    cluster.start(2);
    cluster.serves(2, "one");
    let (code, _, error) = cluster.apply(2, "two");
    assert_eq!(code, 4, "{error}");
    let (code, status, _) = cluster.run(2, &["status"]);
    assert!(code == 1 && status.contains("too few voters"), "{status}");
    cluster.start(0);
    let started = Instant::now();
    while cluster.apply(0, "two").0 != 0 {
        assert!(started.elapsed() < PATIENCE);
    }
    cluster.serves(2, "two");
}

#[test]
fn a_ticket_lets_in_whom_it_says_and_a_removed_node_is_refused() {
    let mut cluster = Cluster::found();
    let ticket = cluster.ticket(0, &[]);
    cluster.join(&ticket);
    cluster.wait(0, &["get", "nodes", "-o", "json"], |nodes| list(nodes).len() == 2);
    for (ticket, reason) in
        [(ticket.as_str(), "used up"), ("slvt1_AAAA", "damaged"), ("nonsense", "not a ticket")]
    {
        let (code, error) = refused(&cluster.home(2), ticket);
        assert!(code != 0 && error.contains(reason), "{code} {error}");
    }
    let revoked = cluster.ticket(1, &["--ttl", "10m"]);
    let tickets = cluster.wait(1, &["ticket", "list", "-o", "json"], |all| list(all).len() == 2);
    let good = list(&tickets).iter().find(|ticket| ticket["state"] == "good").unwrap();
    assert_eq!(cluster.run(0, &["ticket", "revoke", good["id"].as_str().unwrap()]).0, 0);
    let (code, error) = refused(&cluster.home(2), &revoked);
    assert!(code != 0 && (error.contains("revoked") || error.contains("refused")), "{error}");
    assert_eq!(cluster.run(0, &["node", "remove", "b"]).0, 0);
    let left = cluster.wait(0, &["get", "nodes", "-o", "json"], |nodes| list(nodes).len() == 1);
    assert_eq!(names(&left), ["a"]);
    let removed = |status: &str| status.contains("removed from the cluster");
    let started = Instant::now();
    while !removed(&cluster.run(1, &["status"]).1) {
        assert!(started.elapsed() < PATIENCE);
    }
    let (code, _, error) = cluster.run(0, &["node", "remove", "a"]);
    assert!(code == 1 && error.contains("last node"), "{error}");
}

/// Tries to join; the exit code and what is said.
fn refused(home: &Path, ticket: &str) -> (i32, String) {
    let free = "127.0.0.1:0";
    std::fs::create_dir_all(home).unwrap();
    let output = selvedge(home)
        .args(["up", "--join", ticket, "--http", free, "--https", free, "--api", free, "--mesh", free])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(!home.join("data/identity").exists(), "nothing is left half joined");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn voters_and_leader_are_the_operators_to_choose() {
    let cluster = Cluster::three();
    let voters = |words: &[&str]| {
        let (code, out, error) = cluster.run(2, &[words, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{error}");
        serde_json::from_str::<Value>(&out).unwrap()
    };
    assert_eq!(voters(&["leader", "transfer", "b"])["leader"], "b");
    assert_eq!(voters(&["voters", "set", "c"])["voters"], serde_json::json!(["c"]));
    voters(&["voters", "set", "auto"]);
    cluster.wait(0, &["get", "voters", "-o", "json"], |now| list(&now["voters"]).len() == 3);
    let ready = || {
        support::send_to(cluster.node(1).api, "GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    };
    for (order, status) in [("drain", "503"), ("undrain", "200")] {
        assert_eq!(cluster.run(0, &["node", order, "b"]).0, 0);
        let started = Instant::now();
        while !ready().starts_with(&format!("HTTP/1.1 {status}")) {
            assert!(started.elapsed() < PATIENCE, "{order}");
        }
    }
    let (code, _, error) = cluster.run(0, &["voters", "set", "a,b"]);
    assert!(code == 1 && error.contains("even number"), "{error}");
    let (code, _, error) = cluster.run(0, &["leader", "transfer", "nobody"]);
    assert!(code == 1 && error.contains("nobody"), "{error}");
}

#[test]
fn a_backup_begins_another_cluster_which_grows_like_any() {
    let old = Cluster::three();
    assert_eq!(old.apply(1, "kept").0, 0);
    let file = old.dir.path().join("all.backup");
    let path = file.to_str().unwrap();
    let (code, out, error) = old.run(2, &["backup", "create", path, "-o", "json"]);
    assert_eq!(code, 0, "{error}");
    let about: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&about["nodes"], &about["sites"][0]), (&3.into(), &"default/a".into()));
    let (code, _, error) = old.run(2, &["backup", "create", path]);
    assert!(code == 2 && error.contains("is there already"), "{error}");
    assert_eq!(old.apply(1, "later").0, 0);

    let cut = old.dir.path().join("cut.backup");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    let mut new = Cluster::empty();
    let error = fails_to_start(&new.home(0), &["--new", "--restore", cut.to_str().unwrap()]);
    assert!(error.contains("cut off"), "{error}");
    std::fs::create_dir_all(new.home(0).join("data")).unwrap();
    // What was cut off while it was restored is no node.
    std::fs::write(new.home(0).join("data/restoring"), "").unwrap();
    let error = fails_to_start(&new.home(0), &["--new"]);
    assert!(error.contains("repeat it"), "{error}");
    new.found_with(&["--restore", path]);
    new.serves(0, "kept");
    let error = fails_to_start(&new.home(0), &["--new", "--restore", path]);
    assert!(error.contains("there is a node"), "{error}");
    let nodes = new.wait(0, &["get", "nodes", "-o", "json"], |nodes| list(nodes).len() == 1);
    assert_eq!(names(&nodes), ["a"]);
    let ticket = new.ticket(0, &["--uses", "2"]);
    new.join(&ticket);
    new.serves(1, "kept");
    new.join(&ticket);
    new.wait(0, &["get", "voters", "-o", "json"], |now| list(&now["voters"]).len() == 3);
    new.kill(0);
    new.start(0);
    new.serves(0, "kept");
    assert_eq!(new.apply(0, "after").0, 0);
    new.serves(2, "after");
    old.serves(2, "later");
}

/// What `up` says when it does not start.
fn fails_to_start(home: &Path, words: &[&str]) -> String {
    let data = home.join("data");
    let places =
        ["--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--api", "127.0.0.1:0", "--mesh", "127.0.0.1:0"];
    let up = ["up", "--data", data.to_str().unwrap()];
    let output = selvedge(home).args(up).args(places).args(words).stderr(Stdio::piped()).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}
