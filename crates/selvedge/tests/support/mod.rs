//! What whole-node tests share: the program itself, an origin, and clients, on loopback.

#![allow(dead_code)] // each test uses some of it

pub(crate) mod tls;
pub(crate) mod visitor;
pub(crate) mod wire;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An origin that answers with what it was asked for and how often it was asked in all.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// Header lines of every answer.
    pub(crate) head: Arc<Mutex<String>>,
}

impl Origin {
    pub(crate) fn start(head: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let head = Arc::new(Mutex::new(head.to_string()));
        let (count, lines) = (asked.clone(), head.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (count, lines) = (count.clone(), lines.clone());
                std::thread::spawn(move || answer(stream, &count, &lines));
            }
        });
        Origin { addr, asked, head }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(stream: TcpStream, count: &AtomicUsize, head: &Mutex<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
        }
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!("{} answer {n}", first.split(' ').nth(1).unwrap_or(""));
        let head = head.lock().unwrap().clone();
        let text = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len());
        if writer.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// A running node, ended with -9 when it is dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) api: SocketAddr,
    printed: String,
}

impl Node {
    pub(crate) fn start(data: &Path) -> Self {
        Node::start_with(data, &[])
    }

    /// Starts it with more on its command line.
    pub(crate) fn start_with(data: &Path, more: &[&str]) -> Self {
        Node::start_program(selvedge(data), data, more)
    }

    /// Starts a program that is or was the binary.
    pub(crate) fn start_program(mut program: Command, data: &Path, more: &[&str]) -> Self {
        let joins = more.contains(&"--join");
        let is_new = !joins && !data.join("data/identity").exists();
        let free = "127.0.0.1:0";
        let mesh = (!more.contains(&"--mesh")).then_some(["--mesh", free]);
        let mut child = program
            .arg("up")
            .args((!joins).then_some("--new"))
            .args(["--http", free, "--https", free, "--api", free])
            .args(mesh.into_iter().flatten())
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut address = |name: &str| {
            let line = lines.find(|line| line.split_whitespace().next() == Some(name)).unwrap();
            let url = line.split_whitespace().nth(1).unwrap();
            url.split_once("://").unwrap().1.trim_end_matches('/').parse().unwrap()
        };
        let (http, https, api) = (address("http"), address("https"), address("api"));
        // Printed last.
        let printed = lines.by_ref().take_while(|line| !line.starts_with("dashboard"));
        let printed: String = if is_new { printed.collect::<Vec<_>>().join("\n") } else { String::new() };
        // What else it prints must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Node { child, http, https, api, printed }
    }

    /// What it printed after its addresses, the first time.
    pub(crate) fn printed(&self) -> &str {
        &self.printed
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many files it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Asks it to end as a user does, and waits; whether it ended well.
    pub(crate) fn interrupt(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap().success()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends bytes and reads until the answer is complete or the connection is closed.
    pub(crate) fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
                });
                if length.is_some_and(|n| body.len() >= n) {
                    return text;
                }
            }
            match stream.read(&mut piece).unwrap() {
                0 => return text,
                n => answer.extend_from_slice(&piece[..n]),
            }
        }
    }

    pub(crate) fn get(&self, path: &str, more: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{more}\r\n"))
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn get_until(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let answer = self.get(path, "");
            if wanted(&answer) {
                return answer;
            }
            assert!(started.elapsed() < PATIENCE, "{answer}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn selvedge(data: &Path) -> Command {
    at_home(Command::new(env!("CARGO_BIN_EXE_selvedge")), data)
}

/// A command that knows nothing of the user who runs the test.
pub(crate) fn at_home(mut command: Command, data: &Path) -> Command {
    command.env_clear().env("HOME", data).env("SELVEDGE_DATA", data.join("data")).stderr(Stdio::null());
    command
}

pub(crate) fn run(data: &Path, words: &[&str]) {
    let status = selvedge(data).args(words).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{words:?}");
}

/// Runs a command and returns what it prints: standard output and standard error.
pub(crate) fn say(data: &Path, words: &[&str]) -> (String, String) {
    let output = selvedge(data).args(words).stderr(Stdio::piped()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// The token that was left in a data directory.
pub(crate) fn token(data: &Path) -> String {
    let context = std::fs::read_to_string(data.join("data/context.json")).unwrap();
    let context: serde_json::Value = serde_json::from_str(&context).unwrap();
    context["token"].as_str().unwrap().to_owned()
}

/// What the API of a node answers to a GET, with the token that was left in its data directory.
pub(crate) fn ask_api(data: &Path, node: &Node, target: &str) -> String {
    let token = token(data);
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    send_to(node.api, &request)
}

/// Applies a manifest; returns what is said of it on standard error.
pub(crate) fn apply(data: &Path, manifest: &str) -> String {
    let file = data.join("manifest.toml");
    std::fs::write(&file, manifest).unwrap();
    say(data, &["apply", file.to_str().unwrap()]).1
}

/// An address that is free, and stays so: each process of tests has a loopback address of its own, so that no other
/// program is given the port meanwhile.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((own_loopback(), 0)).unwrap().local_addr().unwrap()
}

/// The same over UDP.
pub(crate) fn free_udp_address() -> SocketAddr {
    std::net::UdpSocket::bind((own_loopback(), 0)).unwrap().local_addr().unwrap()
}

fn own_loopback() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | high, middle, low)
}

/// Sends a request to an address and reads until the connection is closed.
pub(crate) fn send_to(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer ends it as well.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// What a node counts. `home` is where its context file lies.
pub(crate) fn metrics(api: SocketAddr, home: &Path) -> String {
    let context = std::fs::read_to_string(home.join("data/context.json")).unwrap();
    let context: serde_json::Value = serde_json::from_str(&context).unwrap();
    let token = context["token"].as_str().unwrap();
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// The manifest of the site `a.test` with that origin.
pub(crate) fn site(origin: SocketAddr) -> String {
    format!("[site.a]\nhosts = [\"a.test\"]\norigin = \"http://{origin}\"\n")
}

pub(crate) fn world(head: &str) -> (tempfile::TempDir, Origin, Node) {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::start(head);
    let node = Node::start(dir.path());
    let file = dir.path().join("site.toml");
    std::fs::write(&file, site(origin.addr)).unwrap();
    run(dir.path(), &["apply", file.to_str().unwrap()]);
    node.get_until("/ready", |answer| answer.starts_with("HTTP/1.1 200"));
    (dir, origin, node)
}
