//! Hostile clients against the program itself: every limit holds and is counted, memory stays bounded, and others
//! are answered meanwhile.

mod support;

use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use support::{Node, PATIENCE, metrics, run};

/// Where attackers come from: another client than the tests' own, by its address.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How many connections one client may have here.
const PER_CLIENT: usize = 64;

/// How much larger the node may have become when an attack is over.
const GROWTH_KIB_MAX: u64 = 128 << 10;

/// What the origin answers with: more than sockets' buffers hold.
const LARGE: usize = 24 << 20;

/// What large responses may hold where that is little.
const RESPONSE_MEMORY: u64 = 4 << 20;

/// What a response that was let in may hold beyond that when memory is full: what its fetch is ahead, what its
/// connection has queued, and a piece in between.
const EACH_MAX: u64 = 256 << 10;

struct Arena {
    dir: tempfile::TempDir,
    node: Node,
    resident_kib: u64,
}

impl Arena {
    /// A node with short times and few connections for each client.
    fn new() -> Self {
        Arena::with("write_timeout = \"1s\"\n")
    }

    /// The same with other limits besides.
    fn with(limits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifest = format!(
            "[settings.limits]\nconnections_per_client = {PER_CLIENT}\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\n\
             idle_timeout = \"2s\"\nh2_resets = 50\nheader_count = 100\n{limits}\
             [site.a]\nhosts = [\"a.test\"]\norigin = \"http://{}\"\n",
            large_origin()
        );
        let file = dir.path().join("site.toml");
        std::fs::write(&file, manifest).unwrap();
        let node = Node::start(dir.path());
        run(dir.path(), &["apply", file.to_str().unwrap()]);
        // Limits are those of the node's start.
        node.kill();
        let node = Node::start(dir.path());
        node.get_until("/small", |answer| answer.starts_with("HTTP/1.1 200"));
        let resident_kib = node.resident_kib();
        Arena { dir, node, resident_kib }
    }

    fn attack(&self) -> TcpStream {
        attack_from(self.node.http, None)
    }

    /// How many connections were cut for that cause.
    fn cut(&self, cause: &str) -> u64 {
        self.metric(&format!("connections_cut_total{{cause=\"{cause}\"}}"))
    }

    fn metric(&self, name: &str) -> u64 {
        let name = format!("selvedge_{name} ");
        let text = metrics(self.node.api, self.dir.path());
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }

    /// Waits until responses to slow readers of large content are refused; what those hold that are not stays bounded
    /// all the time, and others are answered.
    fn wait_for_full_memory(&self, readers: u64) {
        let started = Instant::now();
        while self.metric("limit_reached_total{limit=\"response_memory\"}") < 10 {
            let held = self.metric("response_memory_bytes");
            assert!(held <= RESPONSE_MEMORY + readers * EACH_MAX, "{held} bytes are held");
            self.others_are_answered();
            assert!(started.elapsed() < PATIENCE, "nothing was refused, with {held} bytes held");
        }
    }

    fn wait_for_free_memory(&self) {
        let started = Instant::now();
        while self.metric("response_memory_bytes") > 0 {
            assert!(started.elapsed() < PATIENCE, "{} bytes", self.metric("response_memory_bytes"));
            std::thread::yield_now();
        }
    }

    /// Waits until that many connections were cut for one of those causes; others are answered all the time.
    fn wait_for_cuts(&self, causes: &[&str], least: u64) {
        let started = Instant::now();
        while causes.iter().map(|cause| self.cut(cause)).sum::<u64>() < least {
            self.others_are_answered();
            assert!(started.elapsed() < PATIENCE, "{causes:?} were counted less than {least} times");
        }
    }

    fn others_are_answered(&self) {
        let answer = self.node.get("/small", "");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("; hit"), "{answer}");
    }

    fn stayed_small(&self) {
        let now = self.node.resident_kib();
        let before = self.resident_kib;
        assert!(now < before + GROWTH_KIB_MAX, "the node grew from {before} to {now} KiB");
    }
}

