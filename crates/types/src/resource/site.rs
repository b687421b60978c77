//! Sites and their routes.

use super::field::HeaderChanges;
use super::host::HostPattern;
use super::label::OriginName;
use super::origin::Origin;
use super::pattern::PathPattern;
use super::policy::{Policies, Rule};
use super::quantity::ByteSize;
use super::template::Template;
use super::text::{OneOrMany, Text, TextError, text_value};
use crate::message::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A site: the hosts it answers to, where its content comes from, and what is done on the way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Site {
    /// The hosts it answers to. An exact host wins over a wildcard, a longer wildcard over a shorter one.
    /// No other site may have the same.
    pub hosts: OneOrMany<HostPattern>,
    /// The servers its content comes from: one address, a list, or a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// More groups of servers, by name, for routes with `to = "origin:NAME"`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "origin-name" }))]
    pub origins: BTreeMap<OriginName, Origin>,
    /// The site's certificate. Default: the node's own self-signed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether requests in cleartext are sent to the same URL with https (308). Rules on addresses and rates count
    /// before that, those on credentials after it.
    pub force_https: bool,
    /// The largest request content. Default: `settings.limits.body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<ByteSize>,
    /// The policies for all of the site.
    #[serde(flatten)]
    pub policies: Policies,
    /// Routes. The first that fits is taken, in the order written; without one, `origin` answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<Route>,
    /// Rules: policies under conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<Rule>,
}

impl Site {
    /// The group of servers called `name`; `default` is the one under `origin`.
    pub fn origin_named(&self, name: &OriginName) -> Option<&Origin> {
        if name.as_str() == OriginName::DEFAULT { self.origin.as_ref() } else { self.origins.get(name) }
    }
    /// Every group of servers with its name.
    pub fn all_origins(&self) -> impl Iterator<Item = (OriginName, &Origin)> {
        let default = self.origin.iter().map(|origin| (OriginName::default(), origin));
        default.chain(self.origins.iter().map(|(name, origin)| (name.clone(), origin)))
    }
}

/// A certificate and its key, in PEM files that the node can read. Changed files are read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tls {
    /// The file with the certificate chain, the site's own first.
    pub cert: String,
    /// The file with the private key.
    pub key: String,
}

/// What is done with the requests that a pattern picks out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The paths meant: `/about`, `/api/*`, `*.jpg`.
    pub path: OneOrMany<PathPattern>,
    /// The methods meant. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// Where the requests go: `origin`, or `origin:NAME`. Default `origin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Destination>,
    /// Answer with a redirect instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Answer with a fixed response instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// The route's policies, on top of the site's.
    #[serde(flatten)]
    pub policies: Policies,
}

/// Where a route's requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To a group of origin servers.
    Origin(OriginName),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Destination::Origin(name) = self;
        match name.as_str() {
            OriginName::DEFAULT => f.write_str("origin"),
            name => write!(f, "origin:{name}"),
        }
    }
}

impl Text for Destination {
    const FORMAT: &'static str = "destination";
    const ABOUT: &'static str = "`origin`, or `origin:NAME` for one of `origins`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        match text.split_once(':') {
            None if text == "origin" => Ok(Destination::Origin(OriginName::default())),
            Some(("origin", name)) => OriginName::parse_text(name).map(Destination::Origin),
            Some(("service", _)) => Err(TextError::new(
                format!("`{text}`: services are not available in this version"),
                "send the route to `origin` or `origin:NAME`, with the service's address there",
            )),
            _ => Err(TextError::new(
                format!("`{text}` is not a destination"),
                "write `origin`, or `origin:NAME` for one of the site's `origins`",
            )),
        }
    }
}
text_value!(Destination);

/// A redirect (RFC 9110 section 15.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Redirect {
    /// The status: 301, 302, 303, 307 or 308.
    #[serde(default = "found")]
    #[schemars(range(min = 301, max = 308))]
    pub status: u16,
    /// Where to: a path or a whole URL, with parts of the request.
    pub location: Template,
}

pub(crate) fn found() -> u16 {
    302
}

/// A fixed response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Respond {
    /// The status.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// The content.
    pub body: String,
    /// The content's media type.
    pub content_type: String,
    /// More header fields.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub headers: HeaderChanges,
}

impl Default for Respond {
    fn default() -> Self {
        Respond {
            status: 200,
            body: String::new(),
            content_type: "text/plain; charset=utf-8".into(),
            headers: HeaderChanges::default(),
        }
    }
}
