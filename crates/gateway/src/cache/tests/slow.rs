//! What slow readers of large content may hold, in counted bytes, and what becomes of fetches that nobody reads.

use super::*;
use crate::cache::held::PIECE;
use std::sync::LazyLock;
use std::time::Duration;

const FRESH: &str = "Cache-Control: max-age=600|ETag: \"a\"|Content-Type: x/y|";
const MIB: usize = 1 << 20;
/// What responses may hold here.
const LIMIT: u64 = 8 << 20;

/// Content that is another everywhere.
fn text(length: usize) -> Bytes {
    static ALL: LazyLock<Bytes> =
        LazyLock::new(|| (0..4 * MIB).map(|at| (at % 251) as u8 ^ (at >> 12) as u8).collect());
    ALL.slice(..length)
}

/// An answer whose content comes in pieces of 16 KiB.
fn large(length: usize) -> Step {
    let all = text(length);
    let pieces = (0..length).step_by(16 << 10).map(|at| all.slice(at..length.min(at + (16 << 10))));
    Step::Answer(200, FRESH.into(), pieces.collect())
}

fn world(steps: Vec<Step>) -> World {
    over(World::new(steps))
}

fn over(mut world: World) -> World {
    world.rules.slice_bytes = MIB as u64;
    world.rules.object_bytes_max = 1 << 30;
    world.cache.set_response_limits(LIMIT, 100);
    world
}

impl World {
    fn response_bytes(&self) -> u64 {
        self.cache.usage().response_bytes
    }

    /// Time in which readers take nothing passes.
    async fn stall(&self) {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.settle().await;
        }
    }

    /// Answers to requests for distinct large content, of each of which a piece was read.
    async fn begin_many(&self, count: usize, path: &str) -> Vec<Response> {
        let mut begun = Vec::new();
        for n in 0..count {
            let mut response = self.ask("GET", &format!("/{path}{n}"), "").wait().await;
            if response.status == Status::OK {
                assert!(matches!(response.body.frame().await, Some(Ok(Frame::Data(_)))));
            }
            self.settle().await;
            begun.push(response);
        }
        begun
    }
}

async fn rest_of(mut response: Response) -> Result<Vec<u8>, BodyError> {
    let mut all = Vec::new();
    while let Some(frame) = response.body.frame().await {
        if let Frame::Data(data) = frame? {
            all.extend_from_slice(&data);
        }
    }
    Ok(all)
}