/// An origin that answers `/small` with a word and everything else with much.
fn large_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).unwrap_or(0);
                let small = head[..length].starts_with(b"GET /small ");
                let body = vec![b'x'; if small { 5 } else { LARGE }];
                let head = format!(
                    "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                // The node may hang up.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            });
        }
    });
    addr
}

fn attack_from(target: SocketAddr, receive_bytes: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    socket.bind(&SockAddr::from(SocketAddr::from((ATTACKER, 0)))).unwrap();
    socket.connect(&SockAddr::from(target)).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    stream
}

/// All that comes until the connection ends.
fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut all);
    all
}

/// Writes a piece again and again; how many bytes until the node closed or took no more, `bytes_max` at most.
fn flood(stream: &mut TcpStream, piece: &[u8], bytes_max: usize) -> usize {
    let mut sent = 0;
    while sent < bytes_max {
        match stream.write(piece) {
            Ok(0) => break,
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    sent
}

#[test]
fn slow_clients_are_cut_and_others_do_not_notice() {
    let arena = Arena::new();
    let opened: Vec<TcpStream> = [
        "GET /small HTTP/1.1\r\nHost: a.test\r\nX-Slow: ",
        "POST /other HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nhalf",
    ]
    .iter()
    .flat_map(|text| std::iter::repeat_n(text, 12))
    .map(|text| {
        let mut stream = arena.attack();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    })
    .collect();
    let mut readers: Vec<TcpStream> = (0..6).map(|_| attack_from(arena.node.http, Some(4096))).collect();
    for stream in &mut readers {
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    }
    arena.wait_for_cuts(&["HeaderTimeout"], 12);
    arena.wait_for_cuts(&["BodyTimeout"], 12);
    arena.wait_for_cuts(&["WriteTimeout"], 6);
    drop((opened, readers));
    arena.stayed_small();
}

#[test]
fn a_crowd_of_one_client_leaves_room_for_others() {
    let arena = Arena::new();
    let crowd: Vec<TcpStream> = (0..PER_CLIENT + 40).map(|_| arena.attack()).collect();
    arena.wait_for_cuts(&["ClientConnections"], 40);
    drop(crowd);
    arena.stayed_small();
}

#[test]
fn heads_without_measure_are_refused() {
    let arena = Arena::new();
    let many: String = (0..1000).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "y".repeat(200_000));
    for lines in [many, long] {
        let mut stream = arena.attack();
        // The node may answer and close before it has read all.
        let _ = stream.write_all(format!("GET /small HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n").as_bytes());
        let answer = rest_of(&mut stream);
        assert!(
            answer.starts_with(b"HTTP/1.1 431") || answer.is_empty(),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    let mut endless = arena.attack();
    let _ = endless.write_all(b"GET /small HTTP/1.1\r\nHost: a.test\r\nX: ");
    let taken = flood(&mut endless, &[b'y'; 4096], 64 << 20);
    assert!(taken < 32 << 20, "a head of {taken} bytes was read");
    arena.wait_for_cuts(&["HeadTooLarge"], 3);
    arena.stayed_small();
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// `GET` of a path at `a.test`, in HPACK without compression.
fn get(path: &str) -> Vec<u8> {
    let text =
        |index: u8, value: &str| [&[index, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    [vec![0x82, 0x86], text(0x04, path), text(0x01, "a.test")].concat()
}

/// A connection that speaks HTTP/2 with those settings.
fn attack_http2(arena: &Arena, settings: &[u8]) -> TcpStream {
    let mut stream = attack_from(arena.node.http, Some(4096));
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).unwrap();
    stream
}

#[test]
fn streams_opened_and_reset_at_once_end_the_connection() {
    let arena = Arena::new();
    for path in ["/small", "/large"] {
        let mut stream = attack_http2(&arena, &[]);
        let block = get(path);
        for number in 0..2000u32 {
            let id = 2 * number + 1;
            let open = frame(HEADERS, END_STREAM | END_HEADERS, id, &block);
            let reset = frame(RST_STREAM, 0, id, &8u32.to_be_bytes());
            // Fails when the node closes, as it should.
            if stream.write_all(&[open, reset].concat()).is_err() {
                break;
            }
        }
        rest_of(&mut stream);
    }
    arena.wait_for_cuts(&["Resets", "Http2"], 2);
    arena.stayed_small();
}

#[test]
fn a_header_block_without_end_ends_the_connection() {
    let arena = Arena::new();
    let mut stream = attack_http2(&arena, &[]);
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &get("/small"))).unwrap();
    let piece = frame(CONTINUATION, 0, 1, &[[0x40, 1, b'x', 1, b'y']; 200].concat());
    let taken = flood(&mut stream, &piece, 64 << 20);
    assert!(taken < 32 << 20, "a header block of {taken} bytes was read");
    rest_of(&mut stream);
    let mut empty = attack_http2(&arena, &[]);
    empty.write_all(&frame(HEADERS, END_STREAM, 1, &get("/small"))).unwrap();
    let taken = flood(&mut empty, &frame(CONTINUATION, 0, 1, &[]).repeat(100), 64 << 20);
    assert!(taken < 32 << 20, "{taken} bytes of empty frames were read");
    arena.wait_for_cuts(&["Http2", "Resets"], 2);
    arena.stayed_small();
}

#[test]
fn pings_and_settings_without_end_cost_no_memory_and_nobody_else() {
    let arena = Arena::new();
    let floods =
        [frame(PING, 0, 0, &[7; 8]).repeat(200), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]).repeat(200)];
    let mut open = Vec::new();
    for piece in floods {
        let mut stream = attack_http2(&arena, &[]);
        // It reads nothing: what the node would answer has nowhere to go.
        flood(&mut stream, &piece, 16 << 20);
        arena.others_are_answered();
        arena.stayed_small();
        open.push(stream);
    }
    drop(open);
    arena.stayed_small();
}

#[test]
fn streams_whose_client_takes_nothing_hold_bounded_memory() {
    let arena = Arena::new();
    let no_window = [0, 4, 0, 0, 0, 0];
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = attack_http2(&arena, &no_window);
        for number in 0..100u32 {
            stream
                .write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &get("/large")))
                .unwrap();
        }
        open.push(stream);
    }
    arena.others_are_answered();
    arena.wait_for_cuts(&["WriteTimeout"], 2);
    arena.stayed_small();
    drop(open);
}

#[test]
fn slow_readers_of_large_content_share_bounded_memory() {
    let arena = Arena::with("response_memory = \"4MiB\"\n");
    let mut readers: Vec<TcpStream> = (0..60).map(|_| attack_from(arena.node.http, Some(4096))).collect();
    for (number, stream) in readers.iter_mut().enumerate() {
        let request = format!("GET /large{number} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
    }
    arena.wait_for_full_memory(60);
    drop(readers);
    arena.wait_for_free_memory();
    arena.stayed_small();
}

#[test]
fn streams_with_large_windows_and_a_client_that_reads_nothing_share_bounded_memory() {
    let arena = Arena::with("response_memory = \"4MiB\"\n");
    let window = 16u32 << 20;
    let mut open = Vec::new();
    for connection in 0..2 {
        let mut stream = attack_http2(&arena, &[&[0, 4][..], &window.to_be_bytes()].concat());
        stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes())).unwrap();
        for number in 0..50u32 {
            let block = get(&format!("/large{connection}-{number}"));
            stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &block)).unwrap();
        }
        open.push(stream);
    }
    arena.wait_for_full_memory(100);
    drop(open);
    arena.wait_for_free_memory();
    arena.stayed_small();
}
