//! Request targets: comparing them, and resolving references such as Location against them (RFC 3986 section 5).

use selvedge_types::Scheme;

/// How long a reference may be before it is ignored.
pub const REFERENCE_BYTES_MAX: usize = 8 * 1024;

/// An http or https URI without fragment, its authority as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// Host and perhaps port.
    pub authority: &'a [u8],
    /// Path, beginning with `/`, and perhaps `?` and query.
    pub path_and_query: &'a [u8],
}

/// A [`Target`] that owns its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedTarget {
    /// The scheme.
    pub scheme: Scheme,
    /// Host and perhaps port.
    pub authority: Vec<u8>,
    /// Path, beginning with `/`, and perhaps `?` and query.
    pub path_and_query: Vec<u8>,
}

impl OwnedTarget {
    /// The target, borrowed.
    pub fn as_target(&self) -> Target<'_> {
        Target { scheme: self.scheme, authority: &self.authority, path_and_query: &self.path_and_query }
    }
}

impl<'a> Target<'a> {
    /// The authority without the scheme's default port (RFC 9110 section 4.2.3); case is left as it is.
    pub fn significant_authority(self) -> &'a [u8] {
        let default: &[u8] = match self.scheme {
            Scheme::Http => b":80",
            Scheme::Https => b":443",
        };
        self.authority.strip_suffix(default).or(self.authority.strip_suffix(b":")).unwrap_or(self.authority)
    }

    /// Same scheme, host and port (RFC 9110 section 4.3.1).
    pub fn is_same_origin(self, other: Target<'_>) -> bool {
        self.scheme == other.scheme
            && self.significant_authority().eq_ignore_ascii_case(other.significant_authority())
    }

    /// Same origin, path and query.
    pub fn is_same(self, other: Target<'_>) -> bool {
        self.is_same_origin(other) && self.path_and_query == other.path_and_query
    }

    /// The URI that `reference` names, seen from here; fragments are dropped. None if it is not http or
    /// https, has user information, or holds bytes that no URI has.
    pub fn resolve(self, reference: &[u8]) -> Option<OwnedTarget> {
        if reference.len() > REFERENCE_BYTES_MAX || !reference.iter().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let reference = reference.split(|b| *b == b'#').next().unwrap_or_default();
        let (scheme, rest) = match split_scheme(reference) {
            Some((scheme, rest)) => (scheme?, rest),
            None => (self.scheme, reference),
        };
        if let Some(rest) = rest.strip_prefix(b"//") {
            return absolute(scheme, rest);
        }
        // `https:path` is only for resolvers that need not be strict (RFC 3986 section 5.2.2).
        if rest.len() != reference.len() {
            return None;
        }
        let path_and_query = self.resolve_path(reference);
        Some(OwnedTarget { scheme, authority: self.authority.to_vec(), path_and_query })
    }

    fn resolve_path(self, reference: &[u8]) -> Vec<u8> {
        let base = path_of(self.path_and_query);
        match reference.first() {
            None => self.path_and_query.to_vec(),
            Some(b'?') => [base, reference].concat(),
            Some(b'/') => without_dot_segments(reference),
            Some(_) => {
                let folder = base.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
                without_dot_segments(&[&base[..folder], reference].concat())
            }
        }
    }
}

fn absolute(scheme: Scheme, rest: &[u8]) -> Option<OwnedTarget> {
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || authority.contains(&b'@') {
        return None;
    }
    let path_and_query = match path.first() {
        Some(b'/') => without_dot_segments(path),
        _ => [b"/", path].concat(),
    };
    Some(OwnedTarget { scheme, authority: authority.to_vec(), path_and_query })
}

/// The scheme before `:`, if there is one; none inside if it is neither http nor https.
fn split_scheme(reference: &[u8]) -> Option<(Option<Scheme>, &[u8])> {
    let colon = reference.iter().position(|b| *b == b':')?;
    let text = &reference[..colon];
    let is_scheme = text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let known =
        [Scheme::Http, Scheme::Https].into_iter().find(|s| s.as_str().as_bytes().eq_ignore_ascii_case(text));
    is_scheme.then_some((known, &reference[colon + 1..]))
}

