//! Who may ask, and how often.

use super::field::FieldName;
use super::pattern::Network;
use super::quantity::Rate;
use super::secret::SecretRef;
use super::text::{OneOrMany, Text, TextError, text_value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Which client addresses may ask; others get 403.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Access {
    /// Only these addresses and networks. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Network>,
    /// Not these, even when `allow` names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Network>,
}

/// Which credentials a request must bring; without them it gets 401. One of several kinds is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Auth {
    /// Name and password (RFC 7617).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// Bearer tokens (RFC 6750).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerAuth>,
    /// Whether the Authorization field goes on to cache and origin. Responses to requests with it are
    /// shared only when they say so (RFC 9111 section 3.5).
    pub forward: bool,
}

/// Name and password (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BasicAuth {
    /// What the credentials are for, shown to people.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// Each user's password, by reference.
    pub users: BTreeMap<String, SecretRef>,
}

pub(crate) fn default_realm() -> String {
    "restricted".into()
}

/// Bearer tokens (RFC 6750).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BearerAuth {
    /// The accepted tokens, by reference.
    pub tokens: OneOrMany<SecretRef>,
}

/// How often requests that share a key may come to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateLimit {
    /// What requests share: `client` (address), `header:NAME`, `cookie:NAME`, `path` or `site` (all).
    #[serde(default)]
    pub by: RateKey,
    /// How many requests are let through over time.
    pub rate: Rate,
    /// How many may come at once before the rate counts. Default: one second's worth, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// The status of the answer to the others.
    #[serde(default = "too_many")]
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
}

pub(crate) fn too_many() -> u16 {
    429
}

/// What requests share that count against one rate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RateKey {
    /// `client`: the client's address; an IPv6 one by its /64 network.
    #[default]
    Client,
    /// `header:NAME`: a header field's value. Requests without it share one key.
    Header(FieldName),
    /// `cookie:NAME`: a cookie's value. Requests without it share one key.
    Cookie(Box<str>),
    /// `path`: the path.
    Path,
    /// `site`: nothing; all requests count together.
    Site,
}

impl fmt::Display for RateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RateKey::Client => f.write_str("client"),
            RateKey::Header(name) => write!(f, "header:{name}"),
            RateKey::Cookie(name) => write!(f, "cookie:{name}"),
            RateKey::Path => f.write_str("path"),
            RateKey::Site => f.write_str("site"),
        }
    }
}

impl Text for RateKey {
    const FORMAT: &'static str = "rate-key";
    const ABOUT: &'static str = "`client`, `header:NAME`, `cookie:NAME`, `path` or `site`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        Ok(match (text, text.split_once(':')) {
            ("client", _) => RateKey::Client,
            ("path", _) => RateKey::Path,
            ("site", _) => RateKey::Site,
            (_, Some(("header", name))) => RateKey::Header(FieldName::parse_text(name)?),
            (_, Some(("cookie", name))) if !name.is_empty() => RateKey::Cookie(name.into()),
            _ => {
                let help = "write `client`, `header:NAME`, `cookie:NAME`, `path` or `site`";
                return Err(TextError::new(format!("`{text}` is nothing to limit by"), help));
            }
        })
    }
}
text_value!(RateKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_keys_read_and_write() {
        for text in ["client", "header:X-Key", "cookie:sid", "path", "site"] {
            assert_eq!(RateKey::parse_text(text).unwrap().to_string(), text);
        }
        for bad in ["", "ip", "header:", "header:a b", "cookie:", "client:x"] {
            assert!(RateKey::parse_text(bad).is_err(), "{bad}");
        }
    }
}
