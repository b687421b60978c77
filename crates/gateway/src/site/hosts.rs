//! From a host to its site.

use foldhash::fast::FixedState;
use selvedge_types::resource::HostPattern;
use std::collections::HashMap;

/// Hosts and what they stand for. A look-up takes one hash, or one for each label of the host.
#[derive(Debug, Default)]
pub(super) struct HostTable {
    // The keys come from the configuration, so their hash needs no secret.
    exact: HashMap<Box<str>, u32, FixedState>,
    below: HashMap<Box<str>, u32, FixedState>,
    any: Option<u32>,
}

impl HostTable {
    pub(super) fn insert(&mut self, host: &HostPattern, site: u32) {
        match host {
            HostPattern::Exact(name) => drop(self.exact.insert(name.clone(), site)),
            HostPattern::Below(domain) => drop(self.below.insert(domain.clone(), site)),
            HostPattern::Any => self.any = Some(site),
        }
    }

    /// What stands for `host`, which is lowercase and without port: the exact host, else the longest
    /// wildcard, else `*`.
    pub(super) fn find(&self, host: &str) -> Option<u32> {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.exact.get(host).copied().or_else(|| self.find_below(host)).or(self.any)
    }

    fn find_below(&self, host: &str) -> Option<u32> {
        if self.below.is_empty() {
            return None;
        }
        let dots = host.bytes().enumerate().filter(|(i, b)| *b == b'.' && *i > 0);
        dots.map(|(i, _)| &host[i + 1..]).find_map(|domain| self.below.get(domain).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::resource::Text;

    proptest::proptest! {
        /// The API finds the owner of a URL by the declared patterns, requests by this table.
        #[test]
        fn the_table_finds_what_the_patterns_say(
            patterns in proptest::collection::btree_set("(\\*\\.)?[ab](\\.[ab]){0,2}|\\*", 0..6),
            host in "[ab](\\.[ab]){0,3}\\.?",
        ) {
            let patterns: Vec<_> = patterns.iter().map(|p| HostPattern::parse_text(p).unwrap()).collect();
            let mut table = HostTable::default();
            patterns.iter().zip(0..).for_each(|(pattern, site)| table.insert(pattern, site));
            let owner = selvedge_types::resource::owner_of_host(&host, patterns.iter().zip(0..));
            proptest::prop_assert_eq!(table.find(&host), owner);
        }
    }

    #[test]
    fn the_most_specific_host_wins() {
        let mut table = HostTable::default();
        for (i, host) in ["a.example.com", "*.example.com", "*.b.example.com", "[::1]"].iter().enumerate() {
            table.insert(&HostPattern::parse_text(host).unwrap(), i as u32);
        }
        for (host, expected) in [
            ("a.example.com", Some(0)),
            ("a.example.com.", Some(0)),
            ("x.example.com", Some(1)),
            ("x.y.example.com", Some(1)),
            ("x.b.example.com", Some(2)),
            ("b.example.com", Some(1)),
            ("example.com", None),
            (".example.com", None),
            ("[::1]", Some(3)),
            ("", None),
        ] {
            assert_eq!(table.find(host), expected, "{host}");
        }
        table.insert(&HostPattern::Any, 9);
        assert_eq!(table.find("example.com"), Some(9));
        assert_eq!(table.find(""), Some(9));
    }
}
