//! What the control state says of a full disk, when it says it, and how it goes on when there is space.

use bytes::Bytes;
use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_mesh::rpc::Priority;
use selvedge_rt::{Rng, Tasks};
use selvedge_sim::{SimClock, SimDisk, Trace};
use selvedge_state::group::{Calling, LinkError, Links, Member};
use selvedge_state::{Command, Error, Metrics, Opened, Options, Setup, State, group};
use selvedge_store::wal;
use selvedge_types::{ClusterId, Role, Token, UnixMillis};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What the log keeps in reserve, in bytes.
const RESERVE: u64 = 8 << 20;

/// What nobody waits longer for, in virtual time.
const AT_ONCE: Duration = Duration::from_millis(100);

/// There are no other members.
struct Nobody;

impl Links for Nobody {
    fn call(&self, _: &Member, _: Bytes, _: Duration, _: Priority) -> Calling<'_> {
        Box::pin(async { Err(LinkError::Unreachable) })
    }
}

fn disk() -> SimDisk {
    SimDisk::new("disk", Rng::from_seed(1), Trace::default())
}

async fn open(disk: &SimDisk, tasks: &Tasks) -> (State, Opened) {
    let mut options = Options::default();
    options.group.wal = wal::Options { reserve_bytes: RESERVE, ..wal::Options::default() };
    let setup = Setup {
        disk: disk.disk(),
        options,
        cluster: ClusterId::from_bytes([7; 16]),
        member: Member { node: "one".into() },
        founds: true,
        clock: SimClock::new().clock(),
        hlc: Arc::default(),
        rng: Rng::from_seed(1),
        tasks: tasks.clone(),
        links: Arc::new(Nobody),
        metrics: Metrics::default(),
        wal_metrics: wal::Metrics::default(),
        observer: Box::new(|_, _| {}),
        restore: None,
    };
    State::open(setup).await.unwrap()
}

fn purge(tag: &str) -> Command {
    let scope = PurgeScope::Tag { namespace: "default".into(), tag: tag.into() };
    Command::Purge { scope, kind: PurgeKind::Hard }
}

fn token() -> Command {
    let (name, role, created) = ("ci".into(), Role::Viewer, UnixMillis(1));
    Command::CreateToken(Token { name, role, namespace: None, hash: [7; 32], created })
}

/// Leaves the log's reserve free, and no more.
fn fill(disk: &SimDisk) {
    disk.set_capacity(disk.used() + RESERVE);
}

/// Waits, in virtual time, until the state says so of its disk.
async fn until(state: &State, full: bool) {
    let is = || state.problem().is_some_and(|problem| problem.contains("full")) == full;
    let turned = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), turned).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_for_which_there_is_no_room_is_answered_at_once_and_made_when_there_is() {
    let (disk, tasks) = (disk(), Tasks::real());
    let (state, _) = open(&disk, &tasks).await;
    state.apply(token()).await.unwrap();
    fill(&disk);
    let asked = Instant::now();
    let first = state.apply(purge("first")).await.unwrap_err();
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    assert!(!first.is_refusal() && first.to_string().contains("full"), "it was accepted already: {first}");
    let second = state.apply(purge("second")).await.unwrap_err();
    assert!(matches!(second, Error::Group(group::Error::Full)), "{second}");
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    disk.heal();
    until(&state, false).await;
    state.apply(purge("third")).await.unwrap();
    assert_eq!(state.stamps().len(), 2, "the first, which had been accepted, and the third");
    assert!(tasks.shut_down(Duration::from_secs(20)).await);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_noticed_before_a_change_is_accepted_and_space_without_one() {
    let (disk, tasks) = (disk(), Tasks::real());
    let (state, _) = open(&disk, &tasks).await;
    state.apply(token()).await.unwrap();
    fill(&disk);
    until(&state, true).await;
    let refused = state.apply(purge("first")).await.unwrap_err();
    assert!(matches!(refused, Error::Group(group::Error::Full)), "{refused}");
    disk.heal();
    until(&state, false).await;
    assert_eq!(state.stamps(), []);
    assert!(tasks.shut_down(Duration::from_secs(20)).await);
}

#[tokio::test(start_paused = true)]
async fn a_start_does_not_wait_for_space() {
    let disk = disk();
    let tasks = Tasks::real();
    let (state, _) = open(&disk, &tasks).await;
    state.apply(token()).await.unwrap();
    assert!(tasks.shut_down(Duration::from_secs(20)).await);
    disk.kill();
    // Room for the copy that is made of the tables, and not for a change.
    disk.set_capacity(disk.used() + RESERVE / 2);
    let (tasks, asked) = (Tasks::real(), Instant::now());
    let (state, opened) = open(&disk, &tasks).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert!(opened.problem.is_some_and(|problem| problem.contains("full")));
    disk.heal();
    until(&state, false).await;
    state.apply(purge("first")).await.unwrap();
    assert!(tasks.shut_down(Duration::from_secs(20)).await);
}