fn path_of(path_and_query: &[u8]) -> &[u8] {
    path_and_query.split(|b| *b == b'?').next().unwrap_or_default()
}

/// RFC 3986 section 5.2.4, on the path only. `path_and_query` begins with `/`.
pub(super) fn without_dot_segments(path_and_query: &[u8]) -> Vec<u8> {
    let path = path_of(path_and_query);
    let query = &path_and_query[path.len()..];
    let mut out: Vec<u8> = Vec::with_capacity(path_and_query.len());
    let mut segments = path.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." if last => out.push(b'/'),
            b"." => {}
            b".." => {
                out.truncate(out.iter().rposition(|b| *b == b'/').unwrap_or(0));
                if last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(query);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: Target<'static> =
        Target { scheme: Scheme::Http, authority: b"a.example", path_and_query: b"/b/c/d?q" };

    fn text(target: &OwnedTarget) -> String {
        let part = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        format!("{}://{}{}", target.scheme.as_str(), part(&target.authority), part(&target.path_and_query))
    }

    #[test]
    fn references_are_resolved() {
        for (reference, expected) in [
            ("", "http://a.example/b/c/d?q"),
            ("#f", "http://a.example/b/c/d?q"),
            ("/x", "http://a.example/x"),
            ("/x?y#f", "http://a.example/x?y"),
            ("g", "http://a.example/b/c/g"),
            ("./g", "http://a.example/b/c/g"),
            ("../g", "http://a.example/b/g"),
            ("../../../g", "http://a.example/g"),
            ("..", "http://a.example/b/"),
            (".", "http://a.example/b/c/"),
            ("g/../h?../x", "http://a.example/b/c/h?../x"),
            ("?y", "http://a.example/b/c/d?y"),
            ("//B.example", "http://B.example/"),
            ("//b.example?x", "http://b.example/?x"),
            ("HTTPS://b.example:8/x/./y", "https://b.example:8/x/y"),
            ("//[::1]:80/x", "http://[::1]:80/x"),
        ] {
            assert_eq!(
                BASE.resolve(reference.as_bytes()).as_ref().map(text).as_deref(),
                Some(expected),
                "{reference}"
            );
        }
        for reference in
            ["ftp://b.example/", "mailto:x", "http:g", "http://", "http://u@b.example/", "a b", "a\x7f"]
        {
            assert_eq!(BASE.resolve(reference.as_bytes()), None, "{reference}");
        }
    }

    #[test]
    fn origins_compare_without_case_and_default_port() {
        let origin = |scheme, authority: &'static str| Target {
            scheme,
            authority: authority.as_bytes(),
            path_and_query: b"/",
        };
        let here = origin(Scheme::Http, "a.example");
        for (scheme, authority, same) in [
            (Scheme::Http, "A.Example:80", true),
            (Scheme::Http, "a.example:", true),
            (Scheme::Http, "a.example:443", false),
            (Scheme::Https, "a.example", false),
            (Scheme::Http, "b.example", false),
        ] {
            assert_eq!(here.is_same_origin(origin(scheme, authority)), same, "{authority}");
        }
    }

    proptest! {
        #[test]
        fn a_resolved_path_has_no_dot_segments(reference in "[a-z./?#:]{0,30}") {
            if let Some(found) = BASE.resolve(reference.as_bytes()) {
                prop_assert!(found.path_and_query.starts_with(b"/"));
                if !reference.is_empty() {
                    let path = path_of(&found.path_and_query);
                    prop_assert!(path.split(|b| *b == b'/').all(|s| s != b"." && s != b".."));
                }
            }
        }

        #[test]
        fn no_input_panics(reference in prop::collection::vec(any::<u8>(), 0..60)) {
            BASE.resolve(&reference);
        }
    }
}
