//! The handle to the control state, and opening it.

use crate::backup::{Backup, BackupParts};
use crate::codec::{CodecError, decode_object};
use crate::command::Command;
use crate::group::{self, Group, Level};
use crate::history::Watch;
use crate::metrics::Metrics;
use crate::node::{ClusterRecord, NodeRecord};
use crate::object::{Change, Kind, ObjectName, Stamp, Value, Version};
use crate::plan::{self, LIMITS, Plan};
use crate::publish::{Publisher, Shared, control_keyspace, control_name};
use crate::snapshots::{SnapshotFile, SnapshotFileError};
use crate::view::Mark;
use crate::{Error, Options};
use selvedge_kv::{Answer, KeyspaceNumber, Op, Put, Txn};
use selvedge_mesh::ticket::TicketRecord;
use selvedge_rt::{Clock, Disk, OnEnd, Rng, Tasks};
use selvedge_store::wal;
use selvedge_types::resource::{Keyspace, KeyspaceId, Resources, SiteId};
use selvedge_types::{ClusterId, Hlc, HlcClock, NodeKey, Revision, Snapshot, SnapshotError, Token};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Where the group's log and tables are.
const GROUP: &str = "group";

/// Where the log of versions before there were groups is.
const FORMER: &str = "wal";

/// What the control state may take, in bytes.
const QUOTA_BYTES: u64 = 4 << 30;

/// How long a change may take.
const CHANGE_MAX: Duration = Duration::from_secs(10);

/// What is said while the disk has no room.
const FULL: &str = "the disk is full: free some space";

/// Objects that an edge node takes over with one entry.
const MIRRORED_AT_ONCE: usize = 2_000;

/// Bytes of objects after which no more are in the same entry.
const MIRRORED_BYTES: usize = 1 << 20;

/// How often a change is planned anew because another one came first.
const TRIES_MAX: usize = 50;

/// How long a group of one is waited for when it opens.
const OPEN_MAX: Duration = Duration::from_secs(10);

/// Is shown every change, in order, before whoever asked for it on this node is answered, with the time of the entry that
/// made the last of them. Must not block.
pub type Observer = Box<dyn FnMut(&[Change], Hlc) + Send + Sync>;

/// What the control state needs.
pub struct Setup {
    /// Its directory.
    pub disk: Disk,
    /// Its limits.
    pub options: Options,
    /// The cluster.
    pub cluster: ClusterId,
    /// This node, as the links of others find it.
    pub member: group::Member,
    /// What the state begins with, where there is none yet; only on the first node of a cluster.
    pub restore: Option<Backup>,
    /// Whether this is the first node of the cluster: a group that is not there yet is made, with this one voter.
    pub founds: bool,
    /// The node's clock.
    pub clock: Clock,
    /// The node's hybrid clock: the one that also stamps the cache's fetches, so that a fetch and a purge
    /// are ordered as they happened.
    pub hlc: Arc<Mutex<HlcClock>>,
    /// Where numbers and election times are drawn from.
    pub rng: Rng,
    /// The owner of its tasks.
    pub tasks: Tasks,
    /// The way to other members.
    pub links: Arc<dyn group::Links>,
    /// Its metrics.
    pub metrics: Metrics,
    /// Its log's metrics.
    pub wal_metrics: wal::Metrics,
    /// Sees every change.
    pub observer: Observer,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The present revision of this node; 0 if nothing was ever changed.
    pub revision: Revision,
    /// Whether nothing was there.
    pub fresh: bool,
    /// Whether the log's last batch was cut. On a sound disk it was never acknowledged.
    pub torn: bool,
    /// Purges in the log that are not known to be decided. They may be: whoever goes by purges goes by these, too.
    pub pending: Vec<Stamp>,
    /// Why a group of one takes no changes yet, if so.
    pub problem: Option<String>,
}

/// What is declared.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// The revision of the last change to sites or settings.
    pub revision: Revision,
    /// Sites and settings.
    pub resources: Arc<Resources>,
    /// The sites' versions.
    pub versions: BTreeMap<SiteId, Version>,
}

