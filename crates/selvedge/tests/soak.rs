//! Everything at once, for a while: afterwards connections, files and memory are what they were before.
//!
//! `SELVEDGE_SOAK_SECONDS` says for how long (`cargo xtask soak --minutes N` sets it); a few by default.

mod support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::tls::encrypted;
use support::wire::{field, frame, preface, read_frame, read_head, read_http1, request_block};
use support::{Node, PATIENCE, metrics, run};

const SECONDS: u64 = 6;
/// Clients at once.
const CROWD: u64 = 6;
/// How much resident memory may differ between one calm and the next: allocators keep some.
const GROWTH_KIB_MAX: u64 = 64 << 10;
/// Files that may stay open more than before: connections kept to the origin.
const FILES_MORE_MAX: usize = 16;
/// Of `/large/...`, in bytes: cut into slices.
const LARGE: usize = 3 << 20;

/// Draws numbers; each client its own sequence (Knuth's LCG).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn after_everything_at_once_a_node_is_as_it_was() {
    let seconds = std::env::var("SELVEDGE_SOAK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SECONDS);
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_with(dir.path(), &["--cache-ram", "16MiB", "--cache-disk", "32MiB"]);
    let soak = Soak { node, origin: origin(), dir, done: AtomicU64::new(0) };
    soak.apply(0);
    soak.play(Duration::from_secs(seconds).div_f64(2.0));
    let before = soak.calm();
    soak.play(Duration::from_secs(seconds));
    let after = soak.calm();
    println!("{} exchanges; before {before:?}, after {after:?}", soak.done.load(Ordering::Relaxed));
    assert!(soak.done.load(Ordering::Relaxed) > 50, "too little was done to show anything");
    assert!(after.files <= before.files + FILES_MORE_MAX, "{before:?} {after:?}");
    assert!(after.resident_kib <= before.resident_kib + GROWTH_KIB_MAX, "{before:?} {after:?}");
    assert!(soak.node.interrupt(), "it ends well");
}

struct Soak {
    node: Node,
    origin: SocketAddr,
    dir: tempfile::TempDir,
    done: AtomicU64,
}

#[derive(Debug)]
struct Figures {
    files: usize,
    resident_kib: u64,
}

