//! The control state under crashes, kills and failing disks: what was acknowledged stays, revisions never
//! go back, a watch has no gaps, and the kept snapshot is one of those that were.

use crate::clock::SimClock;
use crate::disk::{Faults, SimDisk};
use crate::run::{Failure, Run};
use bytes::Bytes;
use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_mesh::rpc::Priority;
use selvedge_rt::{Rng, Tasks};
use selvedge_state::group::{Calling, LinkError, Links, Member, OpenError};
use selvedge_state::{Change, Command, Error, Metrics, Options, Setup, SnapshotFile, State};
use selvedge_store::wal;
use selvedge_types::{ClusterId, HlcClock, Manifest, Permissions, Revision, Role, Token, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const HOST: &str = "node";
const LIVES: u64 = 12;
const WORKERS: u64 = 3;

/// There are no other members.
struct Nobody;

impl Links for Nobody {
    fn call(&self, _: &Member, _: Bytes, _: Duration, _: Priority) -> Calling<'_> {
        Box::pin(async { Err(LinkError::Unreachable) })
    }
}

/// What all lives of the node together know.
#[derive(Default)]
struct Known {
    /// Acknowledged tokens and purges, and their revisions.
    acknowledged: BTreeMap<String, Revision>,
    /// The last revision acknowledged.
    last: Revision,
    /// The last time seen in a purge.
    time: u64,
    life: u64,
    failure: Option<String>,
}

type Shared = Arc<Mutex<Known>>;

pub(super) fn play(run: &Run) -> Result<(), Failure> {
    run.require("state: commands acknowledged", 50);
    run.require("state: restarts", 4);
    let mut rng = run.rng.branch("chaos");
    let disk = SimDisk::new("state disk", run.rng.branch("disk"), run.trace.clone());
    let clock = SimClock::new();
    let known = Shared::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(rng.next_u64())
        .simulation_duration(Duration::from_secs(3600))
        .build();
    let (node_run, node_disk, node_clock, node_known) =
        (run.clone(), disk.clone(), clock.clone(), known.clone());
    sim.host(HOST, move || live(node_run.clone(), node_disk.clone(), node_clock.clone(), node_known.clone()));
    for _ in 0..LIVES {
        choose_faults(&disk, &clock, &mut rng);
        let end = sim.elapsed() + Duration::from_millis(200 + rng.below(2000));
        while sim.elapsed() < end && !disk.is_dark() && sim.is_host_running(HOST) {
            sim.step().map_err(|e| Failure::new(e.to_string()))?;
        }
        sim.crash(HOST);
        disk.set_faults(Faults { delay_max: Duration::from_millis(5), ..Faults::default() });
        disk.set_capacity(1 << 40);
        if disk.is_dark() || rng.below(2) == 0 {
            disk.crash();
            disk.power_on();
        } else {
            disk.kill();
        }
        check(&known)?;
        sim.bounce(HOST);
    }
    // Healed: it must open, and have everything.
    sim.crash(HOST);
    disk.heal();
    disk.kill();
    sim.bounce(HOST);
    let served = lock(&known).acknowledged.len();
    for _ in 0..1_500 {
        sim.step().map_err(|e| Failure::new(e.to_string()))?;
    }
    check(&known)?;
    if lock(&known).acknowledged.len() == served {
        return Err(Failure::new("on a healed disk nothing is acknowledged any more"));
    }
    run.exercised("state: crashes", disk.stats().crashes);
    run.exercised("state: writes torn", disk.stats().lost.torn);
    Ok(())
}

fn check(known: &Shared) -> Result<(), Failure> {
    lock(known).failure.take().map_or(Ok(()), |what| Err(Failure::new(what)))
}

