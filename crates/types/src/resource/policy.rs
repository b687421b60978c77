//! What is done with a request and its response, on the levels of site, route and rule.

use super::access::{Access, Auth, RateLimit};
use super::cache::CachePolicy;
use super::field::{FieldName, HeaderChanges};
use super::pattern::{Glob, PathPattern, StatusRange};
use super::quantity::ByteSize;
use super::template::Template;
use super::text::OneOrMany;
use super::upgrade::UpgradeProtocol;
use crate::message::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The policies of a site, a route or a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Policies {
    /// The cache's behaviour.
    #[serde(skip_serializing_if = "CachePolicy::is_empty")]
    pub cache: CachePolicy,
    /// Changes to the header of requests, before the cache is asked.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub request_headers: HeaderChanges,
    /// Changes to the header of responses, on their way to the client.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub response_headers: HeaderChanges,
    /// Changes to the path, before the cache is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// Which client addresses may ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Which credentials a request must bring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How often requests may come. All limits on all levels hold.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub rate_limit: OneOrMany<RateLimit>,
    /// Protocols that clients may switch a connection to (RFC 9110 section 7.8). A request that asks for
    /// another one is answered as if it had not. Default `["websocket"]`; `[]` allows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Vec<UpgradeProtocol>>,
    /// Compression of responses.
    #[serde(skip_serializing_if = "Compression::is_empty")]
    pub compress: Compression,
}

/// Changes to a request's path. The query stays. Done in this order: strip, replace, add.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rewrite {
    /// What is taken off the path's beginning, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// Pieces of the path and what stands in their place; each is replaced wherever it occurs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub replace: BTreeMap<String, String>,
    /// What is put before the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_prefix: Option<String>,
    /// The whole new path, and query if it holds `?`. Not together with the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Template>,
}

/// Compression of responses that the origin sent without. Done once for each coding, then cached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Compression {
    /// The codings offered, best first. `[]` turns compression off. Default: `["zstd", "br", "gzip"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codings: Option<Vec<Coding>>,
    /// The smallest content that is compressed. Default `1KiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<ByteSize>,
    /// Media types that are compressed, with patterns. Default: texts, JSON, XML, JavaScript, SVG, fonts
    /// that are not compressed, and WebAssembly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<Glob>>,
}

impl Compression {
    /// The codings offered when none are named, best first.
    pub const DEFAULT_CODINGS: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];
    /// The smallest content that is compressed when no size is given.
    pub const DEFAULT_MIN_SIZE: ByteSize = ByteSize::kib(1);
    /// The media types that are compressed when none are named.
    pub const DEFAULT_TYPES: [&str; 14] = [
        "text/*",
        "application/json",
        "application/*+json",
        "application/xml",
        "application/*+xml",
        "application/javascript",
        "application/x-javascript",
        "application/ecmascript",
        "application/manifest+json",
        "application/wasm",
        "application/vnd.ms-fontobject",
        "font/ttf",
        "font/otf",
        "image/svg+xml",
    ];

    /// Lays `over` on top: what it says wins.
    pub fn apply(&mut self, over: &Compression) {
        let Compression { codings, min_size, types } = over;
        self.codings = codings.clone().or(self.codings.take());
        self.min_size = min_size.or(self.min_size);
        self.types = types.clone().or(self.types.take());
    }
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Compression::default()
    }
}

/// A content coding (RFC 9110 section 8.4.1, RFC 8878, RFC 7932).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Coding {
    /// Zstandard
    Zstd,
    /// Brotli
    Br,
    /// gzip
    Gzip,
}

impl Coding {
    /// The coding's name in Content-Encoding.
    pub const fn as_str(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Br => "br",
            Coding::Gzip => "gzip",
        }
    }
}

/// Policies for the requests and responses that a condition picks out.
///
/// All rules that fit are laid on top of site and route, in the order written. Conditions on the
/// response are looked at when it comes from the origin; a rule with one may hold only `cache`,
/// `response_headers` and `compress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Shown by `cache inspect` when the rule won.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When the rule holds. All conditions given must.
    pub when: When,
    /// What then holds.
    #[serde(flatten)]
    pub policies: Policies,
}

/// A condition. Each part that is given must hold; in a list, one entry is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct When {
    /// The request's path.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub path: OneOrMany<PathPattern>,
    /// The request's method.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub method: OneOrMany<Method>,
    /// The request's host.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub host: OneOrMany<Glob>,
    /// Request header fields and a pattern for their value; `*` asks only that the field is there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "field-name" }))]
    pub header: BTreeMap<FieldName, Glob>,
    /// Cookies of the request and a pattern for their value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cookie: BTreeMap<String, Glob>,
    /// Query parameters and a pattern for their value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Glob>,
    /// The response's status.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub status: OneOrMany<StatusRange>,
    /// The response's media type, without parameters, compared in lowercase.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub content_type: OneOrMany<Glob>,
    /// Response header fields and a pattern for their value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "field-name" }))]
    pub response_header: BTreeMap<FieldName, Glob>,
}

impl When {
    /// Whether it can only be decided when the response is there.
    pub fn needs_response(&self) -> bool {
        !(self.status.is_empty() && self.content_type.is_empty() && self.response_header.is_empty())
    }
    /// Whether it has no part.
    pub fn is_empty(&self) -> bool {
        *self == When::default()
    }
}
