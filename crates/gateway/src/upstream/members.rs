//! Who is in a group: its targets as endpoints, names resolved anew when their TTL is over.

use super::balance::{EndpointId, Seat};
use super::endpoint::{Addrs, Endpoint, Place};
use super::error::{FetchError, Stage};
use super::pool::PoolLimits;
use super::resolve::{Found, Resolve, ResolveError, Service};
use rustls::pki_types::ServerName;
use selvedge_cache::semantics::ProxyError;
use selvedge_types::Scheme;
use selvedge_types::resource::{OriginHost, OriginTable, Target, TargetUrl};
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::timeout;

/// A TTL is taken as at least this, and at most that.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(3600);
/// The most endpoints that one target's records may make.
const ENDPOINTS_PER_TARGET_MAX: usize = 64;

/// An endpoint with its place in the balance.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) weight: u32,
    pub(super) priority: u16,
}

impl Member {
    pub(super) fn seat(&self) -> Seat {
        Seat { id: self.endpoint.id, weight: self.weight, priority: self.priority }
    }
}

/// Where a target was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) place: Place,
    pub(super) weight: u32,
    pub(super) priority: u16,
}

/// Where a target's servers are.
#[derive(Debug, Default)]
pub(super) struct Servers {
    pub(super) located: Vec<Located>,
    /// Hosts, as in a Host field, that its records name and that could not be looked up.
    unknown: Vec<String>,
}

/// What resolving a group's targets came to.
pub(super) struct Resolution {
    /// By target; an error stands for that target alone.
    pub(super) targets: Vec<Result<Servers, FetchError>>,
    /// When to resolve again; none if all targets are addresses.
    pub(super) ttl: Option<Duration>,
}

/// The targets of `origin` that are addresses, which need no look-up; of the others nothing is known yet, and they
/// are to be looked up at once.
pub(super) fn addresses(origin: &OriginTable) -> Resolution {
    let targets: Vec<_> = origin.targets.0.iter().map(|target| at_address(origin, target)).collect();
    let ttl = targets.iter().any(Option::is_none).then_some(Duration::ZERO);
    let servers =
        |located: Option<_>| Ok(Servers { located: located.unwrap_or_default(), unknown: Vec::new() });
    Resolution { targets: targets.into_iter().map(servers).collect(), ttl }
}

/// Finds out where the targets of `origin` are, all at once, each within `limit`.
pub(super) async fn resolve(origin: &OriginTable, resolver: &dyn Resolve, limit: Duration) -> Resolution {
    let look_up = |target: &Target| {
        let (url, weight) = (target.url.clone(), u32::from(target.weight));
        async move {
            let found = timeout(limit, locate(origin, &url, weight, resolver)).await;
            found.unwrap_or_else(|_| Err(failed(&url.host, ResolveError::Timeout)))
        }
    };
    let found = all(origin.targets.0.iter().map(look_up)).await;
    let ttl = |found: &Result<(Servers, Option<Duration>), FetchError>| match found {
        Ok((servers, _)) if !servers.unknown.is_empty() => Some(TTL_MIN),
        Ok((_, ttl)) => *ttl,
        Err(_) => Some(TTL_MIN),
    };
    let ttl = found.iter().filter_map(ttl).map(|ttl| ttl.clamp(TTL_MIN, TTL_MAX)).min();
    Resolution { targets: found.into_iter().map(|found| found.map(|(servers, _)| servers)).collect(), ttl }
}

/// Waits for all, and gives what they came to in their order.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        let mut is_over = true;
        for (future, result) in waiting.iter_mut().filter(|(_, result)| result.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *result = Some(value),
                Poll::Pending => is_over = false,
            }
        }
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}

/// The members that `found` makes; those that were there before stay the same endpoints. A target that
/// cannot be found now keeps the endpoints it had, and so does a host of its records.
pub(super) fn merge(
    before: &[Vec<Member>],
    found: Vec<Result<Servers, FetchError>>,
    limits: PoolLimits,
    next_id: &mut u64,
) -> Vec<Vec<Member>> {
    let all_before = || before.iter().flatten();
    let mut make = |located: Located| {
        let known = all_before().find(|m| m.endpoint.place == located.place);
        let endpoint = known.map(|m| m.endpoint.clone()).unwrap_or_else(|| {
            *next_id += 1;
            Arc::new(Endpoint::new(EndpointId(*next_id), located.place, limits))
        });
        Member { endpoint, weight: located.weight, priority: located.priority }
    };
    let targets = found.into_iter().enumerate().map(|(i, located)| match located {
        Ok(Servers { located, unknown }) => {
            let stays = |m: &&Member| unknown.iter().any(|host| **host == *m.endpoint.place.authority);
            let kept = before.get(i).into_iter().flatten().filter(stays).cloned();
            located.into_iter().map(&mut make).chain(kept).take(ENDPOINTS_PER_TARGET_MAX).collect()
        }
        Err(_) => before.get(i).cloned().unwrap_or_default(),
    });
    targets.collect()
}

