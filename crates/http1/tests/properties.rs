//! What holds for any input: no panic, no dependence on how bytes are cut, nothing taken that another parser
//! reads differently, and what is written reads back the same.

use proptest::prelude::*;
use selvedge_http1::{
    BodyDecoder, BodyFraming, BodyStep, Limits, Persistence, Progress, RequestWriter, ResponseWriter,
    parse_request, parse_response,
};
use selvedge_types::{Fields, Method, Status, name};

/// Pieces that near-valid heads are made of.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        "GET",
        "POST",
        " ",
        "/",
        "*",
        "/a?b",
        "http://a.example/",
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/1.1 200 OK",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        ":",
        ": ",
        "Host: a\r\n",
        "Host",
        "Content-Length: 1\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding",
        "Connection: close\r\n",
        "a",
        "\t",
        "\0",
        ",",
        ";",
        "#",
    ]);
    prop_oneof![
        8 => fixed.prop_map(|s| s.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|b| vec![b]),
    ]
}

fn near_valid(start: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let line = "(?-u:[A-Za-z-]{1,16}): ?(?-u:[ -~\t]{0,20})";
    let lines = prop::collection::vec(line, 0..5);
    let noise = prop::collection::vec((any::<prop::sample::Index>(), piece()), 0..3);
    (lines, noise).prop_map(move |(lines, noise)| {
        let mut wire = start.as_bytes().to_vec();
        lines.iter().for_each(|line| wire.extend_from_slice(format!("{line}\r\n").as_bytes()));
        wire.extend_from_slice(b"\r\n");
        for (index, piece) in noise {
            let at = index.index(wire.len());
            wire.splice(at..at, piece);
        }
        wire
    })
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat()),
        near_valid("POST /a/b?c=d HTTP/1.1\r\nHost: a.example\r\n"),
    ]
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat()),
        near_valid("HTTP/1.1 200 OK\r\nServer: a\r\n"),
    ]
}