/// A handle to the control state. Clones are the same state.
#[derive(Clone)]
pub struct State {
    group: Group,
    shared: Arc<Shared>,
    time: Arc<dyn Fn() -> Hlc + Send + Sync>,
    metrics: Metrics,
    tasks: Tasks,
}

impl State {
    /// Opens the state, or begins an empty one, and starts what belongs to it on this thread's runtime.
    ///
    /// A directory has one owner at a time: see [`Disk::lock`]. It ends when the tasks are told to stop. A group of
    /// one is waited for until all that was acknowledged is applied; in a larger one that comes when others are
    /// reached.
    pub async fn open(setup: Setup) -> Result<(State, Opened), Error> {
        let Setup { disk, options, cluster, member, founds, clock, hlc, rng, tasks, .. } = setup;
        let at = disk.clone();
        let last = tasks.blocking("state", move || last_snapshot(&at)).await??;
        let shared = Arc::new(Shared::new(last.clone(), options.history_max));
        if let Some(backup) = setup.restore {
            let (store, at, options) =
                (backup.for_new_cluster()?, disk.subdir(GROUP)?, options.group.clone());
            let (member, mut rng) = (member.clone(), rng.branch("restore"));
            let begin = move || group::begin_with(&at, &options, cluster, member, &store, &mut rng);
            tasks.blocking("restore", begin).await??;
        }
        let publisher = Publisher::new(shared.clone(), setup.metrics.clone(), setup.observer);
        // Boxed: what the consensus library builds of futures is too deep for the compiler otherwise.
        let (group, opened) = Box::pin(Group::open(group::Setup {
            disk: disk.subdir(GROUP)?,
            options: options.group,
            cluster,
            clock: clock.clone(),
            hlc: hlc.clone(),
            rng,
            tasks: tasks.clone(),
            links: setup.links,
            observer: publisher.observer(),
            wal_metrics: setup.wal_metrics,
        }))
        .await?;
        let pending = pending_purges(&group);
        resume_clock(&hlc, &group, &pending).await;
        let time: Arc<dyn Fn() -> Hlc + Send + Sync> =
            Arc::new(move || hlc.lock().unwrap_or_else(PoisonError::into_inner).tick(clock.wall()));
        let state = State { group, shared, time, metrics: setup.metrics, tasks: tasks.clone() };
        if opened.fresh && founds {
            state.group.form(BTreeMap::from([(opened.id, member)])).await?;
        }
        let problem = Box::pin(state.settle()).await;
        let revision = state.revision();
        if problem.is_none() && state.group.is_alone() && last.revision > revision {
            return Err(Error::Lost { state: revision, snapshot: last.revision });
        }
        let keeping = state.shared.clone().keep_snapshots(
            SnapshotFile::new(disk),
            tasks.clone(),
            state.metrics.clone(),
        );
        tasks.spawn("snapshot file", OnEnd::Forget, keeping);
        let opened = Opened { revision, fresh: opened.fresh, torn: opened.torn, pending, problem };
        Ok((state, opened))
    }