#[tokio::test(start_paused = true)]
async fn slow_readers_of_distinct_large_content_stay_below_the_limit_and_the_rest_is_refused() {
    let mut steps: Vec<Step> = (0..150).map(|_| large(4 * MIB)).collect();
    steps.extend([ok(FRESH, "small"), large(4 * MIB)]);
    let world = world(steps);
    let begun = world.begin_many(150, "large").await;
    world.stall().await;
    let (sent, refused): (Vec<_>, Vec<_>) = begun.into_iter().partition(|r| r.status == Status::OK);
    assert!(sent.len() >= 15, "only {} are answered", sent.len());
    assert!(!refused.is_empty() && world.response_bytes() > LIMIT / 2);
    // Each may hold its place twice: counted as such, and by what it holds.
    let bound = LIMIT + 2 * PIECE * sent.len() as u64;
    assert!(world.response_bytes() <= bound, "{} bytes for {}", world.response_bytes(), sent.len());
    for response in refused {
        assert_eq!(response.status, Status::SERVICE_UNAVAILABLE);
        assert_eq!(response.fields.get_str(name::RETRY_AFTER), Some("1"));
        let said = response.fields.get_str(name::PROXY_STATUS);
        assert_eq!(said, Some("selvedge; error=http_request_denied"));
    }
    assert_eq!(world.get("/small", "").await.1, "small");
    let whole = text(4 * MIB);
    for response in sent.into_iter().take(5) {
        assert!(rest_of(response).await.unwrap() == whole[16 << 10..], "content is another");
    }
    world.settle().await;
    assert_eq!(world.response_bytes(), 0);
    assert_eq!(world.get("/again", "").await.0, 200, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn slow_readers_of_stored_content_hold_a_piece_of_it_each() {
    for length in [MIB, 3 * MIB] {
        let world = world(vec![large(length)]);
        assert_eq!(world.get("/a", "").await.0, 200);
        assert_eq!(world.response_bytes(), 0);
        let _others = world.cache.0.held.hold(LIMIT / 2 + 1);
        let before = world.response_bytes();
        let mut readers = Vec::new();
        for _ in 0..10 {
            let mut response = world.ask("GET", "/a", "").wait().await;
            let Some(Ok(Frame::Data(first))) = response.body.frame().await else { panic!("cut") };
            assert_eq!(first.len() as u64, PIECE);
            readers.push((first, response));
        }
        let each = (world.response_bytes() - before) / 10;
        assert!(each <= 3 * PIECE + 1024, "{each} bytes each");
        let (first, rest) = readers.pop().unwrap();
        let all = [&first[..], &rest_of(rest).await.unwrap()].concat();
        assert!(all == text(length)[..], "content is another");
        drop((readers, first));
        assert_eq!(world.response_bytes(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_counts_once_while_memory_is_not_scarce() {
    let world = world(vec![large(MIB)]);
    world.get("/a", "").await;
    let mut readers = Vec::new();
    for _ in 0..50 {
        let response = world.ask("GET", "/a", "").wait().await;
        assert_eq!(response.status, Status::OK);
        readers.push(response);
    }
    assert_eq!(world.response_bytes(), MIB as u64);
    drop(readers);
    assert_eq!(world.response_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stored_response_that_was_evicted_breaks_off_for_its_slow_reader_while_memory_is_scarce() {
    let world = world(vec![large(MIB)]);
    world.get("/a", "").await;
    let _others = world.cache.0.held.hold(LIMIT / 2 + 1);
    let mut reader = world.ask("GET", "/a", "").wait().await;
    assert!(matches!(reader.body.frame().await, Some(Ok(Frame::Data(_)))));
    world.cache.resize(0);
    assert_eq!(rest_of(reader).await, Err(BodyError::Gone("a part of it was dropped")));
}

#[tokio::test(start_paused = true)]
async fn small_responses_are_not_counted() {
    let world = world(vec![ok(FRESH, "small"), large(PIECE as usize)]);
    for path in ["/a", "/b"] {
        let miss = world.ask("GET", path, "").wait().await;
        let _ = rest_of(miss).await;
        world.settle().await;
        let _hit = world.ask("GET", path, "").wait().await;
        assert_eq!(world.response_bytes(), 0, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_fetches_go_on_when_nobody_waits_for_them() {
    let held_up = |_| Step::Stuck(200, FRESH.into(), vec![text(100 << 10)], 4 * MIB as u64);
    let world = world((0..10).map(held_up).collect());
    world.cache.set_response_limits(LIMIT, 3);
    drop(world.begin_many(10, "large").await);
    world.settle().await;
    let usage = world.cache.usage();
    assert_eq!((usage.unread_fetches, usage.fetches), (3, 3));
    let _others = world.cache.0.held.hold(LIMIT);
    world.stall().await;
    let usage = world.cache.usage();
    assert_eq!((usage.unread_fetches, usage.fetches), (0, 0), "and none while memory is scarce");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_to_its_end_when_its_reader_leaves_unless_memory_is_scarce() {
    for (scarce, stored) in [(false, true), (true, false)] {
        let world = world(vec![large(3 * MIB), large(3 * MIB)]);
        let begun = world.begin_many(1, "large").await;
        let _others = scarce.then(|| world.cache.0.held.hold(LIMIT / 2 + 1));
        drop(begun);
        world.settle().await;
        let (_, _, cache) = world.get("/large0", "").await;
        assert_eq!(cache.contains("; hit"), stored, "{cache}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_nearly_complete_fetch_is_completed_in_any_case() {
    let length = 100 << 10;
    let world = world(vec![large(length)]);
    world.cache.set_response_limits(LIMIT, 0);
    let mut begun = world.ask("GET", "/a", "").wait().await;
    for _ in 0..3 {
        assert!(begun.body.frame().await.is_some());
    }
    drop(begun);
    world.settle().await;
    assert!(world.get("/a", "").await.2.contains("; hit"));
}

#[tokio::test(start_paused = true)]
async fn content_that_passes_is_counted_and_refused_like_other() {
    let private = |length| match large(length) {
        Step::Answer(status, _, content) => Step::Answer(status, "Cache-Control: private|".into(), content),
        _ => unreachable!(),
    };
    let mut steps: Vec<Step> = (0..200).map(|_| private(MIB)).collect();
    steps.push(ok(FRESH, "small"));
    let world = world(steps);
    let begun = world.begin_many(200, "own").await;
    let sent = begun.iter().filter(|r| r.status == Status::OK).count() as u64;
    assert!((LIMIT / PIECE / 4..=LIMIT / PIECE / 2).contains(&sent), "{sent} are answered");
    assert!(world.response_bytes() <= LIMIT + sent * PIECE);
    assert_eq!(world.get("/small", "").await.1, "small");
    drop(begun);
    world.settle().await;
    assert_eq!(world.response_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_falls_behind_gets_what_was_evicted_from_the_origin() {
    for stated in [true, false] {
        let all = text(3 * MIB);
        let Step::Answer(status, head, content) = large(3 * MIB) else { unreachable!() };
        let mut steps = vec![match stated {
            true => Step::Answer(status, head, content),
            false => Step::Unknown(status, head, content),
        }];
        steps.extend((0..3).map(|slice| {
            let (first, end) = (slice * MIB, (slice + 1) * MIB);
            let range = format!("{FRESH}Content-Range: bytes {first}-{}/{}|", end - 1, 3 * MIB);
            Step::Answer(206, range, vec![all.slice(first..end)])
        }));
        let world = world(steps);
        world.cache.resize(0);
        let fast = world.ask("GET", "/a", "").wait().await;
        let slow = world.ask("GET", "/a", "").wait().await;
        assert!(rest_of(fast).await.unwrap() == all[..]);
        assert!(rest_of(slow).await.unwrap() == all[..], "content is another");
        let seen = world.origin.seen.lock().unwrap();
        let ranges: Vec<_> = seen.iter().filter_map(|asked| asked.fields.get_str(name::RANGE)).collect();
        assert!(ranges.starts_with(&["bytes=0-1048575"]), "{ranges:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_beginning_gone_and_has_nothing_to_compare_by_asks_for_itself() {
    let without_validator = || match large(4 * MIB) {
        Step::Answer(status, _, content) => {
            Step::Answer(status, "Cache-Control: max-age=600|".into(), content)
        }
        _ => unreachable!(),
    };
    let world = world(vec![without_validator(), without_validator()]);
    world.cache.resize(0);
    let mut fast = world.ask("GET", "/a", "").wait().await;
    let slow = world.ask("GET", "/a", "");
    for _ in 0..80 {
        assert!(matches!(fast.body.frame().await, Some(Ok(Frame::Data(_)))));
    }
    assert!(rest_of(slow.wait().await).await.unwrap() == text(4 * MIB)[..], "content is another");
    assert_eq!(world.asked(), 2);
}
