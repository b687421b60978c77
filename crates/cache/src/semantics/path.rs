//! The one form of a target's path, by which it is routed, kept, purged, logged and sent (RFC 3986 section 6.2.2).
//!
//! Spellings of one path that were kept apart would escape a purge of the path and let a client store an answer
//! to one spelling under another; so there is one form, and the origin is asked in it.

use super::target::without_dot_segments;
use std::borrow::Cow;

/// A dot segment beside an encoded slash, a backslash or a path parameter: origins differ in whether it leads
/// up, so it can be judged as one path and answered as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path has a dot segment that servers read differently; send the path that is meant")]
pub struct AmbiguousPath;

/// `target` with the escapes of unreserved characters undone, those left in upper case, and dot segments
/// resolved, encoded ones too. The query stays as it is, and so does a target without a path, such as `*`.
///
/// # Errors
/// When what a dot segment leads to depends on who reads it: `/a/..%2fb`, `/a/..\b`, `/a/..;x/b`.
pub fn canonical_target(target: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    let end = target.find('?').unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    if !path.starts_with('/') || is_canonical(path.as_bytes()) {
        return Ok(Cow::Borrowed(target));
    }
    let decoded = decode_unreserved(path.as_bytes());
    check_dot_segments(&decoded)?;
    let mut canonical = without_dot_segments(&decoded);
    canonical.extend_from_slice(query.as_bytes());
    // Only ASCII was changed.
    Ok(String::from_utf8(canonical).map_or(Cow::Borrowed(target), Cow::Owned))
}

/// Whether there is surely nothing to do: no escape, and no segment that begins with a dot.
fn is_canonical(path: &[u8]) -> bool {
    let mut after_slash = false;
    !path.iter().any(|b| {
        let odd = *b == b'%' || (*b == b'.' && after_slash);
        after_slash = matches!(b, b'/' | b'\\');
        odd
    })
}

/// RFC 3986 sections 6.2.2.1 and 6.2.2.2. A percent sign that begins no escape becomes one, so that it cannot
/// make one with what is decoded after it.
fn decode_unreserved(path: &[u8]) -> Vec<u8> {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, hex(tail.first()), hex(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                let byte = (high * 16 + low) as u8;
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                    out.push(byte);
                } else {
                    out.push(b'%');
                    out.extend(tail.iter().take(2).map(u8::to_ascii_uppercase));
                }
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'%', ..) => out.extend_from_slice(b"%25"),
            _ => out.push(*first),
        }
    }
    out
}

/// `path` begins with a slash and its escapes are in upper case.
fn check_dot_segments(path: &[u8]) -> Result<(), AmbiguousPath> {
    let (mut rest, mut plain_before) = (path.get(1..).unwrap_or_default(), true);
    loop {
        let end = (0..rest.len()).find(|i| separator(&rest[*i..]) > 0).unwrap_or(rest.len());
        let (segment, tail) = rest.split_at(end);
        let plain_after = tail.first().is_none_or(|b| *b == b'/');
        let name = segment.split(|b| *b == b';').next().unwrap_or_default();
        let is_dots = matches!(name, b"." | b"..");
        if is_dots && !(plain_before && plain_after && name.len() == segment.len()) {
            return Err(AmbiguousPath);
        }
        if tail.is_empty() {
            return Ok(());
        }
        rest = tail.get(separator(tail)..).unwrap_or_default();
        plain_before = plain_after;
    }
}

/// How many bytes of a slash, or of what some take for one, `text` begins with.
fn separator(text: &[u8]) -> usize {
    match text {
        [b'/' | b'\\', ..] => 1,
        [b'%', b'2', b'F', ..] | [b'%', b'5', b'C', ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equivalent_paths_have_one_form() {
        for (target, expected) in [
            ("/", "/"),
            ("/a/b?c", "/a/b?c"),
            ("*", "*"),
            ("", ""),
            ("/%74ag", "/tag"),
            ("/%7euser/%2D%5f", "/~user/-_"),
            ("/a%2fb%c3%a9", "/a%2Fb%C3%A9"),
            ("/x/../tag", "/tag"),
            ("/x/%2e%2E/tag", "/tag"),
            ("/x/.%2e", "/"),
            ("/./a/.", "/a/"),
            ("/../../a", "/a"),
            ("//tag", "//tag"),
            ("/.well-known/...", "/.well-known/..."),
            ("/a/..b/.c", "/a/..b/.c"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/100%", "/100%25"),
            ("/%zz%%361", "/%25zz%2561"),
            ("/a;x/b", "/a;x/b"),
            ("/a%2Fb/../c", "/c"),
            ("/a?x=/../%61", "/a?x=/../%61"),
            ("/%61?x=/../%61", "/a?x=/../%61"),
        ] {
            assert_eq!(canonical_target(target).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn what_servers_read_differently_has_none() {
        for target in [
            "/admin/..%2fpub/3",
            "/admin/%2e%2e%2Fpub",
            "/admin%2f../pub",
            "/admin%5c..%5Cpub",
            "/admin/..\\pub",
            "/admin\\..",
            "/pub/..;/admin",
            "/pub/.;x=1/admin",
            "/pub/%2e%2e;a",
        ] {
            assert_eq!(canonical_target(target), Err(AmbiguousPath), "{target}");
        }
    }

    proptest! {
        #[test]
        fn the_form_of_the_form_is_itself(target in "/[a./%2eEfF5cC;\\\\?]{0,24}") {
            if let Ok(once) = canonical_target(&target) {
                prop_assert!(once.starts_with('/'));
                let again = canonical_target(&once).map(Cow::into_owned);
                prop_assert_eq!(again, Ok(once.clone().into_owned()), "{}", target);
            }
        }

        #[test]
        fn no_dot_segment_is_left(target in "/[a./%2eEfF;]{0,24}") {
            if let Ok(form) = canonical_target(&target) {
                prop_assert!(!form.split('/').any(|s| s == "." || s == ".."), "{} -> {}", target, form);
            }
        }
    }
}
