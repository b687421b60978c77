//! The cache with a disk tier: what a restart keeps, and what must not come back.

use super::*;
use crate::cache::object::Stored;
use crate::cache::record::disk_key;
use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_rt::disk::{SimDisk, SimFile};
use selvedge_rt::{Disk, Rng};
use selvedge_store::segments::{Head, Kind, Metrics, NewRecord, Options, Segments};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Condvar;
use std::time::Duration;

const FRESH: &str = "Cache-Control: max-age=6000|";

fn tier(disk: Disk, tasks: &Tasks, clock: Clock) -> DiskTier {
    let options = Options { bytes_max: 4 << 20, reserve_bytes: 0, ..Options::default() };
    let opened = Segments::open(disk, options, Rng::from_seed(1)).unwrap();
    DiskTier::start(opened, tasks, clock, Metrics::default())
}

/// A process that begins over what former ones left in `dir`.
fn start(dir: &tempfile::TempDir, steps: Vec<Step>) -> World {
    begin(dir, steps, false)
}

fn begin(dir: &tempfile::TempDir, steps: Vec<Step>, gated: bool) -> World {
    let disk = Disk::real(dir.path()).unwrap();
    World::over(steps, gated, Tasks::simulated(), |tasks, clock| Some(tier(disk, tasks, clock)))
}

async fn stop(world: World) {
    world.settle().await;
    assert!(world.tasks.shut_down(Duration::from_secs(5)).await);
}

fn is_hit(answer: &(u16, String, String)) -> bool {
    answer.2.contains("; hit")
}

#[tokio::test]
async fn what_was_stored_is_served_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "one")]);
    world.get("/a", "").await;
    stop(world).await;
    let answer = start(&dir, vec![]).get("/a", "").await;
    assert!(is_hit(&answer) && answer.1 == "one", "{answer:?}");
}

#[tokio::test]
async fn what_an_unsafe_request_invalidated_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "one"), ok(FRESH, "other"), ok("", "posted")]);
    world.get("/a", "").await;
    world.get("/b", "").await;
    world.ask("POST", "/a", "").wait().await;
    stop(world).await;
    let world = start(&dir, vec![ok(FRESH, "two")]);
    assert_eq!(world.get("/a", "").await.1, "two");
    assert!(is_hit(&world.get("/b", "").await));
}

#[tokio::test]
async fn what_was_replaced_by_something_that_is_not_stored_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "one"), ok("Cache-Control: no-store|", "two")]);
    world.get("/a", "").await;
    world.settle().await;
    assert_eq!(world.get("/a", "Cache-Control: no-cache|").await.1, "two");
    stop(world).await;
    assert_eq!(start(&dir, vec![ok(FRESH, "three")]).get("/a", "").await.1, "three");
}

#[tokio::test]
async fn what_was_invalidated_with_its_group_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let grouped = "Cache-Control: max-age=6000|Cache-Groups: \"g\"|";
    let invalidating = ok("Cache-Group-Invalidation: \"g\"|", "posted");
    let world = start(&dir, vec![ok(grouped, "one"), invalidating]);
    world.get("/a", "").await;
    world.ask("POST", "/other", "").wait().await;
    stop(world).await;
    assert_eq!(start(&dir, vec![ok(grouped, "two")]).get("/a", "").await.1, "two");
}

#[tokio::test]
async fn a_purge_that_nobody_else_remembers_holds_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "one")]);
    world.get("/a", "").await;
    world.cache.purge_here(&PurgeScope::Site { site: "default/test".into() }, PurgeKind::Hard);
    stop(world).await;
    assert_eq!(start(&dir, vec![ok(FRESH, "two")]).get("/a", "").await.1, "two");
}

#[tokio::test]
async fn while_purges_are_not_known_nothing_of_former_times_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "one")]);
    // Its clock was ahead of that of the process that follows.
    world.pass_time(1000);
    world.get("/a", "").await;
    stop(world).await;
    let world = start(&dir, vec![ok(FRESH, "two")]);
    world.cache.distrust();
    assert_eq!(world.get("/a", "").await.1, "two");
    assert!(is_hit(&world.get("/a", "").await), "what is new is trusted");
    stop(world).await;
    assert_eq!(start(&dir, vec![]).get("/a", "").await.1, "two");
}

