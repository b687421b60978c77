//! A backup is the whole state as of one moment, and begins another cluster.

use selvedge_kv::{Answer, KeyRange, Op, Put, Range, Txn};
use selvedge_mesh::rpc::Priority;
use selvedge_rt::{Clock, Disk, Rng, Tasks};
use selvedge_state::group::{Calling, Level, LinkError, Links, Member};
use selvedge_state::{Backup, ClusterRecord, Command, Metrics, NodeRecord, Options, Serves, Setup, State};
use selvedge_store::wal;
use selvedge_types::resource::{KeyspaceId, Text};
use selvedge_types::{ClusterId, Manifest, NodeKey, Permissions, Role, Token, UnixMillis};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const OLD: ClusterId = ClusterId::from_bytes([7; 16]);
const NEW: ClusterId = ClusterId::from_bytes([8; 16]);
const PATIENCE: Duration = Duration::from_secs(20);

/// There is nobody else.
struct Nobody;

impl Links for Nobody {
    fn call(&self, _: &Member, _: bytes::Bytes, _: Duration, _: Priority) -> Calling<'_> {
        Box::pin(async { Err(LinkError::Unreachable) })
    }
}

async fn open(dir: &Path, cluster: ClusterId, restore: Option<Backup>) -> (State, Tasks) {
    let tasks = Tasks::real();
    let mut options = Options::default();
    options.group.wal = wal::Options { reserve_bytes: 0, ..wal::Options::default() };
    let setup = Setup {
        disk: Disk::real(dir).unwrap(),
        options,
        cluster,
        member: Member { node: "one".into() },
        restore,
        founds: true,
        clock: Clock::real(),
        hlc: Arc::default(),
        rng: Rng::from_seed(1),
        tasks: tasks.clone(),
        links: Arc::new(Nobody),
        metrics: Metrics::default(),
        wal_metrics: wal::Metrics::default(),
        observer: Box::new(|_, _| {}),
    };
    let (state, opened) = State::open(setup).await.unwrap();
    assert_eq!(opened.problem, None);
    (state, tasks)
}

/// A cluster with a bit of everything.
async fn fill(state: &State) {
    let text = "[site.a]\nhosts = [\"a.example.com\"]\norigin = \"https://o.example.com\"\n";
    let manifest = Box::new(Manifest::parse("test", text).unwrap());
    state
        .apply(Command::ApplyManifest { manifest, expected: None, permitted: Permissions::ALL })
        .await
        .unwrap();
    let created = UnixMillis(1);
    let token = Token { name: "ci".into(), role: Role::Viewer, namespace: None, hash: [7; 32], created };
    state.apply(Command::CreateToken(token)).await.unwrap();
    let node = NodeRecord {
        key: NodeKey::from_bytes([3; 32]),
        name: "former".into(),
        pop: "default".into(),
        region: "default".into(),
        role: selvedge_mesh::ticket::NodeRole::Voter,
        voter: None,
        mesh: Vec::new(),
        serves: Serves::default(),
        version: "1".into(),
        joined: created,
        draining: false,
    };
    let cluster = ClusterRecord { seed: [5; 32], created, voters: Vec::new() };
    state.apply(Command::Found { cluster, node: Box::new(node) }).await.unwrap();
    let name = KeyspaceId::parse_text("default/users").unwrap();
    let declare = selvedge_kv::Command::DeclareKeyspace { name, quota_bytes: 64 << 20 };
    let declared = state.group().propose(declare, None, PATIENCE).await.unwrap();
    let Answer::Keyspace { keyspace, .. } = declared else { panic!("{declared:?}") };
    for n in 0..300u32 {
        let value = vec![n as u8; 8 << 10];
        let txn = Txn::of([Op::Put(Put::new(format!("key/{n:03}").as_bytes(), &value[..]))]);
        state.group().propose(selvedge_kv::Command::Txn { keyspace, txn }, None, PATIENCE).await.unwrap();
    }
}

fn keys(state: &selvedge_kv::Store) -> usize {
    let name = KeyspaceId::parse_text("default/users").unwrap();
    let mut range = Range::of(KeyRange::all());
    range.want = selvedge_kv::Want::Keys;
    state.range(state.keyspace(&name).unwrap(), &range).unwrap().records.len()
}

async fn taken(state: &State) -> Vec<u8> {
    let mut parts = state.backup(Level::Linearizable, OLD, "1.2.3").await.unwrap();
    // It is of the moment when it was asked for.
    state.apply(Command::RevokeToken { name: "ci".into() }).await.unwrap();
    let mut file = Vec::new();
    while let Some(part) = parts.next_part().unwrap() {
        file.extend_from_slice(&part);
    }
    file
}

#[tokio::test]
async fn a_new_cluster_has_what_the_former_one_had_but_for_its_nodes() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (state, tasks) = open(old.path(), OLD, None).await;
    fill(&state).await;
    let revision = state.revision();
    let file = taken(&state).await;
    assert!(tasks.shut_down(PATIENCE).await);

    let backup = Backup::read(&mut &file[..]).unwrap();
    assert_eq!((backup.head.cluster, backup.head.version.as_str()), (OLD, "1.2.3"));
    assert!(backup.head.revision >= revision);
    let contents = backup.contents();
    assert_eq!((contents.nodes, contents.tokens.as_slice()), (1, &["ci".to_owned()][..]));
    assert_eq!(contents.sites, ["default/a"]);
    assert_eq!(contents.keyspaces.len(), 1);

    let (state, tasks) = open(new.path(), NEW, Some(backup)).await;
    assert_eq!((state.nodes().len(), state.cluster()), (0, None));
    assert_eq!((state.tokens().len(), state.declared().resources.sites.len()), (1, 1));
    assert_eq!(state.group().read(Level::Linearizable, PATIENCE, keys).await.unwrap().value, 300);
    let before = state.revision();
    let revoked = state.apply(Command::RevokeToken { name: "ci".into() }).await.unwrap();
    assert!(revoked > before);
    assert!(tasks.shut_down(PATIENCE).await);

    let (state, tasks) = open(new.path(), NEW, None).await;
    assert_eq!((state.tokens().len(), state.declared().resources.sites.len()), (0, 1));
    assert_eq!(state.group().read(Level::Linearizable, PATIENCE, keys).await.unwrap().value, 300);
    assert!(tasks.shut_down(PATIENCE).await);
}

#[tokio::test]
async fn a_backup_that_was_cut_or_changed_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (state, tasks) = open(dir.path(), OLD, None).await;
    fill(&state).await;
    let file = taken(&state).await;
    assert!(tasks.shut_down(PATIENCE).await);
    let step = file.len() / 97;
    for at in (0..file.len()).step_by(step).chain([file.len() - 1]) {
        assert!(Backup::read(&mut &file[..at]).is_err(), "cut at {at}");
        let mut changed = file.clone();
        changed[at] ^= 0x20;
        assert!(Backup::read(&mut &changed[..]).is_err(), "changed at {at}");
    }
}
