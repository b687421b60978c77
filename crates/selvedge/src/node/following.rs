//! Puts snapshots into force on every part of the node that goes by them, and knows what of them does not work.

use super::config::Config;
use super::listening::Listening;
use super::settings;
use selvedge_control::cluster as rollout;
use selvedge_gateway::cache::Cache;
use selvedge_gateway::front::{CertificateFiles, Certificates, Front};
use selvedge_gateway::plane::Plane;
use selvedge_gateway::site::SecretSource;
use selvedge_observe::{Gauge, Registry};
use selvedge_rt::{OnEnd, Tasks};
use selvedge_state::State;
use selvedge_state::mirror::Mirrored;
use selvedge_types::resource::Settings;
use selvedge_types::{Hlc, Revision, Snapshot};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What the node goes by now, for those who ask.
#[derive(Clone)]
pub(super) struct InForce(Arc<Shared>);

struct Shared {
    revision: AtomicU64,
    drain_ms: AtomicU64,
    /// As bits; 0 while not known.
    oldest: AtomicU64,
    problems: Mutex<Vec<String>>,
    /// Of an edge node: its state, and how far that is.
    mirrored: OnceLock<(State, watch::Receiver<Mirrored>)>,
    /// The revision of the cluster's that every part of an edge node goes by.
    mirrored_revision: AtomicU64,
    certificates: Certificates,
    count: Gauge,
}

/// Everything that goes by snapshots.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) plane: Plane,
    pub(super) cache: Cache,
    pub(super) certificates: Certificates,
    pub(super) front: Arc<Front>,
    pub(super) listening: Listening,
    /// Where secrets are read.
    pub(super) secrets: Arc<dyn SecretSource + Send + Sync>,
    /// Whose threads wait for files.
    pub(super) tasks: Tasks,
    /// Those that the node was built with.
    pub(super) began_with: Settings,
}

impl InForce {
    pub(super) fn new(certificates: Certificates, registry: &Registry) -> Self {
        let count = registry.register(
            "configuration_problems",
            "Parts of the declared configuration that do not work on this node",
            Gauge::default(),
        );
        InForce(Arc::new(Shared {
            revision: AtomicU64::new(0),
            drain_ms: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            problems: Mutex::default(),
            mirrored: OnceLock::new(),
            mirrored_revision: AtomicU64::new(0),
            certificates,
            count,
        }))
    }

    /// The revision that every part goes by.
    pub(super) fn revision(&self) -> Revision {
        Revision(self.0.revision.load(Ordering::Acquire))
    }

    /// Takes `state` for one that mirrors the cluster's, and is as far as `at` says. Only the first call counts.
    pub(super) fn mirrors(&self, state: State, at: watch::Receiver<Mirrored>) {
        drop(self.0.mirrored.set((state, at)));
    }

    /// How far an edge node's state is; none on others.
    pub(super) fn mirrored(&self) -> Option<Mirrored> {
        self.0.mirrored.get().map(|(_, at)| *at.borrow())
    }

    /// The revision of the cluster's control state that every part goes by.
    pub(super) fn cluster_revision(&self) -> Revision {
        let Some((state, at)) = self.0.mirrored.get() else { return self.revision() };
        // In this order: with that revision came the snapshot, if it made one.
        let at = at.borrow().revision;
        if self.revision() >= state.snapshots().borrow().revision {
            self.0.mirrored_revision.fetch_max(at.0, Ordering::AcqRel);
        }
        Revision(self.0.mirrored_revision.load(Ordering::Acquire))
    }

    /// How long requests may go on after the node was told to stop.
    pub(super) fn drain(&self) -> Duration {
        Duration::from_millis(self.0.drain_ms.load(Ordering::Acquire))
    }

    /// Nothing is cached on this node any more whose fetch began before `oldest`.
    pub(super) fn set_oldest(&self, oldest: Hlc) {
        self.0.oldest.store(oldest.to_bits(), Ordering::Release);
    }

    /// What of the declared does not work here; certificates as of the last time that their files were read.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.0.problems.lock().unwrap_or_else(PoisonError::into_inner).clone();
        problems.extend(self.0.certificates.problems());
        self.0.count.set(i64::try_from(problems.len()).unwrap_or(i64::MAX));
        problems
    }
}

