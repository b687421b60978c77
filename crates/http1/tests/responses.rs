//! Response heads by RFC 9112 section, and what the writers make of them.

use selvedge_http1::{
    BodyFraming, Limits, Persistence, Progress, RequestWriter, ResponseError, ResponseHead, ResponseWriter,
    WriteError, parse_response,
};
use selvedge_types::{Fields, Method, Status};

fn parse(method: &Method, wire: &[u8]) -> Result<Option<(ResponseHead, usize)>, ResponseError> {
    parse_response(wire, &mut Progress::default(), method, &Limits::DEFAULT)
}

#[test]
fn section_4_status_lines() {
    for (line, expected) in [
        ("HTTP/1.1 200 OK", Some(200)),
        ("HTTP/1.0 404 Not \u{e9}", Some(404)),
        ("HTTP/1.1 299 ", Some(299)),
        ("HTTP/1.1 200", Some(200)),
        ("HTTP/1.1 999 Odd", Some(999)),
        ("HTTP/1.1  200 OK", None),
        ("HTTP/1.1 20 OK", None),
        ("HTTP/1.1 2000 OK", None),
        ("HTTP/1.1 099 OK", None),
        ("HTTP/1.1 200\tOK", None),
        ("HTTP/1.1 200 O\rK", None),
        ("HTTP/1.1 200 O\0K", None),
        ("HTTP/2.0 200 OK", None),
        ("ICY 200 OK", None),
        ("\r\nHTTP/1.1 200 OK", None),
    ] {
        let wire = format!("{line}\r\nContent-Length: 0\r\n\r\n");
        let got = parse(&Method::Get, wire.as_bytes()).ok().map(|head| head.unwrap().0.status.code());
        assert_eq!(got, expected, "{line:?}");
    }
}

#[test]
fn section_6_3_framing_of_responses() {
    use BodyFraming::*;
    let (get, head, connect) = (&Method::Get, &Method::Head, &Method::Connect);
    for (method, status, fields, expected) in [
        (get, 200, "Content-Length: 5\r\n", Ok(Length(5))),
        (get, 200, "Content-Length: 0\r\n", Ok(Empty)),
        (get, 200, "Transfer-Encoding: chunked\r\n", Ok(Chunked)),
        (get, 200, "", Ok(UntilClose)),
        (get, 204, "", Ok(Empty)),
        (get, 304, "Content-Length: 5\r\n", Ok(Empty)),
        (get, 103, "", Ok(Empty)),
        (head, 200, "Content-Length: 5\r\n", Ok(Empty)),
        (head, 200, "Transfer-Encoding: chunked\r\n", Ok(Empty)),
        (connect, 200, "", Ok(Empty)),
        (connect, 403, "", Ok(UntilClose)),
        (get, 200, "Content-Length: 5\r\nContent-Length: 5\r\n", Err(ResponseError::ContentLength)),
        (get, 200, "Content-Length: 5, 5\r\n", Err(ResponseError::ContentLength)),
        (get, 200, "Content-Length: 5x\r\n", Err(ResponseError::ContentLength)),
        (get, 200, "Content_Length: 5\r\n", Err(ResponseError::LookAlike)),
        (get, 200, "Transfer-Encoding: gzip, chunked\r\n", Err(ResponseError::TransferEncoding)),
        (get, 200, "Transfer-Encoding: identity\r\n", Err(ResponseError::TransferEncoding)),
        (head, 200, "Transfer-Encoding: xchunked\r\n", Err(ResponseError::TransferEncoding)),
        (
            get,
            200,
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            Err(ResponseError::LengthAndCoding),
        ),
    ] {
        let wire = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
        let got = parse(method, wire.as_bytes()).map(|head| head.unwrap().0.framing);
        assert_eq!(got, expected, "{method} {status} {fields:?}");
    }
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(get, old), Err(ResponseError::TransferEncoding));
}

#[test]
fn malformed_fields_are_errors_not_repaired() {
    for fields in ["A : b", "A: b\r\n folded", "A: b\nC: d", "A: \0", "no colon", ": b", "\u{e9}: b"] {
        let wire = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        assert!(parse(&Method::Get, wire.as_bytes()).is_err(), "{fields:?}");
    }
}

#[test]
fn section_9_3_a_connection_is_kept_only_if_its_end_is_known() {
    for (wire, keep_alive, switches) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n", false, false),
        ("HTTP/1.1 200 OK\r\n\r\n", false, false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", false, false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n", true, false),
        ("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", true, true),
    ] {
        let (head, used) = parse(&Method::Get, wire.as_bytes()).unwrap().unwrap();
        assert_eq!((head.keep_alive, head.switches, used), (keep_alive, switches, wire.len()), "{wire:?}");
    }
}