    /// Whether this version can read the state in `disk`, as far as that can be told while another process has it:
    /// reads alone. Blocking.
    pub fn check_format(disk: &Disk) -> Result<(), Error> {
        refuse_former(disk)?;
        if disk.list()?.iter().any(|name| name == GROUP) {
            group::check_format(&disk.subdir(GROUP)?)?;
        }
        match SnapshotFile::new(disk.clone()).load() {
            Err(SnapshotFileError::Snapshot { source: source @ SnapshotError::Format { .. }, .. }) => {
                Err(source.into())
            }
            // What is damaged is written anew, or not needed.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The replicated group that the state is kept in.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Makes a change, wherever the leader is; returns the revision once it is flushed at a majority and seen by
    /// observer and watches of this node. A change that changes nothing returns the present revision.
    ///
    /// After an error that is no refusal, whether the change was made is unknown. Not cancel-safe: a
    /// dropped future does not take the command back.
    pub async fn apply(&self, command: Command) -> Result<Revision, Error> {
        self.apply_declared(command).await.map(|(revision, _)| revision)
    }

    /// As [`State::apply`]; also tells what was changed of what is declared, which for other commands than
    /// [`Command::ApplyManifest`] is nothing.
    pub async fn apply_declared(&self, command: Command) -> Result<(Revision, selvedge_types::Plan), Error> {
        let result = Box::pin(self.change(&command)).await;
        match &result {
            Ok(_) => self.metrics.commands.inc(),
            Err(Error::Rejected(_)) => self.metrics.rejected.inc(),
            Err(error) => {
                tracing::debug!(%error, "a change to the control state was not made");
                0
            }
        };
        result
    }

    async fn change(&self, command: &Command) -> Result<(Revision, selvedge_types::Plan), Error> {
        let end = Instant::now() + CHANGE_MAX;
        let (mut is_fresh, mut tried) = (false, None::<(Plan, group::Error)>);
        for _ in 0..TRIES_MAX {
            if self.tasks.is_stopping() {
                return Err(if tried.is_some() { Error::Stopped } else { Error::Closed });
            }
            let (planned, revision, was_done) = {
                let view = self.shared.view();
                let planned = plan::plan(&view, command, (self.time)(), &LIMITS);
                let was_done = tried.as_ref().is_some_and(|(plan, _)| plan.is_done(&view));
                (planned, view.revision(), was_done)
            };
            let next = match planned {
                _ if was_done && is_fresh => {
                    let done = tried.map(|(plan, _)| plan.into_declared());
                    return Ok((revision, done.unwrap_or_default()));
                }
                Ok(next) if !next.is_empty() => next,
                // Others may have changed what this follows from.
                _ if !is_fresh => {
                    self.catch_up(end).await?;
                    is_fresh = true;
                    continue;
                }
                Ok(_) => return Ok((revision, selvedge_types::Plan::default())),
                Err(rejection) => return Err(rejection.into()),
            };
            match self.propose(&next, end).await {
                Ok(answer) if answer.succeeded => return Ok((answer.revision, next.into_declared())),
                // Another change came first, and is seen now.
                Ok(_) => is_fresh = true,
                Err(Error::Group(error)) if error.is_unknown() => {
                    // It is guarded by what it follows from: to try again does nothing twice.
                    tried = Some((next, error.clone()));
                    self.catch_up(end).await.map_err(|_| Error::Group(error))?;
                    is_fresh = true;
                }
                // What the try before did is still not known.
                Err(error) if error.is_refusal() => {
                    return Err(tried.map_or(error, |(_, unknown)| unknown.into()));
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended { tries: TRIES_MAX })
    }

    async fn propose(&self, plan: &Plan, end: Instant) -> Result<selvedge_kv::TxnAnswer, Error> {
        let txn = plan.txn().map_err(|error| Error::Unreadable { what: error.to_string() })?;
        self.submit(txn, end).await
    }

    async fn submit(&self, txn: Txn, end: Instant) -> Result<selvedge_kv::TxnAnswer, Error> {
        let keyspace = self.keyspace(end).await?;
        let command = selvedge_kv::Command::Txn { keyspace, txn };
        let answer = match self.group.propose(command, None, left(end)).await? {
            Answer::Txn(answer) => answer,
            _ => return Err(Error::Stopped),
        };
        let revision = answer.revision;
        let seen = self.group.read(Level::Session(revision), left(end), |_| ()).await;
        match seen {
            Err(_) if answer.succeeded => Err(Error::NotSeen { revision }),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(answer),
        }
    }

    /// The keyspace of the control state, which is made when it is first needed.
    async fn keyspace(&self, end: Instant) -> Result<KeyspaceNumber, Error> {
        let found = self.group.read(Level::Local, left(end), control_keyspace).await?.value;
        if let Some(number) = found {
            return Ok(number);
        }
        let declare =
            selvedge_kv::Command::DeclareKeyspace { name: control_name(), quota_bytes: QUOTA_BYTES };
        match self.group.propose(declare, None, left(end)).await? {
            Answer::Keyspace { keyspace, .. } => Ok(keyspace),
            _ => Err(Error::Stopped),
        }
    }

    /// Waits until all is seen here that was acknowledged before now.
    async fn catch_up(&self, end: Instant) -> Result<(), Error> {
        Ok(self.group.read(Level::Linearizable, left(end), |_| ()).await.map(|_| ())?)
    }

    /// Waits until a group of one has applied all; why it has not, if it has not.
    async fn settle(&self) -> Option<String> {
        if !self.group.is_alone() {
            return None;
        }
        tokio::select! {
            biased;
            caught_up = self.catch_up(Instant::now() + OPEN_MAX) => caught_up.err().map(|error| error.to_string()),
            () = self.group.waits_for_room() => Some(FULL.to_owned()),
        }
    }

    /// A copy of everything, users' keyspaces too, with all that `level` promises.
    pub async fn backup(
        &self,
        level: Level,
        cluster: ClusterId,
        version: &str,
    ) -> Result<BackupParts, Error> {
        let image = self.group.image(level, CHANGE_MAX).await?;
        Ok(BackupParts::new(image, cluster, (self.time)().millis(), version))
    }

    /// Makes objects of an edge node's state so; with them it is as the cluster's is at `up_to`.
    pub(crate) async fn mirror(
        &self,
        changes: Vec<(ObjectName, Option<Value>)>,
        up_to: Revision,
    ) -> Result<(), Error> {
        // Purges first: what they cover may go too early, but not too late.
        let (stamps, others): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|(name, _)| name.kind == Kind::Stamp);
        let unreadable = |error: CodecError| Error::Unreadable { what: error.to_string() };
        let (mut part, mut bytes) = (Vec::new(), 0);
        for (name, value) in stamps.into_iter().chain(others) {
            let (op, length) = plan::write(&name, value.as_ref()).map_err(unreadable)?;
            part.push(op);
            bytes += length;
            if part.len() >= MIRRORED_AT_ONCE || bytes >= MIRRORED_BYTES {
                bytes = 0;
                self.mirror_part(std::mem::take(&mut part)).await?;
            }
        }
        part.push(Op::Put(Put::new(Mark::Mirrored.key().to_vec(), up_to.0.to_be_bytes().to_vec())));
        self.mirror_part(part).await
    }

    async fn mirror_part(&self, then: Vec<Op>) -> Result<(), Error> {
        let txn = Txn { compare: Vec::new(), then, otherwise: Vec::new() };
        self.submit(txn, Instant::now() + CHANGE_MAX).await.map(|_| ())
    }

    /// Up to which revision of the cluster's control state an edge node's is; 0 on others.
    pub fn mirrored_revision(&self) -> Revision {
        self.shared.view().mark(Mark::Mirrored)
    }

    /// All objects of the kinds that are wanted, in the order of their names, and the revision as of which they are.
    pub(crate) fn objects(&self, is_wanted: impl Fn(Kind) -> bool) -> (Revision, Vec<(ObjectName, Value)>) {
        let view = self.shared.view();
        let wanted = view.objects().filter(|(name, ..)| is_wanted(name.kind));
        (view.revision(), wanted.map(|(name, _, value)| (name, value)).collect())
    }

    /// Whether [`State::watch`] can show all changes after that revision.
    pub(crate) fn is_kept_since(&self, after: Revision) -> bool {
        self.shared.history.has(after)
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The present revision of this node.
    pub fn revision(&self) -> Revision {
        self.shared.view().revision()
    }

    /// Why no change can be made from here at present, if so: the disk is full or has failed, nobody leads, or what
    /// is there is of a newer version.
    pub fn problem(&self) -> Option<String> {
        let status = self.group.status();
        let nobody = || "no leader is known: too few voters can be reached".to_owned();
        let full = || FULL.to_owned();
        status
            .stopped
            .or_else(|| status.disk_full.then(full))
            .or_else(|| status.leader.is_none().then(nobody))
            .or_else(|| self.shared.unreadable())
    }

    /// Sites and settings, and the sites' versions.
    pub fn declared(&self) -> Declared {
        let view = self.shared.view();
        let resources = view.resources().clone();
        let version = |id: &SiteId| Some((id.clone(), view.version(&ObjectName::site(id))?));
        let versions = resources.sites.keys().filter_map(version).collect();
        Declared { revision: view.mark(Mark::Declared), resources, versions }
    }

    /// What an object holds, and its version; none if it is not there.
    pub fn get(&self, object: &ObjectName) -> Option<(Version, Value)> {
        let view = self.shared.view();
        Some((view.version(object)?, view.get(object)?))
    }

    /// All objects of a kind, by name, and the revision as of which they are.
    pub fn list(&self, kind: Kind) -> (Revision, Vec<(ObjectName, Version, Value)>) {
        let view = self.shared.view();
        (view.revision(), view.objects().filter(|(name, ..)| name.kind == kind).collect())
    }

    /// The tokens, by name.
    pub fn tokens(&self) -> Vec<Token> {
        self.shared.view().tokens().values().cloned().collect()
    }

    /// The revision of the last change to what is declared.
    pub fn declared_revision(&self) -> Revision {
        self.shared.view().mark(Mark::Declared)
    }

    /// The token of which `is_it` says so.
    pub fn find_token(&self, is_it: impl Fn(&Token) -> bool) -> Option<Token> {
        self.shared.view().tokens().values().find(|token| is_it(token)).cloned()
    }

    /// The keyspaces that are declared, with the revisions that declared them, as of a revision.
    pub fn keyspaces(&self) -> (Revision, BTreeMap<KeyspaceId, (Revision, Keyspace)>) {
        let view = self.shared.view();
        let declared = view.resources().keyspaces.iter().filter_map(|(id, keyspace)| {
            let version = view.version(&ObjectName::keyspace(id))?;
            Some((id.clone(), (version.created, keyspace.clone())))
        });
        (view.revision(), declared.collect())
    }

    /// The nodes that were let in, by key.
    pub fn nodes(&self) -> BTreeMap<NodeKey, NodeRecord> {
        self.shared.view().nodes().clone()
    }

    /// The tickets, by key; those that are over go in time.
    pub fn tickets(&self) -> BTreeMap<NodeKey, TicketRecord> {
        self.shared.view().tickets().clone()
    }

    /// The cluster, once it is founded.
    pub fn cluster(&self) -> Option<ClusterRecord> {
        self.shared.view().cluster().cloned()
    }

    /// The purges in force.
    pub fn stamps(&self) -> Vec<Stamp> {
        self.shared.view().stamps().values().cloned().collect()
    }

    /// Follows the changes after a revision. Those of before the last restart are not kept: see
    /// [`crate::WatchError::Compacted`].
    pub fn watch(&self, after: Revision) -> Watch {
        self.shared.history.watch(after)
    }

    /// The present snapshot, and each that follows.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.snapshots.subscribe()
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// The last snapshot that was kept. One that cannot be read says nothing; it is written anew.
fn last_snapshot(disk: &Disk) -> Result<Snapshot, Error> {
    refuse_former(disk)?;
    Ok(SnapshotFile::new(disk.clone()).load().ok().flatten().unwrap_or_default())
}

fn refuse_former(disk: &Disk) -> Result<(), Error> {
    let names = disk.list()?;
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if has(FORMER) && !has(GROUP) { Err(Error::Former) } else { Ok(()) }
}

/// The purges in the log that are not applied: whether they were acknowledged is not known here.
fn pending_purges(group: &Group) -> Vec<Stamp> {
    let stamps = |command| match command {
        selvedge_kv::Command::Txn { txn: Txn { then, .. }, .. } => then,
        _ => Vec::new(),
    };
    let ops = group.pending().into_iter().flat_map(stamps);
    let puts = ops.filter_map(|op| if let Op::Put(put) = op { Some(put) } else { None });
    puts.filter_map(|put| match decode_object(&put.key, &put.value?) {
        Ok((_, Value::Stamp(stamp))) => Some(stamp),
        _ => None,
    })
    .collect()
}

/// No reading may come before one that is in the log, wherever the wall clock now stands.
async fn resume_clock(hlc: &Mutex<HlcClock>, group: &Group, pending: &[Stamp]) {
    // A local read waits for nothing.
    let applied = group.read(Level::Local, Duration::ZERO, |store| store.time()).await.map(|read| read.value);
    let pending = pending.iter().map(|stamp| stamp.hard.max(stamp.soft)).max().unwrap_or(Hlc::ZERO);
    let last = applied.unwrap_or(Hlc::ZERO).max(pending);
    let mut hlc = hlc.lock().unwrap_or_else(PoisonError::into_inner);
    // Its own reading cannot be too far ahead of itself.
    let _ = hlc.observe(last, last.millis());
}
