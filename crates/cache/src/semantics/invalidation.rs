//! What the answer to an unsafe request makes invalid (RFC 9111 section 4.4, RFC 9875 section 3).

use super::path::canonical_target;
use super::request::MethodClass;
use super::tags::group_invalidation;
use super::target::{OwnedTarget, Target};
use selvedge_types::fields::trim;
use selvedge_types::{Fields, Status, name};

/// What must not be reused without validation any more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Invalidation {
    /// These URIs, all of one origin; the request's target comes first.
    pub targets: Vec<OwnedTarget>,
    /// Stored responses of that origin that belong to one of these cache groups.
    pub groups: Vec<String>,
}

/// What the response with that status and fields invalidates; none if the method is known to be safe or the
/// request failed.
pub fn invalidation(
    method: MethodClass,
    target: Target<'_>,
    status: Status,
    response: &Fields,
) -> Option<Invalidation> {
    // A non-error response is a 2xx or 3xx.
    if !method.may_invalidate() || !(200..400).contains(&status.code()) {
        return None;
    }
    let own = OwnedTarget {
        scheme: target.scheme,
        authority: target.authority.to_vec(),
        path_and_query: target.path_and_query.to_vec(),
    };
    let mut targets = vec![own];
    for field in [name::LOCATION, name::CONTENT_LOCATION] {
        let named = response.get(field).and_then(|reference| target.resolve(trim(reference)));
        let named = named.and_then(canonical);
        // Another origin's content is not this one's to invalidate.
        targets.extend(
            named.filter(|uri| uri.as_target().is_same_origin(target) && !uri.as_target().is_same(target)),
        );
    }
    Some(Invalidation { targets, groups: group_invalidation(response) })
}

/// In the one form that stored responses are kept under.
fn canonical(target: OwnedTarget) -> Option<OwnedTarget> {
    let text = std::str::from_utf8(&target.path_and_query).ok()?;
    let path_and_query = canonical_target(text).ok()?.into_owned().into_bytes();
    Some(OwnedTarget { path_and_query, ..target })
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::{Method, Scheme};

    const TARGET: Target<'static> =
        Target { scheme: Scheme::Http, authority: b"a.example", path_and_query: b"/x" };

    fn paths(method: &str, status: u16, wire: &str) -> Option<Vec<String>> {
        let method = MethodClass::of(&Method::parse(method.as_bytes()).unwrap());
        let fields = Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap();
        let found = invalidation(method, TARGET, Status::new(status).unwrap(), &fields)?;
        Some(found.targets.iter().map(|t| String::from_utf8_lossy(&t.path_and_query).into_owned()).collect())
    }

    #[test]
    fn successful_unsafe_requests_invalidate_their_target_and_locations() {
        let other = "Location: http://b.example/y|Content-Location: https://a.example/z|";
        let same = "Location: /y|Content-Location: http://A.example:80/z|";
        for (method, status, wire, expected) in [
            ("POST", 200, "", Some(vec!["/x"])),
            ("PUT", 204, "", Some(vec!["/x"])),
            ("DELETE", 303, "", Some(vec!["/x"])),
            ("M-SEARCH", 200, "", Some(vec!["/x"])),
            ("POST", 201, same, Some(vec!["/x", "/y", "/z"])),
            ("POST", 201, other, Some(vec!["/x"])),
            ("POST", 201, "Location: x|", Some(vec!["/x"])),
            ("POST", 500, same, None),
            ("POST", 404, same, None),
            ("GET", 200, same, None),
            ("HEAD", 200, same, None),
            ("OPTIONS", 200, same, None),
        ] {
            let expected = expected.map(|e| e.iter().map(|s| s.to_string()).collect());
            assert_eq!(paths(method, status, wire), expected, "{method} {status} {wire}");
        }
    }

    #[test]
    fn groups_are_invalidated_by_unsafe_methods_only() {
        let fields = Fields::from_wire(b"Cache-Group-Invalidation: \"a\", \"b\"\r\n").unwrap();
        let groups = |method| invalidation(method, TARGET, Status::OK, &fields).map(|i| i.groups);
        assert_eq!(groups(MethodClass::Post), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(groups(MethodClass::Get), None);
    }
}
