//! Paths as rules see them, and the patterns they are compared with.

use selvedge_types::resource::{PathPattern, glob_matches};
use std::borrow::Cow;

/// The path for comparing: percent-encoding undone, dot segments resolved (RFC 3986 section 5.2.4), runs
/// of slashes made one. So no other spelling of a path escapes a rule. What is sent on is not changed.
pub(super) fn normal(path: &str) -> Cow<'_, [u8]> {
    let bytes = path.as_bytes();
    let odd = |i: usize, b: u8| b == b'%' || (b == b'/' && matches!(bytes.get(i + 1), Some(b'/' | b'.')));
    if !bytes.iter().enumerate().any(|(i, b)| odd(i, *b)) {
        return Cow::Borrowed(bytes);
    }
    let decoded = decode(bytes);
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_in_slash = false;
    for segment in decoded.split(|b| *b == b'/') {
        ends_in_slash = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut out = Vec::with_capacity(decoded.len());
    segments.iter().for_each(|segment| {
        out.push(b'/');
        out.extend_from_slice(segment);
    });
    if ends_in_slash || out.is_empty() {
        out.push(b'/');
    }
    Cow::Owned(out)
}

/// Undoes percent-encoding (RFC 3986 section 2.1); what is not a valid escape stays.
pub(super) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while let Some(b) = text.get(i) {
        match (b, hex(text.get(i + 1)), hex(text.get(i + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
            }
            _ => {
                out.push(*b);
                i += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// Percent-encodes what may not stand in a path (RFC 3986 section 3.3).
pub(super) fn encode(path: &[u8]) -> String {
    path.iter().fold(String::with_capacity(path.len()), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(b) {
            out.push(char::from(*b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

/// A path pattern, sorted by what it takes to compare it.
#[derive(Debug, Clone)]
pub(super) enum Matcher {
    Any,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Glob(Box<[u8]>),
}

impl Matcher {
    pub(super) fn new(pattern: &PathPattern) -> Self {
        let text = pattern.as_str().as_bytes();
        let stars = text.iter().filter(|b| **b == b'*').count();
        match (stars, text) {
            (0, _) => Matcher::Exact(text.into()),
            (1, [b'*']) => Matcher::Any,
            (1, [head @ .., b'*']) => Matcher::Prefix(head.into()),
            (1, [b'*', tail @ ..]) => Matcher::Suffix(tail.into()),
            _ => Matcher::Glob(text.into()),
        }
    }

    /// Whether the normal `path` fits.
    #[inline]
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Matcher::Any => true,
            Matcher::Exact(text) => **text == *path,
            Matcher::Prefix(head) => path.starts_with(head),
            Matcher::Suffix(tail) => path.ends_with(tail),
            Matcher::Glob(pattern) => glob_matches(pattern, path),
        }
    }

    /// What the last `*` stands for in a `path` that fits; nothing without one.
    pub(super) fn rest<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        match self {
            Matcher::Any => path,
            Matcher::Exact(_) => b"",
            Matcher::Prefix(head) => path.get(head.len()..).unwrap_or_default(),
            Matcher::Suffix(tail) => path.get(..path.len().saturating_sub(tail.len())).unwrap_or_default(),
            Matcher::Glob(pattern) => glob_rest(pattern, path),
        }
    }
}

fn glob_rest<'a>(pattern: &[u8], path: &'a [u8]) -> &'a [u8] {
    let Some(star) = pattern.iter().rposition(|b| *b == b'*') else { return b"" };
    let (head, tail) = (&pattern[..star], &pattern[star + 1..]);
    let end = path.len().saturating_sub(tail.len());
    (0..=end).find(|start| glob_matches(head, &path[..*start])).map_or(b"", |start| &path[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use selvedge_types::resource::Text;

    #[test]
    fn every_spelling_of_a_path_is_one_path() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a.b/.c", "/a.b/.c"),
            ("/%61dmin", "/admin"),
            ("//admin//x", "/admin/x"),
            ("/a/../admin", "/admin"),
            ("/./admin/", "/admin/"),
            ("/a/%2e%2e/admin", "/admin"),
            ("/..%2fadmin", "/admin"),
            ("/../..", "/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/%zz%4", "/%zz%4"),
        ] {
            assert_eq!(String::from_utf8_lossy(&normal(path)), expected, "{path}");
        }
    }

    #[test]
    fn patterns_match_and_tell_what_the_star_was() {
        for (pattern, path, matches, rest) in [
            ("/about", "/about", true, ""),
            ("/about", "/about/", false, ""),
            ("/api/*", "/api/v1/x", true, "v1/x"),
            ("/api/*", "/api", false, ""),
            ("*.jpg", "/a/b.jpg", true, "/a/b"),
            ("*", "/x", true, "/x"),
            ("/a/*/z", "/a/b/c/z", true, "b/c"),
            ("/a/*/b/*", "/a/x/b/y/z", true, "y/z"),
        ] {
            let matcher = Matcher::new(&PathPattern::parse_text(pattern).unwrap());
            assert_eq!(matcher.matches(path.as_bytes()), matches, "{pattern} {path}");
            if matches {
                assert_eq!(String::from_utf8_lossy(matcher.rest(path.as_bytes())), rest, "{pattern} {path}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_has_no_dots_doubles_or_escape_from_the_root(path in "/[a./%2eF]{0,20}") {
            let once = normal(&path).into_owned();
            prop_assert!(once.starts_with(b"/"));
            for segment in once[1..].split(|b| *b == b'/').rev().skip(1) {
                prop_assert!(!segment.is_empty() && segment != b"." && segment != b"..");
            }
        }

        #[test]
        fn matchers_agree_with_the_pattern(pattern in "/[ab*]{0,6}", path in "/[ab]{0,8}") {
            let pattern = PathPattern::parse_text(&pattern).unwrap();
            prop_assert_eq!(Matcher::new(&pattern).matches(path.as_bytes()), pattern.matches(path.as_bytes()));
        }

        #[test]
        fn what_is_encoded_decodes(path in prop::collection::vec(any::<u8>(), 0..20)) {
            let encoded = encode(&path);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(decode(encoded.as_bytes()).into_owned(), path);
        }
    }
}
