//! Request heads by RFC 9112 section.

use selvedge_http1::{BodyFraming, Limits, Progress, RequestError, RequestHead, parse_request};
use selvedge_types::{Version, name};

fn parse(wire: &[u8]) -> Result<Option<(RequestHead, usize)>, RequestError> {
    parse_request(wire, &mut Progress::default(), &Limits::DEFAULT)
}

fn head(wire: &str) -> RequestHead {
    match parse(wire.as_bytes()) {
        Ok(Some((head, used))) => {
            assert_eq!(used, wire.len(), "{wire:?}");
            head
        }
        other => panic!("{wire:?}: {other:?}"),
    }
}

fn error(wire: &[u8]) -> RequestError {
    match parse(wire) {
        Err(error) => error,
        Ok(taken) => panic!("{:?} gave {taken:?}", String::from_utf8_lossy(wire)),
    }
}

#[test]
fn section_2_1_a_head_is_taken_with_all_its_fields_and_nothing_beyond() {
    let wire = b"POST /a?b=c HTTP/1.1\r\nHost: A.Example:80\r\nX-One: 1\r\nContent-Length: 3\r\n\r\nabcGET";
    let (head, used) = parse(wire).unwrap().unwrap();
    assert_eq!(&wire[used..], b"abcGET");
    assert_eq!(head.method.as_str(), "POST");
    assert_eq!(&*head.target.path_and_query, "/a?b=c");
    assert_eq!(head.authority.unwrap().as_str(), "a.example:80");
    assert_eq!(head.fields.get(name::HOST), Some(&b"A.Example:80"[..]));
    assert_eq!(head.fields.len(), 3);
    assert_eq!(head.framing, BodyFraming::Length(3));
}

#[test]
fn section_2_2_lines_end_in_crlf() {
    for wire in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(error(wire.as_bytes()).status().code(), 400, "{wire:?}");
    }
    assert_eq!(head("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").version, Version::Http11);
}

#[test]
fn section_2_3_versions() {
    for (version, expected) in [
        ("HTTP/1.1", Ok(Version::Http11)),
        ("HTTP/1.0", Ok(Version::Http10)),
        ("HTTP/1.2", Ok(Version::Http11)),
        ("HTTP/2.0", Err(505)),
        ("HTTP/3.1", Err(505)),
        ("HTTP/0.9", Err(400)),
        ("HTTP/1", Err(400)),
        ("HTTP/1.10", Err(400)),
        ("HTTP/01.1", Err(400)),
        ("http/1.1", Err(400)),
        ("HTTP /1.1", Err(400)),
        ("HTTP/1.1 ", Err(400)),
        ("HTTP/1,1", Err(400)),
        ("", Err(400)),
    ] {
        let wire = format!("GET / {version}\r\nHost: a\r\n\r\n");
        let got = parse(wire.as_bytes()).map(|h| h.unwrap().0.version).map_err(|e| e.status().code());
        assert_eq!(got, expected, "{version}");
    }
}

#[test]
fn section_3_request_lines() {
    for (line, expected) in [
        ("GET  / HTTP/1.1", RequestError::RequestLine),
        ("GET /  HTTP/1.1", RequestError::RequestLine),
        ("GET\t/ HTTP/1.1", RequestError::Method),
        ("GET /\tHTTP/1.1", RequestError::RequestLine),
        ("GET /a b HTTP/1.1", RequestError::RequestLine),
        ("GET /a\0b HTTP/1.1", RequestError::RequestLine),
        ("GET /a\x7fb HTTP/1.1", RequestError::Target),
        ("GET /\u{e9} HTTP/1.1", RequestError::Target),
        ("GET /a#b HTTP/1.1", RequestError::Target),
        ("GET a HTTP/1.1", RequestError::Target),
        ("GET * HTTP/1.1", RequestError::Target),
        ("GET /", RequestError::RequestLine),
        ("GET", RequestError::Method),
        ("G(T / HTTP/1.1", RequestError::Method),
        ("\u{47}\u{c9}T / HTTP/1.1", RequestError::Method),
        ("\x16\x03\x01 / HTTP/1.1", RequestError::Method),
    ] {
        assert_eq!(error(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()), expected, "{line:?}");
    }
    assert_eq!(head("brew /pot HTTP/1.1\r\nHost: a\r\n\r\n").method.as_str(), "brew");
}

#[test]
fn section_3_2_host() {
    for fields in
        ["", "Host: a\r\nHost: a\r\n", "Host:\r\n", "Host: a b\r\n", "Host: u@a\r\n", "Host: a/b\r\n"]
    {
        let wire = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(error(wire.as_bytes()), RequestError::Host, "{fields:?}");
    }
    assert_eq!(head("GET / HTTP/1.0\r\n\r\n").authority, None);
    assert_eq!(error(b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), RequestError::Host);
}

#[test]
fn section_3_2_2_absolute_form_and_host_agree() {
    for (target, host, agree) in [
        ("http://a.example/", "A.EXAMPLE", true),
        ("http://a.example/", "a.example:80", true),
        ("https://a.example:443/", "a.example", true),
        ("http://a.example/", "b.example", false),
        ("http://a.example:81/", "a.example", false),
    ] {
        let wire = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        match parse(wire.as_bytes()) {
            Ok(Some((head, _))) if agree => assert_eq!(head.authority.unwrap().host(), "a.example"),
            Err(RequestError::Host) if !agree => {}
            other => panic!("{target} {host}: {other:?}"),
        }
    }
}

