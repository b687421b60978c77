//! Groups of origin servers and how they are used.

use super::pattern::StatusRange;
use super::quantity::Period;
use super::target::{OriginHost, TargetUrl};
use super::text::OneOrMany;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One server of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "TargetForm", into = "TargetTable")]
pub struct Target {
    /// Where it is.
    pub url: TargetUrl,
    /// Its share of requests relative to the others', 1 to 1000.
    pub weight: u16,
}

/// A server with its weight.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct TargetTable {
    /// Where the server is.
    url: TargetUrl,
    /// Its share of requests relative to the others', 1 to 1000.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    weight: u16,
}

fn one() -> u16 {
    1
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum TargetForm {
    Url(TargetUrl),
    Table(TargetTable),
}

impl From<TargetForm> for Target {
    fn from(form: TargetForm) -> Self {
        match form {
            TargetForm::Url(url) => Target { url, weight: 1 },
            TargetForm::Table(TargetTable { url, weight }) => Target { url, weight },
        }
    }
}
impl From<Target> for TargetTable {
    fn from(target: Target) -> Self {
        TargetTable { url: target.url, weight: target.weight }
    }
}

/// A group of origin servers that can answer the same requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "OriginForm", into = "OriginTable")]
pub struct Origin(pub OriginTable);

impl std::ops::Deref for Origin {
    type Target = OriginTable;
    fn deref(&self) -> &OriginTable {
        &self.0
    }
}

impl Origin {
    /// A group of these servers with the default settings.
    pub fn of(targets: impl IntoIterator<Item = TargetUrl>) -> Self {
        let targets = targets.into_iter().map(|url| Target { url, weight: 1 }).collect();
        Origin(OriginTable { targets, ..OriginTable::default() })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum OriginForm {
    Url(TargetUrl),
    Targets(Vec<Target>),
    Table(Box<OriginTable>),
}

impl From<OriginForm> for Origin {
    fn from(form: OriginForm) -> Self {
        match form {
            OriginForm::Url(url) => Origin::of([url]),
            OriginForm::Targets(targets) => {
                Origin(OriginTable { targets: OneOrMany(targets), ..OriginTable::default() })
            }
            OriginForm::Table(table) => Origin(*table),
        }
    }
}
impl From<Origin> for OriginTable {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

/// The full form of a group of origin servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OriginTable {
    /// The servers. At least one, at most 256.
    #[schemars(with = "OneOrMany<TargetForm>")]
    pub targets: OneOrMany<Target>,
    /// What they see as Host: `request` (what the client asked for), `target` (their own name), or a name.
    pub host: OriginHost,
    /// The name sent and verified in TLS. Default: the target's host, or `host` when that is a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// A PEM file with the authorities to trust, in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Whether certificates are verified. Turning it off gives anyone on the way the content to change.
    pub verify: bool,
    /// The protocol spoken: `auto` takes HTTP/2 where TLS negotiates it, else HTTP/1.1.
    pub protocol: OriginProtocol,
    /// How long connecting, with TLS, may take.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub connect_timeout: Period,
    /// How long the first byte of a response may take after the request was sent.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub first_byte_timeout: Period,
    /// How long a transfer may stand still.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub idle_timeout: Period,
    /// How long a request with its response may take in all.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub total_timeout: Period,
    /// How many connections a node opens to one server; more requests wait.
    #[schemars(range(min = 1, max = 65535))]
    pub max_connections: u32,
    /// How many requests may wait for a connection to one server; more get 503.
    pub max_waiting: u32,
    /// How many idle connections are kept for one server.
    pub keepalive: u32,
    /// How long a connection is kept idle.
    pub keepalive_idle: Period,
    /// Trying again.
    pub retry: Retry,
    /// Leaving out servers that fail.
    pub ejection: Ejection,
    /// Asking servers whether they are well. Default: they are not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

impl Default for OriginTable {
    fn default() -> Self {
        OriginTable {
            targets: OneOrMany::default(),
            host: OriginHost::Request,
            sni: None,
            ca: None,
            verify: true,
            protocol: OriginProtocol::Auto,
            connect_timeout: Period::from_secs(5),
            first_byte_timeout: Period::from_secs(30),
            idle_timeout: Period::from_secs(60),
            total_timeout: Period::from_secs(3600),
            max_connections: 1024,
            max_waiting: 4096,
            keepalive: 256,
            keepalive_idle: Period::from_secs(60),
            retry: Retry::default(),
            ejection: Ejection::default(),
            health: None,
        }
    }
}

/// The protocol spoken with an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OriginProtocol {
    /// HTTP/2 where TLS negotiates it, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 alone.
    H1,
    /// HTTP/2 alone; in cleartext with prior knowledge.
    H2,
}

/// When a failed request is sent again. Only requests that are safe to repeat are (RFC 9110 section 9.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Retry {
    /// How often one request is tried again, at another server where there is one.
    #[schemars(range(max = 10))]
    pub attempts: u8,
    /// How many retries there may be for 100 requests, so that a failing origin is not overrun.
    #[schemars(range(max = 100))]
    pub budget_percent: u8,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { attempts: 1, budget_percent: 20 }
    }
}

/// When a failing server is left out. The last servers of a group are never all left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ejection {
    /// After how many failures in a row. 0 turns it off.
    pub failures: u32,
    /// For how long, the first time; doubled each time after.
    pub time: Period,
    /// The longest time.
    pub max_time: Period,
}

impl Default for Ejection {
    fn default() -> Self {
        Ejection { failures: 5, time: Period::from_secs(10), max_time: Period::from_secs(300) }
    }
}

/// How servers are asked whether they are well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Health {
    /// The path asked for with GET.
    pub path: String,
    /// How often.
    #[schemars(extend("formatMinimum" = "100ms"))]
    pub interval: Period,
    /// How long an answer may take.
    #[schemars(extend("formatMinimum" = "10ms"))]
    pub timeout: Period,
    /// After how many good answers in a row a server is well again.
    #[schemars(range(min = 1))]
    pub healthy: u32,
    /// After how many bad answers in a row it is not.
    #[schemars(range(min = 1))]
    pub unhealthy: u32,
    /// The statuses that are good answers.
    pub status: OneOrMany<StatusRange>,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            path: "/".into(),
            interval: Period::from_secs(10),
            timeout: Period::from_secs(2),
            healthy: 2,
            unhealthy: 3,
            status: StatusRange::new(200, 399).into_iter().collect(),
        }
    }
}
