//! The data plane's parts, as one snapshot's settings have them begin.

use super::build::Ground;
use super::error::{NodeError, chain};
use super::identity::Identity;
use super::listening::Listening;
use super::settings;
use selvedge_gateway::access_log::AccessLog;
use selvedge_gateway::cache::{Cache, CacheOptions};
use selvedge_gateway::front::{Certificates, Front};
use selvedge_gateway::plane::{Plane, PlaneParts};
use selvedge_gateway::site::{RateTable, RequestIds, RouterState};
use selvedge_gateway::traffic::Traffic;
use selvedge_gateway::upstream::{Seams as UpstreamSeams, Upstream, UpstreamMetrics, system_roots};
use selvedge_rt::{OnEnd, Tasks, WorkerRuntimes};
use selvedge_store::segments::{self, DiskTier, Segments};
use selvedge_types::resource::Settings;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked for what was counted of sites that are long gone.
const FORGET_GONE: Duration = Duration::from_secs(600);

/// What answers requests.
pub(super) struct Gateway {
    pub(super) cache: Cache,
    pub(super) plane: Plane,
    pub(super) certificates: Certificates,
    pub(super) front: Arc<Front>,
    pub(super) listening: Listening,
    /// Bytes that the cache's disk tier may have.
    pub(super) disk_capacity: u64,
    /// Why the disk tier could not be opened, if it could not.
    pub(super) disk_problem: Option<String>,
}

impl Gateway {
    /// Puts it together. Nothing is accepted yet.
    pub(super) fn build(
        ground: &Ground,
        identity: &Identity,
        settings: &Settings,
        workers: WorkerRuntimes,
    ) -> Result<Self, NodeError> {
        let (seams, owners) = (&ground.seams, &ground.owners);
        let disk_capacity = ground.config.cache_disk.unwrap_or(settings.cache.disk.get());
        let disk_tier = disk_tier(ground, disk_capacity);
        let disk_problem = disk_tier.as_ref().err().cloned();
        let cache_options = CacheOptions {
            ram_bytes: ground.config.cache_ram.unwrap_or(settings.cache.ram.get()),
            secret: identity.cache_secret,
            seed: seams.rng.branch("cache").next_u64(),
            collapsed_waiters_max: settings.limits.collapsed_waiters,
            response_bytes_max: settings.limits.response_memory.get(),
            unread_fetches_max: settings.limits.unread_fetches,
        };
        let cache = Cache::new(
            &cache_options,
            disk_tier.ok().flatten(),
            seams.clock.clone(),
            ground.hlc.clone(),
            owners.traffic.clone(),
            &seams.registry,
        );
        let plane = plane(ground, identity, settings, cache.clone());
        forget_gone(&plane, &owners.all);
        let certificates = Certificates::new();
        certificates.set_self_signed_fallback(vec!["localhost".into(), "127.0.0.1".into()])?;
        let front = Front::new(
            Arc::new(plane.clone()),
            settings::front_options(&settings.limits),
            seams.clock.clone(),
            &seams.registry,
        );
        let listening = Listening::new(
            front.clone(),
            certificates.clone(),
            seams.net.clone(),
            owners.traffic.clone(),
            workers,
        );
        Ok(Gateway { cache, plane, certificates, front, listening, disk_capacity, disk_problem })
    }
}

fn plane(ground: &Ground, identity: &Identity, settings: &Settings, cache: Cache) -> Plane {
    let (seams, tasks) = (&ground.seams, &ground.owners.all);
    let log = AccessLog::start(
        &settings.access_log,
        Some(seams.disk.clone()),
        seams.clock.clone(),
        tasks,
        &seams.registry,
    );
    let upstream_seams = UpstreamSeams {
        net: seams.net.clone(),
        resolver: seams.resolver.clone(),
        clock: seams.clock.clone(),
        tasks: tasks.clone(),
    };
    let metrics = UpstreamMetrics::new(&seams.registry);
    let mut ids = seams.rng.branch("request ids");
    let rates = seams.rng.branch("rate limits").next_u64();
    Plane::new(PlaneParts {
        cache,
        upstream: Upstream::start(upstream_seams, system_roots(), metrics, seams.rng.branch("upstream")),
        log,
        traffic: Traffic::register(&seams.registry),
        limits: seams.registry.limits(),
        state: RouterState {
            cluster: identity.cluster.to_string().as_str().into(),
            ids: Arc::new(RequestIds::new(ids.next_u64(), ids.next_u64())),
            rates: Arc::new(RateTable::new(settings.limits.rate_limit_keys, rates)),
        },
        clock: seams.clock.clone(),
    })
}

fn disk_tier(ground: &Ground, bytes_max: u64) -> Result<Option<DiskTier>, String> {
    if bytes_max == 0 {
        return Ok(None);
    }
    let seams = &ground.seams;
    let options = segments::Options { bytes_max, ..ground.config.storage.segments };
    let opened =
        seams.disk.subdir("cache").map_err(|e| e.to_string()).and_then(|dir| {
            Segments::open(dir, options, seams.rng.branch("segments")).map_err(|e| chain(&e))
        });
    // Counted also when there is nothing to count: it is then not available.
    let metrics = segments::Metrics::register(&seams.registry);
    let opened = opened.inspect_err(|problem| {
        tracing::error!(%problem, "the cache's disk cannot be used; the cache is in memory alone");
    });
    Ok(Some(DiskTier::start(opened?, &ground.owners.data, seams.clock.clone(), metrics)))
}

fn forget_gone(plane: &Plane, tasks: &Tasks) {
    let (plane, stopping) = (plane.clone(), tasks.clone());
    tasks.spawn("counters of what is gone", OnEnd::Forget, async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(FORGET_GONE) => plane.forget_gone(),
                () = stopping.stopped() => return,
            }
        }
    });
}
