//! From what is on disk to a running member.

use super::caller::{Caller, Time};
use super::core::{Core, Parts, scope};
use super::error::{Error, OpenError};
use super::id::{Member, VoterId};
use super::links::Links;
use super::log::{self, Found, Identity};
use super::machine::{self, Loaded, Observer, StateMachine};
use super::network::Network;
use super::options::Options;
use super::{Group, LOG, TABLES};
use openraft::errors::{InitializeError, RaftError};
use openraft::{Config, Raft, SnapshotPolicy};
use selvedge_rt::{Clock, Disk, OnEnd, Rng, Tasks};
use selvedge_store::wal;
use selvedge_types::{ClusterId, HlcClock};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a member is opened with.
pub struct Setup {
    /// Where everything of it is kept.
    pub disk: Disk,
    /// Its limits.
    pub options: Options,
    /// The cluster, of which the data must be.
    pub cluster: ClusterId,
    /// The time.
    pub clock: Clock,
    /// The node's hybrid clock.
    pub hlc: Arc<Mutex<HlcClock>>,
    /// Where numbers and election times are drawn from.
    pub rng: Rng,
    /// Its tasks' owner; stopping it stops the member.
    pub tasks: Tasks,
    /// The way to others.
    pub links: Arc<dyn Links>,
    /// Sees every change.
    pub observer: Observer,
    /// What the log counts.
    pub wal_metrics: wal::Metrics,
}

/// What opening found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Who this is.
    pub id: VoterId,
    /// Whether nothing was there.
    pub fresh: bool,
    /// Whether the log's last batch was cut: it does not vote until it is caught up.
    pub torn: bool,
}

impl Group {
    /// Opens the member whose data is in `setup.disk`, or begins one.
    pub async fn open(setup: Setup) -> Result<(Group, Opened), OpenError> {
        let Setup { disk, options, cluster, clock, hlc, mut rng, tasks, links, observer, wal_metrics } =
            setup;
        let fresh = Identity { cluster, voter: log::fresh_voter(&mut rng) };
        let reading = options.clone();
        let read = tasks.blocking("group open", move || read(&disk, &reading, fresh)).await?;
        let (found, loaded) = read?;
        let identity = found.identity();
        if identity.cluster != cluster {
            return Err(OpenError::Cluster { found: identity.cluster, expected: cluster });
        }
        let blank = found.is_blank();
        let log = found.start(&options, &tasks, wal_metrics);
        let machine = StateMachine::new(loaded, &options, clock.clone(), tasks.clone(), observer);
        let shared = machine.shared();
        let config = config(&options)?;
        let caller = Arc::new(Caller {
            cluster,
            me: identity.voter,
            options,
            links,
            time: Time { clock, hlc },
            streams: AtomicU64::new(0),
        });
        caller.time.observe(shared.look(selvedge_kv::Store::time));
        let network = Network { caller: caller.clone(), tasks: tasks.clone() };
        let start = Raft::new(identity.voter, Arc::new(config), network, log.store.clone(), machine);
        let raft = scope(rng.next_u64(), start).await;
        let raft = raft.map_err(|error| OpenError::Consensus(error.to_string()))?;
        let (trusted, wal) = (!log.torn, log.wal);
        let parts = Parts { raft, caller, log: log.store, wal, shared, trusted, rng, tasks };
        let core = Arc::new(Core::new(parts));
        core.start();
        Ok((Group(core), Opened { id: identity.voter, fresh: blank, torn: log.torn }))
    }
}

/// Gives up what a damaged member holds, so that it opens as another one, which knows nothing: its peers add
/// that as a learner, make it a voter in the place of the old one, and never hear of the old one again.
/// What the old one promised is forgotten. Blocking.
pub fn repair(disk: &Disk) -> std::io::Result<()> {
    // The log goes last: without it, what is left is known for damaged still.
    log::give_up(&disk.subdir(TABLES)?)?;
    log::give_up(&disk.subdir(LOG)?)
}

/// Whether this version can read the log in `disk`, as far as that can be told while another process has it. Blocking.
pub fn check_format(disk: &Disk) -> Result<(), OpenError> {
    Ok(wal::check_format(&disk.subdir(LOG)?)?)
}

fn read(disk: &Disk, options: &Options, fresh: Identity) -> Result<(Found, Loaded), OpenError> {
    let found = log::read(disk.subdir(LOG)?, options, fresh)?;
    let purged = found.memory.head().purged;
    let tables = disk.subdir(TABLES)?;
    let loaded = match machine::load(tables.clone(), options) {
        Err(error) if error.is_damage() && purged.is_none() && !found.is_blank() => {
            tracing::warn!(%error, "the group's tables are damaged; they are made anew from the log, which has all");
            log::give_up(&tables)?;
            machine::load(tables, options)?
        }
        loaded => loaded?,
    };
    // A log that is no longer there, or tables that are older than what was cut off the log.
    let lost = found.is_blank() && loaded.applied.is_some();
    if lost || purged.map(|log| log.index) > loaded.applied.map(|log| log.index) {
        return Err(OpenError::Gap);
    }
    Ok((found, loaded))
}

fn config(options: &Options) -> Result<Config, OpenError> {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "selvedge".to_owned(),
        heartbeat_interval: ms(options.heartbeat),
        election_timeout_min: ms(options.election_min),
        election_timeout_max: ms(options.election_max),
        // Both are done by the chores, which count bytes too.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // A leader that restarts may have sent entries that its own disk does not have: it must not go on in
        // the same term, as it might give their places to others.
        enable_leader_restore: Some(false),
        // A member whose torn log was cut is sent again what it lost.
        allow_log_reversion: Some(true),
        ..Config::default()
    };
    config.validate().map_err(|error| OpenError::Options(error.to_string()))
}

impl Core {
    /// Starts what goes on by itself.
    fn start(self: &Arc<Self>) {
        if !self.is_trusted() {
            let core = self.clone();
            let work = self.scoped(async move {
                tokio::select! {
                    () = core.regain_trust() => {}
                    () = core.tasks.stopped() => {}
                }
            });
            self.tasks.spawn("group trust", OnEnd::Forget, work);
        }
        if self.is_trusted() && self.is_alone() {
            let core = self.clone();
            // There is nobody to wait for. If it fails, its time to stand for election comes.
            let lead = self.scoped(async move { drop(core.raft.trigger().elect(false).await) });
            self.tasks.spawn("group lead", OnEnd::Forget, lead);
        }
        let core = self.clone();
        let chores = self.scoped(async move { core.do_chores().await });
        self.tasks.spawn("group chores", OnEnd::Forget, chores);
        let core = self.clone();
        let end = self.scoped(async move {
            core.tasks.stopped().await;
            // It ends either way.
            let _ = core.raft.shutdown().await;
        });
        self.tasks.spawn("group", OnEnd::Forget, end);
    }

    /// Whether this is the only voter, by the last that its log says of the voters, decided or not.
    pub(super) fn is_alone(&self) -> bool {
        let logged = self.log.memory().membership();
        let members = logged.unwrap_or_else(|| self.shared.applied().1.membership().clone());
        members.voter_ids().eq([self.me()])
    }

    pub(super) async fn form(&self, voters: BTreeMap<VoterId, Member>) -> Result<(), Error> {
        match self.raft.initialize(voters).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error)) => Err(Error::Membership(error.to_string())),
            Err(RaftError::Fatal(error)) => Err(Error::Stopped { why: error.to_string() }),
        }
    }
}