impl Soak {
    /// Everything at once, for that time.
    fn play(&self, time: Duration) {
        let (stop, until) = (AtomicBool::new(false), Instant::now() + time);
        std::thread::scope(|scope| {
            for number in 0..CROWD {
                let stop = &stop;
                scope.spawn(move || {
                    let mut dice = Dice(number * 7919 + 1);
                    while !stop.load(Ordering::Relaxed) {
                        // A connection may be cut for what its client does; what comes whole is checked.
                        let _ = self.visit(&mut dice);
                    }
                });
            }
            let mut generation = 1;
            while Instant::now() < until {
                self.apply(generation);
                run(self.dir.path(), &["cache", "purge", "--tag", "even"]);
                run(self.dir.path(), &["cache", "purge", "--prefix", "http://a.test/large", "--soft"]);
                generation += 1;
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    fn apply(&self, generation: u64) {
        let other = if generation.is_multiple_of(2) {
            format!("[site.b]\nhosts = [\"b.test\"]\norigin = \"http://{}\"\n", self.origin)
        } else {
            String::new()
        };
        let text = format!(
            "[site.a]\nhosts = [\"a.test\"]\norigin = \"http://{}\"\n[site.a.compress]\ncodings = [\"gzip\"]\n\
             [site.a.response_headers]\nset = {{ X-Generation = \"{generation}\" }}\n{other}",
            self.origin
        );
        let file = self.dir.path().join("site.toml");
        std::fs::write(&file, text).unwrap();
        run(self.dir.path(), &["apply", file.to_str().unwrap()]);
    }

    /// Waits until nothing is under way any more.
    fn calm(&self) -> Figures {
        let started = Instant::now();
        let idle = |text: &str| text.lines().any(|line| line == "selvedge_connections_open 0");
        while !idle(&metrics(self.node.api, self.dir.path())) {
            assert!(started.elapsed() < PATIENCE, "connections stay open although all clients have left");
            std::thread::yield_now();
        }
        Figures { files: self.node.open_files(), resident_kib: self.node.resident_kib() }
    }

    /// One client, from its connection to its end.
    fn visit(&self, dice: &mut Dice) -> io::Result<()> {
        let plain = |to| -> io::Result<TcpStream> {
            let stream = TcpStream::connect(to)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        match dice.below(5) {
            0 | 1 => self.http1(plain(self.node.http)?, dice),
            2 => self.http1(encrypted(plain(self.node.https)?, b"http/1.1")?, dice),
            3 => self.http2(plain(self.node.http)?, dice),
            _ => self.http2(encrypted(plain(self.node.https)?, b"h2")?, dice),
        }
    }

    fn http1(&self, mut stream: impl Read + Write, dice: &mut Dice) -> io::Result<()> {
        for _ in 0..1 + dice.below(8) {
            let path = path(dice);
            let (mut lines, mut whole) = (String::new(), true);
            match dice.below(10) {
                0 | 1 => {
                    let start = dice.below(LARGE as u64 - 70_000);
                    lines = format!("Range: bytes={start}-{}\r\n", start + dice.below(70_000));
                    whole = false;
                }
                2 => {
                    lines = "Accept-Encoding: gzip\r\n".into();
                    whole = false;
                }
                3 => {
                    // It promises content and leaves.
                    let head =
                        format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99\r\n\r\nhalf");
                    return stream.write_all(head.as_bytes());
                }
                _ => {}
            }
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n").as_bytes())?;
            if dice.below(8) == 0 {
                // It leaves in the middle of the answer, having read slowly.
                for _ in 0..20 {
                    stream.read_exact(&mut [0; 7])?;
                }
                return Ok(());
            }
            let (status, body) = read_http1(&mut stream)?;
            if whole && status == 200 {
                check(&path, &body);
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn http2(&self, mut stream: impl Read + Write, dice: &mut Dice) -> io::Result<()> {
        // A window for all of one connection's content.
        stream.write_all(&preface(64 << 20))?;
        let streams: Vec<(u32, String)> =
            (0..1 + dice.below(6)).map(|n| (2 * n as u32 + 1, path(dice))).collect();
        for (id, path) in &streams {
            stream.write_all(&frame(1, 5, *id, &request_block(path)))?;
        }
        if dice.below(6) == 0 {
            stream.write_all(&frame(3, 0, 1, &8u32.to_be_bytes()))?;
            return Ok(());
        }
        let mut bodies: Vec<Vec<u8>> = vec![Vec::new(); streams.len()];
        let mut open = streams.len();
        while open > 0 {
            let (kind, flags, id, payload) = read_frame(&mut stream)?;
            match (kind, flags) {
                (0, _) => bodies[id as usize / 2].extend_from_slice(&payload),
                (3 | 7, _) => return Ok(()),
                (4, 0) => stream.write_all(&frame(4, 1, 0, &[]))?,
                _ => {}
            }
            if matches!(kind, 0 | 1) && flags & 1 == 1 {
                open -= 1;
                self.done.fetch_add(1, Ordering::Relaxed);
            }
        }
        for ((_, path), body) in streams.iter().zip(&bodies) {
            check(path, body);
        }
        stream.write_all(&frame(7, 0, 0, &[0; 8]))
    }
}

fn path(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => format!("/large/{}", dice.below(6)),
        1 => format!("/private/{}", dice.below(1000)),
        _ => format!("/small/{}", dice.below(20).min(dice.below(2000))),
    }
}

/// What the origin has at a path: the path, again and again.
fn content(path: &str) -> Vec<u8> {
    let length = if path.starts_with("/large") { LARGE } else { 2000 };
    path.bytes().chain(*b"\n").cycle().take(length).collect()
}

fn check(path: &str, body: &[u8]) {
    assert!(body == content(path), "{path} has {} bytes that are not its own", body.len());
}

/// An origin that knows ranges, and is slow at times.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || while answer(&stream).is_ok() {});
        }
    });
    addr
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    let head = read_head(&mut stream)?;
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    let all = content(&path);
    let keep = if path.starts_with("/private") { "no-store" } else { "max-age=60, stale-while-revalidate=5" };
    let tag = if path.ends_with(['0', '2', '4', '6', '8']) { "even" } else { "odd" };
    let fields = format!(
        "Cache-Control: {keep}\r\nSurrogate-Key: {tag}\r\nETag: \"1\"\r\nContent-Type: text/plain\r\n"
    );
    let range = field(&head, "range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let start: usize = first.parse().ok()?;
        let end = last.parse::<usize>().map_or(all.len(), |last| last + 1).min(all.len());
        (start < end).then_some(start..end)
    });
    let (line, body) = match range {
        Some(range) => {
            let span = format!("Content-Range: bytes {}-{}/{}\r\n", range.start, range.end - 1, all.len());
            (format!("HTTP/1.1 206 Partial Content\r\n{span}"), &all[range])
        }
        None => ("HTTP/1.1 200 OK\r\n".to_owned(), &all[..]),
    };
    let text = format!("{line}{fields}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(text.as_bytes())?;
    stream.write_all(body)
}
