//! The resources that a manifest declares and a snapshot carries: sites with their origins, routes and
//! policies, and the settings of the whole cluster.
//!
//! Each type has one form in text (TOML, JSON, CBOR), given by its serde implementation; the manifest's
//! JSON Schema and its reference page are made from the same definitions.

pub mod access;
pub mod cache;
pub mod field;
pub mod host;
pub mod keyspace;
pub mod label;
pub mod limits;
pub mod origin;
pub mod pattern;
pub mod policy;
pub mod quantity;
pub mod secret;
pub mod settings;
pub mod site;
pub mod target;
pub mod template;
pub mod text;
pub mod upgrade;

pub use access::{Access, Auth, BasicAuth, BearerAuth, RateKey, RateLimit};
pub use cache::{Bypass, CacheKey, CachePolicy, QueryKey, SetCookiePolicy};
pub use field::{FieldName, HeaderChanges, MutableField};
pub use host::{HostPattern, is_host, owner_of_host};
pub use keyspace::{Consistency, Keyspace};
pub use label::{
    KeyspaceId, KeyspaceName, Namespace, OriginName, PopName, RegionName, SiteId, SiteName, TokenName,
};
pub use limits::Limits;
pub use origin::{Ejection, Health, Origin, OriginProtocol, OriginTable, Retry, Target};
pub use pattern::{Glob, Network, PathPattern, StatusRange, glob_matches};
pub use policy::{Coding, Compression, Policies, Rewrite, Rule, When};
pub use quantity::{ByteSize, Period, Rate};
pub use secret::SecretRef;
pub use settings::{
    AccessLog, CacheSizes, ListenAddress, Listener, LogFormat, LogTarget, ProxyField, Settings,
};
pub use site::{Destination, Redirect, Respond, Route, Site, Tls};
pub use target::{OriginHost, TargetUrl};
pub use template::{Part, Template, Variable};
pub use text::{OneOrMany, Text, TextError};
pub use upgrade::UpgradeProtocol;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything declared in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// What holds for all.
    pub settings: Settings,
    /// The sites of all namespaces.
    pub sites: BTreeMap<SiteId, Site>,
    /// The keyspaces of all namespaces.
    pub keyspaces: BTreeMap<KeyspaceId, Keyspace>,
}
