//! The path of a request, checked once: below the tree, without surprises.

use std::fmt;

/// Why a path is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Percent encoding is broken, or what it stands for is not UTF-8 or holds a control character.
    #[error("the path is not properly encoded")]
    Encoding,
    /// It leaves the tree, or names what is never served (names that start with a dot).
    #[error("the path names something that is not served")]
    Forbidden,
    /// Longer than is served.
    #[error("the path is longer than {} bytes", FilePath::LEN_MAX)]
    TooLong,
}

/// A path relative to the tree's root, of plain segments joined by `/`; empty for the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath {
    relative: String,
    directory: bool,
}

impl FilePath {
    /// The longest path, decoded, in bytes.
    pub const LEN_MAX: usize = 2048;

    /// Checks and decodes a request's path (RFC 3986 section 2.1), which starts with `/`.
    ///
    /// Encoded slashes, dot segments, empty segments and backslashes are refused, not repaired: a name that
    /// means one thing to a cache and another to a file system is how files leak.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        let encoded = path.strip_prefix('/').ok_or(PathError::Encoding)?;
        if encoded.len() > Self::LEN_MAX * 3 {
            return Err(PathError::TooLong);
        }
        let directory = encoded.is_empty() || encoded.ends_with('/');
        let mut relative = String::with_capacity(encoded.len());
        let segments = encoded.strip_suffix('/').unwrap_or(encoded).split('/');
        for segment in segments.filter(|_| !encoded.is_empty()) {
            if !relative.is_empty() {
                relative.push('/');
            }
            relative.push_str(&checked_segment(segment)?);
        }
        if relative.len() > Self::LEN_MAX {
            return Err(PathError::TooLong);
        }
        Ok(FilePath { relative, directory })
    }

    /// The path, relative to the root.
    pub fn as_str(&self) -> &str {
        &self.relative
    }

    /// Whether it was written with a slash at its end, as a directory's is.
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &str) -> String {
        if self.relative.is_empty() { name.to_owned() } else { format!("{}/{name}", self.relative) }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.relative)
    }
}

/// Whether a file or directory of that name is served.
pub(super) fn is_served_name(name: &str) -> bool {
    !name.is_empty() && (!name.starts_with('.') || name == ".well-known")
}

fn checked_segment(segment: &str) -> Result<String, PathError> {
    let decoded = percent_decode(segment)?;
    if decoded.contains(['/', '\\']) || !is_served_name(&decoded) {
        return Err(PathError::Forbidden);
    }
    if decoded.chars().any(char::is_control) {
        return Err(PathError::Encoding);
    }
    Ok(decoded)
}

fn percent_decode(text: &str) -> Result<String, PathError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(PathError::Encoding) };
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).map_err(|_| PathError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_paths_are_taken() {
        for (path, expected, directory) in [
            ("/", "", true),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("/a/b.txt", "a/b.txt", false),
            ("/%61%20b", "a b", false),
            ("/%C3%A4.html", "ä.html", false),
            ("/.well-known/x", ".well-known/x", false),
            ("/a..b", "a..b", false),
        ] {
            let parsed = FilePath::parse(path).unwrap();
            assert_eq!((parsed.as_str(), parsed.is_directory()), (expected, directory), "{path}");
        }
    }

    #[test]
    fn what_could_leave_the_tree_is_refused() {
        use PathError::{Encoding, Forbidden, TooLong};
        let long = format!("/{}", "a".repeat(FilePath::LEN_MAX + 1));
        for (path, expected) in [
            ("", Encoding),
            ("*", Encoding),
            ("/../etc/passwd", Forbidden),
            ("/a/../../b", Forbidden),
            ("/%2e%2e/b", Forbidden),
            ("/a/./b", Forbidden),
            ("/a//b", Forbidden),
            ("//", Forbidden),
            ("/a%2fb", Forbidden),
            ("/a%5cb", Forbidden),
            ("/.git/config", Forbidden),
            ("/.env", Forbidden),
            ("/%00", Encoding),
            ("/%0a", Encoding),
            ("/%", Encoding),
            ("/%zz", Encoding),
            ("/%ff", Encoding),
            (long.as_str(), TooLong),
        ] {
            assert_eq!(FilePath::parse(path), Err(expected), "{path}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_stays_below_the_root(path in "(/|%2[eEfF]|\\.|%5[cC]|[a-z]|%[0-9a-f]{2}){0,24}") {
            if let Ok(parsed) = FilePath::parse(&format!("/{path}")) {
                let plain = std::path::Path::new(parsed.as_str()).components()
                    .all(|c| matches!(c, std::path::Component::Normal(_)));
                prop_assert!(plain && !parsed.as_str().contains('\0'));
            }
        }
    }
}
