//! Content: RFC 9112 sections 6.3 and 7.

use selvedge_http1::{BodyDecoder, BodyError, BodyFraming, BodyStep, ChunkHead, Limits, write_last_chunk};
use selvedge_types::Fields;

/// What a whole content came to: its bytes, its trailers, and how many bytes it took.
type Whole = (Vec<u8>, Option<Fields>, usize);

/// Feeds `wire` in pieces of `piece` bytes; None if the content does not end.
fn decode(
    framing: BodyFraming,
    wire: &[u8],
    piece: usize,
    limits: &Limits,
) -> Result<Option<Whole>, BodyError> {
    let mut decoder = BodyDecoder::new(framing, limits);
    let (mut content, mut at, mut end) = (Vec::new(), 0, 0);
    loop {
        match decoder.step(&wire[at..end])? {
            BodyStep::NeedMore { consumed } if end == wire.len() && consumed == end - at => return Ok(None),
            BodyStep::NeedMore { consumed } => {
                at += consumed;
                end = wire.len().min(end + piece);
            }
            BodyStep::Data { start, len } => {
                content.extend_from_slice(&wire[at + start..at + start + len]);
                at += start + len;
            }
            BodyStep::End { consumed, trailers } => return Ok(Some((content, trailers, at + consumed))),
        }
    }
}

fn chunked(wire: &[u8]) -> Result<Option<Whole>, BodyError> {
    let whole = decode(BodyFraming::Chunked, wire, wire.len(), &Limits::DEFAULT);
    for piece in 1..6 {
        let split = decode(BodyFraming::Chunked, wire, piece, &Limits::DEFAULT);
        assert_eq!(whole, split, "{:?} in pieces of {piece}", String::from_utf8_lossy(wire));
    }
    whole
}

