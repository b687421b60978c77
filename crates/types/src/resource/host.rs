//! The names a site answers to.

use super::text::{Text, TextError, text_value};
use std::fmt;

const MAX_HOST: usize = 253;

/// Whose pattern `host` (lowercase, without port) is meant by: the exact one, else the longest wildcard, else `*`.
/// A final dot, which says that a name is complete, does not count.
pub fn owner_of_host<'a, T>(
    host: &str,
    patterns: impl IntoIterator<Item = (&'a HostPattern, T)>,
) -> Option<T> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let fits = patterns.into_iter().filter(|(pattern, _)| pattern.matches(host));
    fits.max_by_key(|(pattern, _)| pattern.rank()).map(|(_, owner)| owner)
}

/// A host that a site answers to: exact, `*.` before a domain (any number of labels), or `*` for all.
///
/// Always lowercase, without port and final dot. A literal IP address is an exact host; an IPv6 one
/// stands in brackets, as in a Host field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host alone.
    Exact(Box<str>),
    /// Every host below this domain, not the domain itself.
    Below(Box<str>),
    /// Every host that no other site answers to.
    Any,
}

impl HostPattern {
    /// The greater, the fewer hosts are meant.
    fn rank(&self) -> (u8, usize) {
        match self {
            HostPattern::Exact(_) => (2, 0),
            HostPattern::Below(domain) => (1, domain.len()),
            HostPattern::Any => (0, 0),
        }
    }
    /// Whether `host` (lowercase, without port and final dot) is one of those meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(name) => **name == *host,
            HostPattern::Below(domain) => host
                .strip_suffix(&**domain)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
            HostPattern::Any => true,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Below(domain) => write!(f, "*.{domain}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}

impl Text for HostPattern {
    const FORMAT: &'static str = "host";
    const ABOUT: &'static str = "a host name, `*.example.com` for every name below a domain, or `*`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match lower.strip_prefix("*.") {
            Some(domain) => check_host(text, domain).map(|()| HostPattern::Below(domain.into())),
            None => check_host(text, &lower).map(|()| HostPattern::Exact(lower.into())),
        }
    }
}
text_value!(HostPattern);

fn check_host(written: &str, host: &str) -> Result<(), TextError> {
    if is_host(host) {
        return Ok(());
    }
    let help = if written.contains("://") {
        "leave out the scheme: `docs.example.com`"
    } else if host.rsplit_once(':').is_some_and(|(_, p)| p.bytes().all(|b| b.is_ascii_digit())) {
        "leave out the port: a site answers on every port the gateway listens on"
    } else if !host.is_ascii() {
        "write international names in their ASCII form (`xn--...`)"
    } else {
        "write a name such as `docs.example.com`, `*.example.com`, or `*` for every host"
    };
    Err(TextError::new(format!("`{written}` is not a host"), help))
}

/// Whether `text` is a lowercase host name, IPv4 address or bracketed IPv6 address, without port.
pub fn is_host(text: &str) -> bool {
    if let Some(v6) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let label = |l: &str| {
        !l.is_empty() && l.len() <= 63 && l.bytes().all(fits) && !l.starts_with('-') && !l.ends_with('-')
    };
    !text.is_empty() && text.len() <= MAX_HOST && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_normalised() {
        for (text, out) in [
            ("Docs.Example.COM", "docs.example.com"),
            ("docs.example.com.", "docs.example.com"),
            ("*.Example.com", "*.example.com"),
            ("*", "*"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(HostPattern::parse_text(text).unwrap().to_string(), out);
        }
        for bad in ["", "a..b", "a:80", "https://a", "a/b", "a.*.b", "*a.b", "-a", "ü.de", "[::g]", "a b"] {
            assert!(HostPattern::parse_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_means_every_name_below_but_not_the_domain() {
        let pattern = HostPattern::parse_text("*.example.com").unwrap();
        for (host, expected) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("badexample.com", false),
        ] {
            assert_eq!(pattern.matches(host), expected, "{host}");
        }
    }
}
