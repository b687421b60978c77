//! What was acknowledged is there after a restart, however the process ended.

use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_mesh::rpc::Priority;
use selvedge_rt::{Clock, Disk, Rng, Tasks};
use selvedge_state::group::{Calling, LinkError, Links, Member};
use selvedge_state::{
    Change, Command, Error, Kind, Metrics, ObjectName, Opened, Options, Rejection, Setup, SnapshotFile, State,
};
use selvedge_store::wal;
use selvedge_types::{ClusterId, Manifest, Permissions, Revision, Role, Token, UnixMillis};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Set in the process that is to be killed: where it works.
const CHILD: &str = "SELVEDGE_STATE_CHILD";

/// There is nobody else.
struct Nobody;

impl Links for Nobody {
    fn call(&self, _: &Member, _: bytes::Bytes, _: Duration, _: Priority) -> Calling<'_> {
        Box::pin(async { Err(LinkError::Unreachable) })
    }
}

fn setup(disk: Disk, tasks: &Tasks) -> Setup {
    let mut options = Options::default();
    options.group.wal = wal::Options { reserve_bytes: 0, file_bytes: 4096, ..wal::Options::default() };
    options.group.compaction_entries = 50;
    options.group.kept_bytes = 1000;
    Setup {
        disk,
        options,
        cluster: ClusterId::from_bytes([7; 16]),
        member: Member { node: "one".into() },
        restore: None,
        founds: true,
        clock: Clock::real(),
        hlc: Arc::default(),
        rng: Rng::from_seed(1),
        tasks: tasks.clone(),
        links: Arc::new(Nobody),
        metrics: Metrics::default(),
        wal_metrics: wal::Metrics::default(),
        observer: Box::new(|_, _| {}),
    }
}

async fn open(dir: &Path) -> (State, Opened, Tasks) {
    let tasks = Tasks::real();
    let (state, opened) = State::open(setup(Disk::real(dir).unwrap(), &tasks)).await.unwrap();
    (state, opened, tasks)
}

async fn close(tasks: Tasks) {
    assert!(tasks.shut_down(Duration::from_secs(20)).await);
}

fn manifest(site: &str, host: &str) -> Command {
    let text = format!("[site.{site}]\nhosts = [\"{host}\"]\norigin = \"https://o.example.com\"\n");
    Command::ApplyManifest {
        manifest: Box::new(Manifest::parse("test", &text).unwrap()),
        expected: None,
        permitted: Permissions::ALL,
    }
}

fn token(name: String) -> Command {
    Command::CreateToken(Token {
        name,
        role: Role::Viewer,
        namespace: None,
        hash: [7; 32],
        created: UnixMillis(1),
    })
}

fn purge(tag: &str) -> Command {
    let scope = PurgeScope::Tag { namespace: "default".into(), tag: tag.into() };
    Command::Purge { scope, kind: PurgeKind::Hard }
}

#[tokio::test]
async fn what_was_changed_is_seen_by_all_and_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::real();
    let seen: Arc<Mutex<Vec<Change>>> = Arc::default();
    let sink = seen.clone();
    let mut setup = setup(Disk::real(dir.path()).unwrap(), &tasks);
    setup.observer = Box::new(move |changes, _| sink.lock().unwrap().extend(changes.iter().cloned()));
    let (state, opened) = State::open(setup).await.unwrap();
    assert_eq!(opened.revision, Revision(0));
    let mut watch = state.watch(Revision(0));
    let mut snapshots = state.snapshots();

    let first = state.apply(manifest("a", "a.example.com")).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1, "the observer was told before the answer");
    assert_eq!(state.apply(token("ci".into())).await.unwrap(), Revision(first.0 + 1));
    let last = Revision(first.0 + 2);
    assert_eq!(state.apply(purge("news")).await.unwrap(), last);
    assert_eq!(state.apply(manifest("a", "a.example.com")).await.unwrap(), last, "no change");
    let taken = state.apply(token("ci".into())).await;
    assert!(matches!(taken, Err(Error::Rejected(Rejection::Exists(_)))));
    let mut watched = Vec::new();
    while watch.seen() < last {
        watched.extend(watch.next().await.unwrap());
    }
    assert_eq!(watched, *seen.lock().unwrap());
    assert_eq!(snapshots.borrow_and_update().revision, first);
    close(tasks).await;
    assert!(matches!(state.apply(purge("late")).await, Err(Error::Closed)));

    let (state, opened, tasks) = open(dir.path()).await;
    assert_eq!((opened.revision, opened.fresh, opened.torn, opened.problem), (last, false, false, None));
    let declared = state.declared();
    assert_eq!(declared.resources.sites.len(), 1);
    assert!(declared.versions.values().all(|v| v.generation == 1 && v.modified == first));
    assert_eq!((state.tokens().len(), state.stamps().len()), (1, 1));
    let name = ObjectName { kind: Kind::Token, name: "ci".into() };
    assert_eq!(state.get(&name).unwrap().0.modified, Revision(first.0 + 1));
    let revoked = state.apply(Command::RevokeToken { name: "ci".into() }).await.unwrap();
    assert_eq!(revoked, Revision(last.0 + 1));
    close(tasks).await;
}

