//! The common and combined formats of Apache and nginx:
//! `client ident user [time] "request" status bytes ...`, with a virtual host and port before it, if it likes.

use std::borrow::Cow;
use std::net::IpAddr;

use memchr::{memchr, memchr2};

use super::{Fault, Record, decimal, request_line, status, time};

/// The record of such a line.
pub(super) fn parse(line: &[u8]) -> Result<Record<'_>, Fault> {
    let open = memchr(b'[', line).ok_or(Fault::Format)?;
    let close = open + memchr(b']', &line[open..]).ok_or(Fault::Format)?;
    let time = time::common(&line[open + 1..close]).ok_or(Fault::Time)?;
    let rest = line[close + 1..].trim_ascii_start().strip_prefix(b"\"").ok_or(Fault::Request)?;
    let (request, rest) = quoted(rest).ok_or(Fault::Request)?;
    let (method, target) = request_line(request).ok_or(Fault::Request)?;
    let mut numbers = rest.trim_ascii_start().split(|b| *b == b' ');
    Ok(Record {
        time,
        method: Cow::Borrowed(method),
        host: virtual_host(&line[..open]).map(Cow::Borrowed),
        target: Cow::Borrowed(target),
        status: numbers.next().and_then(status).ok_or(Fault::Status)?,
        bytes: numbers.next().and_then(decimal).unwrap_or(0),
    })
}

/// What is before the closing quote, and what is after it; a quote may be escaped.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let at = from + memchr2(b'"', b'\\', text.get(from..)?)?;
        if text[at] == b'"' {
            return Some((&text[..at], &text[at + 1..]));
        }
        from = at + 2;
    }
}

/// The first word, if there are four and only the second can be the client.
fn virtual_host(before: &[u8]) -> Option<&[u8]> {
    let mut words = before.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let (first, second) = (words.next()?, words.next()?);
    let four = words.nth(1).is_some();
    let host = first.iter().rposition(|b| *b == b':').map_or(first, |colon| &first[..colon]);
    (four && !is_address(first) && is_address(second)).then_some(host)
}

fn is_address(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<IpAddr>().is_ok())
}
