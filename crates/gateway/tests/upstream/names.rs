//! Origins by name: addresses, both families, SRV records, looked up anew by TTL.

use crate::support::*;
use selvedge_cache::semantics::ProxyError;
use selvedge_gateway::upstream::*;
use selvedge_types::resource::Period;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers look-ups from lists, the last one again and again.
#[derive(Default)]
struct Script {
    addresses: Mutex<VecDeque<Result<Vec<IpAddr>, ResolveError>>>,
    services: Vec<Service>,
    lookups: Mutex<Vec<String>>,
}

impl Script {
    fn of(addresses: impl IntoIterator<Item = Result<Vec<IpAddr>, ResolveError>>) -> Script {
        Script { addresses: Mutex::new(addresses.into_iter().collect()), ..Script::default() }
    }
}

impl Resolve for Script {
    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, IpAddr> {
        self.lookups.lock().unwrap().push(host.into());
        let mut script = self.addresses.lock().unwrap();
        let next = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
        let found = next.unwrap().map(|items| Found { items, ttl: Duration::ZERO });
        Box::pin(async { found })
    }
    fn services<'a>(&'a self, _: &'a str) -> Lookup<'a, Service> {
        let found = Found { items: self.services.clone(), ttl: Duration::from_secs(60) };
        Box::pin(async { Ok(found) })
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|t| t.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_name_is_looked_up_once_while_its_ttl_lasts_and_anew_after_it() {
    let origin = TestOrigin::always(OK).await;
    let script = Arc::new(Script::of([Ok(ips(&["127.0.0.1"]))]));
    let (upstream, _) = upstream_with(script.clone());
    let url = format!("http://origin.test:{}", origin.addr.port());
    let group = upstream.group("named", &table(&[&url]), None).unwrap();
    for _ in 0..3 {
        get(&group).await.unwrap();
    }
    assert_eq!(*script.lookups.lock().unwrap(), ["origin.test"]);
    // A TTL of zero is taken as a second.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    get(&group).await.unwrap();
    until(|| script.lookups.lock().unwrap().len() == 2).await;
    get(&group).await.unwrap();
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_host_with_both_families_is_one_endpoint_reached_by_either() {
    let origin = TestOrigin::always(OK).await;
    let (upstream, _) = upstream_with(Arc::new(Script::of([Ok(ips(&["::1", "127.0.0.1"]))])));
    let url = format!("http://both.test:{}", origin.addr.port());
    let group = upstream.group("both", &table(&[&url]), None).unwrap();
    get(&group).await.unwrap();
    assert_eq!(group.status().len(), 1);
}

#[tokio::test]
async fn each_address_of_a_name_is_an_endpoint() {
    let origin = TestOrigin::always(OK).await;
    let (upstream, _) = upstream_with(Arc::new(Script::of([Ok(ips(&["127.0.0.1", "127.0.0.2"]))])));
    let url = format!("http://two.test:{}", origin.addr.port());
    let group = upstream.group("two", &table(&[&url]), None).unwrap();
    for _ in 0..10 {
        get(&group).await.unwrap();
    }
    assert_eq!(group.status().len(), 2);
}

#[tokio::test]
async fn a_name_that_cannot_be_found_is_an_error_of_its_kind() {
    for (error, kind) in [
        (ResolveError::NotFound, ProxyError::DnsError),
        (ResolveError::Timeout, ProxyError::DnsTimeout),
        (ResolveError::Failed("broken".into()), ProxyError::DnsError),
    ] {
        let script = Arc::new(Script::of([Err(error)]));
        let (upstream, _) = upstream_with(script.clone());
        let group = upstream.group("lost", &table(&["http://lost.test"]), None).unwrap();
        for _ in 0..3 {
            let error = get(&group).await.unwrap_err();
            assert_eq!(error.kind, kind);
            assert!(error.detail.contains("lost.test"), "{error}");
        }
        assert_eq!(script.lookups.lock().unwrap().len(), 1, "asked again at once");
    }
}

/// Answers no look-up of `dead.test`, ever.
struct Dead;
impl Resolve for Dead {
    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, IpAddr> {
        match host {
            "dead.test" => Box::pin(std::future::pending()),
            _ => Box::pin(async { Ok(Found { items: ips(&["127.0.0.1"]), ttl: Duration::from_secs(60) }) }),
        }
    }
    fn services<'a>(&'a self, _: &'a str) -> Lookup<'a, Service> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_target_that_is_an_address_waits_for_no_look_up() {
    let origin = TestOrigin::always(OK).await;
    let (upstream, _) = upstream_with(Arc::new(Dead));
    let mut table = table(&["http://dead.test", &origin.url()]);
    table.connect_timeout = Period::from_secs(3600);
    let group = upstream.group("mixed", &table, None).unwrap();
    get(&group).await.unwrap();
    assert_eq!(group.status().len(), 1);
}

#[tokio::test]
async fn a_name_that_is_not_answered_for_takes_no_other_target_with_it() {
    let origin = TestOrigin::always(OK).await;
    let (upstream, _) = upstream_with(Arc::new(Dead));
    let named = format!("http://here.test:{}", origin.addr.port());
    let mut table = table(&["http://dead.test", "srv+http://_web._tcp.test", &named]);
    table.connect_timeout = Period::from_millis(20);
    let group = upstream.group("mixed", &table, None).unwrap();
    get(&group).await.unwrap();
    assert_eq!(group.status().len(), 1);
}

#[tokio::test]
async fn srv_records_name_hosts_and_ports_by_priority() {
    let (first, second) = (TestOrigin::always(OK).await, TestOrigin::always(OK).await);
    let service = |priority, port| Service { priority, weight: 0, host: "Srv.test".into(), port };
    let services = vec![service(20, second.addr.port()), service(10, first.addr.port())];
    let script = Script { services, ..Script::of([Ok(ips(&["127.0.0.1"]))]) };
    let (upstream, _) = upstream_with(Arc::new(script));
    let group = upstream.group("srv", &table(&["srv+http://_web._tcp.test"]), None).unwrap();
    for _ in 0..10 {
        get(&group).await.unwrap();
    }
    assert_eq!((first.connections(), second.connections()), (1, 0));
}

/// Finds two hosts by SRV record, and the second one once.
struct OnceFound(AtomicUsize);

impl Resolve for OnceFound {
    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, IpAddr> {
        let is_lost = host == "b.test" && self.0.fetch_add(1, SeqCst) > 0;
        let found = Found { items: ips(&["127.0.0.1"]), ttl: Duration::ZERO };
        Box::pin(async move { if is_lost { Err(ResolveError::Timeout) } else { Ok(found) } })
    }
    fn services<'a>(&'a self, _: &'a str) -> Lookup<'a, Service> {
        let service = |host: &str, port| Service { priority: 0, weight: 1, host: host.into(), port };
        let items = vec![service("a.test", 1), service("b.test", 2)];
        Box::pin(async { Ok(Found { items, ttl: Duration::from_secs(60) }) })
    }
}

#[tokio::test]
async fn a_host_of_srv_records_that_cannot_be_looked_up_keeps_what_it_had() {
    let names = Arc::new(OnceFound(AtomicUsize::new(0)));
    let (upstream, _) = upstream_with(names.clone());
    let group = upstream.group("srv", &table(&["srv+http://_web._tcp.test"]), None).unwrap();
    let _ = get(&group).await;
    assert_eq!(group.status().len(), 2);
    for looked_up in 2..4 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
        // Asked again soon: not only when the records' own time is over.
        until(|| {
            drop(tokio::spawn({
                let group = group.clone();
                async move { get(&group).await }
            }));
            names.0.load(SeqCst) >= looked_up
        })
        .await;
        assert_eq!(group.status().len(), 2);
    }
}

#[tokio::test]
async fn the_machines_resolver_knows_localhost() {
    let found = SystemResolver::new().addresses("localhost").await.unwrap();
    assert!(found.items.iter().all(IpAddr::is_loopback), "{found:?}");
}