#[test]
fn section_7_1_chunks_are_joined() {
    for (wire, content) in [
        ("0\r\n\r\n", ""),
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("3\r\nabc\r\n00a\r\n0123456789\r\n000\r\n\r\n", "abc0123456789"),
        ("0000000000000003\r\nabc\r\n0\r\n\r\n", "abc"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
    ] {
        let (got, trailers, used) = chunked(wire.as_bytes()).unwrap().unwrap();
        assert_eq!((got, trailers, used), (content.into(), None, wire.len()), "{wire:?}");
    }
    let (_, _, used) = chunked(b"0\r\n\r\nGET / HTTP/1.1\r\n").unwrap().unwrap();
    assert_eq!(used, 5);
}

#[test]
fn section_7_1_1_extensions_are_skipped() {
    for wire in [
        "3;a\r\nabc\r\n0\r\n\r\n",
        "3;a=b;c=\"d;e\"\r\nabc\r\n0;last\r\n\r\n",
        "3 ; a = b\r\nabc\r\n0\r\n\r\n",
    ] {
        assert_eq!(chunked(wire.as_bytes()).unwrap().unwrap().0, b"abc", "{wire:?}");
    }
}

#[test]
fn malformed_chunks_are_errors() {
    for (wire, expected) in [
        ("\r\nabc\r\n0\r\n\r\n", BodyError::ChunkSize),
        ("x\r\n", BodyError::ChunkSize),
        ("0x3\r\nabc\r\n", BodyError::ChunkSize),
        ("+3\r\nabc\r\n", BodyError::ChunkSize),
        ("-3\r\nabc\r\n", BodyError::ChunkSize),
        (" 3\r\nabc\r\n", BodyError::ChunkSize),
        ("3 \r\nabc\r\n", BodyError::ChunkSize),
        ("3_0\r\nabc\r\n", BodyError::ChunkSize),
        ("3\nabc\r\n", BodyError::ChunkSize),
        ("3\r\rabc", BodyError::ChunkEnd),
        ("00000000000000003\r\nabc\r\n", BodyError::ChunkSize),
        ("3;\r\nabc\r\n", BodyError::ChunkExtension),
        ("3;a\nabc\r\n", BodyError::ChunkExtension),
        ("3;a\0\r\nabc\r\n", BodyError::ChunkExtension),
        ("3;a\rb\r\nabc\r\n", BodyError::ChunkEnd),
        ("3\r\nabcd\r\n0\r\n\r\n", BodyError::ChunkEnd),
        ("3\r\nabc\n0\r\n\r\n", BodyError::ChunkEnd),
        ("3\r\nabc0\r\n\r\n", BodyError::ChunkEnd),
    ] {
        assert_eq!(chunked(wire.as_bytes()), Err(expected), "{wire:?}");
    }
    for wire in ["0\r\nA : b\r\n\r\n", "0\r\nA: b\n\r\n", "0\r\n\n", "0\r\nA: b\r\n c\r\n\r\n", "0\r\nx\n"] {
        assert!(matches!(chunked(wire.as_bytes()), Err(BodyError::Trailer(_))), "{wire:?}");
    }
}

#[test]
fn section_7_1_2_trailers_are_kept_but_never_those_that_frame_route_or_authenticate() {
    let wire =
        b"0\r\nX-Sum: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\nAge: 1\r\n\r\n";
    let trailers = chunked(wire).unwrap().unwrap().1.unwrap();
    assert_eq!(trailers, Fields::from_wire(b"X-Sum: 1\r\n").unwrap());
    assert_eq!(chunked(b"0\r\nHost: b\r\n\r\n").unwrap().unwrap().1, None);
}

#[test]
fn every_part_of_the_framing_has_a_limit() {
    let limits = Limits {
        chunk_extension_bytes_max: 20,
        trailer_bytes_max: 40,
        trailer_lines_max: 2,
        ..Limits::DEFAULT
    };
    for (wire, expected) in [
        (format!("1;{}\r\na\r\n", "e".repeat(30)), BodyError::ChunkExtensionTooLong),
        ("1;eeeeeeeeee\r\na\r\n".repeat(2), BodyError::ChunkExtensionTooLong),
        (format!("0\r\nA: {}", "b".repeat(50)), BodyError::TrailerTooLarge),
        ("0\r\nA: b\r\nA: b\r\nA: b\r\n\r\n".to_owned(), BodyError::TrailerTooLarge),
    ] {
        assert_eq!(decode(BodyFraming::Chunked, wire.as_bytes(), 7, &limits), Err(expected), "{wire:?}");
    }
}

#[test]
fn a_length_ends_where_it_says() {
    let whole = decode(BodyFraming::Length(3), b"abcdef", 2, &Limits::DEFAULT).unwrap();
    assert_eq!(whole, Some((b"abc".to_vec(), None, 3)));
    assert_eq!(decode(BodyFraming::Empty, b"abc", 2, &Limits::DEFAULT).unwrap().unwrap().2, 0);
}

#[test]
fn section_8_an_early_end_of_the_connection_is_not_the_end_of_the_content() {
    for (framing, wire, complete) in [
        (BodyFraming::Length(3), &b"ab"[..], false),
        (BodyFraming::Length(3), b"abc", true),
        (BodyFraming::Chunked, b"3\r\nabc\r\n", false),
        (BodyFraming::Chunked, b"3\r\nabc\r\n0\r\n", false),
        (BodyFraming::Chunked, b"3\r\nabc\r\n0\r\n\r\n", true),
        (BodyFraming::UntilClose, b"abc", true),
        (BodyFraming::Empty, b"", true),
    ] {
        let mut decoder = BodyDecoder::new(framing, &Limits::DEFAULT);
        let mut at = 0;
        while let BodyStep::Data { start, len } = decoder.step(&wire[at..]).unwrap() {
            at += start + len;
        }
        assert_eq!(decoder.handle_close().is_ok(), complete, "{framing:?} {wire:?}");
    }
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let trailers = Fields::from_wire(b"X-Sum: 1\r\n").unwrap();
    for size in [1, 9, 15, 16, 255, 256, 70_000] {
        let content = vec![b'x'; size];
        let mut wire = ChunkHead::new(size).as_bytes().to_vec();
        wire.extend_from_slice(&content);
        wire.extend_from_slice(b"\r\n");
        write_last_chunk(&mut wire, Some(&trailers));
        let (got, got_trailers, used) = chunked(&wire).unwrap().unwrap();
        assert_eq!((got == content, got_trailers.as_ref(), used), (true, Some(&trailers), wire.len()));
    }
}
