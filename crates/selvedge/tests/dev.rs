//! `selvedge dev`: what it prints is true, and it leaves nothing behind.

mod support;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;
use support::{PATIENCE, selvedge, send_to};

/// The nodes of the usual world.
const NAMES: [&str; 3] = ["ams", "fra", "nyc"];

/// A world, asked to end when it is dropped.
struct Dev {
    child: Child,
    home: tempfile::TempDir,
    /// What it printed once all answered.
    printed: Value,
    said: Receiver<String>,
}

impl Dev {
    fn start(more: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let free = "127.0.0.1:0";
        let mut child = selvedge(home.path())
            .args(["dev", "--http", free, "--https", free, "--api", free, "-o", "json"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, said) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        std::thread::spawn(move || lines.for_each(|line| drop(say.send(line))));
        let stdout = child.stdout.take().unwrap();
        let printed = serde_json::Deserializer::from_reader(stdout.take(1 << 20)).into_iter().next();
        let Some(Ok(printed)) = printed else {
            panic!("{}", said.iter().collect::<Vec<_>>().join("\n"));
        };
        Dev { child, home, printed, said }
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Waits until it says something with this in it; the line.
    fn says(&self, what: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(what) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("it does not say {what:?}, but:\n{}", before.join("\n")),
            }
        }
    }

    fn node(&self, name: &str) -> &Value {
        let nodes = self.printed["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["name"] == name).unwrap()
    }

    fn pid(&self, name: &str) -> Pid {
        pid(self.node(name)["pid"].as_i64().unwrap())
    }

    /// Runs a command as any node sees it.
    fn ask(&self, at: &str, words: &[&str]) -> (bool, String) {
        let mut command = selvedge(self.home.path());
        command.env("SELVEDGE_DATA", self.root().join(at)).args(words).stderr(Stdio::piped());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout) + &text(output.stderr))
    }

    /// Repeats a command until what it prints is as wanted.
    fn until(&self, at: &str, words: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let (_, said) = self.ask(at, words);
            let value: Value = serde_json::from_str(&said).unwrap_or_default();
            if wanted(&value) {
                return value;
            }
            assert!(started.elapsed() < PATIENCE, "{words:?} at {at}: {said}");
        }
    }

    /// Whether the node answers for a site with this.
    fn serves(&self, name: &str, text: &str) -> bool {
        let http = self.node(name)["http"][0].as_str().unwrap();
        let addr: SocketAddr = http.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let answer = send_to(addr, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(text)
    }

    /// All processes that it started.
    fn processes(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().parse::<i64>().ok()
            };
            if field("PPid:") == Some(i64::from(self.child.id())) {
                found.extend(field("Pid:").map(pid));
            }
        }
        found
    }

    /// Ends it with a signal, and waits until it has.
    fn end(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
    }
}

fn pid(number: i64) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