fn choose_faults(disk: &SimDisk, clock: &SimClock, rng: &mut Rng) {
    let mut faults = Faults { delay_max: Duration::from_millis(1 + rng.below(10)), ..Faults::default() };
    if rng.below(4) == 0 {
        faults.sync_fails = 0.02;
        faults.write_fails = 0.005;
    }
    disk.set_faults(faults);
    if rng.below(6) == 0 {
        disk.set_capacity(disk.used() + rng.below(100_000));
    }
    if rng.below(2) == 0 {
        disk.crash_after(1 + rng.below(800));
    }
    let offset = i64::try_from(rng.below(120_000)).unwrap_or(0) - 60_000;
    clock.set_error(offset, 100);
}

/// One life of the node: it opens the state, checks it, and works until it is ended.
async fn live(run: Run, disk: SimDisk, clock: SimClock, known: Shared) -> turmoil::Result {
    let life = {
        let mut known = lock(&known);
        known.life += 1;
        known.life
    };
    let slow = disk.clone();
    let tasks = Tasks::simulated_slow(Arc::new(move || slow.delay()));
    let seen: Arc<Mutex<Vec<Change>>> = Arc::default();
    let sink = seen.clone();
    let mut options = Options::default();
    options.group.wal = wal::Options { reserve_bytes: 1000, file_bytes: 4096, ..wal::Options::default() };
    options.group.compaction_entries = 30;
    options.group.kept_bytes = 1000;
    let setup = Setup {
        disk: disk.disk(),
        options,
        cluster: ClusterId::from_bytes(*b"a simulated one."),
        member: Member { node: HOST.to_owned() },
        restore: None,
        founds: true,
        clock: clock.clock(),
        hlc: Arc::new(Mutex::new(HlcClock::default())),
        rng: run.rng.branch(&format!("life {life}")),
        tasks: tasks.clone(),
        links: Arc::new(Nobody),
        metrics: Metrics::default(),
        wal_metrics: wal::Metrics::default(),
        observer: Box::new(move |changes, _| lock(&sink).extend(changes.iter().cloned())),
    };
    let (state, opened) = match State::open(setup).await {
        Ok((state, opened)) => {
            run.trace.line(HOST, format_args!("life {life} opens {opened:?}"));
            run.exercised("state: restarts", 1);
            if let Some(problem) = &opened.problem {
                // It goes on by itself when the disk allows; what it lacks until then cannot be compared.
                run.trace.line(HOST, format_args!("life {life} takes no changes: {problem}"));
                run.exercised("state: opened without changes", 1);
            }
            (state, opened)
        }
        Err(error) => {
            run.trace.line(HOST, format_args!("life {life} does not open: {error:?}"));
            return judge_refusal(&error, &known);
        }
    };
    let compared = if opened.problem.is_none() { compare(&state, &disk, &known) } else { Ok(()) };
    if let Err(what) = compared {
        lock(&known).failure.get_or_insert(what);
        return Ok(());
    }
    let mut working = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let rng = run.rng.branch(&format!("life {life} worker {worker}"));
        working.spawn_local(work(run.clone(), state.clone(), known.clone(), rng, format!("{life}-{worker}")));
    }
    working.spawn_local(follow(run.clone(), state.clone(), seen, known.clone()));
    working.join_all().await;
    tasks.stop();
    Ok(())
}

/// A state may refuse to open because of the disk, never because of what it wrote itself.
fn judge_refusal(error: &Error, known: &Shared) -> turmoil::Result {
    let damaged = matches!(
        error,
        Error::Lost { .. } | Error::Former | Error::Open(OpenError::Cluster { .. } | OpenError::Options(_))
    );
    let damaged = damaged || matches!(error, Error::Open(error) if error.is_damage());
    if damaged {
        lock(known).failure.get_or_insert(format!("a sound state does not open: {error:?}"));
    }
    Ok(())
}

