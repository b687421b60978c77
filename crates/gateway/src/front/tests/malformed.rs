//! HTTP/2 requests that are malformed (RFC 9113 sections 8.1 to 8.5), frame by frame. Whatever `h2` lets through is
//! refused here; nothing of it is handled, and the connection goes on unless `h2` ends it, as it may (section 5.4.1).
//! One thing cannot be refused here: pseudo-fields at the head of trailers, which `h2` drops before it shows the rest.

use super::frames::{DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RESET, literals};
use super::wire::Wired;
use super::*;
use std::sync::Mutex;

const PROTOCOL_ERROR: u32 = 1;

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// 200.
    Taken,
    /// 400.
    Refused,
    /// 405.
    NoMethod,
    /// A stream error of type PROTOCOL_ERROR.
    Reset,
    /// A connection error.
    Closed,
}
use Fate::*;

/// A front that says what it was asked, content included, and what it was asked.
fn start() -> (Wired, Arc<Mutex<Vec<String>>>) {
    let handled = Arc::new(Mutex::new(Vec::new()));
    let note = handled.clone();
    let server = Wired::start(FrontOptions::default(), move |mut request| {
        let note = note.clone();
        Reply::later(async move {
            let mut wire = Vec::new();
            request.fields.write_wire(&mut wire);
            let mut said = format!("{} {}{} ", request.method, request.authority, request.target);
            said.push_str(&String::from_utf8_lossy(&wire).replace("\r\n", "|"));
            while let Some(frame) = request.body.frame().await {
                said.push_str(&format!(" {frame:?}"));
                if frame.is_err() {
                    break;
                }
            }
            let is_broken = said.contains("Err(");
            note.lock().unwrap().push(said);
            if is_broken { Response::new(Status::BAD_REQUEST) } else { ok("") }
        })
    });
    (server, handled)
}

async fn fate(client: &mut Frames) -> Fate {
    loop {
        let Some(frame) = within(client.next()).await else { return Closed };
        return match (frame.kind, frame.payload.as_slice()) {
            (HEADERS, [0x88, ..]) => Taken,
            (HEADERS, [0x8c, ..]) => Refused,
            (HEADERS, _) => NoMethod,
            (RESET, _) if frame.code() == PROTOCOL_ERROR => Reset,
            // What follows an answer that did not need the rest.
            (RESET | DATA, _) => continue,
            (GOAWAY, _) if frame.code() != 0 => Closed,
            _ => panic!("{frame:?}"),
        };
    }
}

/// A request with `lines`, pairs of name and value; what is in `GET` is there unless replaced by an empty value.
fn lines<'a>(without: &[&str], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let whole = [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];
    let kept = whole.into_iter().filter(|(name, _)| !without.contains(name));
    kept.chain(more.iter().copied()).collect()
}

