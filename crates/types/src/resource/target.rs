//! Addresses of origin servers.

use super::host::is_host;
use super::text::{Text, TextError, text_value};
use crate::message::Scheme;
use std::fmt;

/// The address of an origin server: `https://host[:port]`, or `srv+http://_name._tcp.domain` for what
/// an SRV record (RFC 2782) lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetUrl {
    /// Whether the connection is encrypted.
    pub scheme: Scheme,
    /// A name or address, lowercase; an IPv6 address stands in brackets. With `srv`, the record's name.
    pub host: Box<str>,
    /// The port, if one is written. Never with `srv`.
    pub port: Option<u16>,
    /// Whether `host` names an SRV record.
    pub srv: bool,
}

impl TargetUrl {
    /// The port, or the scheme's own: 80 or 443.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        })
    }
    /// `host` or `host:port`, as in a Host field.
    pub fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.to_string(), |port| format!("{}:{port}", self.host))
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let srv = if self.srv { "srv+" } else { "" };
        write!(f, "{srv}{}://{}", self.scheme.as_str(), self.authority())
    }
}

impl Text for TargetUrl {
    const FORMAT: &'static str = "origin-url";
    const ABOUT: &'static str =
        "an origin server: `http://host[:port]`, `https://host[:port]`, or `srv+http://_name._tcp.domain`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let wrong = |help: &str| TextError::new(format!("`{text}` is not an origin's address"), help);
        let (srv, rest) = text.strip_prefix("srv+").map_or((false, text), |rest| (true, rest));
        let (scheme, rest) = match rest.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(_) => return Err(wrong("only `http://` and `https://` origins can be reached")),
            None => return Err(wrong(&format!("write the scheme: `http://{text}` or `https://{text}`"))),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(wrong("leave out the path; to put one before each request's, use `rewrite`"));
        }
        if rest.contains('@') {
            return Err(wrong("leave out user and password; set Authorization in `request_headers`"));
        }
        let (host, port) = split_port(rest).ok_or_else(|| wrong("the port is a number from 1 to 65535"))?;
        let host = host.to_ascii_lowercase();
        if srv && (port.is_some() || !host.starts_with('_')) {
            return Err(wrong("an SRV name looks like `_http._tcp.example.com` and has no port"));
        }
        if !is_host(&host) {
            return Err(wrong(
                "write a host name or address: `https://origin.example.com`, `http://10.0.0.5:8000`",
            ));
        }
        Ok(TargetUrl { scheme, host: host.into(), port, srv })
    }
}
text_value!(TargetUrl);

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            port.parse().ok().filter(|p| *p > 0).map(|p| (host, Some(p)))
        }
        _ => Some((authority, None)),
    }
}

/// What an origin sees as the request's Host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OriginHost {
    /// `request`: what the client asked for.
    #[default]
    Request,
    /// `target`: the host (and port) of the origin's own address.
    Target,
    /// This authority.
    Fixed(Box<str>),
}

impl fmt::Display for OriginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OriginHost::Request => "request",
            OriginHost::Target => "target",
            OriginHost::Fixed(host) => host,
        })
    }
}

impl Text for OriginHost {
    const FORMAT: &'static str = "origin-host";
    const ABOUT: &'static str = "`request`, `target` or a host name";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        match text {
            "request" => return Ok(OriginHost::Request),
            "target" => return Ok(OriginHost::Target),
            _ => {}
        }
        let lower = text.to_ascii_lowercase();
        match split_port(&lower) {
            Some((host, _)) if is_host(host) => Ok(OriginHost::Fixed(lower.into())),
            _ => Err(TextError::new(
                format!("`{text}` is not a Host for an origin"),
                "write `request` (the client's), `target` (the origin's own name) or a host name",
            )),
        }
    }
}
text_value!(OriginHost);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_write() {
        for text in [
            "http://127.0.0.1:8000",
            "https://origin.example.com",
            "http://[::1]:80",
            "https://[2001:db8::1]",
            "srv+http://_web._tcp.example.com",
        ] {
            assert_eq!(TargetUrl::parse_text(text).unwrap().to_string(), text);
        }
        assert_eq!(TargetUrl::parse_text("https://A.example/").unwrap().port_or_default(), 443);
        for bad in [
            "origin.example.com",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a:0",
            "http://a:99999",
            "http://u@a",
            "http://a?b",
            "srv+http://web.example.com",
            "srv+http://_web._tcp.example.com:80",
            "http://[::g]",
        ] {
            assert!(TargetUrl::parse_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origin_hosts() {
        for text in ["request", "target", "www.example.com", "www.example.com:8443"] {
            assert_eq!(OriginHost::parse_text(text).unwrap().to_string(), text);
        }
        assert!(OriginHost::parse_text("a b").is_err());
    }
}
