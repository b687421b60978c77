//! Which server is asked, and when another one is.

use crate::support::*;
use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::Body;
use selvedge_gateway::upstream::*;
use selvedge_types::Method;
use selvedge_types::resource::{Health, Period};
use tokio::io::AsyncWriteExt;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BAD: &[u8] = b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno";

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere_whatever_the_method() {
    let origin = TestOrigin::always(OK).await;
    let group = group(&[&refusing().await, &origin.url()]);
    for _ in 0..20 {
        let post = request(Method::Post, "/", Body::Empty);
        group.fetch(post, FetchOptions::default()).await.unwrap();
    }
    let ejected: Vec<_> = group.status().iter().filter(|e| e.is_ejected).map(|e| e.label.clone()).collect();
    assert_eq!(ejected.len(), 1, "{:?}", group.status());
}

#[tokio::test]
async fn nobody_there_is_an_error_that_names_the_last_one_tried() {
    let (a, b) = (refusing().await, refusing().await);
    let error = get(&group(&[&a, &b])).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (ProxyError::ConnectionRefused, Stage::Unsent));
    assert!(
        a.ends_with(error.endpoint.as_deref().unwrap()) || b.ends_with(error.endpoint.as_deref().unwrap())
    );
    assert!(error.may_pass());
}

#[tokio::test]
async fn tries_are_bounded_in_number_and_by_the_budget() {
    let origin = TestOrigin::start(|_, mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    for (attempts, budget_percent, connections) in [(0, 20, 1), (3, 20, 4), (3, 0, 1)] {
        let before = origin.connections();
        let mut table = table(&[&origin.url()]);
        table.retry.attempts = attempts;
        table.retry.budget_percent = budget_percent;
        let error = get(&group_of(&table)).await.unwrap_err();
        assert_eq!(error.kind, ProxyError::ConnectionTerminated);
        assert_eq!(origin.connections() - before, connections, "attempts {attempts}");
    }
}

#[tokio::test]
async fn an_outage_exhausts_the_budget_of_retries() {
    let origin = TestOrigin::start(|_, mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let (upstream, registry) = upstream_with(std::sync::Arc::new(NoNames));
    let group = upstream.group("outage", &table(&[&origin.url()]), None).unwrap();
    for _ in 0..100 {
        get(&group).await.unwrap_err();
    }
    // 100 requests, 10 retries from the reserve and 20 from the fraction.
    assert!((130..=133).contains(&origin.connections()), "{}", origin.connections());
    let metrics = registry.encode();
    assert!(
        metrics
            .contains("selvedge_origin_errors_total{origin=\"outage\",error=\"connection_terminated\"} 100"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_left_out() {
    let (good, bad) = (TestOrigin::always(OK).await, TestOrigin::always(BAD).await);
    let group = group(&[&good.url(), &bad.url()]);
    let mut failures = 0;
    for _ in 0..100 {
        failures += usize::from(get(&group).await.unwrap().status.code() == 500);
    }
    assert_eq!(failures, 5);
}

#[tokio::test]
async fn a_server_that_fails_its_probes_gets_no_requests_until_it_recovers() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    let is_well = Arc::new(AtomicBool::new(false));
    let seen = is_well.clone();
    let sick = TestOrigin::start(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let probe = head.starts_with("GET /health ");
                let answer = if probe && !seen.load(SeqCst) { BAD } else { OK };
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await;
    let well = TestOrigin::always(OK).await;
    let mut table = table(&[&sick.url(), &well.url()]);
    let interval = Period::from_millis(10);
    table.health = Some(Health { path: "/health".into(), interval, ..Health::default() });
    let group = group_of(&table);
    let health = |i: usize| group.status().get(i).map(|e| e.health);
    until(|| health(0) == Some(HealthState::Unhealthy) && health(1) == Some(HealthState::Healthy)).await;
    for _ in 0..20 {
        get(&group).await.unwrap();
    }
    assert_eq!(group.status()[0].idle_connections, 0);
    is_well.store(true, SeqCst);
    until(|| health(0) == Some(HealthState::Healthy)).await;
    for _ in 0..20 {
        get(&group).await.unwrap();
    }
    assert_eq!(group.status()[0].idle_connections, 1);
}

#[tokio::test]
async fn a_group_described_the_same_way_keeps_its_connections() {
    let origin = TestOrigin::always(OK).await;
    let (upstream, _) = upstream_with(std::sync::Arc::new(NoNames));
    let described = table(&[&origin.url()]);
    let first = upstream.group("a", &described, None).unwrap();
    get(&first).await.unwrap();
    let second = upstream.group("a", &described, None).unwrap();
    get(&second).await.unwrap();
    assert_eq!(origin.connections(), 1);
    let mut changed = described.clone();
    changed.keepalive = 1;
    get(&upstream.group("a", &changed, None).unwrap()).await.unwrap();
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn idle_connections_are_kept_for_their_time_and_up_to_their_number() {
    let origin = TestOrigin::always(OK).await;
    let mut none = table(&[&origin.url()]);
    none.keepalive = 0;
    let mut short = table(&[&origin.url()]);
    short.keepalive_idle = Period::from_millis(1);
    for described in [none, short] {
        let group = group_of(&described);
        get(&group).await.unwrap();
        until(|| group.status()[0].idle_connections == 0).await;
    }
}
