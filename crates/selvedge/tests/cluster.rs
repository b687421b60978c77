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
    pops: [&'static str; 4],
    /// Where their meshes are, also after a restart.
    meshes: Vec<String>,
    nodes: Vec<Option<Node>>,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const POPS: [&str; 4] = ["ams", "fra", "iad", "lis"];

impl Cluster {
    /// Without a node.
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let meshes = NAMES.map(|_| support::free_udp_address().to_string()).to_vec();
        let cluster = Cluster { dir, token: String::new(), pops: POPS, meshes, nodes: vec![None] };
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
        Cluster::three_in(POPS)
    }

    fn three_in(pops: [&'static str; 4]) -> Self {
        let mut cluster = Cluster::empty();
        cluster.pops = pops;
        cluster.found_with(&[]);
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

    /// Starts a node again: what it is called and where it is it knows.
    fn start(&mut self, i: usize) {
        self.nodes[i] = Some(Node::start_with(&self.home(i), &["--mesh", &self.meshes[i]]));
    }

    fn place(&self, i: usize) -> [&str; 8] {
        ["--mesh", &self.meshes[i], "--name", NAMES[i], "--pop", self.pops[i], "--region", "eu"]
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
        assert_eq!(names(&nodes), NAMES[..3]);
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
    assert!(NAMES[..3].iter().all(|name| said.contains(&format!("{name} goes by it after"))), "{said}");
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
fn an_edge_node_serves_what_is_applied_and_has_nothing_else() {
    let mut cluster = Cluster::three();
    let ticket = cluster.ticket(0, &["--role", "edge"]);
    cluster.join(&ticket);
    let is_there = |node: &Value| {
        (&node["name"], &node["role"], &node["control"], &node["state"])
            == (&"d".into(), &"edge".into(), &"".into(), &"alive".into())
    };
    cluster.wait(0, &["get", "nodes", "-o", "json"], |nodes| list(nodes).iter().any(is_there));
    let (code, _, error) = cluster.run(0, &["voters", "set", "a,b,d"]);
    assert!(code == 1 && error.contains("edge node"), "{error}");

    // What users ask of it others do, by the user's token.
    let space = cluster.dir.path().join("space.toml");
    let keyspace = "[keyspace.users]\nconsistency = \"strong\"\nquota = \"4MiB\"\n";
    std::fs::write(&space, format!("{keyspace}{}", site("one"))).unwrap();
    let (code, _, said) = cluster.run(3, &["apply", space.to_str().unwrap(), "--wait"]);
    assert!(code == 0 && said.contains("d goes by it after"), "{said}");
    (0..4).for_each(|at| cluster.serves(at, "one"));
    printed(&cluster, 3, &["kv", "put", "users", "a", "kept-from-the-edge"]);
    assert_eq!(printed(&cluster, 3, &["kv", "get", "users", "a"]), "kept-from-the-edge");
    printed(&cluster, 3, &["token", "create", "token-of-somebody", "--role", "viewer"]);
    printed(&cluster, 1, &["kv", "get", "users", "a"]);
    assert_eq!(api(&cluster, 3, "GET", "/v1/whoami", "").1["role"], "admin");
    let unknown = support::send_to(
        cluster.node(3).api,
        "GET /v1/status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nConnection: close\r\n\r\n",
    );
    assert!(unknown.starts_with("HTTP/1.1 401"), "{unknown}");
    assert!(printed(&cluster, 3, &["status"]).contains("an edge node: it follows"));
    for secret in ["kept-from-the-edge", "token-of-somebody"] {
        assert!(
            is_on_disk(&cluster.home(1).join("data"), secret),
            "{secret} is looked for in the right place"
        );
        assert!(!is_on_disk(&cluster.home(3).join("data"), secret), "{secret}");
    }

    // What happens on it is told with all else, wherever it is asked for.
    let told_by_edge =
        |events: &Value| list(events).iter().any(|e| e["kind"] == "started" && e["node"] == "d");
    cluster.wait(0, &["events", "-o", "json"], told_by_edge);
    cluster.wait(3, &["events", "-o", "json"], told_by_edge);

    // What nodes write has no name that a user may choose for a log.
    for home in [0, 1, 3] {
        for entry in std::fs::read_dir(cluster.home(home).join("data")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(selvedge_types::manifest::is_data_name(&name), "{name}");
        }
    }

    // Without the others it goes on, also after a restart.
    (0..3).for_each(|at| cluster.kill(at));
    cluster.serves(3, "one");
    let started = Instant::now();
    while !cluster.run(3, &["status"]).1.contains("cut off") {
        assert!(started.elapsed() < PATIENCE);
    }
    // What is sent while nobody knows yet that they are gone may have been done.
    let started = Instant::now();
    let error = loop {
        let (code, _, error) = cluster.apply(3, "two");
        assert!([3, 4].contains(&code) && started.elapsed() < PATIENCE, "{code} {error}");
        if code == 4 {
            break error;
        }
    };
    assert!(error.contains("edge node"), "{error}");
    cluster.kill(3);
    cluster.start(3);
    cluster.serves(3, "one");
    (0..3).for_each(|at| cluster.start(at));
    let file = cluster.dir.path().join("two.toml");
    std::fs::write(&file, format!("{keyspace}{}", site("two"))).unwrap();
    let started = Instant::now();
    while cluster.run(0, &["apply", file.to_str().unwrap()]).0 != 0 {
        assert!(started.elapsed() < PATIENCE);
    }
    cluster.serves(3, "two");
    assert_eq!(cluster.run(1, &["cache", "purge", "--site", "a", "--all"]).0, 0);
}

/// Whether a file below a directory holds that text.
fn is_on_disk(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return is_on_disk(&path, text);
        }
        // A file that is gone meanwhile holds nothing.
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
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
    assert!(code != 0 && error.contains("revoked"), "{error}");
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

#[test]
fn what_is_left_of_a_cluster_that_lost_its_majority_begins_another() {
    let mut old = Cluster::three();
    assert_eq!(old.apply(1, "kept").0, 0);
    old.serves(2, "kept");
    old.kill(0);
    old.kill(1);
    let file = old.dir.path().join("left.backup");
    let path = file.to_str().unwrap();
    let (code, _, error) = old.run(2, &["backup", "create", path]);
    assert!(code == 4 && error.contains("--read local"), "{code} {error}");
    let (code, _, error) = old.run(2, &["backup", "create", path, "--read", "newest"]);
    assert!(code == 1 && error.contains("bounded=TIME"), "{code} {error}");
    assert!(!file.exists());
    let (code, _, error) = old.run(2, &["backup", "create", path, "--read", "local"]);
    assert_eq!(code, 0, "{error}");
    let mut new = Cluster::empty();
    new.found_with(&["--restore", path]);
    new.serves(0, "kept");
    assert_eq!(new.apply(0, "after").0, 0);
    old.serves(2, "kept");
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

/// What a command prints.
fn printed(cluster: &Cluster, at: usize, words: &[&str]) -> String {
    let (code, out, error) = cluster.run(at, words);
    assert_eq!(code, 0, "{words:?}: {error}");
    out
}

#[test]
fn keys_put_at_one_node_are_read_watched_and_compared_at_every_other() {
    let mut cluster = Cluster::three();
    let file = cluster.dir.path().join("space.toml");
    std::fs::write(&file, "[keyspace.users]\nconsistency = \"strong\"\nquota = \"4MiB\"\n").unwrap();
    printed(&cluster, 1, &["apply", file.to_str().unwrap(), "--wait"]);
    let json = |out: String| serde_json::from_str::<Value>(&out).unwrap();

    let put = json(printed(&cluster, 1, &["kv", "put", "users", "a/1", "one", "-o", "json"]));
    let revision = put["revision"].as_u64().unwrap();
    for (at, level) in
        [(0, "linearizable"), (1, "local"), (2, &*format!("session={revision}")), (2, "bounded=2s")]
    {
        assert_eq!(printed(&cluster, at, &["kv", "get", "users", "a/1", "--read", level]), "one", "{level}");
    }
    let read = json(printed(&cluster, 2, &["kv", "range", "users", "--prefix", "a/", "-o", "json"]));
    assert_eq!(
        (&read["pairs"][0]["value"], &read["count"], &read["read"]),
        (&"one".into(), &1.into(), &"linearizable".into())
    );

    // A transaction: only the first of two that expect the same is done.
    let txn = cluster.dir.path().join("txn.json");
    let text = "{\"compare\": [{\"key\": \"a/1\", \"value\": \"one\"}], \"then\": [{\"put\": {\"key\": \"a/1\", \"value\": \"two\"}}],
        \"else\": [{\"get\": {\"key\": \"a/1\"}}]}";
    std::fs::write(&txn, text).unwrap();
    let tried =
        |at| json(printed(&cluster, at, &["kv", "txn", "users", txn.to_str().unwrap(), "-o", "json"]));
    assert_eq!(tried(2)["succeeded"], true);
    let second = tried(1);
    assert_eq!(
        (&second["succeeded"], &second["answers"][0]["get"]["pairs"][0]["value"]),
        (&false.into(), &"two".into())
    );

    // Sent twice, done once.
    let (_, session) = api(&cluster, 2, "POST", "/v1/kv/default/users/sessions", "");
    let call = format!("{{\"session\": {}, \"sequence\": 1}}", session["session"]);
    let body = format!("{{\"key\": \"a/2\", \"value\": \"x\", \"call\": {call}}}");
    let revisions =
        [0, 1].map(|at| api(&cluster, at, "POST", "/v1/kv/default/users/put", &body).1["revision"].clone());
    assert_eq!(revisions[0], revisions[1]);
    let forged = body.replace(session["session"].as_str().unwrap(), "1-0");
    assert_eq!(api(&cluster, 0, "POST", "/v1/kv/default/users/put", &forged).0, 422);

    // A lease takes its keys with it.
    let lease = json(printed(&cluster, 0, &["kv", "lease", "grant", "users", "1h", "-o", "json"]))["lease"]
        .to_string();
    printed(&cluster, 1, &["kv", "put", "users", "b", "held", "--lease", &lease]);
    assert!(printed(&cluster, 2, &["kv", "lease", "list", "users"]).contains("b"));
    printed(&cluster, 2, &["kv", "lease", "revoke", "users", &lease]);
    let (code, _, error) = cluster.run(1, &["kv", "get", "users", "b"]);
    assert!(code == 1 && error.contains("has no key b"), "{error}");

    // What is watched is all there was, from any node, also after its restart.
    let watch = ["kv", "watch", "users", "--from", &revision.to_string(), "-n", "5", "-o", "json"];
    let events =
        |at| -> Vec<Value> { printed(&cluster, at, &watch).lines().map(|line| json(line.into())).collect() };
    let seen = events(0);
    let values: Vec<_> = seen.iter().map(|event| event["value"].as_str().unwrap_or("gone")).collect();
    assert_eq!(values, ["one", "two", "x", "held", "gone"]);
    assert_eq!(events(2), seen);
    cluster.kill(2);
    cluster.start(2);
    let again: Vec<Value> = printed(&cluster, 2, &watch).lines().map(|line| json(line.into())).collect();
    assert_eq!(again, seen);
    let present = json(printed(&cluster, 0, &["kv", "range", "users", "-o", "json"]))["revision"].to_string();
    printed(&cluster, 1, &["kv", "compact", "users", &present]);
    let (code, _, error) = cluster.run(0, &watch);
    assert!(code == 1 && error.contains("no longer kept"), "{error}");

    // Keys without an end go on to the very last.
    let last = serde_json::json!({"key": {"base64": "/////////////w=="}, "value": "last"}).to_string();
    assert_eq!(api(&cluster, 1, "POST", "/v1/kv/default/users/put", &last).0, 200);
    let count = |words: &[&str]| {
        let words = [&["kv", "range", "users"][..], words, &["-o", "json"]].concat();
        json(printed(&cluster, 2, &words))["count"].clone()
    };
    assert_eq!(count(&["a/2"]), count(&[]).as_u64().unwrap() - 1, "all but a/1");

    // What it takes, and may take.
    let metrics = support::metrics(cluster.node(0).api, &cluster.home(0));
    assert!(
        metrics.contains("selvedge_keyspace_quota_bytes{keyspace=\"default/users\"} 4194304"),
        "{metrics}"
    );
    assert!(metrics.contains("selvedge_keyspace_watches "), "{metrics}");

    // Beyond what is allowed, and what is nobody's.
    let big = cluster.dir.path().join("big");
    std::fs::write(&big, vec![b'x'; 1 << 20]).unwrap();
    let fill = |n: usize| {
        cluster.run(0, &["kv", "put", "users", &format!("big/{n}"), "--file", big.to_str().unwrap()])
    };
    // A slow disk leaves it open for some of them whether they were put.
    let (code, _, error) = (0..12).map(fill).find(|(code, ..)| ![0, 3].contains(code)).unwrap();
    assert!(code == 1 && error.contains("quota"), "{error}");
    let (code, _, error) = cluster.run(0, &["kv", "range", "selvedge/control"]);
    assert!(code == 1 && error.contains("keeps for itself"), "{error}");
    let (code, _, error) = cluster.run(0, &["kv", "get", "nothing", "a"]);
    assert!(code == 1 && error.contains("there is no keyspace default/nothing"), "{error}");

    // To leave it out must be meant.
    std::fs::write(&file, "").unwrap();
    let (code, _, error) = cluster.run(0, &["apply", file.to_str().unwrap(), "--delete-all"]);
    assert!(code == 1 && error.contains("--delete-keyspaces"), "{error}");
    printed(&cluster, 0, &["apply", file.to_str().unwrap(), "--delete-all", "--delete-keyspaces", "--wait"]);
    assert_eq!(cluster.run(1, &["kv", "range", "users"]).0, 1);
}

/// A request to a node's API: the status, and the answer.
fn api(cluster: &Cluster, at: usize, method: &str, target: &str, body: &str) -> (u16, Value) {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        cluster.token,
        body.len()
    );
    let answer = support::send_to(cluster.node(at).api, &request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// The first event of that kind about `subject`, by its place in the list.
fn place(events: &Value, kind: &str, subject: &str) -> Option<usize> {
    list(events).iter().position(|event| event["kind"] == kind && event["subject"] == subject)
}

#[test]
fn what_happened_is_told_in_causal_order_by_those_who_are_reached() {
    let mut cluster = Cluster::three_in(["ams"; 4]);
    assert_eq!(cluster.apply(1, "hello").0, 0);
    printed(&cluster, 2, &["cache", "purge", "--site", "a", "--all"]);
    printed(&cluster, 2, &["leader", "transfer", "c"]);
    let elsewhere =
        ["token", "create", "elsewhere", "--role", "viewer", "--namespace", "other", "-o", "json"];
    let token: Value = serde_json::from_str(&printed(&cluster, 0, &elsewhere)).unwrap();
    cluster.kill(2);
    let all = ["events", "--since", "1h", "-o", "json"];
    let again = |event: &Value| event["kind"] == "leader" && event["subject"] != "c";
    let events = cluster.wait(0, &all, |events| {
        let led = place(events, "leader", "c").unwrap_or(usize::MAX);
        place(events, "failed", "c").is_some() && list(events).iter().skip(led).any(again)
    });
    let at: Vec<&str> = list(&events).iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert!(at.is_sorted());
    let order = [
        ("joined", "a"),
        ("joined", "b"),
        ("joined", "c"),
        ("voters", "a,b,c"),
        ("applied", "default"),
        ("purged", "site default/a"),
        ("leader", "c"),
        ("suspected", "c"),
        ("failed", "c"),
    ];
    let places: Vec<usize> = order
        .iter()
        .map(|(kind, subject)| {
            place(&events, kind, subject).unwrap_or_else(|| panic!("no {kind} {subject} in {events:#}"))
        })
        .collect();
    assert!(places.is_sorted(), "{places:?} {events:#}");
    let b_started = list(&events).iter().position(|event| event["kind"] == "started" && event["node"] == "b");
    assert!(b_started > Some(places[1]), "who was let in starts after that");
    let applied = list(&events).iter().filter(|event| event["kind"] == "applied");
    let applied: Vec<&Value> = applied.collect();
    assert_eq!(applied.len(), 1, "what all tell is told once: {applied:?}");
    assert!(list(&applied[0]["nodes"]).len() == 2 && applied[0]["text"].to_string().contains("site a added"));
    let (code, _, error) = cluster.run(1, &all);
    assert!(code == 0 && error.contains("not reached: c: "), "{error}");
    let (_, only, _) = cluster.run(1, &["events", "--kind", "purged,applied", "--node", "a", "-o", "json"]);
    let only: Value = serde_json::from_str(&only).unwrap();
    assert!(
        list(&only).iter().all(|event| event["kind"] == "purged" || event["kind"] == "applied"),
        "{only}"
    );
    assert_eq!(list(&only).len(), 2);

    // Who may see another namespace alone sees none of it.
    let token = token["secret"].as_str().unwrap();
    let output = selvedge(&cluster.home(0)).env("SELVEDGE_TOKEN", token).args(all).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "[]");

    // What it knows is there again, and more, when it is back.
    cluster.start(2);
    let starts = |events: &Value| {
        list(events).iter().filter(|event| event["kind"] == "started" && event["node"] == "c").count()
    };
    cluster.wait(0, &all, |events| starts(events) == 2);
    let names = |events: &Value| {
        let applied = list(events).iter().find(|event| event["kind"] == "applied").cloned();
        list(&applied.unwrap_or_default()["nodes"]).len()
    };
    let events = cluster.wait(0, &all, |events| names(events) == 3);
    let applied = list(&events).iter().filter(|event| event["kind"] == "applied").count();
    assert_eq!(applied, 1, "what was told before a restart is not told again");
}

#[test]
fn events_are_followed_over_all_nodes() {
    use std::io::{BufRead, BufReader};
    let mut cluster = Cluster::found();
    let ticket = cluster.ticket(0, &[]);
    cluster.join(&ticket);
    let mut follower = selvedge(&cluster.home(0))
        .env("SELVEDGE_TOKEN", &cluster.token)
        .env("SELVEDGE_API", format!("http://{}", cluster.node(0).api))
        .args(["events", "--follow", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut until = |kind: &str, subject: &str| {
        let found = events.find(|event| event["kind"] == kind && event["subject"] == subject);
        found.unwrap_or_else(|| panic!("the list ended before {kind} {subject}"))
    };
    until("joined", "b");
    assert_eq!(cluster.apply(1, "one").0, 0);
    let first = until("applied", "default");
    assert_eq!(cluster.apply(1, "two").0, 0);
    let second = until("applied", "default");
    assert!(second["at"].as_str() > first["at"].as_str());
    assert_ne!(first["text"], second["text"], "what several tell is shown once");
    follower.kill().unwrap();
    follower.wait().unwrap();
}