proptest! {
    #[test]
    fn requests_do_not_depend_on_how_they_are_cut(wire in requests(), step in 1usize..9) {
        let whole = parse_request(&wire, &mut Progress::default(), &Limits::DEFAULT);
        let mut progress = Progress::default();
        let mut cut = Ok(None);
        let mut end = 0;
        while cut == Ok(None) && end < wire.len() {
            end = wire.len().min(end + step);
            cut = parse_request(&wire[..end], &mut progress, &Limits::DEFAULT);
        }
        match (&whole, &cut) {
            // Cut up, an error may show later, when the head is complete, or as another error; never as a head.
            (Err(_), Err(_) | Ok(None)) => {}
            _ => prop_assert_eq!(&whole, &cut),
        }
    }

    #[test]
    fn responses_do_not_depend_on_how_they_are_cut(wire in responses(), step in 1usize..9) {
        let whole = parse_response(&wire, &mut Progress::default(), &Method::Get, &Limits::DEFAULT);
        let mut progress = Progress::default();
        let mut cut = Ok(None);
        let mut end = 0;
        while cut == Ok(None) && end < wire.len() {
            end = wire.len().min(end + step);
            cut = parse_response(&wire[..end], &mut progress, &Method::Get, &Limits::DEFAULT);
        }
        match (&whole, &cut) {
            (Err(_), Err(_) | Ok(None)) => {}
            _ => prop_assert_eq!(&whole, &cut),
        }
    }

    #[test]
    fn a_request_that_is_taken_reads_the_same_in_httparse(wire in requests()) {
        let Ok(Some((head, used))) = parse_request(&wire, &mut Progress::default(), &Limits::DEFAULT) else {
            return Ok(());
        };
        let mut lines = [httparse::EMPTY_HEADER; 128];
        let mut other = httparse::Request::new(&mut lines);
        let status = other.parse(&wire).map_err(|e| TestCaseError::fail(format!("httparse refuses: {e}")))?;
        prop_assert_eq!(status, httparse::Status::Complete(used));
        prop_assert_eq!(other.method, Some(head.method.as_str()));
        prop_assert_eq!(other.headers.len(), head.fields.len());
        for (theirs, (name, value)) in other.headers.iter().zip(head.fields.iter()) {
            prop_assert_eq!(theirs.name.as_bytes(), name);
            prop_assert_eq!(selvedge_types::fields::trim(theirs.value), value);
        }
    }

    #[test]
    fn a_response_that_is_taken_reads_the_same_in_httparse(wire in responses()) {
        let read = parse_response(&wire, &mut Progress::default(), &Method::Get, &Limits::DEFAULT);
        let Ok(Some((head, used))) = read else {
            return Ok(());
        };
        let mut lines = [httparse::EMPTY_HEADER; 128];
        let mut other = httparse::Response::new(&mut lines);
        let status = other.parse(&wire).map_err(|e| TestCaseError::fail(format!("httparse refuses: {e}")))?;
        prop_assert_eq!(status, httparse::Status::Complete(used));
        prop_assert_eq!(other.code, Some(head.status.code()));
        prop_assert_eq!(other.headers.len(), head.fields.len());
    }

    #[test]
    fn chunked_content_does_not_depend_on_how_it_is_cut(
        wire in prop::collection::vec(prop::sample::select(
            vec!["0", "1", "a", "3", "abc", "\r\n", "\n", "\r", ";", "x=y", " ", "0\r\n\r\n", "A: b\r\n"]), 0..16),
        cut in 1usize..7,
    ) {
        let wire = wire.concat().into_bytes();
        let run = |piece: usize| {
            let mut decoder = BodyDecoder::new(BodyFraming::Chunked, &Limits::DEFAULT);
            let (mut content, mut at, mut end) = (Vec::new(), 0, 0);
            loop {
                match decoder.step(&wire[at..end]) {
                    Err(error) => return Err((error, content)),
                    Ok(BodyStep::End { consumed, trailers }) => return Ok(Some((content, trailers, at + consumed))),
                    Ok(BodyStep::Data { start, len }) => {
                        content.extend_from_slice(&wire[at + start..at + start + len]);
                        at += start + len;
                    }
                    Ok(BodyStep::NeedMore { .. }) if end == wire.len() => return Ok(None),
                    Ok(BodyStep::NeedMore { consumed }) => {
                        at += consumed;
                        end = wire.len().min(end + piece);
                    }
                }
            }
        };
        prop_assert_eq!(run(usize::MAX >> 1), run(cut));
    }

    #[test]
    fn a_request_written_reads_back_the_same(
        path in "/[!-\"$-~]{0,40}",
        lines in prop::collection::vec(("[a-z]{1,5}x", "([!-~\u{e9}]([ -~]{0,20}[!-~])?)?"), 0..6),
        length in 0u64..1000,
    ) {
        let mut fields = Fields::new();
        fields.add(name::HOST, "a.example").unwrap();
        lines.iter().for_each(|(n, v)| fields.append(n.as_bytes(), v.as_bytes()).unwrap());
        let mut wire = Vec::new();
        RequestWriter {
            method: &Method::Put,
            target: &path,
            fields: &fields,
            framing: BodyFraming::of_length(length),
            inner_codings: None,
            wants_trailers: false,
            persistence: Persistence::Keep,
        }.write(&mut wire).unwrap();
        let (mut head, used) =
            parse_request(&wire, &mut Progress::default(), &Limits::DEFAULT).unwrap().unwrap();
        prop_assert_eq!(used, wire.len());
        prop_assert_eq!(&*head.target.path_and_query, &path);
        prop_assert_eq!(head.framing, BodyFraming::of_length(length));
        head.fields.remove(name::CONTENT_LENGTH);
        prop_assert_eq!(head.fields, fields);
    }

    #[test]
    fn a_response_written_reads_back_the_same(
        code in 200u16..600,
        lines in prop::collection::vec(("[a-z]{1,5}x", "([!-~\u{e9}]([ -~]{0,20}[!-~])?)?"), 0..6),
        length in 1u64..1000,
    ) {
        let status = Status::new(code).unwrap();
        let mut fields = Fields::new();
        lines.iter().for_each(|(n, v)| fields.append(n.as_bytes(), v.as_bytes()).unwrap());
        let framing = BodyFraming::of_length(length);
        let mut wire = Vec::new();
        ResponseWriter { status, fields: &fields, date: None, framing, to_head: false, persistence: Persistence::Keep }
            .write(&mut wire);
        let (mut head, used) = parse_response(&wire, &mut Progress::default(), &Method::Get, &Limits::DEFAULT)
            .unwrap()
            .unwrap();
        prop_assert_eq!(used, wire.len());
        prop_assert_eq!(head.status, status);
        let expected = if status.has_no_content() { BodyFraming::Empty } else { framing };
        prop_assert_eq!(head.framing, expected);
        head.fields.remove(name::CONTENT_LENGTH);
        prop_assert_eq!(head.fields, fields);
    }
}