#[tokio::test(start_paused = true)]
async fn malformed_heads_are_refused_and_the_connection_goes_on() {
    let (server, handled) = start();
    let mut wrong = Vec::new();
    for (what, fields, expected) in [
        ("a whole one", lines(&[], &[("x", "1")]), Taken),
        // Section 8.2.1: names and values.
        ("an uppercase name", lines(&[], &[("X-A", "1")]), Closed),
        ("a name with a space", lines(&[], &[("x a", "1")]), Closed),
        ("a name with a colon", lines(&[], &[("x:a", "1")]), Closed),
        ("a name with a control", lines(&[], &[("x\x01", "1")]), Closed),
        ("a line feed in a value", lines(&[], &[("x", "1\ny: 2")]), Closed),
        ("a carriage return in a value", lines(&[], &[("x", "1\r2")]), Closed),
        ("a zero in a value", lines(&[], &[("x", "1\0")]), Closed),
        ("a space before a value", lines(&[], &[("x", " 1")]), Refused),
        ("a tab behind a value", lines(&[], &[("x", "1\t")]), Refused),
        // Section 8.2.2: fields of a connection.
        ("connection", lines(&[], &[("connection", "close")]), Reset),
        ("keep-alive", lines(&[], &[("keep-alive", "5")]), Reset),
        ("proxy-connection", lines(&[], &[("proxy-connection", "close")]), Reset),
        ("transfer-encoding", lines(&[], &[("transfer-encoding", "chunked")]), Reset),
        ("upgrade", lines(&[], &[("upgrade", "h2c")]), Reset),
        ("te other than trailers", lines(&[], &[("te", "gzip")]), Reset),
        ("te with more than trailers", lines(&[], &[("te", "trailers, gzip")]), Reset),
        ("te: trailers", lines(&[], &[("te", "trailers")]), Taken),
        ("a look-alike", lines(&[], &[("transfer_encoding", "chunked")]), Refused),
        // Section 8.3: pseudo-header fields.
        ("no method", lines(&[":method"], &[]), Reset),
        ("no scheme", lines(&[":scheme"], &[]), Reset),
        ("no path", lines(&[":path"], &[]), Reset),
        (
            "no path, Host for the authority",
            lines(&[":path", ":authority"], &[("host", "a.example")]),
            Refused,
        ),
        ("no authority at all", lines(&[":authority"], &[]), Refused),
        ("Host for the authority", lines(&[":authority"], &[("host", "a.example")]), Taken),
        ("Host that says the same", lines(&[], &[("host", "a.example")]), Taken),
        ("Host that contradicts", lines(&[], &[("host", "b.example")]), Refused),
        ("two Hosts", lines(&[":authority"], &[("host", "a.example"), ("host", "a.example")]), Refused),
        ("an empty path", lines(&[":path"], &[(":path", "")]), Reset),
        ("a path without a slash", lines(&[":path"], &[(":path", "x")]), Reset),
        ("a whole URL as path", lines(&[":path"], &[(":path", "http://b.example/")]), Reset),
        ("a path with a space", lines(&[":path"], &[(":path", "/a b")]), Reset),
        ("a path with a fragment, which is left out", lines(&[":path"], &[(":path", "/a#b")]), Taken),
        ("an asterisk", lines(&[":path"], &[(":path", "*")]), Refused),
        ("an empty authority", lines(&[":authority"], &[(":authority", "")]), Reset),
        ("user information", lines(&[":authority"], &[(":authority", "u@a.example")]), Refused),
        ("a path in the authority", lines(&[":authority"], &[(":authority", "a.example/x")]), Reset),
        ("a port that is none", lines(&[":authority"], &[(":authority", "a.example:x")]), Refused),
        ("an empty method", lines(&[":method"], &[(":method", "")]), Closed),
        ("a method with a space", lines(&[":method"], &[(":method", "GET /x")]), Closed),
        ("a scheme with a space", lines(&[":scheme"], &[(":scheme", "ht tp")]), Reset),
        ("another scheme", lines(&[":scheme"], &[(":scheme", "ftp")]), Refused),
        ("the other scheme", lines(&[":scheme"], &[(":scheme", "https")]), Taken),
        ("two methods", lines(&[], &[(":method", "GET")]), Reset),
        ("two schemes", lines(&[], &[(":scheme", "http")]), Reset),
        ("two authorities", lines(&[], &[(":authority", "a.example")]), Reset),
        ("two paths", lines(&[], &[(":path", "/")]), Reset),
        ("a response's pseudo-field", lines(&[], &[(":status", "200")]), Reset),
        ("an unknown pseudo-field", lines(&[], &[(":x", "1")]), Closed),
        ("a pseudo-field behind a field", lines(&[":path"], &[("x", "1"), (":path", "/")]), Reset),
        // Sections 8.5, and RFC 8441, which was not offered.
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "a.example:443")], NoMethod),
        ("CONNECT with a path", lines(&[":method"], &[(":method", "CONNECT")]), Reset),
        (
            "an extended CONNECT",
            lines(&[":method"], &[(":method", "CONNECT"), (":protocol", "websocket")]),
            Reset,
        ),
        ("a protocol without CONNECT", lines(&[], &[(":protocol", "websocket")]), Reset),
        // RFC 9110 section 8.6, and what HTTP/1.1 refuses.
        ("a length that is none", lines(&[], &[("content-length", "x")]), Reset),
        ("a negative length", lines(&[], &[("content-length", "-1")]), Reset),
        ("a length with a sign", lines(&[], &[("content-length", "+0")]), Reset),
        ("a length beyond all", lines(&[], &[("content-length", "99999999999999999999")]), Reset),
        ("a length without content", lines(&[], &[("content-length", "5")]), Reset),
        ("a length of nothing", lines(&[], &[("content-length", "0")]), Taken),
        ("two equal lengths", lines(&[], &[("content-length", "0"), ("content-length", "0")]), Refused),
        ("two other lengths", lines(&[], &[("content-length", "0"), ("content-length", "5")]), Reset),
        ("a list of lengths", lines(&[], &[("content-length", "0, 0")]), Reset),
    ] {
        let mut client = Frames::connect(&server, 65_535).await;
        client.head(1, &fields, true).await;
        let got = fate(&mut client).await;
        let asked = std::mem::take(&mut *handled.lock().unwrap());
        if got != expected || asked.len() != usize::from(expected == Taken) {
            wrong.push(format!("{what}: {got:?}, not {expected:?}; handled: {asked:?}"));
        }
        if expected != Closed {
            // The connection serves the next.
            client.get(3, "/next").await;
            let next = fate(&mut client).await;
            if next != Taken {
                wrong.push(format!("{what}: the next is {next:?}"));
            }
            handled.lock().unwrap().clear();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn malformed_content_and_trailers_never_end_a_request_well() {
    let (server, handled) = start();
    let post = lines(&[":method"], &[(":method", "POST")]);
    let long = lines(&[":method"], &[(":method", "POST"), ("content-length", "3")]);
    let twice = lines(&[":method"], &[(":method", "POST"), ("content-length", "3"), ("content-length", "3")]);
    let head_end = END_HEADERS | END_STREAM;
    let mut wrong = Vec::new();
    for (what, fields, frames, expected) in [
        ("content of its length", &long, vec![(DATA, END_STREAM, b"abc".to_vec())], Taken),
        ("equal lengths", &twice, vec![(DATA, END_STREAM, b"abc".to_vec())], Refused),
        ("content too short", &long, vec![(DATA, END_STREAM, b"ab".to_vec())], Reset),
        ("content too long", &long, vec![(DATA, END_STREAM, b"abcd".to_vec())], Reset),
        (
            "trailers",
            &post,
            vec![(DATA, 0, b"abc".to_vec()), (HEADERS, head_end, literals(&[("x", "1")]))],
            Taken,
        ),
        (
            "a pseudo-field in trailers, which goes no further",
            &post,
            vec![(DATA, 0, b"abc".to_vec()), (HEADERS, head_end, literals(&[(":path", "/admin")]))],
            Taken,
        ),
        (
            "a status in trailers, which goes no further",
            &post,
            vec![(DATA, 0, b"abc".to_vec()), (HEADERS, head_end, literals(&[(":status", "200")]))],
            Taken,
        ),
        (
            "a pseudo-field behind a trailer",
            &post,
            vec![(DATA, 0, b"abc".to_vec()), (HEADERS, head_end, literals(&[("x", "1"), (":path", "/")]))],
            Reset,
        ),
        (
            "an uppercase trailer",
            &post,
            vec![(DATA, 0, b"abc".to_vec()), (HEADERS, head_end, literals(&[("X", "1")]))],
            Closed,
        ),
        (
            "a field of the connection in trailers",
            &post,
            vec![
                (DATA, 0, b"abc".to_vec()),
                (HEADERS, head_end, literals(&[("transfer-encoding", "chunked")])),
            ],
            Reset,
        ),
        (
            "white space in a trailer",
            &post,
            vec![(DATA, 0, b"abc".to_vec()), (HEADERS, head_end, literals(&[("x", "1 ")]))],
            Refused,
        ),
        (
            "trailers that do not end the stream",
            &post,
            vec![(DATA, 0, b"abc".to_vec()), (HEADERS, END_HEADERS, literals(&[("x", "1")]))],
            Reset,
        ),
    ] {
        let mut client = Frames::connect(&server, 65_535).await;
        client.head(1, fields, false).await;
        for (kind, flags, payload) in frames {
            client.send(kind, flags, 1, &payload).await;
        }
        let got = fate(&mut client).await;
        let asked = std::mem::take(&mut *handled.lock().unwrap());
        let ended_well = asked.iter().filter(|said| !said.contains("Err(")).count();
        if got != expected || ended_well != usize::from(expected == Taken) {
            wrong.push(format!("{what}: {got:?}, not {expected:?}; handled: {asked:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What breaks the connection itself (RFC 9113 sections 5.1.1, 6.10, 4.3).
#[tokio::test(start_paused = true)]
async fn broken_framing_ends_the_connection() {
    let get = literals(&lines(&[], &[]));
    for (what, frames) in [
        (
            "a block that is broken into by another frame",
            vec![(HEADERS, END_STREAM, 1, &get[..]), (DATA, 0, 1, b"")],
        ),
        ("an even stream", vec![(HEADERS, END_STREAM | END_HEADERS, 2, &get[..])]),
        ("a stream of no number", vec![(HEADERS, END_STREAM | END_HEADERS, 0, &get[..])]),
        ("content without a head", vec![(DATA, END_STREAM, 1, &b"abc"[..])]),
        (
            "a block that cannot be decoded",
            vec![(HEADERS, END_STREAM | END_HEADERS, 1, &b"\xff\xff\xff\xff\xff\xff"[..])],
        ),
        (
            "a table size beyond what was offered",
            vec![(HEADERS, END_STREAM | END_HEADERS, 1, &b"\x3f\xe1\xff\x7f"[..])],
        ),
    ] {
        let (server, handled) = start();
        let mut client = Frames::connect(&server, 65_535).await;
        for (kind, flags, stream, payload) in frames {
            client.send(kind, flags, stream, payload).await;
        }
        let goaway = within(client.next_of(GOAWAY)).await;
        assert!(goaway.is_some_and(|goaway| goaway.code() != 0), "{what}");
        assert!(within(client.next()).await.is_none(), "{what}");
        assert_eq!(*handled.lock().unwrap(), [""; 0], "{what}");
    }
}
