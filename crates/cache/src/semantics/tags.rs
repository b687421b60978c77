//! Names by which stored responses are purged or invalidated together: surrogate tags and cache groups.

use super::list::members;
use super::structured;
use selvedge_types::{Fields, Name, name};

/// How many tags a response may have.
pub const TAGS_MAX: usize = 256;
/// How long a tag may be.
pub const TAG_BYTES_MAX: usize = 256;
/// How many groups of a response are followed; RFC 9875 section 2.1 asks for at least 32.
pub const GROUPS_MAX: usize = 128;
/// How long a followed group's name may be; RFC 9875 section 2.1 asks for at least 32.
pub const GROUP_BYTES_MAX: usize = 256;

/// A response has more or longer tags than are followed. It must not be stored: a purge would miss it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("response has more than {TAGS_MAX} tags, or one longer than {TAG_BYTES_MAX} bytes")]
pub struct TooManyTags;

/// The tags in Surrogate-Key (separated by spaces) and Cache-Tag (separated by commas), sorted, each once.
/// Case matters.
pub fn tags(response: &Fields) -> Result<Vec<Box<[u8]>>, TooManyTags> {
    let keys = response.get_all(name::SURROGATE_KEY).flat_map(|v| v.split(|b| matches!(b, b' ' | b'\t')));
    let listed = response.get_all(name::CACHE_TAG).flat_map(members);
    let mut found: Vec<Box<[u8]>> = Vec::new();
    for tag in keys.filter(|k| !k.is_empty()).chain(listed) {
        if found.len() >= 2 * TAGS_MAX || tag.len() > TAG_BYTES_MAX {
            return Err(TooManyTags);
        }
        found.push(tag.into());
    }
    found.sort();
    found.dedup();
    if found.len() > TAGS_MAX { Err(TooManyTags) } else { Ok(found) }
}

/// The groups that a response belongs to within its origin (Cache-Groups, RFC 9875 section 2).
pub fn cache_groups(response: &Fields) -> Vec<String> {
    groups(response, name::CACHE_GROUPS)
}

/// The groups that a response to an unsafe request invalidates within its origin
/// (Cache-Group-Invalidation, RFC 9875 section 3). [`mod@super::invalidation`] checks the method.
pub(super) fn group_invalidation(response: &Fields) -> Vec<String> {
    groups(response, name::CACHE_GROUP_INVALIDATION)
}

fn groups(response: &Fields, field: Name) -> Vec<String> {
    let mut found = structured::strings(response.get_all(field)).unwrap_or_default();
    found.retain(|g| g.len() <= GROUP_BYTES_MAX);
    found.truncate(GROUPS_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(wire: &str) -> Fields {
        Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn tags_come_from_both_fields() {
        let found = tags(&fields("Surrogate-Key: b  a\tc|Cache-Tag: a, d e,,B|Surrogate-Key: x|")).unwrap();
        let text: Vec<_> = found.iter().map(|t| std::str::from_utf8(t).unwrap()).collect();
        assert_eq!(text, ["B", "a", "b", "c", "d e", "x"]);
        assert_eq!(tags(&fields("X: y|")).unwrap().len(), 0);
    }

    #[test]
    fn too_many_or_too_long_tags_are_an_error() {
        let many = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>().join(",");
        assert_eq!(tags(&fields(&format!("Cache-Tag: {}|", many(TAGS_MAX)))).unwrap().len(), TAGS_MAX);
        assert_eq!(tags(&fields(&format!("Cache-Tag: {}|", many(TAGS_MAX + 1)))), Err(TooManyTags));
        assert_eq!(
            tags(&fields(&format!("Cache-Tag: {}|", "x".repeat(TAG_BYTES_MAX + 1)))),
            Err(TooManyTags)
        );
    }

    #[test]
    fn groups_are_a_structured_list_of_strings() {
        let group = |value: &str| cache_groups(&fields(&format!("Cache-Groups: {value}|")));
        assert_eq!(group(r#""eee", "BBB";x=1"#), ["eee", "BBB"]);
        for invalid in ["eee", r#""a", b"#, r#""a" "b""#, ""] {
            assert!(group(invalid).is_empty(), "{invalid}");
        }
        assert_eq!(cache_groups(&fields("Cache-Groups: \"a\"|Cache-Groups: \"b\"|")), ["a", "b"]);
    }
}
