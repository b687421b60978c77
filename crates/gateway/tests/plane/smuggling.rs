//! Requests that hide others, through the whole gateway: what two readers could cut at different places is refused,
//! none of it reaches the origin, and the connection closes, so that what follows is never read as a request.
//!
//! The front's own table of field lines is `http1/tests/data/desync.txt`.

use super::world::{Origin, World};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is hidden; it follows each request.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// `POST` in chunks, before its content.
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";

async fn world() -> (World, SocketAddr, Origin) {
    let origin = Origin::start("o", "").await;
    let world = World::new(&format!("[site.a]\nhosts = \"*\"\norigin = \"http://{}\"", origin.addr));
    let front = world.front().await;
    (world, front, origin)
}

/// What comes back until the connection closes.
async fn exchange(front: SocketAddr, wire: &[u8]) -> String {
    let mut stream = TcpStream::connect(front).await.unwrap();
    // Fails when the gateway has seen enough and closed.
    let _ = stream.write_all(&[wire, SMUGGLED].concat()).await;
    let mut all = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut all)).await;
    assert!(closed.is_ok(), "left open: {:?}", String::from_utf8_lossy(wire));
    String::from_utf8_lossy(&all).into_owned()
}

fn get(target: &str, lines: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

fn post(lines: &str, content: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n{content}").into_bytes()
}

fn chunked(content: &[u8]) -> Vec<u8> {
    [CHUNKED.as_bytes(), content].concat()
}

/// Each with its name and the status it gets.
fn refused() -> Vec<(&'static str, Vec<u8>, u16)> {
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    let coding = |line: &str| post(&format!("{line}\r\n"), "0\r\n\r\n");
    let field = |line: &str| get("/", &format!("Host: a.test\r\n{line}\r\n"));
    let host = |value: &str| get("/", &format!("Host: {value}\r\n"));
    vec![
        // RFC 9112 section 6.3: one length.
        ("CL.TE", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        ("TE.CL", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\n"), 400),
        ("both, nothing sent", post(both, ""), 400),
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 40\r\n", ""), 400),
        ("two equal lengths", post("Content-Length: 0\r\nContent-Length: 0\r\n", ""), 400),
        ("a list of lengths", post("Content-Length: 0, 40\r\n", ""), 400),
        ("a length with a sign", post("Content-Length: +0\r\n", ""), 400),
        ("a negative length", post("Content-Length: -1\r\n", ""), 400),
        ("a length in hexadecimal", post("Content-Length: 0x0\r\n", ""), 400),
        ("an empty length", post("Content-Length:\r\n", ""), 400),
        ("a length beyond all", post("Content-Length: 18446744073709551616\r\n", ""), 400),
        ("a GET with content", get("/", "Host: a.test\r\nContent-Length: 4\r\n"), 400),
        // Section 6.1: Transfer-Encoding in disguise.
        ("xchunked", coding("Transfer-Encoding: xchunked"), 400),
        ("chunked twice", coding("Transfer-Encoding: chunked, chunked"), 400),
        ("chunked not last", coding("Transfer-Encoding: chunked, identity"), 400),
        ("two lines, chunked first", coding("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"), 400),
        ("an empty coding", coding("Transfer-Encoding:"), 400),
        ("a quoted coding", coding("Transfer-Encoding: \"chunked\""), 400),
        ("a vertical tab", coding("Transfer-Encoding: \x0bchunked"), 400),
        ("a space before the colon", coding("Transfer-Encoding : chunked"), 400),
        ("a tab before the colon", coding("Transfer-Encoding\t: chunked"), 400),
        ("an underscore", coding("Transfer_Encoding: chunked"), 400),
        ("a folded value", coding("Transfer-Encoding:\r\n chunked"), 400),
        (
            "a coding in HTTP/1.0",
            b"POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            400,
        ),
        // Sections 2.2 and 5: lines and fields.
        ("bare LF", b"GET / HTTP/1.1\nHost: a.test\n\n".to_vec(), 400),
        ("bare LF behind a field", field("X: 1\nY: 2"), 400),
        ("bare CR in a value", field("X: 1\rY: 2"), 400),
        ("CR CR LF", field("X: 1\r"), 400),
        ("a bare LF for the empty line", b"GET / HTTP/1.1\r\nHost: a.test\r\n\n".to_vec(), 400),
        ("a folded field", field("X: 1\r\n Y: 2"), 400),
        ("a space before the first field", b"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n".to_vec(), 400),
        ("a space before a colon", field("X : 1"), 400),
        ("a zero in a value", field("X: 1\0"), 400),
        ("a control in a value", field("X: \x01"), 400),
        ("a delete in a value", field("X: \x7f"), 400),
        ("a control in a name", field("X\x01: 1"), 400),
        ("no name", field(": 1"), 400),
        ("no colon", field("X"), 400),
        // Section 3.2: targets.
        ("a fragment", get("/#x", "Host: a.test\r\n"), 400),
        ("user information", get("http://u:p@a.test/", "Host: a.test\r\n"), 400),
        ("a URL for another host", get("http://b.test/", "Host: a.test\r\n"), 400),
        ("a URL of another scheme", get("ftp://a.test/", "Host: a.test\r\n"), 400),
        ("a URL without a host", get("http:///x", "Host: a.test\r\n"), 400),
        ("no slash", get("x", "Host: a.test\r\n"), 400),
        ("a space in the target", get("/ x", "Host: a.test\r\n"), 400),
        ("a tab in the target", get("/\tx", "Host: a.test\r\n"), 400),
        ("a zero in the target", get("/\0", "Host: a.test\r\n"), 400),
        ("raw bytes in the target", b"GET /\xff HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), 400),
        ("an asterisk for GET", get("*", "Host: a.test\r\n"), 400),
        ("CONNECT", b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n".to_vec(), 405),
        // Section 3.2, RFC 9110 section 7.2: Host.
        ("no Host", get("/", ""), 400),
        ("two Hosts", get("/", "Host: a.test\r\nHost: b.test\r\n"), 400),
        ("two equal Hosts", get("/", "Host: a.test\r\nHost: a.test\r\n"), 400),
        ("an empty Host", host(""), 400),
        ("user information in Host", host("u@a.test"), 400),
        ("a path in Host", host("a.test/x"), 400),
        ("a space in Host", host("a.test b.test"), 400),
        ("a list in Host", host("a.test, b.test"), 400),
        ("a port that is none", host("a.test:x"), 400),
        ("a port beyond all", host("a.test:65536"), 400),
        ("an open bracket", host("[::1"), 400),
        ("a bracket around a name", host("[a.test]"), 400),
        // Section 2.3: versions.
        ("HTTP/0.9", b"GET /\r\n".to_vec(), 400),
        ("HTTP/0.9 by name", b"GET / HTTP/0.9\r\nHost: a.test\r\n\r\n".to_vec(), 400),
        ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a.test\r\n\r\n".to_vec(), 505),
        ("HTTP/1.10", b"GET / HTTP/1.10\r\nHost: a.test\r\n\r\n".to_vec(), 400),
        ("HTTP/01.1", b"GET / HTTP/01.1\r\nHost: a.test\r\n\r\n".to_vec(), 400),
        ("http/1.1", b"GET / http/1.1\r\nHost: a.test\r\n\r\n".to_vec(), 400),
        ("no version", b"GET / \r\nHost: a.test\r\n\r\n".to_vec(), 400),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), 400),
        ("a space behind the version", b"GET / HTTP/1.1 \r\nHost: a.test\r\n\r\n".to_vec(), 400),
        ("two empty lines before", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), 400),
        ("a preface of HTTP/2 with an end of its own", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\n".to_vec(), 505),
    ]
}

#[tokio::test]
async fn what_is_ambiguous_is_refused_and_reaches_no_origin() {
    let (_world, front, origin) = world().await;
    let mut wrong = Vec::new();
    for (what, wire, status) in refused() {
        let all = exchange(front, &wire).await;
        let answers = all.matches("HTTP/1.1 ").count();
        let says_so =
            all.starts_with(&format!("HTTP/1.1 {status} ")) && all.contains("connection: close\r\n");
        if !says_so || answers != 1 || origin.asked() > 0 {
            wrong.push(format!("{what}: {all:?}; {} reached the origin", origin.asked()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The head was good, and may be on its way before the content is looked at: the origin must not see an end, and what
/// follows must not be read as a request.
#[tokio::test]
async fn chunks_that_turn_out_malformed_end_the_connection() {
    let (_world, front, origin) = world().await;
    for (what, content) in [
        // RFC 9112 section 7.1: sizes and extensions.
        ("a size of nothing", &b"\r\n\r\n"[..]),
        ("a size that is none", b"xyz\r\n"),
        ("a size with a sign", b"+0\r\n\r\n"),
        ("a negative size", b"-1\r\n"),
        ("a size with 0x", b"0x0\r\n\r\n"),
        ("a space before a size", b" 0\r\n\r\n"),
        ("a space behind a size", b"0 \r\n\r\n"),
        ("a size of 2^64", b"10000000000000000\r\n"),
        ("a size of many digits", b"00000000000000000000000000000000001\r\na\r\n0\r\n\r\n"),
        ("a bare LF behind a size", b"0\n\r\n"),
        ("a bare CR behind a size", b"0\rx\r\n\r\n"),
        ("a bare LF in an extension", b"0;a\nb\r\n\r\n"),
        ("a bare CR in an extension", b"0;a\rb\r\n\r\n"),
        ("a control in an extension", b"0;\x01\r\n\r\n"),
        ("a size that wraps around to a good one", b"10000000000000004\r\nabcd\r\n0\r\n\r\n"),
        // What follows the first chunk.
        ("no line end behind a chunk", b"1\r\naX0\r\n\r\n"),
        ("a bare LF behind a chunk", b"1\r\na\n0\r\n\r\n"),
        ("a chunk longer than its size", b"1\r\nabc\r\n0\r\n\r\n"),
        ("a size that wraps around", b"1\r\na\r\n10000000000000000\r\n\r\n"),
        ("a trailer with a space before its colon", b"1\r\na\r\n0\r\nX : 1\r\n\r\n"),
        ("a folded trailer", b"1\r\na\r\n0\r\nX: 1\r\n 2\r\n\r\n"),
        ("a bare LF behind a trailer", b"1\r\na\r\n0\r\nX: 1\n\r\n"),
    ] {
        let before = origin.asked();
        let all = exchange(front, &chunked(content)).await;
        assert!(all.starts_with("HTTP/1.1 400 ") && all.contains("connection: close\r\n"), "{what}: {all}");
        assert!(!all.contains("/smuggled") && all.matches("HTTP/1.1 ").count() == 1, "{what}: {all}");
        assert!(origin.asked() - before <= 1, "{what}");
    }
}

/// What is unusual and clear is no more than the request it is: the one behind it is the next.
#[tokio::test]
async fn what_is_unusual_and_clear_passes_as_one_request() {
    let (_world, front, origin) = world().await;
    let last = "GET /last HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    for (what, wire) in [
        ("chunk extensions", chunked(b"1;a=b;c=\"d\"\r\na\r\n0;x\r\n\r\n")),
        ("leading zeros", chunked(b"001\r\na\r\n000\r\n\r\n")),
        ("trailers", chunked(b"1\r\na\r\n0\r\nX: 1\r\n\r\n")),
        ("a smaller version to come", b"GET / HTTP/1.2\r\nHost: a.test\r\n\r\n".to_vec()),
        ("a URL of the same host", get("http://A.test:80/x", "Host: a.test\r\n")),
        ("a length with zeros", post("Content-Length: 0001\r\n", "a")),
        ("an empty line before", [b"\r\n", &get("/", "Host: a.test\r\n")[..]].concat()),
        ("bytes above ASCII in a value", b"GET / HTTP/1.1\r\nHost: a.test\r\nX: \xc3\xa4\r\n\r\n".to_vec()),
    ] {
        let before = origin.asked();
        let all = exchange(front, &[&wire, last.as_bytes()].concat()).await;
        // What follows `Connection: close` is not read.
        assert_eq!(all.matches("HTTP/1.1 200 ").count(), 2, "{what}: {all}");
        assert!(all.contains("GET /last ") && !all.contains("GET /smuggled"), "{what}: {all}");
        assert_eq!(origin.asked() - before, 2, "{what}");
    }
}
