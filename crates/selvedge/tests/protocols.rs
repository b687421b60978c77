//! What passes through a node beside plain requests: PROXY headers, 100-continue, interim responses, trailers,
//! WebSocket; and what is told of requests that are refused.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use support::{Node, PATIENCE, apply, ask_api, free_address, say, send_to};

/// An origin that answers each connection by what `answer` does with it, once its head was read.
fn origin(answer: fn(&str, &mut BufReader<TcpStream>, &mut TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                while let Some(head) = head(&mut reader) {
                    answer(&head, &mut reader, &mut writer);
                }
            });
        }
    });
    addr
}

/// A head with its lines, in lowercase; none when the connection has ended.
fn head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return None;
        }
    }
    Some(head.to_ascii_lowercase())
}

fn manifest(origin: SocketAddr, more: &str) -> String {
    format!("[site.a]\nhosts = [\"a.test\"]\norigin = \"http://{origin}\"\n{more}")
}

fn world(addr: SocketAddr, more: &str) -> (tempfile::TempDir, Node) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let said = apply(dir.path(), &manifest(addr, more));
    assert!(!said.contains("warning"), "{said}");
    (dir, node)
}

fn connect(addr: SocketAddr) -> (BufReader<TcpStream>, TcpStream) {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (BufReader::new(stream.try_clone().unwrap()), stream)
}

#[test]
fn a_proxy_header_of_either_version_names_the_client() {
    let echo = origin(|head, _, writer| {
        let client = head.lines().find(|line| line.starts_with("x-forwarded-for:")).unwrap_or("none");
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{client}", client.len()).unwrap();
    });
    let behind = free_address();
    let listener = format!("[[settings.listener]]\naddress = \"{behind}\"\nproxy_protocol = true\n");
    let (_dir, _node) = world(echo, &listener);
    let get = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".to_vec();
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n".to_vec();
    let v2 = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec(),
        vec![192, 0, 2, 8, 198, 51, 100, 1, 0x12, 0x67, 0, 80],
    ]
    .concat();
    for (header, client) in [(v1, "192.0.2.7"), (v2, "192.0.2.8")] {
        let (mut reader, mut writer) = connect(behind);
        writer.write_all(&[header, get.clone()].concat()).unwrap();
        let mut answer = String::new();
        reader.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(&format!("x-forwarded-for: {client}")), "{answer}");
    }
    let without = send_to(behind, std::str::from_utf8(&get).unwrap());
    assert_eq!(without, "", "a connection without the header is closed");
}

#[test]
fn content_is_asked_for_with_100_continue_when_it_is_wanted() {
    let taking = origin(|head, reader, writer| {
        let mut content = [0; 5];
        if head.contains("expect: 100-continue") {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        }
        reader.read_exact(&mut content).unwrap();
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
        writer.write_all(&content).unwrap();
    });
    let (_dir, node) = world(taking, "");
    let (mut reader, mut writer) = connect(node.http);
    let post = "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    writer.write_all(post.as_bytes()).unwrap();
    assert!(head(&mut reader).unwrap().starts_with("http/1.1 100 "));
    writer.write_all(b"hello").unwrap();
    assert!(head(&mut reader).unwrap().starts_with("http/1.1 200 "));
    let mut content = [0; 5];
    reader.read_exact(&mut content).unwrap();
    assert_eq!(&content, b"hello");
}

#[test]
fn early_hints_and_trailers_pass_through() {
    let hinting = origin(|head, _, writer| {
        assert!(head.starts_with("get /a "), "{head}");
        writer.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n").unwrap();
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                      3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n";
        writer.write_all(answer.as_bytes()).unwrap();
    });
    let (_dir, node) = world(hinting, "");
    let (mut reader, mut writer) = connect(node.http);
    writer.write_all(b"GET /a HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n").unwrap();
    let hint = head(&mut reader).unwrap();
    assert!(hint.starts_with("http/1.1 103 ") && hint.contains("link: </style.css>"), "{hint}");
    let answer = head(&mut reader).unwrap();
    assert!(answer.starts_with("http/1.1 200 ") && answer.contains("transfer-encoding: chunked"), "{answer}");
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        rest.push(byte[0]);
    }
    let rest = String::from_utf8(rest).unwrap().to_ascii_lowercase();
    assert_eq!(rest, "3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n");
}

#[test]
fn a_websocket_passes_in_both_directions() {
    let switching = origin(|head, reader, writer| {
        assert!(head.contains("upgrade: websocket") && head.contains("connection: "), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        writer.write_all(answer.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes.reverse();
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (_dir, node) = world(switching, "");
    let (mut reader, mut writer) = connect(node.http);
    let ask = "GET /chat HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
               Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    writer.write_all(ask.as_bytes()).unwrap();
    let switched = head(&mut reader).unwrap();
    assert!(switched.starts_with("http/1.1 101 ") && switched.contains("upgrade: websocket"), "{switched}");
    writer.write_all(b"abc").unwrap();
    writer.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    reader.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"cba");
}

#[test]
fn refused_requests_are_in_the_log_and_in_the_metrics() {
    let (dir, node) = world(
        origin(|_, _, writer| writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap()),
        "[settings.access_log]\nto = \"file\"\n[settings.limits]\nuri_bytes = \"100B\"\nheader_count = 20\n",
    );
    let long = format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(200));
    let many = format!("GET /many HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "x: y\r\n".repeat(30));
    for (request, status) in [
        ("GET /no-host HTTP/1.1\r\n\r\n", 400),
        (long.as_str(), 414),
        (many.as_str(), 431),
        ("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", 405),
    ] {
        let answer = send_to(node.http, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let started = std::time::Instant::now();
    let lines = loop {
        let log = std::fs::read_to_string(dir.path().join("data/access.log")).unwrap_or_default();
        if log.lines().count() >= 4 {
            break log;
        }
        assert!(started.elapsed() < PATIENCE, "{log}");
        std::thread::yield_now();
    };
    for part in ["\"status\":400", "\"status\":414", "\"status\":431", "\"status\":405", "/no-host", "/many"]
    {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    let metrics = ask_api(dir.path(), &node, "/metrics");
    let counted = metrics.lines().find(|line| {
        line.starts_with("selvedge_responses_total") && line.contains("site=\"\"") && line.contains("4xx")
    });
    assert!(counted.is_some_and(|line| line.ends_with(" 4")), "{counted:?}");
}

#[test]
fn a_data_directory_in_use_is_told_with_the_process_that_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let words = ["up", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--api", "127.0.0.1:0"];
    let (_, said) = say(dir.path(), &words);
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("in use by another node") && said.contains(&node.pid().to_string()), "{said}");
    assert!(!said.contains("essential task"), "{said}");
}

#[test]
fn a_secret_is_printed_to_people_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let context = std::fs::read_to_string(dir.path().join("data/context.json")).unwrap();
    let context: serde_json::Value = serde_json::from_str(&context).unwrap();
    let secret = context["token"].as_str().unwrap();
    let printed = node.printed();
    assert!(printed.contains("context.json") && !printed.contains(secret), "{printed}");
    let (made, said) = say(dir.path(), &["token", "create", "../x y", "--role", "viewer"]);
    assert!(made.is_empty() && said.contains("is not a name for a token"), "{said}");
}
