//! Paths as rules see them.

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        fn what_is_encoded_decodes(path in prop::collection::vec(any::<u8>(), 0..20)) {
            let encoded = encode(&path);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(decode(encoded.as_bytes()).into_owned(), path);
        }
    }
}