impl rollout::InForce for InForce {
    fn revision(&self) -> u64 {
        self.cluster_revision().0
    }

    fn problems(&self) -> Vec<String> {
        InForce::problems(self)
    }

    fn oldest(&self) -> Option<Hlc> {
        Some(self.0.oldest.load(Ordering::Acquire)).filter(|bits| *bits > 0).map(Hlc::from_bits)
    }
}

impl Parts {
    /// Puts a snapshot into force, and says in the log what of it does not work. Files that it names are read on
    /// another thread: they may lie on a network that is gone, and nothing else has to wait then.
    pub(super) async fn apply(&self, snapshot: Arc<Snapshot>, in_force: &InForce) {
        let settings = &snapshot.settings;
        self.front.set_options(settings::front_options(&settings.limits));
        self.cache.resize(self.config.cache_ram.unwrap_or(settings.cache.ram.get()));
        let limits = &settings.limits;
        self.cache.set_collapsed_waiters_max(limits.collapsed_waiters);
        self.cache.set_response_limits(limits.response_memory.get(), limits.unread_fetches);
        let mut problems = self.read_files(snapshot.clone()).await;
        problems.extend(self.listening.follow(&self.config, settings).await);
        problems.extend(self.at_next_start(settings));
        let shared = &in_force.0;
        *shared.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
        for problem in in_force.problems() {
            tracing::warn!(problem, "not as declared");
        }
        let drain = u64::try_from(settings.limits.drain_timeout.get().as_millis()).unwrap_or(u64::MAX);
        shared.drain_ms.store(drain, Ordering::Release);
        shared.revision.store(snapshot.revision.0, Ordering::Release);
    }

    /// Has the data plane go by a snapshot, with the secrets, authorities and certificates that it names.
    async fn read_files(&self, snapshot: Arc<Snapshot>) -> Vec<String> {
        let (plane, certificates, secrets) =
            (self.plane.clone(), self.certificates.clone(), self.secrets.clone());
        let read = self.tasks.blocking("configuration", move || {
            let problems = plane.follow(&snapshot, &*secrets);
            // What is wrong with these is asked of them, as it can change.
            drop(certificates.set(certificate_files(&snapshot)));
            problems
        });
        read.await.unwrap_or_else(|error| vec![format!("the configuration is not in force: {error}")])
    }

    /// What is declared otherwise than it was when the node was built, and is only looked at then.
    fn at_next_start(&self, settings: &Settings) -> Vec<String> {
        let before = &self.began_with;
        let mut later = Vec::new();
        let mut note =
            |what: &str| later.push(format!("settings.{what}: takes effect at the node's next start"));
        if self.config.cache_disk.is_none() && settings.cache.disk != before.cache.disk {
            note("cache.disk");
        }
        if settings.limits.rate_limit_keys != before.limits.rate_limit_keys {
            note("limits.rate_limit_keys");
        }
        later
    }

    /// Puts every snapshot of `state` into force as it comes.
    pub(super) fn follow(self, state: &State, in_force: InForce, tasks: &Tasks) {
        let mut snapshots = state.snapshots();
        let stopping = tasks.clone();
        tasks.spawn("snapshots", OnEnd::Essential, async move {
            loop {
                tokio::select! {
                    changed = snapshots.changed() => if changed.is_err() { return },
                    () = stopping.stopped() => return,
                }
                let snapshot = snapshots.borrow_and_update().clone();
                tokio::select! {
                    () = self.apply(snapshot, &in_force) => {}
                    () = stopping.stopped() => return,
                }
            }
        });
    }
}

fn certificate_files(snapshot: &Snapshot) -> Vec<CertificateFiles> {
    let files = snapshot.sites.values().filter_map(|site| {
        let tls = site.tls.as_ref()?;
        Some(CertificateFiles {
            hosts: site.hosts.iter().map(ToString::to_string).collect(),
            chain: tls.cert.clone().into(),
            key: tls.key.clone().into(),
        })
    });
    files.collect()
}