#[test]
fn section_5_fields() {
    for line in [
        "X : a",
        "X\t: a",
        ": a",
        "X",
        "X a: b",
        "X(: a",
        "X: a\0",
        "X: a\x01",
        "X: a\x7f",
        "X: a\r\n b",
        "\u{e9}: a",
    ] {
        let wire = format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        assert_eq!(error(wire.as_bytes()).status().code(), 400, "{line:?}");
    }
    let taken = head("GET / HTTP/1.1\r\nHost: a\r\nX:\t \u{e9}\ta \r\n\r\n");
    assert_eq!(taken.fields.get_all_named(b"x").next(), Some("\u{e9}\ta".as_bytes()));
}

#[test]
fn section_6_framing() {
    for (method, fields, expected) in [
        ("POST", "", Ok(BodyFraming::Empty)),
        ("POST", "Content-Length: 0\r\n", Ok(BodyFraming::Empty)),
        ("POST", "Content-Length: 12\r\n", Ok(BodyFraming::Length(12))),
        ("DELETE", "Content-Length: 12\r\n", Ok(BodyFraming::Length(12))),
        ("POST", "Transfer-Encoding: chunked\r\n", Ok(BodyFraming::Chunked)),
        ("GET", "Content-Length: 0\r\n", Ok(BodyFraming::Empty)),
        ("GET", "Content-Length: 1\r\n", Err(RequestError::UnexpectedContent)),
        ("HEAD", "Transfer-Encoding: chunked\r\n", Err(RequestError::UnexpectedContent)),
        ("TRACE", "Content-Length: 1\r\n", Err(RequestError::UnexpectedContent)),
        ("POST", "Content-Length: 1\r\nContent-Length: 1\r\n", Err(RequestError::ContentLength)),
        ("POST", "Content-Length: 1, 1\r\n", Err(RequestError::ContentLength)),
        ("POST", "Content-Length: +1\r\n", Err(RequestError::ContentLength)),
        ("POST", "Content-Length: 99999999999999999999\r\n", Err(RequestError::ContentLength)),
        ("POST", "Content_Length: 1\r\n", Err(RequestError::LookAlike)),
        ("POST", "Transfer-Encoding: cow, chunked\r\n", Err(RequestError::UnknownCoding)),
        ("POST", "Transfer-Encoding: chunked, gzip\r\n", Err(RequestError::TransferEncoding)),
        ("POST", "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", Err(RequestError::LengthAndCoding)),
    ] {
        let wire = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let got = parse(wire.as_bytes()).map(|h| h.unwrap().0.framing);
        assert_eq!(got, expected, "{method} {fields:?}");
    }
    let old = b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(error(old), RequestError::CodingInHttp10);
    let inner =
        head("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(inner.inner_codings.as_deref(), Some("gzip"));
}

#[test]
fn section_9_connections() {
    for (version, fields, keep_alive, upgrade) in [
        ("1.1", "", true, false),
        ("1.1", "Connection: close\r\n", false, false),
        ("1.1", "Connection: x, CLOSE\r\n", false, false),
        ("1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", true, true),
        ("1.1", "Upgrade: websocket\r\n", true, false),
        ("1.0", "", false, false),
        ("1.0", "Connection: keep-alive\r\n", true, false),
        ("1.0", "Connection: keep-alive, upgrade\r\nUpgrade: x\r\n", true, false),
        ("1.0", "Connection: keep-alive, close\r\n", false, false),
    ] {
        let head = head(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!((head.keep_alive, head.upgrade), (keep_alive, upgrade), "{version} {fields:?}");
    }
}

#[test]
fn expectations_count_only_with_content() {
    let expects = |rest: &str| head(&format!("{rest}Expect: 100-Continue\r\n\r\n")).expects_continue;
    assert!(expects("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"));
    assert!(!expects("PUT / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n"));
    assert!(!expects("GET / HTTP/1.1\r\nHost: a\r\n"));
}

#[test]
fn limits_hold_also_while_the_head_is_incomplete() {
    let limits = Limits { head_bytes_max: 300, target_bytes_max: 100, field_lines_max: 3, ..Limits::DEFAULT };
    let status = |wire: &str| {
        let mut progress = Progress::default();
        let whole = parse_request(wire.as_bytes(), &mut Progress::default(), &limits);
        let mut split = Ok(None);
        for end in 1..=wire.len() {
            split = parse_request(&wire.as_bytes()[..end], &mut progress, &limits);
            if split != Ok(None) {
                break;
            }
        }
        let code = |r: Result<_, RequestError>| r.err().map(|e| e.status().code());
        assert_eq!(code(whole.clone()), code(split), "{wire}");
        code(whole)
    };
    let long = "a".repeat(400);
    assert_eq!(status(&format!("GET /{long}")), Some(414));
    assert_eq!(status(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), Some(414));
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}")), Some(431));
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n"), Some(431));
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n"), None);
}
