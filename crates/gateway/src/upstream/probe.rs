//! Sends health probes. One task for each group that asks for them.

use super::connect::{Connected, connect};
use super::endpoint::Endpoint;
use super::group::Group;
use super::h1;
use super::health::is_good;
use super::http2;
use super::outgoing::{Outgoing, Times};
use super::service::Used;
use super::upload::Upload;
use selvedge_exchange::Body;
use selvedge_rt::Rng;
use selvedge_types::resource::{Health, OriginHost};
use selvedge_types::{Fields, Method, Status, name};
use std::future::{Future, poll_fn};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Probes the endpoints of a group for as long as it is used.
pub(super) async fn probe(group: Weak<Used>, rules: Health, mut rng: Rng) {
    loop {
        let Some(alive) = group.upgrade() else { return };
        if alive.group().endpoints().await.is_ok() {
            probe_all(alive.group(), &rules).await;
        }
        drop(alive);
        sleep(varied(rules.interval.get(), &mut rng)).await;
    }
}

/// Up to a tenth more or less, so that many nodes do not probe in step.
fn varied(interval: Duration, rng: &mut Rng) -> Duration {
    interval.max(Duration::from_millis(10)).mul_f64(0.9 + 0.2 * rng.fraction())
}

/// All endpoints at once: a dead one must not hold up the others.
async fn probe_all(group: &Arc<Group>, rules: &Health) {
    let endpoints = group.known_endpoints();
    let probes = endpoints.iter().map(|endpoint| async {
        let status = probe_one(group, endpoint, rules).await;
        group.handle_probe(endpoint, status.is_some_and(|status| is_good(rules, status)), rules);
    });
    let mut probes: Vec<_> = probes.map(Box::pin).collect();
    poll_fn(|cx| {
        probes.retain_mut(|probe| probe.as_mut().poll(cx).is_pending());
        if probes.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The status of one probe's answer, over a connection of its own; none if there was no answer in time.
async fn probe_one(group: &Group, endpoint: &Endpoint, rules: &Health) -> Option<Status> {
    let due = Instant::now().checked_add(rules.timeout.get())?;
    let authority = match &group.origin.host {
        OriginHost::Fixed(host) => host,
        OriginHost::Request | OriginHost::Target => &endpoint.place.authority,
    };
    let mut fields = Fields::new();
    fields.add(name::HOST, &**authority).ok()?;
    fields.add(name::USER_AGENT, "selvedge-health").ok()?;
    let request = Outgoing {
        method: &Method::Get,
        scheme: endpoint.place.scheme,
        authority,
        target: &rules.path,
        fields: &fields,
        upgrade: false,
        codings: None,
        wants_trailers: false,
        expects_continue: false,
        interim: &None,
        times: &Times { total: rules.timeout.get(), ..group.times },
        due,
    };
    let upload = Upload::new(Body::Empty);
    match connect(group, endpoint, false, due).await.ok()? {
        Connected::Http1(conn) => h1::exchange(conn, &request, upload).await.ok().map(|a| a.head.status),
        Connected::Http2(conn) => http2::exchange(conn.lend(), &request, upload).await.ok().map(|a| a.status),
    }
}
