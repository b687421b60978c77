//! Cookies and query parameters of a request, as rules look at them.

use super::path::decode;
use selvedge_types::fields::trim;
use selvedge_types::resource::Glob;
use selvedge_types::{FieldError, Fields, name};
use std::borrow::Cow;

/// Each cookie's name and value (RFC 6265 section 4.2.1).
pub(super) fn cookies(request: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = request.get_all(name::COOKIE).flat_map(|line| line.split(|b| *b == b';'));
    pairs.map(trim).filter(|pair| !pair.is_empty()).map(split_pair)
}

/// Each query parameter's name and value, percent-encoding undone.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    let pairs = query.as_bytes().split(|b| *b == b'&').filter(|pair| !pair.is_empty());
    pairs.map(split_pair).map(|(name, value)| (decode(name), decode(value)))
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    let equals = pair.iter().position(|b| *b == b'=');
    equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]))
}

/// Drops the cookies whose name fits one of `dropped`.
pub(super) fn strip_cookies(request: &mut Fields, dropped: &[Glob]) -> Result<(), FieldError> {
    let is_dropped = |name: &[u8]| dropped.iter().any(|glob| glob.matches(name));
    if dropped.is_empty() || !cookies(request).any(|(name, _)| is_dropped(name)) {
        return Ok(());
    }
    let kept: Vec<Vec<u8>> = request
        .get_all(name::COOKIE)
        .flat_map(|line| line.split(|b| *b == b';'))
        .map(trim)
        .filter(|pair| !pair.is_empty() && !is_dropped(split_pair(pair).0))
        .map(<[u8]>::to_vec)
        .collect();
    request.remove(name::COOKIE);
    if kept.is_empty() { Ok(()) } else { request.add(name::COOKIE, kept.join(&b"; "[..])) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::resource::Text;

    #[test]
    fn cookies_are_dropped_by_name() {
        let globs: Vec<Glob> = ["_ga*", "x"].iter().map(|g| Glob::parse_text(g).unwrap()).collect();
        for (before, after) in [
            ("Cookie: a=1; _ga=2;_gat=3; x; b=4\r\n", "cookie: a=1; b=4\r\n"),
            ("Cookie: _ga=2\r\nA: 1\r\n", "A: 1\r\n"),
            ("Cookie: a=1\r\nCookie: x=2\r\n", "cookie: a=1\r\n"),
            ("Cookie: a=1;  b=2\r\n", "Cookie: a=1;  b=2\r\n"),
            ("A: 1\r\n", "A: 1\r\n"),
        ] {
            let mut fields = Fields::from_wire(before.as_bytes()).unwrap();
            strip_cookies(&mut fields, &globs).unwrap();
            let mut out = Vec::new();
            fields.write_wire(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), after);
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let found: Vec<_> = parameters("a=1&&b%3d=%41&c")
            .map(|(n, v)| {
                (String::from_utf8_lossy(&n).into_owned(), String::from_utf8_lossy(&v).into_owned())
            })
            .collect();
        let expected = [("a", "1"), ("b=", "A"), ("c", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(found, expected);
    }
}