fn fields(lines: &str) -> Fields {
    Fields::from_wire(lines.as_bytes()).unwrap()
}

#[test]
fn responses_are_framed_as_they_will_be_sent_whatever_the_fields_say() {
    use BodyFraming::*;
    for (code, given, framing, to_head, expected) in [
        (200, "A: b\r\n", Length(3), false, "200 OK\r\nA: b\r\ncontent-length: 3\r\n"),
        (200, "Content-Length: 3\r\nA: b\r\n", Length(3), false, "200 OK\r\nContent-Length: 3\r\nA: b\r\n"),
        (200, "Content-Length: 4\r\nA: b\r\n", Length(3), false, "200 OK\r\nA: b\r\ncontent-length: 3\r\n"),
        (200, "Content-Length: 4\r\n", Chunked, false, "200 OK\r\ntransfer-encoding: chunked\r\n"),
        (200, "Transfer-Encoding: gzip\r\n", Empty, false, "200 OK\r\ncontent-length: 0\r\n"),
        (200, "Connection: x\r\n", UntilClose, false, "200 OK\r\n"),
        (200, "Content-Length: 4\r\n", Empty, true, "200 OK\r\nContent-Length: 4\r\n"),
        (304, "Content-Length: 4\r\n", Empty, false, "304 Not Modified\r\nContent-Length: 4\r\n"),
        (204, "Content-Length: 4\r\n", Empty, false, "204 No Content\r\n"),
        (418, "", Length(10), false, "418 \r\ncontent-length: 10\r\n"),
    ] {
        let mut out = Vec::new();
        let (status, given_fields) = (Status::new(code).unwrap(), fields(given));
        let persistence = Persistence::Keep;
        ResponseWriter { status, fields: &given_fields, date: None, framing, to_head, persistence }
            .write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("HTTP/1.1 {expected}\r\n"), "{code} {given:?}");
    }
}

#[test]
fn requests_are_framed_as_they_will_be_sent_whatever_the_fields_say() {
    use BodyFraming::*;
    let host = "Host: a\r\n";
    for (method, framing, inner, expected) in [
        (Method::Get, Empty, None, "GET /x HTTP/1.1\r\nHost: a\r\n"),
        (Method::Post, Empty, None, "POST /x HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n"),
        (Method::Put, Length(7), None, "PUT /x HTTP/1.1\r\nHost: a\r\ncontent-length: 7\r\n"),
        (Method::Put, Chunked, None, "PUT /x HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n"),
        (
            Method::Put,
            Chunked,
            Some("gzip"),
            "PUT /x HTTP/1.1\r\nHost: a\r\ntransfer-encoding: gzip, chunked\r\n",
        ),
    ] {
        let given =
            fields(&format!("{host}Transfer-Encoding: cow\r\nContent-Length: 99\r\nConnection: x\r\n"));
        let writer = RequestWriter {
            method: &method,
            target: "/x",
            fields: &given,
            framing,
            inner_codings: inner,
            wants_trailers: false,
            persistence: Persistence::Close,
        };
        let mut out = Vec::new();
        writer.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}connection: close\r\n\r\n"));
    }
}

#[test]
fn a_target_that_would_end_the_request_line_is_not_written() {
    for target in ["", "/a b", "/a\r\nX: y", "/\0"] {
        let writer = RequestWriter {
            method: &Method::Get,
            target,
            fields: &Fields::new(),
            framing: BodyFraming::Empty,
            inner_codings: None,
            wants_trailers: false,
            persistence: Persistence::Keep,
        };
        let mut out = Vec::new();
        assert_eq!(writer.write(&mut out), Err(WriteError::Target), "{target:?}");
        assert!(out.is_empty());
    }
}

#[test]
fn a_request_says_that_trailers_are_welcome() {
    let writer = RequestWriter {
        method: &Method::Get,
        target: "/x",
        fields: &fields("Host: a\r\n"),
        framing: BodyFraming::Empty,
        inner_codings: None,
        wants_trailers: true,
        persistence: Persistence::Keep,
    };
    let mut out = Vec::new();
    writer.write(&mut out).unwrap();
    let expected = "GET /x HTTP/1.1\r\nHost: a\r\nte: trailers\r\nconnection: te\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
