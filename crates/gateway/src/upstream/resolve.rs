//! Names to addresses and services: the seam, and the machine's side of it.

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, Record};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A lookup under way.
pub type Lookup<'a, T> = Pin<Box<dyn Future<Output = Result<Found<T>, ResolveError>> + Send + 'a>>;

/// Looks names up; a simulation scripts it.
pub trait Resolve: Send + Sync {
    /// The addresses of `host`, in order of preference.
    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, IpAddr>;
    /// What the SRV records of `name` list (RFC 2782).
    fn services<'a>(&'a self, name: &'a str) -> Lookup<'a, Service>;
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// Never empty.
    pub items: Vec<T>,
    /// How long it may be used.
    pub ttl: Duration,
}

/// One SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Lower ones first.
    pub priority: u16,
    /// Share among those of the same priority.
    pub weight: u16,
    /// Host name, without the final dot.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Why nothing was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no such records.
    #[error("no such name")]
    NotFound,
    /// No name server answered in time.
    #[error("no name server answered in time")]
    Timeout,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// The machine's resolver: `/etc/hosts`, then the name servers of `/etc/resolv.conf`.
#[derive(Clone)]
pub struct SystemResolver(Result<TokioResolver, Arc<str>>);

/// Answers from `/etc/hosts` and those without a TTL are looked up again after this time.
const TTL_UNSTATED: Duration = Duration::from_secs(30);

impl SystemResolver {
    /// Reads the machine's settings. If they cannot be read, lookups fail with the reason.
    pub fn new() -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|mut builder| {
            // What is found is kept by those who asked, until its TTL is over.
            builder.options_mut().cache_size = 0;
            builder.build()
        });
        SystemResolver(resolver.map_err(|error| format!("cannot read /etc/resolv.conf: {error}").into()))
    }

    fn resolver(&self) -> Result<&TokioResolver, ResolveError> {
        self.0.as_ref().map_err(|error| ResolveError::Failed(error.to_string()))
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolve for SystemResolver {
    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, IpAddr> {
        Box::pin(async move {
            let found = self.resolver()?.lookup_ip(host).await?;
            some(found.iter().collect(), ttl_of(found.as_lookup().answers()))
        })
    }

    fn services<'a>(&'a self, name: &'a str) -> Lookup<'a, Service> {
        Box::pin(async move {
            let found = self.resolver()?.srv_lookup(name).await?;
            let services = found.answers().iter().filter_map(service_of).collect();
            some(services, ttl_of(found.answers()))
        })
    }
}

fn service_of(record: &Record) -> Option<Service> {
    let RData::SRV(srv) = &record.data else { return None };
    let host = srv.target.to_utf8().trim_end_matches('.').to_owned();
    // A target of "." means that the service is not there (RFC 2782).
    (!host.is_empty()).then_some(Service { priority: srv.priority, weight: srv.weight, host, port: srv.port })
}

fn ttl_of(records: &[Record]) -> Duration {
    let least = records.iter().map(|record| u64::from(record.ttl)).min();
    least.map_or(TTL_UNSTATED, Duration::from_secs)
}

fn some<T>(items: Vec<T>, ttl: Duration) -> Result<Found<T>, ResolveError> {
    if items.is_empty() { Err(ResolveError::NotFound) } else { Ok(Found { items, ttl }) }
}

impl From<NetError> for ResolveError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Timeout => ResolveError::Timeout,
            error if error.is_nx_domain() || error.is_no_records_found() => ResolveError::NotFound,
            error => ResolveError::Failed(error.to_string()),
        }
    }
}
