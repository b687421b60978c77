//! A node as a user runs it: the program itself, an origin, and clients, on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An origin that answers with what it was asked for and how often it was asked in all.
struct Origin {
    addr: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// Header lines of every answer.
    head: Arc<Mutex<String>>,
}

impl Origin {
    fn start(head: &str) -> Self {
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

    fn asked(&self) -> usize {
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
struct Node {
    child: Child,
    http: SocketAddr,
}

impl Node {
    fn start(data: &Path) -> Self {
        let mut child = selvedge(data)
            .args(["up", "--new", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--api", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut http = None;
        for line in &mut lines {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("http"), Some(url)) => {
                    let url = url.trim_start_matches("http://").trim_end_matches('/');
                    http = Some(url.parse().unwrap());
                }
                (Some("api"), Some(_)) => break,
                _ => {}
            }
        }
        // What else it prints must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Node { child, http: http.expect("it prints where it answers") }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends bytes and reads until the answer is complete or the connection is closed.
    fn send(&self, request: &str) -> String {
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

    fn get(&self, path: &str, more: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{more}\r\n"))
    }

    /// Asks until the answer is as wanted.
    fn get_until(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
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

fn selvedge(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    command.env_clear().env("HOME", data).env("SELVEDGE_DATA", data.join("data")).stderr(Stdio::null());
    command
}

fn run(data: &Path, words: &[&str]) {
    let status = selvedge(data).args(words).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{words:?}");
}

fn world(head: &str) -> (tempfile::TempDir, Origin, Node) {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::start(head);
    let node = Node::start(dir.path());
    let manifest = format!("[site.a]\nhosts = [\"a.test\"]\norigin = \"http://{}\"\n", origin.addr);
    let file = dir.path().join("site.toml");
    std::fs::write(&file, manifest).unwrap();
    run(dir.path(), &["apply", file.to_str().unwrap()]);
    node.get_until("/ready", |answer| answer.starts_with("HTTP/1.1 200"));
    (dir, origin, node)
}

#[test]
fn a_page_is_fetched_once_purged_and_fetched_again() {
    let (dir, origin, node) = world("Cache-Control: max-age=600\r\nSurrogate-Key: one\r\n");
    let before = origin.asked();
    let first = node.get("/a", "");
    assert!(first.contains("fwd=uri-miss") && !first.contains("urrogate"), "{first}");
    let second = node.get("/a", "");
    assert!(second.contains("cache-status: selvedge; hit"), "{second}");
    assert_eq!(origin.asked(), before + 1);
    run(dir.path(), &["cache", "purge", "--tag", "one"]);
    assert!(node.get("/a", "").contains("fwd=uri-miss"));
    assert_eq!(origin.asked(), before + 2);
}

#[test]
fn what_was_acknowledged_and_what_was_cached_outlive_kill_9() {
    let (dir, origin, node) = world("Cache-Control: max-age=600\r\n");
    node.get("/kept", "");
    node.get("/purged", "");
    run(dir.path(), &["cache", "purge", "--url", "http://a.test/purged"]);
    let before = origin.asked();
    node.kill();
    let node = Node::start(dir.path());
    // What is on its way to the disk when a node is killed may be lost: it is then fetched again, never wrong.
    let kept = node.get("/kept", "");
    assert!(kept.contains("/kept answer"), "{kept}");
    assert!(kept.contains("hit") || origin.asked() == before + 1, "{kept}");
    let purged = node.get("/purged", "");
    assert!(purged.contains("fwd="), "a purge was lost: {purged}");
}

#[test]
fn the_page_stays_when_the_origin_fails() {
    let (_dir, origin, node) = world("Cache-Control: max-age=0, stale-if-error=600\r\nETag: \"v\"\r\n");
    assert!(node.get("/a", "").contains("/a answer"));
    // Every further answer is malformed.
    *origin.head.lock().unwrap() = "Content-Length: 1\r\n".into();
    let stale = node.get_until("/a", |answer| answer.contains("ttl=-"));
    assert!(stale.starts_with("HTTP/1.1 200") && stale.contains("/a answer"), "{stale}");
    let failed = node.get("/other", "");
    assert!(failed.starts_with("HTTP/1.1 502") && failed.contains("proxy-status"), "{failed}");
}

#[test]
fn a_listener_that_cannot_be_used_does_not_keep_the_node_from_starting() {
    let (dir, origin, node) = world("Cache-Control: max-age=600\r\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let manifest = format!(
        "[site.a]\nhosts = [\"a.test\"]\norigin = \"http://{}\"\n[[settings.listener]]\naddress = \"{}\"\n",
        origin.addr,
        taken.local_addr().unwrap()
    );
    let file = dir.path().join("listener.toml");
    std::fs::write(&file, manifest).unwrap();
    run(dir.path(), &["apply", file.to_str().unwrap()]);
    node.kill();
    let node = Node::start(dir.path());
    assert!(node.get("/a", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn ambiguous_framing_is_refused_and_closed() {
    let (_dir, origin, node) = world("Cache-Control: max-age=600\r\n");
    let before = origin.asked();
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: +5\r\n",
        "X: a\nContent-Length: 5\r\n",
    ] {
        let answer = node.send(&format!("POST /a HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n0\r\n\r\n"));
        let status = answer.split(' ').nth(1).unwrap_or("");
        assert!(status == "400" || status == "501", "{lines}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{lines}: {answer}");
    }
    assert_eq!(origin.asked(), before);
}