#[tokio::test]
async fn what_is_distrusted_for_good_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "one")]);
    world.get("/a", "").await;
    stop(world).await;
    let world = start(&dir, vec![]);
    world.cache.distrust_for_good().await.unwrap();
    stop(world).await;
    assert_eq!(start(&dir, vec![ok(FRESH, "two")]).get("/a", "").await.1, "two");
}

#[tokio::test]
async fn a_purge_is_remembered_while_an_older_object_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "one")]);
    world.get("/a", "").await;
    stop(world).await;
    let world = start(&dir, vec![ok(FRESH, "two")]);
    world.cache.purge_here(&PurgeScope::Site { site: "default/test".into() }, PurgeKind::Hard);
    assert_eq!(world.cache.expire_purges().await.unwrap(), None);
    assert_eq!(world.get("/a", "").await.1, "two");
}

#[tokio::test]
async fn a_purge_is_remembered_while_an_older_fetch_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let world = begin(&dir, vec![ok(FRESH, "old"), ok(FRESH, "new")], true);
    let gate = world.origin.gate.as_ref().unwrap();
    let slow = tokio::spawn(world.ask("GET", "/a", "").wait());
    world.settle().await;
    let site = PurgeScope::Site { site: "default/test".into() };
    world.cache.purge(&site, PurgeKind::Hard, world.cache.0.tick());
    assert_eq!(world.cache.expire_purges().await.unwrap(), None);
    gate.notify_one();
    assert_eq!(told(slow.await.unwrap()).await.1, "old", "it was asked for before");
    world.settle().await;
    gate.notify_one();
    assert_eq!(world.get("/a", "").await.1, "new");
    stop(world).await;
}

#[tokio::test]
async fn what_was_on_its_way_when_its_purge_expired_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "one")]);
    world.get("/a", "").await;
    let inner = world.cache.0.clone();
    let Some(Stored::Object(old)) = inner.memory.peek(inner.primary_key(&world.asked_for("GET", "/a", "")).0)
    else {
        panic!("it is stored")
    };
    stop(world).await;
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "two")]);
    world.pass_time(10);
    let site = PurgeScope::Site { site: "default/test".into() };
    world.cache.purge(&site, PurgeKind::Hard, world.cache.0.tick());
    assert!(world.cache.expire_purges().await.unwrap().is_some(), "nothing is stored that it could cover");
    assert_eq!(world.cache.usage().purges, 0);
    let key = world.cache.0.primary_key(&world.asked_for("GET", "/a", "")).0;
    world.cache.0.put(key, Stored::Object(old));
    assert_eq!(world.get("/a", "").await.1, "two");
    stop(world).await;
    assert_eq!(start(&dir, vec![]).get("/a", "").await.1, "two");
}

#[tokio::test]
async fn inspecting_is_no_use_and_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "one")]);
    world.get("/a", "").await;
    stop(world).await;
    let world = start(&dir, vec![]);
    let inner = world.cache.0.clone();
    let inspected = world.cache.inspect(world.asked_for("GET", "/a", "")).await;
    assert_eq!((inspected.decision, inspected.stored.unwrap().in_memory), ("hit", false));
    let usage = world.cache.usage();
    assert_eq!((usage.ram_objects, usage.disk_objects), (0, 1), "it stays where it is");
    assert!(is_hit(&world.get("/a", "").await));
    let inspected = world.cache.inspect(world.asked_for("GET", "/a", "")).await;
    assert!(inspected.stored.unwrap().in_memory);
    inner.purge_here(
        inner.memory.stamps.hasher.scope(&PurgeScope::Site { site: "default/test".into() }),
        PurgeKind::Hard,
        inner.tick(),
    );
    let inspected = world.cache.inspect(world.asked_for("GET", "/a", "")).await;
    assert_eq!(inspected.decision, "miss", "{}", inspected.reason);
    assert_eq!(world.cache.usage().ram_objects, 1, "that is for a request to find");
    stop(world).await;
}

