use proptest::prelude::*;

use super::*;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Method, host, target, status and bytes, or the fault.
fn read(line: &str) -> Result<(String, Option<String>, String, u16, u64), Fault> {
    parse(line.as_bytes())
        .map(|r| (text(&r.method), r.host.as_deref().map(text), text(&r.target), r.status, r.bytes))
}

#[test]
fn common_and_combined_lines() {
    let time = "[17/May/2015:10:05:03 +0000]";
    let cases = [
        (
            format!(r#"1.2.3.4 - - {time} "GET /a?b=c HTTP/1.1" 200 17 "http://x/" "agent""#),
            Ok(("GET", None, "/a?b=c", 200, 17)),
        ),
        (format!(r#"1.2.3.4 - bob {time} "HEAD /a HTTP/1.0" 304 -"#), Ok(("HEAD", None, "/a", 304, 0))),
        (format!(r#"::1 - - {time} "POST /a\"b HTTP/1.1" 404 3"#), Ok(("POST", None, r#"/a\"b"#, 404, 3))),
        (
            format!(r#"www.example.com:443 1.2.3.4 - - {time} "GET / HTTP/1.1" 200 5"#),
            Ok(("GET", Some("www.example.com"), "/", 200, 5)),
        ),
        (
            format!(r#"client.example.com - - {time} "GET /a b HTTP/1.1" 200 5"#),
            Ok(("GET", None, "/a b", 200, 5)),
        ),
        (format!(r#"1.2.3.4 - - {time} "GET /old" 200 5"#), Ok(("GET", None, "/old", 200, 5))),
        (format!(r#"1.2.3.4 - - {time} "\x16\x03\x01" 400 5"#), Err(Fault::Request)),
        (format!(r#"1.2.3.4 - - {time} "-" 408 0"#), Err(Fault::Request)),
        (format!(r#"1.2.3.4 - - {time} "GET /a HTTP/1.1"#), Err(Fault::Request)),
        (format!(r#"1.2.3.4 - - {time} "GET /a HTTP/1.1" 2000 5"#), Err(Fault::Status)),
        (r#"1.2.3.4 - - [yesterday] "GET /a HTTP/1.1" 200 5"#.to_owned(), Err(Fault::Time)),
        ("nonsense".to_owned(), Err(Fault::Format)),
        (String::new(), Err(Fault::Format)),
    ];
    for (line, expected) in cases {
        let expected = expected.map(|(m, h, t, s, b): (&str, Option<&str>, &str, u16, u64)| {
            (m.to_owned(), h.map(str::to_owned), t.to_owned(), s, b)
        });
        assert_eq!(read(&line), expected, "{line}");
    }
}

#[test]
fn json_lines_of_several_servers() {
    let cases = [
        // Ours.
        r#"{"time":"2015-05-17T10:05:03Z","client":"1.2.3.4","method":"GET","host":"h","target":"/a","status":200,"bytes":9}"#,
        // nginx, as people write its log_format.
        r#"{"time_local":"17/May/2015:10:05:03 +0000","request":"GET \/a HTTP/1.1","http_host":"h","status":"200","body_bytes_sent":"9"}"#,
        r#"{ "msec": 1431857103.000, "request_method": "GET", "request_uri": "/a", "uri": "/index", "host": "h", "status": 200, "bytes_sent": 9 }"#,
        // Caddy.
        r#"{"level":"info","ts":1431857103.0,"request":{"method":"GET","host":"h","uri":"/a","headers":{"A":["b",{}]}},"size":9,"status":200,"x":[]}"#,
    ];
    for line in cases {
        let expected = ("GET".to_owned(), Some("h".to_owned()), "/a".to_owned(), 200, 9);
        assert_eq!(read(line), Ok(expected), "{line}");
        assert_eq!(parse(line.as_bytes()).unwrap().time, UnixMillis::from_secs(1_431_857_103), "{line}");
    }
}

#[test]
fn json_that_is_not_a_request_is_a_fault() {
    let deep = format!("{{\"a\":{}", "[".repeat(60_000));
    let cases = [
        ("{", Fault::Format),
        (r#"{"a":}"#, Fault::Format),
        (r#"{"a":"\ud800"}"#, Fault::Format),
        (r#"{"a":1} x"#, Fault::Format),
        (deep.as_str(), Fault::Format),
        (r#"{}"#, Fault::Time),
        (r#"{"ts":1}"#, Fault::Request),
        (r#"{"ts":1,"method":"GET","path":"/a","status":99}"#, Fault::Status),
    ];
    for (line, fault) in cases {
        assert_eq!(read(line), Err(fault), "{}", &line[..line.len().min(50)]);
    }
}

#[test]
fn the_key_is_host_path_and_query() {
    let key = |host: Option<&str>, target: &str| {
        let record = Record {
            time: UnixMillis(0),
            method: Cow::Borrowed(b"GET"),
            host: host.map(|h| Cow::Owned(h.as_bytes().to_vec())),
            target: Cow::Owned(target.as_bytes().to_vec()),
            status: 200,
            bytes: 0,
        };
        record.key_hash()
    };
    assert_eq!(key(Some("Example.com"), "/a"), key(Some("example.com"), "/a#part"));
    assert_eq!(key(None, "http://Example.com/a"), key(Some("example.com"), "/a"));
    assert_eq!(key(None, "https://example.com"), key(Some("example.com"), "/"));
    assert_ne!(key(Some("a"), "/x"), key(Some("b"), "/x"));
    assert_ne!(key(None, "/x?a=1"), key(None, "/x?a=2"));
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        _ = parse(&line);
        let mut object = b"{".to_vec();
        object.extend(&line);
        _ = parse(&object);
    }

    #[test]
    fn what_is_written_as_json_is_read_again(
        target in "/[ -~é\u{1F600}\n\t]{0,30}", host in "[a-z.]{1,20}", bytes in 0..1_000_000u64, status in 100..600u16
    ) {
        let escaped: String = target.chars().flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c if c.is_ascii() && c != '/' => format!("\\u{:04x}", c as u32).chars().collect(),
            c => vec![c],
        }).collect();
        let line = format!(
            r#"{{"bytes":{bytes},"status":{status},"target":"{escaped}","host":"{host}","method":"PUT","ts":5}}"#
        );
        prop_assert_eq!(read(&line), Ok(("PUT".to_owned(), Some(host), target, status, bytes)));
    }

    #[test]
    fn what_is_written_as_a_combined_line_is_read_again(
        target in "/[!-~]{0,30}", bytes in 0..1_000_000u64, status in 100..600u16
    ) {
        prop_assume!(!target.contains(['"', '\\']));
        let line = format!(r#"9.9.9.9 - - [01/Jan/2020:00:00:00 +0000] "GET {target} HTTP/1.1" {status} {bytes} "-""#);
        prop_assert_eq!(read(&line), Ok(("GET".to_owned(), None, target, status, bytes)));
    }
}