fn lives(pid: Pid) -> bool {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// Waits until none of them is there any more.
fn all_end(processes: &[Pid]) {
    let started = Instant::now();
    while processes.iter().any(|pid| lives(*pid)) {
        assert!(started.elapsed() < PATIENCE, "something was left running");
        std::thread::yield_now();
    }
}

fn alive(nodes: &Value) -> usize {
    let nodes = nodes.as_array().map_or(&[][..], Vec::as_slice);
    nodes.iter().filter(|node| node["state"] == "alive").count()
}

#[test]
fn the_printed_line_kills_the_origin_and_shows_the_stored_page() {
    let dev = Dev::start(&["--pops", "1"]);
    let line = dev.says("when its origin is gone: ");
    let line = line.split_once("when its origin is gone: ").unwrap().1;
    // kill PID && curl -i http://ADDR/
    let (kill, curl) = line.split_once(" && ").unwrap();
    let origin = pid(kill.strip_prefix("kill ").unwrap().parse().unwrap());
    let host = curl.strip_prefix("curl -i http://").unwrap().trim_end_matches('/');
    let addr = host.parse().unwrap();

    kill_process(origin, Signal::TERM).unwrap();
    // Until the origin is gone, which is seen from another page.
    let ask = |path: &str| {
        send_to(addr, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    let started = Instant::now();
    for i in 0.. {
        if ask(&format!("/none/{i}")).starts_with("HTTP/1.1 502") {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "the origin lives on");
    }
    let page = ask("/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("selvedge; hit"), "{page}");
    assert!(page.contains("<html"), "{page}");
    // What it shows by itself then, and when the origin is back.
    dev.says("served all the same");
    std::fs::remove_file(dev.root().join("origin.down")).unwrap();
    dev.says("the origin is back");
}

#[test]
fn three_pops_are_one_cluster_that_goes_on_when_a_node_dies_or_a_pop_is_cut_off() {
    let mut dev = Dev::start(&[]);
    let voters = dev.until("fra", &["get", "voters", "-o", "json"], |now| now["leader"].is_string());
    assert_eq!(voters["voters"].as_array().unwrap().len(), 3);
    let far = dev.until("ams", &["get", "nodes", "nyc", "-o", "json"], |nodes| {
        nodes[0]["round_trip_us"].as_u64().is_some_and(|time| time >= 120_000)
    });
    assert!(far[0]["round_trip_us"].as_u64().unwrap() < 240_000, "{far}");

    let site = |text: &str| {
        format!(
            "[site.a]\nhosts = [\"a.test\"]\n[[site.a.route]]\npath = \"/*\"\nrespond = {{ status = 200, body = \"{text}\" }}\n"
        )
    };
    let manifest = dev.home.path().join("site.toml");
    let apply = |at: &str, text: &str, more: &[&str]| {
        std::fs::write(&manifest, site(text)).unwrap();
        dev.ask(at, &[&["apply", manifest.to_str().unwrap()], more].concat())
    };
    let (done, said) = apply("nyc", "one", &["--wait"]);
    assert!(done && NAMES.iter().all(|name| dev.serves(name, "one")), "{said}");

    // A node that is killed.
    kill_process(dev.pid("nyc"), Signal::KILL).unwrap();
    dev.says("nyc has ended");
    let (done, said) = apply("ams", "two", &[]);
    assert!(done, "{said}");
    for name in ["ams", "fra"] {
        let started = Instant::now();
        while !dev.serves(name, "two") {
            assert!(started.elapsed() < PATIENCE, "{name} does not follow");
        }
    }
    std::fs::remove_file(dev.root().join("nyc.down")).unwrap();
    dev.says("nyc runs again");
    dev.until("nyc", &["get", "nodes", "-o", "json"], |nodes| alive(nodes) == 3);

    // A PoP that is cut off goes on serving, and follows when it is healed.
    std::fs::write(dev.root().join("ams.cut"), "").unwrap();
    dev.says("ams is cut off");
    dev.until("fra", &["get", "nodes", "ams", "-o", "json"], |nodes| nodes[0]["state"] == "gone");
    let started = Instant::now();
    while !apply("fra", "three", &[]).0 {
        assert!(started.elapsed() < PATIENCE, "no change can be made");
    }
    assert!(dev.serves("ams", "two"), "it serves by what it knows");
    let (done, said) = apply("ams", "four", &[]);
    assert!(!done, "{said}");
    std::fs::remove_file(dev.root().join("ams.cut")).unwrap();
    dev.says("ams is no longer cut off");
    let started = Instant::now();
    while !dev.serves("ams", "three") {
        assert!(started.elapsed() < PATIENCE, "it does not catch up");
    }

    let processes = dev.processes();
    assert_eq!(processes.len(), 4, "three nodes and an origin");
    dev.end(Signal::INT);
    all_end(&processes);
    assert!(!dev.root().join("ams.cut").exists() && dev.root().join("ams/identity").exists());
}

#[test]
fn keys_on_a_terminal_kill_a_node_and_start_it_again() {
    let home = tempfile::tempdir().unwrap();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let side = || {
        Stdio::from(rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap())
    };
    let free = "127.0.0.1:0";
    let mut child = selvedge(home.path())
        .args(["dev", "--pops", "1", "--http", free, "--https", free, "--api", free])
        .stdin(side())
        .stdout(Stdio::null())
        .stderr(side())
        .spawn()
        .unwrap();
    let mut press = File::from(terminal.try_clone().unwrap());
    let mut lines = BufReader::new(File::from(terminal)).lines().map_while(Result::ok);
    let mut says = |what: &str| assert!(lines.any(|line| line.contains(what)), "it does not say {what:?}");
    says("Ctrl-C ends all");
    press.write_all(b"k1").unwrap();
    says("killed dev (-9)");
    says("k1    dev   local  killed");
    press.write_all(b"k1").unwrap();
    says("dev runs again");
    says("k1    dev   local  alive");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_node_that_does_not_start_ends_the_world_and_says_why() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = tempfile::tempdir().unwrap();
    let (code, said) = refused(home.path(), &["--http", &taken.local_addr().unwrap().to_string()]);
    assert!(code == 1 && said.contains("node ams did not start"), "{said}");
    assert!(said.contains("for http") && said.contains("Address already in use"), "{said}");
}

#[test]
fn nothing_outlives_a_world_that_is_killed() {
    let mut dev = Dev::start(&["--pops", "2", "--nodes-per-pop", "1"]);
    let processes = dev.processes();
    assert_eq!(processes.len(), 3, "two nodes and an origin");
    dev.end(Signal::KILL);
    all_end(&processes);
}

#[test]
fn a_world_goes_on_where_it_was_when_its_directory_is_kept() {
    let mut dev = Dev::start(&[]);
    let root = dev.root();
    dev.end(Signal::INT);
    let again = |more: &[&str]| refused(dev.home.path(), more);
    let (code, said) = again(&["--pops", "1"]);
    assert!(code == 2 && said.contains("a cluster"), "{said}");
    assert!(root.join("fra/identity").exists());
    let free = "127.0.0.1:0";
    let mut child = selvedge(dev.home.path())
        .args(["dev", "--http", free, "--https", free, "--api", free])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<String> = lines.take_while(|line| !line.contains("Ctrl-C ends all")).collect();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(said.iter().any(|line| line.contains("ams, fra, nyc run")), "{said:?}");
}

/// Starts a world that does not begin; its exit code and what it says.
fn refused(home: &Path, more: &[&str]) -> (i32, String) {
    let output = selvedge(home).arg("dev").args(more).stderr(Stdio::piped()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}