async fn locate(
    origin: &OriginTable,
    url: &TargetUrl,
    weight: u32,
    resolver: &dyn Resolve,
) -> Result<(Servers, Option<Duration>), FetchError> {
    if !url.srv {
        let (places, ttl) = places_of(origin, url, url.port_or_default(), resolver).await?;
        let located = places.into_iter().map(|place| Located { place, weight, priority: 0 });
        return Ok((Servers { located: located.collect(), unknown: Vec::new() }, ttl));
    }
    let services = resolver.services(&url.host).await.map_err(|e| failed(&url.host, e))?;
    let named: Vec<_> = services.items.into_iter().take(ENDPOINTS_PER_TARGET_MAX).collect();
    let urls: Vec<_> = named.iter().map(|service| url_of(url.scheme, service)).collect();
    let found = all(urls.iter().map(|url| places_of(origin, url, url.port_or_default(), resolver))).await;
    let (mut ttl, mut servers, mut error) = (services.ttl, Servers::default(), None);
    for ((service, url), found) in named.iter().zip(&urls).zip(found) {
        match found {
            Ok((places, host_ttl)) => {
                ttl = host_ttl.map_or(ttl, |host_ttl| ttl.min(host_ttl));
                // A weight of 0 means a small chance (RFC 2782).
                let weight = u32::from(service.weight).max(1);
                let priority = service.priority;
                servers.located.extend(places.into_iter().map(|place| Located { place, weight, priority }));
            }
            Err(e) => {
                servers.unknown.push(authority_of(url));
                error = Some(e);
            }
        }
    }
    match error {
        Some(error) if servers.located.is_empty() => Err(error),
        _ => Ok((servers, Some(ttl))),
    }
}

fn url_of(scheme: Scheme, service: &Service) -> TargetUrl {
    let host = service.host.to_ascii_lowercase().into();
    TargetUrl { scheme, host, port: Some(service.port), srv: false }
}

/// Where a target is whose URL holds an address.
fn at_address(origin: &OriginTable, target: &Target) -> Option<Vec<Located>> {
    let Target { url, weight } = target;
    let ip = bare(&url.host).parse::<IpAddr>().ok().filter(|_| !url.srv)?;
    let located = |place| Located { place, weight: u32::from(*weight), priority: 0 };
    Some(places(origin, url, url.port_or_default(), &[ip]).map(located).collect())
}

async fn places_of(
    origin: &OriginTable,
    url: &TargetUrl,
    port: u16,
    resolver: &dyn Resolve,
) -> Result<(Vec<Place>, Option<Duration>), FetchError> {
    let host = bare(&url.host);
    let (ips, ttl) = match host.parse::<IpAddr>() {
        Ok(ip) => (vec![ip], None),
        Err(_) => {
            let Found { items, ttl } = resolver.addresses(host).await.map_err(|e| failed(host, e))?;
            (items, Some(ttl))
        }
    };
    Ok((places(origin, url, port, &ips).collect(), ttl))
}

/// The endpoints of a host at these addresses.
fn places(origin: &OriginTable, url: &TargetUrl, port: u16, ips: &[IpAddr]) -> impl Iterator<Item = Place> {
    let (authority, server_name) = (authority_of(url), server_name(origin, bare(&url.host)));
    let scheme = url.scheme;
    let addrs = pair(ips, port).into_iter().take(ENDPOINTS_PER_TARGET_MAX);
    addrs.map(move |addrs| Place {
        scheme,
        authority: authority.as_str().into(),
        server_name: server_name.clone(),
        addrs,
    })
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The host in a Host field, without port and brackets.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

/// Host and port as in a Host field: the port only if it is not the scheme's own.
fn authority_of(url: &TargetUrl) -> String {
    match (url.scheme, url.port) {
        (Scheme::Http, Some(80)) | (Scheme::Https, Some(443)) | (_, None) => url.host.to_string(),
        (_, Some(port)) => format!("{}:{port}", url.host),
    }
}

/// The name to verify: `sni`, else `host` where that is a name, else the target's own.
fn server_name(origin: &OriginTable, host: &str) -> Option<ServerName<'static>> {
    let fixed = match &origin.host {
        OriginHost::Fixed(fixed) => Some(without_port(fixed)),
        OriginHost::Request | OriginHost::Target => None,
    };
    let name = origin.sni.as_deref().or(fixed).unwrap_or(host);
    ServerName::try_from(name.to_owned()).ok()
}

/// Makes one endpoint of an IPv6 and an IPv4 address that come together: a host with both is one host, and
/// the second address is for the case that the first has no route.
fn pair(ips: &[IpAddr], port: u16) -> Vec<Addrs> {
    let family = |v6: bool| ips.iter().filter(move |ip| ip.is_ipv6() == v6).copied();
    let (v6, v4): (Vec<_>, Vec<_>) = (family(true).collect(), family(false).collect());
    let first_is_v6 = ips.first().is_some_and(IpAddr::is_ipv6);
    let (firsts, others) = if first_is_v6 { (v6, v4) } else { (v4, v6) };
    let count = firsts.len().max(others.len());
    let at = |list: &[IpAddr], i: usize| list.get(i % list.len().max(1)).map(|ip| SocketAddr::new(*ip, port));
    (0..count).filter_map(|i| Some(Addrs { first: at(&firsts, i)?, other: at(&others, i) })).collect()
}

fn failed(name: &str, error: ResolveError) -> FetchError {
    let kind = match error {
        ResolveError::Timeout => ProxyError::DnsTimeout,
        ResolveError::NotFound | ResolveError::Failed(_) => ProxyError::DnsError,
    };
    FetchError::new(kind, Stage::Unsent, format!("looking up {name}: {error}"))
}
