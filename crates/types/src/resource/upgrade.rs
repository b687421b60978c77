//! Protocols that a client may switch its connection to.

use super::text::{Text, TextError, text_value};
use crate::fields::is_token;
use std::fmt;

/// The name of a protocol in Upgrade (RFC 9110 section 7.8), such as `websocket`; lowercase.
///
/// After a switch the connection is a tunnel that the gateway does not look into. So a protocol that carries
/// requests again (HTTP itself, or TLS with HTTP inside) is none: they would pass routes, access lists, rate
/// limits and the log unseen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpgradeProtocol(Box<str>);

impl UpgradeProtocol {
    /// The protocol that may be switched to where nothing is said.
    pub fn websocket() -> Self {
        UpgradeProtocol("websocket".into())
    }
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Whether `name`, as it stands in a field, is this protocol; case does not count.
    pub fn is(&self, name: &[u8]) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(name)
    }
}

impl fmt::Display for UpgradeProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for UpgradeProtocol {
    const FORMAT: &'static str = "upgrade-protocol";
    const ABOUT: &'static str = "the name of a protocol in Upgrade, such as `websocket`; not HTTP or TLS";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let lower = text.to_ascii_lowercase();
        let (name, version) = lower.split_once('/').map_or((&*lower, None), |(n, v)| (n, Some(v)));
        let is_name = is_token(name.as_bytes()) && name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !is_name || version.is_some_and(|v| !is_token(v.as_bytes())) || text.len() > 64 {
            let help = "write the name that stands in Upgrade, such as `websocket`";
            return Err(TextError::new(format!("`{text}` is not the name of a protocol"), help));
        }
        if matches!(name, "http" | "h2c" | "h2" | "h3" | "tls") {
            let help = "leave it out: clients speak HTTP/2 with the gateway itself, without Upgrade";
            return Err(TextError::new(format!("`{text}` would carry requests past every rule"), help));
        }
        Ok(UpgradeProtocol(lower.into()))
    }
}
text_value!(UpgradeProtocol);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_that_carry_requests_are_refused() {
        for (text, out) in [("websocket", "websocket"), ("WebSocket", "websocket"), ("echo/1.0", "echo/1.0")]
        {
            assert_eq!(UpgradeProtocol::parse_text(text).unwrap().to_string(), out);
        }
        for bad in ["", "a b", "a/", "/1", "a/b/c", "h2c", "H2C", "HTTP/2.0", "TLS/1.0", "h2", "*"] {
            assert!(UpgradeProtocol::parse_text(bad).is_err(), "{bad}");
        }
        assert!(UpgradeProtocol::websocket().is(b"WebSocket"));
    }
}
