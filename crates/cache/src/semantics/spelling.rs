//! One spelling for the many of one URI (RFC 3986 section 6.2.2): unreserved characters decoded, other escapes
//! in capitals, dot segments removed. Runs of slashes stay: they mean something.
//!
//! Purges go by it. Cache keys do not: an origin that answers `/%61` otherwise than `/a` could have the one
//! answer served for the other, as what is sent to it keeps the spelling of the client.

use super::target::without_dot_segments;
use std::borrow::Cow;

/// The usual spelling of a path.
pub fn usual_path(path: &str) -> Cow<'_, str> {
    if is_usual(path) {
        return Cow::Borrowed(path);
    }
    let unescaped = unescaped(path);
    let rooted = unescaped.starts_with(b"/");
    let path = if rooted { without_dot_segments(&unescaped) } else { unescaped };
    Cow::Owned(text(path))
}

/// The usual spelling of host, path and query, as in a cache key without its scheme.
pub fn usual_uri(uri: &str) -> Cow<'_, str> {
    if is_usual(uri) {
        return Cow::Borrowed(uri);
    }
    let (host, rest) = uri.split_at(uri.find('/').unwrap_or(uri.len()));
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    Cow::Owned([host, &usual_path(path), &text(unescaped(query))].concat())
}

/// Whether there is plainly nothing to do.
fn is_usual(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.iter().enumerate().any(|(i, b)| *b == b'%' || *b == b'.' && i > 0 && bytes[i - 1] == b'/')
}

/// Decodes what needs no escape, and writes the others in capitals; what is no escape stays.
fn unescaped(text: &str) -> Vec<u8> {
    let text = text.as_bytes();
    let digit = |i: usize| text.get(i).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while let Some(byte) = text.get(i) {
        match (byte, digit(i + 1), digit(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                let decoded = (high * 16 + low) as u8;
                if decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded) {
                    out.push(decoded);
                } else {
                    out.extend(text[i..i + 3].iter().map(u8::to_ascii_uppercase));
                }
                i += 3;
            }
            _ => {
                out.push(*byte);
                i += 1;
            }
        }
    }
    out
}

/// Only ASCII was put in for ASCII, so that text stays text.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_uri_become_one() {
        for (given, usual) in [
            ("a.example/tag", "a.example/tag"),
            ("a.example/%74ag", "a.example/tag"),
            ("a.example/x/../tag", "a.example/tag"),
            ("a.example/x/%2e%2E/./tag", "a.example/tag"),
            ("a.example/..", "a.example/"),
            ("a.example//tag", "a.example//tag"),
            ("a.example/a%2fb", "a.example/a%2Fb"),
            ("a.example/%7euser?%71=%2f%61", "a.example/~user?q=%2Fa"),
            ("a.example/a?b/../c", "a.example/a?b/../c"),
            ("a.example/100%", "a.example/100%"),
            ("a.example/%zz%4", "a.example/%zz%4"),
            ("a.example/%2561", "a.example/%2561"),
            ("a.example", "a.example"),
            ("*docs/./x", "*docs/x"),
        ] {
            assert_eq!(usual_uri(given), usual, "{given}");
        }
        assert_eq!(usual_path("/a/./%62/"), "/a/b/");
        assert_eq!(usual_path(""), "");
        assert_eq!(usual_path("%61"), "a");
    }

    proptest! {
        #[test]
        fn the_usual_spelling_is_its_own(uri in "[a-z./%0-9A-F?é]{0,30}") {
            let usual = usual_uri(&uri).into_owned();
            prop_assert_eq!(usual_uri(&usual), usual.as_str());
        }
    }
}