#[tokio::test]
async fn the_last_snapshot_is_there_even_when_the_state_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _, tasks) = open(dir.path()).await;
    let revision = state.apply(manifest("a", "a.example.com")).await.unwrap();
    close(tasks).await;
    let disk = Disk::real(dir.path()).unwrap();
    let log = disk.subdir("group").unwrap().subdir("log").unwrap();
    log.open("00000000000000000001.wal", false).unwrap().write_at(&[9; 8], 4).unwrap();
    let tasks = Tasks::real();
    let refused = State::open(setup(disk.clone(), &tasks)).await.err().unwrap();
    assert!(matches!(refused, Error::Open(_)), "{refused:?}");
    let snapshot = SnapshotFile::new(disk).load().unwrap().unwrap();
    assert_eq!(snapshot.revision, revision);
    assert_eq!(snapshot.sites.len(), 1);
}

#[tokio::test]
async fn a_state_that_lost_changes_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _, tasks) = open(dir.path()).await;
    let revision = state.apply(manifest("a", "a.example.com")).await.unwrap();
    close(tasks).await;
    std::fs::remove_dir_all(dir.path().join("group")).unwrap();
    let tasks = Tasks::real();
    let refused = State::open(setup(Disk::real(dir.path()).unwrap(), &tasks)).await.err().unwrap();
    assert!(matches!(refused, Error::Lost { snapshot, .. } if snapshot == revision), "{refused:?}");
}

#[tokio::test]
async fn the_directory_of_an_older_version_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("wal")).unwrap();
    let disk = Disk::real(dir.path()).unwrap();
    assert!(matches!(State::check_format(&disk), Err(Error::Former)));
    let tasks = Tasks::real();
    assert!(matches!(State::open(setup(disk, &tasks)).await.err().unwrap(), Error::Former));
}

#[tokio::test]
async fn damaged_tables_are_made_anew_from_the_log_while_it_has_all() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _, tasks) = open(dir.path()).await;
    for i in 0..10 {
        state.apply(token(format!("t{i}"))).await.unwrap();
    }
    let revision = state.revision();
    close(tasks).await;
    let disk = Disk::real(dir.path()).unwrap();
    let tables = disk.subdir("group").unwrap().subdir("tables").unwrap();
    tables.open("tables.redb", false).unwrap().write_at(&[9; 64], 0).unwrap();
    let (state, opened, tasks) = open(dir.path()).await;
    assert_eq!((opened.revision, state.tokens().len()), (revision, 10));
    close(tasks).await;
}

/// Works until it is killed, saying on its output what was acknowledged.
#[tokio::test]
#[ignore = "is started by the test below"]
async fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let (state, _, _tasks) = open(Path::new(&dir)).await;
    let start = state.tokens().len();
    let mut working = tokio::task::JoinSet::new();
    for worker in 0..4 {
        let state = state.clone();
        working.spawn(async move {
            for i in start.. {
                let name = format!("t{worker}-{i}");
                if let Ok(revision) = state.apply(token(name.clone())).await {
                    println!("\nacknowledged {name} {revision}");
                }
            }
        });
    }
    working.join_all().await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for life in 1..=5 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = output.lines().map(|l| l.unwrap()).filter(|l| l.starts_with("acknowledged "));
        acknowledged.extend((0..life * 30).map_while(|_| lines.next()));
        child.kill().unwrap();
        acknowledged.extend(lines);
        child.wait().unwrap();
    }
    let (state, opened, tasks) = open(dir.path()).await;
    assert!(acknowledged.len() >= 450);
    for line in &acknowledged {
        let mut words = line.split(' ').skip(1);
        let name = ObjectName { kind: Kind::Token, name: words.next().unwrap().into() };
        let (version, _) = state.get(&name).unwrap_or_else(|| panic!("{name} was acknowledged and is gone"));
        assert_eq!(version.modified.to_string(), words.next().unwrap());
    }
    assert!(opened.revision.0 >= acknowledged.len() as u64);
    close(tasks).await;
}
