//! HTTP byte by byte, as far as the tests' clients need it.

use std::io::{self, Read};

/// Reads a head, its last empty line included.
pub(crate) fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A field of a head.
pub(crate) fn field(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// Reads a response: its status and content.
pub(crate) fn read_http1(stream: &mut impl Read) -> io::Result<(u16, Vec<u8>)> {
    let head = read_head(stream)?;
    read_content(&head, stream)
}

/// Reads what comes after a response's head.
pub(crate) fn read_content(head: &str, stream: &mut impl Read) -> io::Result<(u16, Vec<u8>)> {
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let mut body = Vec::new();
    if let Some(length) = field(head, "content-length") {
        body.resize(length.parse().map_err(|_| io::ErrorKind::InvalidData)?, 0);
        stream.read_exact(&mut body)?;
        return Ok((status, body));
    }
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16);
        let mut chunk = vec![0; size.map_err(|_| io::ErrorKind::InvalidData)? + 2];
        stream.read_exact(&mut chunk)?;
        if chunk.len() == 2 {
            return Ok((status, body));
        }
        body.extend_from_slice(&chunk[..chunk.len() - 2]);
    }
}

/// What an HTTP/2 client says first; streams and the connection have a window of so many bytes.
pub(crate) fn preface(window: u32) -> Vec<u8> {
    let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
    let update = frame(8, 0, 0, &(1u32 << 30).to_be_bytes());
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &settings), &update].concat()
}

/// The header block of a GET from `a.test`.
pub(crate) fn request_block(path: &str) -> Vec<u8> {
    let text = |index: u8, value: &str| [&[index, value.len() as u8], value.as_bytes()].concat();
    [vec![0x82, 0x86], text(0x04, path), text(0x01, "a.test")].concat()
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The next frame: type, flags, stream and payload.
pub(crate) fn read_frame(stream: &mut impl Read) -> io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload)?;
    Ok((kind, flags, u32::from_be_bytes(id), payload))
}
