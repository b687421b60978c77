//! Which part of a query belongs to the cache key.

use super::glob::Glob;

/// How many parameters are looked at one by one; a query with more belongs to the key as it is.
pub const PARAMETERS_MAX: usize = 256;

/// Which parameters count.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Select {
    /// All.
    #[default]
    All,
    /// None: the query does not matter.
    Nothing,
    /// Those whose name one of these fits.
    Only(Vec<Glob>),
    /// Those whose name none of these fits.
    Except(Vec<Glob>),
}

/// What of a query belongs to the key, and in which order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueryPolicy {
    /// Which parameters count.
    pub select: Select,
    /// Whether their order is of no meaning: they are sorted by name; equal names keep their order.
    pub sort: bool,
}

impl QueryPolicy {
    /// Appends `?` and what counts of `query`, which comes without `?`; nothing if nothing counts.
    pub fn push(&self, query: &[u8], out: &mut Vec<u8>) {
        if self.select == Select::Nothing {
            return;
        }
        let count = query.iter().filter(|b| **b == b'&').count() + 1;
        if count > PARAMETERS_MAX || (self.select == Select::All && !self.sort) {
            out.push(b'?');
            out.extend_from_slice(query);
            return;
        }
        let mut kept: Vec<(Vec<u8>, &[u8])> = query
            .split(|b| *b == b'&')
            .filter(|p| !p.is_empty())
            .map(|p| (parameter_name(p), p))
            .filter(|(name, _)| self.counts(name))
            .collect();
        if self.sort {
            kept.sort_by(|a, b| a.0.cmp(&b.0));
        }
        for (i, (_, parameter)) in kept.iter().enumerate() {
            out.push(if i == 0 { b'?' } else { b'&' });
            out.extend_from_slice(parameter);
        }
    }

    fn counts(&self, name: &[u8]) -> bool {
        match &self.select {
            Select::All => true,
            Select::Nothing => false,
            Select::Only(globs) => globs.iter().any(|g| g.matches(name)),
            Select::Except(globs) => !globs.iter().any(|g| g.matches(name)),
        }
    }
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

    fn globs(names: &[&str]) -> Vec<Glob> {
        names.iter().map(|n| Glob::new(n)).collect()
    }

    fn push(policy: &QueryPolicy, query: &str) -> String {
        let mut out = Vec::new();
        policy.push(query.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parameters_are_kept_dropped_and_sorted() {
        let all = Select::All;
        let only = Select::Only(globs(&["id", "p*"]));
        let except = Select::Except(globs(&["utm_*"]));
        for (select, sort, query, expected) in [
            (&all, false, "b=2&&a=1", "?b=2&&a=1"),
            (&all, false, "", "?"),
            (&all, true, "b=2&a=1&&b=1", "?a=1&b=2&b=1"),
            (&all, true, "", ""),
            (&Select::Nothing, true, "a=1", ""),
            (&only, false, "x=1&page=2&id=3&id", "?page=2&id=3&id"),
            (&only, false, "i%64=3&x=1", "?i%64=3"),
            (&only, false, "x=1", ""),
            (&except, false, "utm_source=a&q=1&%75tm_x=2", "?q=1"),
            (&except, true, "z&utm_a&y", "?y&z"),
            (&except, false, "%zz=1&%=2", "?%zz=1&%=2"),
        ] {
            let policy = QueryPolicy { select: select.clone(), sort };
            assert_eq!(push(&policy, query), expected, "{policy:?} {query}");
        }
    }

    #[test]
    fn a_query_with_too_many_parameters_is_taken_as_it_is() {
        let query = vec!["a=1"; PARAMETERS_MAX + 1].join("&");
        let policy = QueryPolicy { select: Select::Only(globs(&["x"])), sort: true };
        assert_eq!(push(&policy, &query), format!("?{query}"));
    }

    proptest! {
        #[test]
        fn sorting_makes_order_irrelevant(mut parameters in prop::collection::vec("[a-z]=[0-9]", 0..8)) {
            parameters.sort();
            parameters.dedup_by_key(|p| p.as_bytes()[0]);
            let policy = QueryPolicy { select: Select::All, sort: true };
            let sorted = push(&policy, &parameters.join("&"));
            parameters.reverse();
            prop_assert_eq!(push(&policy, &parameters.join("&")), sorted);
        }
    }
}
