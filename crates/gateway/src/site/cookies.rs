//! Cookies that a request does not keep.

use selvedge_cache::semantics::cookies::{cookies, pairs, split_pair};
use selvedge_types::resource::Glob;
use selvedge_types::{FieldError, Fields, name};

/// Drops the cookies whose name fits one of `dropped`.
pub(super) fn strip_cookies(request: &mut Fields, dropped: &[Glob]) -> Result<(), FieldError> {
    let is_dropped = |name: &[u8]| dropped.iter().any(|glob| glob.matches(name));
    if dropped.is_empty() || !cookies(request).any(|(name, _)| is_dropped(name)) {
        return Ok(());
    }
    let kept: Vec<Vec<u8>> =
        pairs(request).filter(|pair| !is_dropped(split_pair(pair).0)).map(<[u8]>::to_vec).collect();
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
}