#[tokio::test]
async fn what_is_read_from_disk_takes_the_place_of_nothing_newer() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "old")]);
    world.get("/a", "").await;
    stop(world).await;
    let world = start(&dir, vec![ok(FRESH, "new")]);
    let inner = world.cache.0.clone();
    let key = inner.primary_key(&world.asked_for("GET", "/a", "")).0;
    let old_place = inner.on_disk(key).unwrap();
    // While the old one is read, its successor is stored.
    world.get("/a", "Cache-Control: no-cache|").await;
    world.settle().await;
    let Some(Stored::Object(read)) = inner.read_disk(key, old_place).await else { panic!("it is there") };
    assert_eq!(read.body(), "new");
    assert_eq!(world.get("/a", "").await.1, "new");
    stop(world).await;
}

#[tokio::test]
async fn what_is_unreadable_in_its_old_place_is_found_in_its_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(&dir, vec![ok(FRESH, "one")]);
    let inner = world.cache.0.clone();
    let key = inner.primary_key(&world.asked_for("GET", "/a", "")).0;
    // As a version that is not known wrote it.
    let unreadable = NewRecord {
        head: Head { key: disk_key(key), fetched: inner.tick(), kind: Kind::Object, note: 1 },
        meta: Bytes::new(),
        body: Bytes::new(),
        asked: true,
    };
    inner.disk.as_ref().unwrap().put(unreadable);
    world.settle().await;
    let old_place = inner.on_disk(key).unwrap();
    inner.memory.remove(key);
    world.get("/a", "Cache-Control: no-cache|").await;
    world.settle().await;
    inner.memory.remove(key);
    assert!(inner.read_disk(key, old_place).await.is_none());
    assert!(is_hit(&world.get("/a", "").await), "what is newer was forgotten");
    stop(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_in_memory_do_not_wait_for_a_disk_that_hangs() {
    let gate = Arc::new(Gate::default());
    let disk = Disk::simulated(Arc::new(Hanging { gate: gate.clone(), files: Mutex::default() }));
    let steps = (0..50).map(|i| ok(FRESH, &i.to_string())).collect();
    let world = World::over(steps, false, Tasks::real(), |tasks, clock| Some(tier(disk, tasks, clock)));
    for i in 0..50 {
        assert_eq!(told(world.ask("GET", &format!("/{i}"), "").wait().await).await.1, i.to_string());
    }
    for i in (0..50).cycle().take(1000) {
        assert!(matches!(world.ask("GET", &format!("/{i}"), ""), Reply::Now(_)), "/{i}");
    }
    gate.open();
    assert!(world.tasks.shut_down(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_reader_that_fell_behind_goes_on_with_slices_that_went_to_disk() {
    let dir = tempfile::tempdir().unwrap();
    let pieces: Vec<Bytes> = (0..80).map(|i| Bytes::from(vec![b'a' + i % 26; 100])).collect();
    let whole = pieces.concat();
    let world = begin(&dir, vec![Step::Answer(200, FRESH.into(), pieces)], true);
    let fast = tokio::spawn(world.ask("GET", "/a", "").wait());
    let slow = tokio::spawn(world.ask("GET", "/a", "").wait());
    world.settle().await;
    world.origin.gate.as_ref().unwrap().notify_one();
    let (fast, slow) = (fast.await.unwrap(), slow.await.unwrap());
    assert_eq!(told(fast).await.1.as_bytes(), whole);
    world.settle().await;
    world.cache.resize(0);
    assert_eq!(told(slow).await.1.as_bytes(), whole);
    assert_eq!(world.asked(), 1);
    stop(world).await;
}

/// Holds up whoever writes until it is opened.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        drop(self.opened.wait_while(self.is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// A disk on which nothing is written until its gate is opened.
struct Hanging {
    gate: Arc<Gate>,
    files: Mutex<BTreeMap<PathBuf, Arc<HangingFile>>>,
}

struct HangingFile {
    gate: Arc<Gate>,
    bytes: Mutex<Vec<u8>>,
}

impl SimDisk for Hanging {
    fn open(&self, path: &Path, _: bool) -> io::Result<Arc<dyn SimFile>> {
        let new = || Arc::new(HangingFile { gate: self.gate.clone(), bytes: Mutex::default() });
        Ok(self.files.lock().unwrap().entry(path.to_owned()).or_insert_with(new).clone())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().unwrap().remove(path);
        Ok(())
    }
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn free_space(&self) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

impl SimFile for HangingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock().unwrap();
        let there = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = there.len().min(buf.len());
        buf[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.gate.pass();
        let mut bytes = self.bytes.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let end = start + buf.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(buf);
        Ok(buf.len())
    }
    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
}
