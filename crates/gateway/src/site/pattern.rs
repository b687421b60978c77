//! The patterns that paths are compared with.

use selvedge_types::resource::{PathPattern, glob_matches};

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
        fn matchers_agree_with_the_pattern(pattern in "/[ab*]{0,6}", path in "/[ab]{0,8}") {
            let pattern = PathPattern::parse_text(&pattern).unwrap();
            prop_assert_eq!(Matcher::new(&pattern).matches(path.as_bytes()), pattern.matches(path.as_bytes()));
        }
    }
}
