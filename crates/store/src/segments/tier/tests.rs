//! What is put, removed and stamped is so after a restart, whatever the disk does.

use super::*;
use crate::segments::{Head, Kind, Options};
use selvedge_rt::{Disk, Rng};

fn record(i: u128, body_len: usize) -> NewRecord {
    let head = Head { key: Key(i << 8), fetched: Hlc::from_bits(1), kind: Kind::Object, note: 0 };
    NewRecord { head, meta: "m".into(), body: vec![7; body_len].into(), asked: true }
}

async fn start(dir: &tempfile::TempDir, options: Options) -> (DiskTier, Tasks) {
    let disk = Disk::real(dir.path()).unwrap();
    let opened = Segments::open(disk, options, Rng::from_seed(1)).unwrap();
    let tasks = Tasks::real();
    (DiskTier::start(opened, &tasks, Clock::real(), Metrics::default()), tasks)
}

#[tokio::test]
async fn what_was_put_is_read_after_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, tasks) = start(&dir, Options { reserve_bytes: 0, ..Options::default() }).await;
    assert!(tier.put(record(1, 5000)));
    while !tier.contains(Key(1 << 8)) {
        tokio::task::yield_now().await;
    }
    let at = tier.locate(Key(1 << 8)).unwrap();
    assert_eq!(tier.read(at.clone()).await.unwrap().body.len(), 5000);
    assert_eq!(tier.read_part(at, 10..20).await.unwrap().body.len(), 10);
    assert!(tasks.shut_down(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn what_is_removed_is_not_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reserve_bytes: 0, ..Options::default() };
    let (tier, tasks) = start(&dir, options).await;
    let key = |i: u128| Key(i << 8);
    for i in 1..=3 {
        assert!(tier.put(record(i, 100)));
    }
    // On its way still, and on disk.
    let now = Hlc::from_bits(5);
    tier.remove(key(1), now);
    while tier.has_queued() {
        tokio::task::yield_now().await;
    }
    assert!(!tier.contains(key(1)) && tier.contains(key(2)));
    tier.remove(key(2), now);
    tier.remove(key(3), now);
    // What comes after its removal is there.
    assert!(tier.put(record(3, 200)));
    while tier.has_queued() {
        tokio::task::yield_now().await;
    }
    assert!(tasks.shut_down(Duration::from_secs(5)).await);
    drop(tier);
    let (tier, _tasks) = start(&dir, options).await;
    assert!(!tier.contains(key(1)) && !tier.contains(key(2)));
    let at = tier.locate(key(3)).unwrap();
    assert_eq!(tier.read(at).await.unwrap().body.len(), 200);
}

#[tokio::test]
async fn a_full_queue_takes_nothing_and_never_waits() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reserve_bytes: 0, queue_bytes_max: 100_000, ..Options::default() };
    let (tier, _tasks) = start(&dir, options).await;
    let taken = (0..10).filter(|i| tier.put(record(*i, 30_000))).count();
    assert_eq!(taken, 3);
}

#[tokio::test(start_paused = true)]
async fn without_space_it_pauses_and_tries_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reserve_bytes: u64::MAX, ..Options::default() };
    let (tier, _tasks) = start(&dir, options).await;
    assert!(tier.put(record(1, 10)));
    while tier.is_available() {
        tokio::task::yield_now().await;
    }
    assert!(!tier.put(record(2, 10)));
    let problem = tier.problem().unwrap();
    assert!(problem.contains("MiB free, and the cache leaves"), "{problem}");
    tokio::time::sleep(options.retry_after).await;
    while !tier.is_available() {
        tokio::task::yield_now().await;
    }
    assert_eq!(tier.problem(), None);
    assert!(tier.put(record(3, 10)), "tried again after the pause");
}

async fn written(tier: &DiskTier) {
    while tier.has_queued() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn it_ends_also_while_there_is_always_more_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reserve_bytes: 0, ..Options::default() };
    let (tier, tasks) = start(&dir, options).await;
    let producers = Tasks::real();
    let (source, stopping) = (tier.clone(), producers.clone());
    producers.spawn("producer", selvedge_rt::OnEnd::Forget, async move {
        for i in (1..).take_while(|_| !stopping.is_stopping()) {
            source.put(record(i % 1000 + 1, 3000));
            tokio::task::yield_now().await;
        }
    });
    while tier.objects() < 100 {
        tokio::task::yield_now().await;
    }
    assert!(tasks.shut_down(Duration::from_secs(30)).await, "it ends though the queue is never empty");
    assert!(!tier.put(record(1, 10)));
    assert!(matches!(tier.raise_floor(Hlc::from_bits(1)).await, Err(Error::Closed { .. })));
    assert!(producers.shut_down(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn what_a_newer_version_was_not_written_over_is_not_found_either() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reserve_bytes: 0, segment_bytes: 1 << 20, ..Options::default() };
    let (tier, tasks) = start(&dir, options).await;
    let key = |i: u128| Key(i << 8);
    assert!((1..=4).all(|i| tier.put(record(i, 100))));
    written(&tier).await;
    // Longer than a file; of which no record can be made; that comes when it stops; that finds the queue full.
    assert!(tier.put(record(1, 2 << 20)));
    assert!(tier.put(Offer { make: Box::new(|| None), ..Offer::from(record(2, 10)) }));
    assert!(!tier.put(Offer { bytes: usize::MAX / 2, ..Offer::from(record(4, 10)) }));
    written(&tier).await;
    tasks.stop();
    assert!(!tier.put(record(3, 200)));
    for i in 1..=4 {
        assert!(!tier.contains(key(i)), "{i}");
    }
    assert!(tasks.shut_down(Duration::from_secs(5)).await);
    drop(tier);
    let (tier, _tasks) = start(&dir, options).await;
    assert_eq!(tier.objects(), 0, "nor after a restart");
}

#[tokio::test]
async fn too_many_stamps_become_a_floor_that_covers_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reserve_bytes: 0, stamps_max: 10, ..Options::default() };
    let (tier, tasks) = start(&dir, options).await;
    tasks.stop();
    // One scope is one stamp, however often it comes.
    (1..100).for_each(|i| tier.stamp(Key(7), Hlc::from_bits(i), 0));
    assert_eq!(tier.shared.floor.load(Ordering::SeqCst), 0);
    tier.stamp(Key(8), Hlc::from_bits(1000), 0);
    (0..10).for_each(|i| tier.stamp(Key(100 + i), Hlc::from_bits(50), 0));
    assert!(tasks.shut_down(Duration::from_secs(5)).await);
    drop(tier);
    let (tier, _tasks) = start(&dir, options).await;
    assert_eq!(tier.opened().floor, Hlc::from_bits(1000));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_hangs_is_a_miss_and_then_left_alone_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reserve_bytes: 0, ..Options::default() };
    let (tier, _tasks) = start(&dir, options).await;
    let (end, hangs) = std::sync::mpsc::channel::<()>();
    let hung = tier.blocking(move |_| hangs.recv().ok());
    let (hung, ()) = tokio::join!(hung, tokio::time::advance(READ_TIME));
    assert_eq!(hung, None);
    assert_eq!(tier.blocking(|_| Some(1)).await, None, "not even asked");
    tier.shared.unread_until.store(0, Ordering::Relaxed); // its clock is not the paused one
    assert_eq!(tier.blocking(|_| Some(1)).await, Some(1));
    drop(end);
}
