//! What holds for every node and site: limits, log, cache sizes, trusted proxies.

use super::limits::Limits;
use super::pattern::Network;
use super::quantity::ByteSize;
use super::text::{Text, TextError, text_value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What holds for the whole cluster, whatever the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// Proxies in front of the gateway that are believed about whom they ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<Network>,
    /// The field in which they write that. What they send in the other one comes from the client, who may
    /// write what it likes, and is dropped. The scheme is believed from the entry that names the client: with
    /// `x-forwarded-for` every such proxy has to write X-Forwarded-Proto, too. A line of Forwarded that cannot be
    /// read tells nothing, nor does what stands before it.
    pub trusted_proxy_field: ProxyField,
    /// The name in Via, CDN-Loop, Cache-Status and Proxy-Status: a token.
    pub name: String,
    /// The cache's sizes on each node.
    pub cache: CacheSizes,
    /// The access log.
    pub access_log: AccessLog,
    /// Limits on what clients may ask for and hold.
    pub limits: Limits,
    /// More addresses to listen on, besides those given on the command line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listener: Vec<Listener>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            trusted_proxies: Vec::new(),
            trusted_proxy_field: ProxyField::default(),
            name: "selvedge".into(),
            cache: CacheSizes::default(),
            access_log: AccessLog::default(),
            limits: Limits::default(),
            listener: Vec::new(),
        }
    }
}

/// The field in which proxies write for whom they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum ProxyField {
    /// X-Forwarded-For, with X-Forwarded-Proto and X-Forwarded-Host: what most load balancers write.
    #[default]
    XForwardedFor,
    /// Forwarded (RFC 7239).
    Forwarded,
}

/// How much a node's cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CacheSizes {
    /// Memory for responses, with what the cache itself needs for them.
    #[schemars(extend("formatMinimum" = "1MiB"))]
    pub ram: ByteSize,
    /// Disk space in the node's data directory: at least 1 MiB, of a disk with 256 MiB more. `0B` turns the disk tier
    /// off.
    pub disk: ByteSize,
}

impl CacheSizes {
    /// The least that a disk tier is made of.
    pub const DISK_MIN: ByteSize = ByteSize::mib(1);
}

impl Default for CacheSizes {
    fn default() -> Self {
        CacheSizes { ram: ByteSize::mib(256), disk: ByteSize::gib(4) }
    }
}

/// Where a line for each request is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AccessLog {
    /// Where to: `off`, `stdout` or `file`. The live tail works with each.
    pub to: LogTarget,
    /// The form of a line.
    pub format: LogFormat,
    /// The file's name, with `to = "file"`. It stands in the data directory.
    pub path: String,
    /// The size at which a new file is begun.
    #[schemars(extend("formatMinimum" = "4KiB"))]
    pub rotate_size: ByteSize,
    /// How many old files are kept.
    #[schemars(range(max = 1000))]
    pub keep: u32,
    /// How many lines may wait to be written; more are dropped and counted.
    #[schemars(range(min = 16, max = 1_000_000))]
    pub queue: u32,
}

impl Default for AccessLog {
    fn default() -> Self {
        AccessLog {
            to: LogTarget::Off,
            format: LogFormat::Json,
            path: "access.log".into(),
            rotate_size: ByteSize::mib(100),
            keep: 5,
            queue: 16_384,
        }
    }
}

/// Where the access log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogTarget {
    /// Nowhere.
    #[default]
    Off,
    /// To standard output.
    Stdout,
    /// To a file that is rotated.
    File,
}

/// The form of an access log's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// The combined log format of Apache and nginx.
    Combined,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// The address and port: `0.0.0.0:8080`, `[::]:8443`.
    pub address: ListenAddress,
    /// Whether clients speak TLS here.
    #[serde(default)]
    pub tls: bool,
    /// Whether each connection begins with a PROXY protocol header (version 1 or 2) from a load balancer.
    /// One without it is closed.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// An IP address and port to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenAddress(pub std::net::SocketAddr);

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Text for ListenAddress {
    const FORMAT: &'static str = "listen-address";
    const ABOUT: &'static str = "an IP address and a port: `0.0.0.0:8080`, `[::]:8443`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let help = "write an IP address and a port: `0.0.0.0:8080`, `[::]:8443`";
        let wrong = |_| TextError::new(format!("`{text}` is not an address to listen on"), help);
        text.parse().map(ListenAddress).map_err(wrong)
    }
}
text_value!(ListenAddress);