/// Everything acknowledged is there, with its revision.
fn compare(state: &State, disk: &SimDisk, known: &Shared) -> Result<(), String> {
    let known = lock(known);
    if state.revision() < known.last {
        return Err(format!("revision {} after {} was acknowledged", state.revision(), known.last));
    }
    let tokens: BTreeSet<String> = state.tokens().into_iter().map(|t| t.name).collect();
    let stamps: BTreeSet<String> = state.stamps().into_iter().map(|s| tag_of(&s.scope)).collect();
    let lost = known.acknowledged.keys().find(|name| !tokens.contains(*name) && !stamps.contains(*name));
    if let Some(name) = lost {
        return Err(format!("{name} was acknowledged and is gone"));
    }
    let times = state.stamps().into_iter().map(|s| s.hard.to_bits());
    if times.max().unwrap_or(0) < known.time {
        return Err("a purge's time went back".to_owned());
    }
    let kept = SnapshotFile::new(disk.disk()).load();
    match kept {
        Ok(Some(snapshot)) if snapshot.revision > state.revision() => {
            Err("a snapshot from the future".to_owned())
        }
        _ => Ok(()),
    }
}

async fn work(run: Run, state: State, known: Shared, mut rng: Rng, who: String) {
    for i in 0u64.. {
        tokio::time::sleep(Duration::from_millis(rng.below(60))).await;
        let name = format!("{who}-{i}");
        let command = match rng.below(3) {
            0 => manifest(rng.below(5)),
            1 => purge(&name),
            _ => token(&name),
        };
        let named = !matches!(command, Command::ApplyManifest { .. });
        match state.apply(command).await {
            Ok(revision) => {
                run.trace.line(HOST, format_args!("acknowledged {name} {revision}"));
                run.exercised("state: commands acknowledged", 1);
                let mut known = lock(&known);
                known.last = known.last.max(revision);
                if named {
                    known.acknowledged.insert(name, revision);
                }
                if i % 10 == 0 {
                    let times = state.stamps().into_iter().map(|s| s.hard.to_bits());
                    known.time = known.time.max(times.max().unwrap_or(0));
                }
            }
            Err(error) if error.is_refusal() => run.exercised("state: commands refused", 1),
            Err(_) => {
                run.exercised("state: outcomes unknown", 1);
                return;
            }
        }
    }
}

/// A watch sees what the observer saw, in order.
async fn follow(run: Run, state: State, seen: Arc<Mutex<Vec<Change>>>, known: Shared) {
    let from = state.revision();
    let mut watch = state.watch(from);
    // The observer was also shown what was there when the state opened.
    let mut at = lock(&seen).iter().filter(|change| change.revision <= from).count();
    while let Ok(changes) = watch.next().await {
        let same = lock(&seen).get(at..at + changes.len()).is_some_and(|s| s == changes);
        at += changes.len();
        run.exercised("state: changes watched", changes.len() as u64);
        if !same {
            lock(&known).failure.get_or_insert("a watch saw other changes than the observer".to_owned());
        }
    }
}

fn manifest(number: u64) -> Command {
    let text = format!("[site.s]\nhosts = [\"h{number}.example.com\"]\norigin = \"https://o.example.com\"\n");
    let manifest = Box::new(Manifest::parse("sim", &text).unwrap_or_default());
    Command::ApplyManifest { manifest, expected: None, permitted: Permissions::ALL }
}

fn purge(tag: &str) -> Command {
    let scope = PurgeScope::Tag { namespace: "default".into(), tag: tag.into() };
    Command::Purge { scope, kind: PurgeKind::Hard }
}

fn tag_of(scope: &PurgeScope) -> String {
    match scope {
        PurgeScope::Tag { tag, .. } => tag.clone(),
        PurgeScope::Site { .. } | PurgeScope::Prefix { .. } | PurgeScope::Url { .. } => String::new(),
    }
}

fn token(name: &str) -> Command {
    let (role, created) = (Role::Viewer, UnixMillis(1));
    Command::CreateToken(Token { name: name.into(), role, namespace: None, hash: [1; 32], created })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
