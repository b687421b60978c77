//! Which part of a query belongs to the cache key.

use selvedge_types::resource::QueryKey;

/// How many parameters are looked at one by one; a query with more belongs to the key as it is.
pub const PARAMETERS_MAX: usize = 256;

/// Appends `?` and what counts of `query`, which comes without `?`; nothing if no parameter counts.
pub fn push_query(policy: &QueryKey, query: &[u8], out: &mut Vec<u8>) {
    let takes_all = policy.keep.is_none() && policy.drop.is_empty() && !policy.sort;
    if takes_all || query.iter().filter(|b| **b == b'&').count() >= PARAMETERS_MAX {
        out.push(b'?');
        out.extend_from_slice(query);
        return;
    }
    let mut kept: Vec<(Vec<u8>, &[u8])> = query
        .split(|b| *b == b'&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| (parameter_name(parameter), parameter))
        .filter(|(name, _)| counts(policy, name))
        .collect();
    if policy.sort {
        // Stable: several values of one parameter keep their order.
        kept.sort_by(|a, b| a.0.cmp(&b.0));
    }
    for (i, (_, parameter)) in kept.iter().enumerate() {
        out.push(if i == 0 { b'?' } else { b'&' });
        out.extend_from_slice(parameter);
    }
}

fn counts(policy: &QueryKey, name: &[u8]) -> bool {
    let kept = policy.keep.as_ref().is_none_or(|globs| globs.iter().any(|g| g.matches(name)));
    kept && !policy.drop.iter().any(|g| g.matches(name))
}

/// The name before `=`, decoded as origins decode it: else `i%64=2` would slip past a rule for `id`.
fn parameter_name(parameter: &[u8]) -> Vec<u8> {
    let raw = parameter.split(|b| *b == b'=').next().unwrap_or_default();
    let mut name = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((first, tail)) = rest.split_first() {
        let decoded = if *first == b'%' { hex_pair(tail) } else { None };
        match decoded {
            Some(byte) => {
                name.push(byte);
                rest = &tail[2..];
            }
            None => {
                name.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    name
}

fn hex_pair(text: &[u8]) -> Option<u8> {
    let digit = |i: usize| text.get(i).and_then(|b| char::from(*b).to_digit(16));
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use selvedge_types::resource::{Glob, Text};

    fn globs(names: &[&str]) -> Vec<Glob> {
        names.iter().map(|n| Glob::parse_text(n).unwrap()).collect()
    }

    fn push(policy: &QueryKey, query: &str) -> String {
        let mut out = Vec::new();
        push_query(policy, query.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parameters_are_kept_dropped_and_sorted() {
        for (keep, drop, sort, query, expected) in [
            (None, &[][..], false, "b=2&&a=1", "?b=2&&a=1"),
            (None, &[], false, "", "?"),
            (None, &[], true, "b=2&a=1&&b=1", "?a=1&b=2&b=1"),
            (None, &[], true, "", ""),
            (Some(&[][..]), &[], true, "a=1", ""),
            (Some(&["id", "p*"]), &[], false, "x=1&page=2&id=3&id", "?page=2&id=3&id"),
            (Some(&["id", "p*"]), &[], false, "i%64=3&x=1", "?i%64=3"),
            (Some(&["id", "p*"]), &["pass"], false, "pass=1&page=2", "?page=2"),
            (Some(&["id"]), &[], false, "x=1", ""),
            (None, &["utm_*"], false, "utm_source=a&q=1&%75tm_x=2", "?q=1"),
            (None, &["utm_*"], true, "z&utm_a&y", "?y&z"),
            (None, &["utm_*"], false, "%zz=1&%=2", "?%zz=1&%=2"),
        ] {
            let policy = QueryKey { keep: keep.map(globs), drop: globs(drop), sort };
            assert_eq!(push(&policy, query), expected, "{policy:?} {query}");
        }
    }

    #[test]
    fn a_query_with_too_many_parameters_is_taken_as_it_is() {
        let query = vec!["a=1"; PARAMETERS_MAX + 1].join("&");
        let policy = QueryKey { keep: Some(globs(&["x"])), sort: true, ..Default::default() };
        assert_eq!(push(&policy, &query), format!("?{query}"));
    }

    proptest! {
        #[test]
        fn sorting_makes_order_irrelevant(mut parameters in prop::collection::vec("[a-z]=[0-9]", 0..8)) {
            parameters.sort();
            parameters.dedup_by_key(|p| p.as_bytes()[0]);
            let policy = QueryKey { sort: true, ..Default::default() };
            let sorted = push(&policy, &parameters.join("&"));
            parameters.reverse();
            prop_assert_eq!(push(&policy, &parameters.join("&")), sorted);
        }
    }
}
