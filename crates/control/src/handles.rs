//! What the API needs of the rest of the node, as narrow handles that the composition root supplies.

use crate::cluster::Cluster;
use crate::forward::Forwarder;
use crate::wire;
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Secrets, Tasks};
use selvedge_types::manifest::{ApplyError, Manifest, Permissions};
use selvedge_types::plan::Plan;
use selvedge_types::resource::{Namespace, Resources, SiteId, SiteName};
use selvedge_types::token::Token;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// An answer to wait for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All of them.
#[derive(Clone)]
pub struct Handles {
    /// The control state.
    pub state: Arc<dyn StateHandle>,
    /// The cache and the traffic through it.
    pub cache: Arc<dyn CacheHandle>,
    /// The live log of requests.
    pub requests: Arc<dyn RequestLog>,
    /// This node.
    pub node: Arc<dyn NodeHandle>,
    /// The cluster, unless the control state could not be opened.
    pub cluster: Option<Cluster>,
    /// The way to full nodes, if this is an edge node.
    pub forwarder: Option<Forwarder>,
    /// Its metrics.
    pub registry: Registry,
    /// Where it keeps its data, to report the space there.
    pub data: Option<PathBuf>,
    /// Its clock.
    pub clock: Clock,
    /// Randomness for new tokens.
    pub secrets: Secrets,
    /// The owner of the API's tasks.
    pub tasks: Tasks,
}

/// What is declared.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// The revision of the last change to it.
    pub revision: u64,
    /// Sites and settings.
    pub resources: Arc<Resources>,
    /// How often each site was changed, and when last.
    pub versions: BTreeMap<SiteId, Version>,
}

/// Which version of an object this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// How often it was changed, from 1.
    pub generation: u64,
    /// The revision of its last change.
    pub revision: u64,
}

/// What is to be dropped from the caches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// What it names.
    pub scope: PurgeScope,
    /// Whether it may still be served while a new one is fetched, or when the origin fails.
    pub soft: bool,
}

/// What a purge names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeScope {
    /// One URL of a site, with all its variants.
    Url {
        /// The site that answers to its host.
        site: SiteId,
        /// Scheme, host, path and query.
        url: String,
    },
    /// All URLs of a site that begin with this one, by whole path segments.
    Prefix {
        /// The site that answers to its host.
        site: SiteId,
        /// Scheme, host and path.
        url: String,
    },
    /// What carries a tag, in one site or in all of a namespace.
    Tag {
        /// The namespace.
        namespace: Namespace,
        /// The site, if one is meant.
        site: Option<SiteName>,
        /// The tag.
        tag: String,
    },
    /// All of a site.
    Site(SiteId),
}

/// Why the control state did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Another change came first.
    #[error("revision {expected} was expected, but revision {current} is the present one")]
    Conflict {
        /// What was expected.
        expected: u64,
        /// What is.
        current: u64,
    },
    /// It is not there.
    #[error("{0} does not exist")]
    NotFound(String),
    /// It is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// It breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// A manifest does more than it may.
    #[error(transparent)]
    Manifest(#[from] ApplyError),
    /// It was not taken, as when the disk is full; nothing was changed.
    #[error("the change was refused: {0}")]
    Refused(String),
    /// There are as many as there may be, or it is the last one that there must be.
    #[error("{0}")]
    Limit(String),
    /// The state takes no changes at present; nothing was changed.
    #[error("the control state takes no changes: {0}")]
    Unavailable(String),
    /// The purge is in force on this node, but not written down where a restart or another node would find it.
    #[error(
        "the purge is in force on this node, but is not durable: the control state takes no changes ({0}); purge \
         again when it does"
    )]
    NotDurable(String),
    /// The purge is in force on this node; whether it was written down is not known.
    #[error(
        "the purge is in force on this node, but whether it is durable is not known ({0}); purge again to be sure"
    )]
    MaybeDurable(String),
    /// Whether the change was made is not known.
    #[error("whether the change was made is not known: {0}")]
    Unknown(String),
}

/// The control state: what is declared, and changes to it.
pub trait StateHandle: Send + Sync + 'static {
    /// What is declared, as far as this node knows. Does not wait.
    fn declared(&self) -> Declared;
    /// Makes it so, but only if `expected`, when given, is the revision of the last change to what is declared,
    /// and does no more than is `permitted`. The change is on disk when this answers with its revision and what was
    /// changed; a manifest that changes nothing answers with the former revision.
    fn apply(
        &self,
        manifest: Manifest,
        expected: Option<u64>,
        permitted: Permissions,
    ) -> Answer<'_, Result<(u64, Plan), StateError>>;
    /// Writes a purge down; the caches follow. If it cannot be written down, the caches of this node follow all
    /// the same, and the answer is [`StateError::NotDurable`] or [`StateError::MaybeDurable`].
    fn purge(&self, purge: Purge) -> Answer<'_, Result<u64, StateError>>;
    /// Why there is no control state at present, if there is none: then no token is known either.
    fn problem(&self) -> Option<String>;
    /// The tokens. Does not wait.
    fn tokens(&self) -> Vec<Token>;
    /// The token whose secret has that hash, compared in constant time. Does not wait.
    fn find_token(&self, hash: &[u8; 32]) -> Option<Token>;
    /// Adds a token.
    fn create_token(&self, token: Token) -> Answer<'_, Result<u64, StateError>>;
    /// Removes the token with that name.
    fn revoke_token(&self, name: String) -> Answer<'_, Result<u64, StateError>>;
}

/// The cache and the traffic through it.
pub trait CacheHandle: Send + Sync + 'static {
    /// Counters and fill. Does not wait.
    fn stats(&self) -> wire::CacheStats;
    /// What is stored for a request and whether it would be served.
    fn inspect(&self, request: wire::InspectRequest) -> Answer<'_, Result<wire::Inspection, String>>;
}

/// The live log of requests.
pub trait RequestLog: Send + Sync + 'static {
    /// Follows it from now on; `None` when too many follow already.
    fn follow(&self) -> Option<Box<dyn RequestLines>>;
}

/// One follower of the log. Dropping it ends that.
pub trait RequestLines: Send {
    /// The next line; `None` when the node stops.
    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<RequestLine>>;
}

/// What a follower gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestLine {
    /// A request as one JSON object, without a line end.
    Entry {
        /// Whose site it was for; none if no site answers to its host.
        namespace: Option<Namespace>,
        /// The object.
        json: String,
    },
    /// That many requests were not told of, because the follower was too slow.
    Missed(u64),
}

/// This node.
pub trait NodeHandle: Send + Sync + 'static {
    /// Its name, place and addresses.
    fn info(&self) -> wire::NodeInfo;
    /// What it needs to serve, and whether it has it. Ready when all hold.
    fn checks(&self) -> Vec<wire::Check>;
    /// What of the declared configuration does not work here, in words.
    fn problems(&self) -> Vec<String>;
}
