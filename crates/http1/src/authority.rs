//! Host and port, as Host and absolute or authority forms name them (RFC 3986 section 3.2).

use std::fmt;
use std::net::Ipv6Addr;

/// A checked `host[:port]`: lowercase, without user information, without an empty port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    text: Box<str>,
    host_len: u16,
    port: Option<u16>,
}

/// The longest authority taken: a DNS name of 255 bytes, brackets, a port.
const BYTES_MAX: usize = 264;

impl Authority {
    /// Reads `host[:port]`. The host is a name of letters, digits, `-`, `.`, `_` and `~`, an IPv4 address or
    /// a bracketed IPv6 address. None for anything else, user information included (RFC 9110 section 4.2.4).
    pub fn parse(text: &[u8]) -> Option<Authority> {
        if text.len() > BYTES_MAX {
            return None;
        }
        let host_len = match text {
            [b'[', ..] => text.iter().position(|b| *b == b']')? + 1,
            _ => text.iter().position(|b| *b == b':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at_checked(host_len)?;
        if !is_host(host) {
            return None;
        }
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(parse_port(digits)?),
            _ => return None,
        };
        let kept = if rest.len() > 1 { text } else { host };
        let mut kept: Box<str> = std::str::from_utf8(kept).ok()?.into();
        kept.make_ascii_lowercase();
        Some(Authority { text: kept, host_len: host_len as u16, port })
    }

    /// The host in lowercase, IPv6 addresses with their brackets.
    pub fn host(&self) -> &str {
        self.text.get(..self.host_len as usize).unwrap_or_default()
    }

    /// The port, if one was named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// `host[:port]` in lowercase, without a copy.
    pub fn into_string(self) -> String {
        self.text.into()
    }

    /// `host[:port]` in lowercase.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_host(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', inner @ .., b']'] => {
            std::str::from_utf8(inner).is_ok_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
        }
        name => name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')),
    }
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_checked_and_lowercased() {
        for (text, host, port) in [
            ("Example.ORG", "example.org", None),
            ("example.org:", "example.org", None),
            ("example.org:8080", "example.org", Some(8080)),
            ("a_b.example", "a_b.example", None),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:443", "[2001:db8::1]", Some(443)),
        ] {
            let authority = Authority::parse(text.as_bytes()).unwrap();
            assert_eq!((authority.host(), authority.port()), (host, port), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", ":80", "a b", "a:b", "a:80:80", "a:65536", "a:+1", "user@a", "a/b", "a?b", "a,b", "[::1",
            "[::1]80", "[a]", "::1", "a\0", "ä", "a%41",
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Authority::parse(&[b'a'; 300]), None);
    }
}
